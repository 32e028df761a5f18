/* AVX2 and FMA. */
#ifndef IRC_ISA_H
#define IRC_ISA_H

#include "conv_avx2.h"
#include "depthwise_avx2.h"
#include "winograd_avx2.h"
#include "pack_b_avx2.h"

#endif
