"""What the float kernels compute, in numpy: the same bits as their C on every ISA, for any number of threads.

One module for each header: `functions` for irc_math.h and activation.h, `functions_f64`, `rows` for rows.h and
reduce.h, `pool`, `contraction` for matmul_f32.h and conv_f32.h, `resize`, `recurrent`. `native` compiles the kernels,
so that tests can hold the two against each other.
"""
