/* Plain C99, for any machine. */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_portable.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK 8
#define IRC_CONV_MOST(p, scratch_bytes) IRC_POSITIONS

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    (void)scratch;
    (void)scratch_bytes;
    irc_conv_block_portable(p, q, part, y);
}

#endif
