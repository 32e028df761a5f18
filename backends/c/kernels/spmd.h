/* How threads share a kernel's work: every thread calls the kernel with the same arguments and its own number. */
#ifndef IRC_SPMD_H
#define IRC_SPMD_H

#include <stdint.h>

/* The share [begin, end) of `thread` among `threads`, of `count` rows. No sum crosses rows: the bits are the same for
   any number of threads. */
static inline void irc_share(int64_t count, int thread, int threads, int64_t *begin, int64_t *end)
{
    *begin = count * thread / threads;
    *end = count * (thread + 1) / threads;
}

#endif
