/* Starting, waking and ending the threads of a context. Included by the model's main file only. */
#ifndef IRC_POOL_OF_THREADS_H
#define IRC_POOL_OF_THREADS_H

#include "runtime.h"

#if IRC_THREADS
static void *irc_work(void *argument) {
    const irc_worker *worker = argument;
    irc_context *c = worker->context;
    unsigned seen = 0;
    for (;;) {
        for (int spins = 0; spins < IRC_SPINS && __atomic_load_n(&c->generation, __ATOMIC_ACQUIRE) == seen; ++spins) irc_pause();
        if (__atomic_load_n(&c->generation, __ATOMIC_ACQUIRE) == seen) {
            pthread_mutex_lock(&c->mutex);
            while (c->generation == seen) pthread_cond_wait(&c->wake, &c->mutex);
            pthread_mutex_unlock(&c->mutex);
        }
        if (c->stop) return NULL;
        ++seen;
        c->run(c, worker->thread);
    }
}

static void irc_wake(irc_context *c, int stop) {
    pthread_mutex_lock(&c->mutex);
    c->stop = stop;
    __atomic_add_fetch(&c->generation, 1, __ATOMIC_RELEASE);
    pthread_cond_broadcast(&c->wake);
    pthread_mutex_unlock(&c->mutex);
}

/* Whether the context's threads are another process's: this one is a fork of it. */
static int irc_is_forked(const irc_context *c) { return c->started && c->process != getpid(); }

static void irc_end_threads(irc_context *c) {
    if (!c->started || irc_is_forked(c)) return;
    irc_wake(c, 1);
    for (int t = 1; t <= c->started; ++t) pthread_join(c->workers[t], NULL);
    c->started = 0;
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->mutex);
}

/* 0, or 1 if the system does not give as many threads; then none is left. */
static int irc_start_threads(irc_context *c) {
    if (c->threads == 1) return 0;
    c->process = getpid();
    if (pthread_mutex_init(&c->mutex, NULL)) return 1;
    if (pthread_cond_init(&c->wake, NULL)) {
        pthread_mutex_destroy(&c->mutex);
        return 1;
    }
    for (int t = 1; t < c->threads; ++t) {
        c->arguments[t].context = c;
        c->arguments[t].thread = t;
        if (pthread_create(&c->workers[t], NULL, irc_work, &c->arguments[t])) {
            if (c->started) {
                irc_end_threads(c);
            } else {
                pthread_cond_destroy(&c->wake);
                pthread_mutex_destroy(&c->mutex);
            }
            return 1;
        }
        c->started = t;
    }
    return 0;
}
#else
static void irc_wake(irc_context *c, int stop) { (void)c; (void)stop; }
static int irc_is_forked(const irc_context *c) { (void)c; return 0; }
static void irc_end_threads(irc_context *c) { (void)c; }
static int irc_start_threads(irc_context *c) { return c->threads != 1; }
#endif

#endif
