/* The context of a running model, its threads, and the barrier between steps. Included once by every translation unit. */
#ifndef IRC_RUNTIME_H
#define IRC_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(IRC_NO_THREADS)
#define IRC_THREADS 1
#include <pthread.h>
#include <sched.h>
#include <sys/types.h>
#include <unistd.h>
#else
#define IRC_THREADS 0
#endif

#if defined(__GNUC__)
#define IRC_ALIGNED(n) __attribute__((aligned(n)))
#define IRC_UNUSED __attribute__((unused))
#define IRC_LOCAL __attribute__((visibility("hidden")))
#else
#define IRC_ALIGNED(n)
#define IRC_UNUSED
#define IRC_LOCAL
#endif

#define IRC_MAX_THREADS 64
#define IRC_SPINS 20000 /* looks for the others before the processor is handed on: up to a millisecond on x86 */

typedef struct irc_context irc_context;
typedef void irc_run_function(irc_context *, int thread);

typedef struct irc_worker {
    irc_context *context;
    int thread;
} irc_worker;

/* Lives at the start of the memory that the caller owns; nothing else of a model is ever written. */
struct irc_context {
    uint32_t magic;
    int threads;
    const char *isa;
    irc_run_function *run;
    uint8_t *arena;
    uint8_t *scratch;       /* of each thread, scratch_bytes apart */
    size_t scratch_bytes;
    const void *const *inputs;
    void *const *outputs;
#ifdef IRC_PROFILE
    int64_t *profile;       /* nanoseconds of each step, or NULL */
    int64_t clock;
#endif
#if IRC_THREADS
    unsigned arrived, round; /* of the barrier */
    unsigned generation;     /* counts the runs */
    int stop;
    int started;
    pid_t process;           /* whose threads these are: a fork has none of them */
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    pthread_t workers[IRC_MAX_THREADS];
    irc_worker arguments[IRC_MAX_THREADS];
#endif
};

#if IRC_THREADS
static inline void irc_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Returns when all threads have come here. */
static inline void irc_barrier(irc_context *c) {
    if (c->threads == 1) return;
    const unsigned round = __atomic_load_n(&c->round, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&c->arrived, 1, __ATOMIC_ACQ_REL) == (unsigned)c->threads) {
        __atomic_store_n(&c->arrived, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&c->round, round + 1, __ATOMIC_RELEASE);
        return;
    }
    for (int spins = 0; __atomic_load_n(&c->round, __ATOMIC_ACQUIRE) == round; ++spins) {
        if (spins < IRC_SPINS) {
            irc_pause();
        } else {
            sched_yield();
        }
    }
}
#else
static inline void irc_barrier(irc_context *c) { (void)c; }
#endif

#ifdef IRC_PROFILE
#include <time.h>
static inline int64_t irc_nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
static inline void irc_step_done(irc_context *c, int thread, int step) {
    irc_barrier(c);
    if (thread == 0 && c->profile) {
        const int64_t now = irc_nanoseconds();
        c->profile[step] += now - c->clock;
        c->clock = now;
    }
}
#else
static inline void irc_step_done(irc_context *c, int thread, int step) {
    (void)thread;
    (void)step;
    irc_barrier(c);
}
#endif

#endif
