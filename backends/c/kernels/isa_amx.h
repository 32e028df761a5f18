/* AMX: int8 tiles, beside AVX-512 with VNNI (Sapphire Rapids and later ones). Asking for the tiles is the caller's. */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_amx.h"
#include "depthwise_vnni.h"
#include "pack_b_avx2.h"

#define IRC_CONV_BLOCK
#define IRC_CONV_STACK (32 * 1024)
#define IRC_CONV_MOST(p, scratch_bytes) irc_conv_most_amx(p, scratch_bytes)

/* From so many positions on, tiles are worth it; and so few k are not. */
#define IRC_AMX_FROM 8
#define IRC_AMX_DEPTH 17

IRC_FN int32_t irc_conv_most_amx(const irc_conv *p, size_t scratch_bytes)
{
    const int32_t fit = irc_amx_most(p, scratch_bytes);
    return fit ? fit : IRC_POSITIONS;
}

IRC_FN void irc_conv_block(const irc_conv *p, const irc_positions *q, const irc_conv_part *part, void *y, void *scratch,
                           size_t scratch_bytes)
{
    const int deep = (int64_t)p->runs * p->run_length >= IRC_AMX_DEPTH;
    if (deep && q->count >= IRC_AMX_FROM && q->count <= irc_amx_most(p, scratch_bytes))
        irc_conv_block_amx(p, q, part, y, scratch);
    else
        irc_conv_block_vnni(p, q, part, y);
}

#endif
