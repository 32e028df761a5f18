"""The C backend: a quantized graph as C99 that needs no runtime, with kernels for every instruction set."""
