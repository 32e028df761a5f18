/* Which instruction sets this ARM processor has. */
#ifndef IRC_DETECT_AARCH64_H
#define IRC_DETECT_AARCH64_H

#if defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <stddef.h>
#include <sys/sysctl.h>
#endif

typedef struct irc_cpu {
    int dotprod, i8mm;
} irc_cpu;

#if defined(__APPLE__)
static int irc_feature(const char *name) {
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value;
}
#endif

static irc_cpu irc_detect(void) {
    irc_cpu cpu = {0, 0};
#if defined(__linux__)
    cpu.dotprod = getauxval(16) >> 20 & 1;               /* AT_HWCAP, ASIMDDP */
    cpu.i8mm = cpu.dotprod && (getauxval(26) >> 13 & 1); /* AT_HWCAP2, I8MM */
#elif defined(__APPLE__)
    cpu.dotprod = irc_feature("hw.optional.arm.FEAT_DotProd");
    cpu.i8mm = cpu.dotprod && irc_feature("hw.optional.arm.FEAT_I8MM");
#endif
    return cpu;
}

/* Whether the operating system lets this process use an instruction set that the processor has. */
static int irc_granted(const char *isa) {
    (void)isa;
    return 1;
}

#endif
