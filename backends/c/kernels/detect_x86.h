/* Which instruction sets this x86 processor has and its operating system saves. */
#ifndef IRC_DETECT_X86_H
#define IRC_DETECT_X86_H

#include <cpuid.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
long syscall(long number, ...); /* unistd.h declares it only outside POSIX */
#endif

typedef struct irc_cpu {
    int avx2, avxvnni, avx512vnni, amx;
} irc_cpu;

static uint64_t irc_saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux gives the tiles only to a process that asks, once; without asking, the first tile instruction is its last. What is
   given makes the memory of each thread's signals larger, so that only a process asks that will use them. */
static int irc_ask_for_tiles(void) {
#if defined(__linux__) && defined(SYS_arch_prctl)
    const long request = 0x1023, tile_data = 18; /* ARCH_REQ_XCOMP_PERM */
    return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
    return 0;
#endif
}

static irc_cpu irc_detect(void) {
    irc_cpu cpu = {0, 0, 0, 0};
    uint32_t a, b, c, d, a1 = 0, b1, c1, d1, b7 = 0, c7 = 0, d7 = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1)) return cpu; /* OSXSAVE */
    const uint64_t saved = irc_saved_state();
    const int fma = c >> 12 & 1, ymm = (saved & 0x6) == 0x6, zmm = (saved & 0xe6) == 0xe6, tiles = (saved >> 17 & 3) == 3;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) return cpu;
    if (a >= 1) __get_cpuid_count(7, 1, &a1, &b1, &c1, &d1);
    cpu.avx2 = ymm && fma && (b7 >> 5 & 1);
    cpu.avxvnni = cpu.avx2 && (a1 >> 4 & 1);
    cpu.avx512vnni = cpu.avx2 && zmm && (b7 >> 16 & 1) && (b7 >> 17 & 1) && (b7 >> 30 & 1) && (b7 >> 31 & 1) &&
                     (c7 >> 1 & 1) && (c7 >> 11 & 1); /* F, DQ, BW, VL, VBMI, VNNI */
    cpu.amx = cpu.avx512vnni && tiles && (d7 >> 24 & 1) && (d7 >> 25 & 1);
    return cpu;
}

/* Whether the operating system lets this process use an instruction set that the processor has. */
static int irc_granted(const char *isa) { return strcmp(isa, "amx") || irc_ask_for_tiles(); }

#endif
