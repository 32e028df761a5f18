"""A compiled model called from Python."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from irc.errors import BackendError
from irc.types import AnyDType, Array, TensorType


class LoadingError(BackendError):
    """A shared library cannot be loaded: it is damaged, or for another machine."""


class Runner:
    """A loaded library with one context; calls release the interpreter's lock.

    Threads that call one runner take turns, as its memory is one: for calls at the same time make more runners.

    inputs : how many there are;  outputs : their types, of known shape

    Raises
    ------
    LoadingError : the library cannot be loaded.
    BackendError : there is not as much memory as the model needs, or it refuses the threads or instruction set.
    """

    def __init__(
        self,
        library: Path,
        name: str,
        inputs: int,
        outputs: Sequence[TensorType],
        *,
        threads: int = 1,
        isa: str = "",
    ) -> None:
        try:
            self._library = ctypes.CDLL(str(library))
        except OSError as error:
            raise LoadingError(f"'{library}' cannot be loaded: {error}; delete it to have it built again") from None
        self._name = name
        self._turn = threading.Lock()
        self._outputs = [(type.static_shape, type.dtype.numpy) for type in outputs]
        self._in = (ctypes.c_void_p * max(inputs, 1))()
        self._out = (ctypes.c_void_p * max(len(outputs), 1))()
        self._run = self._function("run_array", ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        size = self._function("size", ctypes.c_size_t, ctypes.c_int)(threads)
        self._memory = self._empty((size + 64,), np.dtype(np.uint8))
        start = -self._memory.ctypes.data % 64
        self._context = ctypes.c_void_p()
        init = self._function(
            "init", ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
        )
        at = self._memory.ctypes.data + start
        self._check(init(at, size, threads, isa.encode() or None, ctypes.byref(self._context)))
        self.bytes = size
        self.isa: str = self._function("isa", ctypes.c_char_p, ctypes.c_void_p)(self._context).decode()

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """Run once.

        inputs : contiguous arrays of the right shapes and dtypes, in order; they are read where they are

        Returns
        -------
        New arrays, in order.
        """
        outputs = [self._empty(shape, dtype) for shape, dtype in self._outputs]
        with self._turn:
            for i, array in enumerate(inputs):
                self._in[i] = array.ctypes.data
            for i, array in enumerate(outputs):
                self._out[i] = array.ctypes.data
            self._check(self._run(self._context, self._in, self._out))
        return outputs

    def _empty(self, shape: tuple[int, ...], dtype: AnyDType) -> Array:
        try:
            return np.empty(shape, dtype)
        except (MemoryError, ValueError, OverflowError):  # ValueError: more than any memory has
            size = math.prod(shape) * dtype.itemsize
            raise BackendError(
                f"the compiled model '{self._name}' needs {size:,} bytes at once, which this machine does not give; "
                "compile it for smaller inputs"
            ) from None

    def _function(self, what: str, result: type, *arguments: type) -> ctypes._NamedFuncPointer:
        try:
            function: ctypes._NamedFuncPointer = getattr(self._library, f"irc_{self._name}_{what}")
        except AttributeError as error:
            raise LoadingError(f"the library is none of model '{self._name}': {error}") from None
        function.restype = result
        function.argtypes = list(arguments)
        return function

    def _check(self, code: int) -> None:
        if code:
            said = self._function("error", ctypes.c_char_p, ctypes.c_int)(code).decode()
            raise BackendError(f"the compiled model '{self._name}' says: {said}")

    def profile_into(self, nanoseconds: ctypes.c_void_p) -> None:
        """Add up what each step takes into an int64 array, from the next call on; only if built with IRC_PROFILE."""
        self._function("profile", None, ctypes.c_void_p, ctypes.c_void_p)(self._context, nanoseconds)  # type: ignore[arg-type]  # ctypes takes None

    def close(self) -> None:
        """End its threads; it cannot be called afterwards."""
        with self._turn:
            if self._context:
                self._function("free", None, ctypes.c_void_p)(self._context)  # type: ignore[arg-type]  # ctypes takes None
                self._context = ctypes.c_void_p()

    def __del__(self) -> None:
        if hasattr(self, "_context"):
            self.close()
