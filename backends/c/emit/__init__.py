"""The C text of a program: one file of steps for each instruction set, the header, the constants, CMake."""
