"""All constants of a model as one array: weights, scales, tables, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from irc.backends.c.views import Buffer

_ALIGNMENT = 64


class Constants:
    """Where each constant buffer lies, and the bytes; equal contents are stored once."""

    def __init__(self, buffers: Iterable[Buffer]) -> None:
        self.offsets: dict[Buffer, int] = {}
        self._parts: list[bytes] = []
        self.bytes = 0
        stored: dict[bytes, int] = {}
        for buffer in buffers:
            assert buffer.data is not None
            array = np.ascontiguousarray(buffer.data)
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            if data not in stored:
                stored[data] = self.bytes
                padded = data + bytes(-len(data) % _ALIGNMENT)
                self._parts.append(padded)
                self.bytes += len(padded)
            self.offsets[buffer] = stored[data]

    def blob(self) -> bytes:
        """The bytes, with the slack that kernels may read past the end."""
        return b"".join(self._parts) + bytes(_ALIGNMENT)

    def array_source(self, name: str) -> str:
        """C that defines them as an array of 64-bit words, which compilers read eight times as fast as bytes."""
        words = np.frombuffer(self.blob(), "<u8")
        lines = [",".join(map(hex, words[i : i + 8].tolist())) for i in range(0, len(words), 8)]
        body = ",\n".join(lines)
        return (
            f'#include "{name}_internal.h"\n\n'
            f"const uint64_t irc_{name}_constants[{len(words)}] IRC_ALIGNED({_ALIGNMENT}) = {{\n{body}}};\n"
        )

    @staticmethod
    def file_source(name: str) -> str:
        """C that takes them from the file `<name>_constants.bin` when it is assembled: a matter of milliseconds."""
        return f"""#include "{name}_internal.h"

#ifndef IRC_CONSTANTS_FILE
#define IRC_CONSTANTS_FILE "{name}_constants.bin"
#endif
#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define SYMBOL TEXT(__USER_LABEL_PREFIX__) "irc_{name}_constants"

#if defined(__APPLE__)
#define SECTION ".section __TEXT,__const\\n"
#define HIDDEN ".private_extern "
#elif defined(_WIN32)
#define SECTION ".section .rdata,\\"dr\\"\\n"
#define HIDDEN ".globl "
#else
#define SECTION ".section .rodata\\n"
#define HIDDEN ".hidden "
#endif

__asm__(SECTION ".balign {_ALIGNMENT}\\n"
        ".globl " SYMBOL "\\n" HIDDEN SYMBOL "\\n"
        SYMBOL ":\\n"
        ".incbin \\"" IRC_CONSTANTS_FILE "\\"\\n"
        ".text\\n");
"""
