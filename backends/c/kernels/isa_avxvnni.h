/* AVX-VNNI: dot products on 32 bytes (Alder Lake and later ones). */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_avxvnni.h"
#include "depthwise_avx2.h"
#include "pack_b_avx2.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK 8
#define IRC_CONV_MOST(p, scratch_bytes) IRC_POSITIONS

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    (void)scratch;
    (void)scratch_bytes;
    irc_conv_block_avxvnni(p, q, part, y);
}

#endif
