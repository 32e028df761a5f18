"""Where trials run: in this process, in processes of this machine, or in any pool that the user has."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


class Inline(Executor):
    """Runs what is submitted at once, in this thread."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run it; a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # the future's to tell
            future.set_exception(error)
        return future


class LocalPool(Executor):
    """New processes of this machine, and newer ones when one of them has died.

    They end when this process does, however it ends, and their temporary files with them. An interrupt from the
    keyboard is heard by this process alone.
    """

    def __init__(self, workers: int, folder: Path) -> None:
        self.workers = workers
        self.folder = folder
        self.context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
        self.theirs, self.ours = self.context.Pipe(duplex=False)
        self.pool = self._made()

    def _made(self) -> ProcessPoolExecutor:
        arguments = (self.theirs, str(self.folder))
        return ProcessPoolExecutor(self.workers, self.context, initializer=_begin, initargs=arguments)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have one of the processes run it; `BrokenProcessPool` comes of what ran when one of them died."""
        with _interrupts_blocked():
            try:
                return self.pool.submit(fn, *args, **kwargs)
            except BrokenProcessPool:
                self.pool = self._made()
                return self.pool.submit(fn, *args, **kwargs)

    @property
    def begun(self) -> bool:
        """Whether a process has ever come so far as to wait for work."""
        return any(self.folder.iterdir())

    def end(self) -> None:
        """End the processes, whatever they do."""
        self.ours.close()
        self.pool.shutdown(cancel_futures=True)
        self.theirs.close()


@contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """This process for one worker, else so many new ones."""
    if workers == 1:
        yield Inline()
        return
    with tempfile.TemporaryDirectory(prefix="irc-", ignore_cleanup_errors=True) as folder:
        pool = LocalPool(workers, Path(folder))
        try:
            yield pool
        finally:
            pool.end()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold interrupts back, which a process that is started in here does for as long as it lives."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(lifeline: Connection, folder: str) -> None:
    """In a new process: end when the other end of `lifeline` closes, which it does even when its process is killed."""
    tempfile.tempdir = tempfile.mkdtemp(dir=folder)
    os.environ["TMPDIR"] = tempfile.tempdir  # for the processes that it starts

    def watch() -> None:
        lifeline.poll(None)
        util._run_finalizers(0)  # type: ignore[attr-defined]  # or semaphores that libraries made are told as leaked
        shutil.rmtree(tempfile.gettempdir(), ignore_errors=True)
        with suppress(OSError):  # another process still has its files there
            Path(folder).rmdir()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
