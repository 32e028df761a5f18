"""What the options of calls may be: checked before a model is read, lowered or compiled for them."""

from __future__ import annotations

from collections.abc import Sequence

from irc.backends.c.isa import Isa, host_isas, host_machine
from irc.errors import OptionError

MAX_THREADS = 64  # IRC_MAX_THREADS of runtime.h


def check_threads(threads: object) -> None:
    """OptionError if it is no number of threads that the code can run with."""
    if type(threads) is not int or not 1 <= threads <= MAX_THREADS:
        raise OptionError(f"threads cannot be {threads!r}; it must be 1 to {MAX_THREADS}")


def check_isa(isa: str, isas: Sequence[Isa], target: str) -> None:
    """OptionError if it names no instruction set that the target's code carries; empty is the best one."""
    names = [each.name for each in isas]
    if isa and isa not in names:
        raise OptionError(f"target '{target}' has no instruction set '{isa}'; it carries {', '.join(names)}")


def isa_to_tune(isa: str, isas: Sequence[Isa], target: str) -> str:
    """The instruction set that calls use here, and for which kernels can so be measured.

    Raises
    ------
    OptionError : this machine runs none of the target's, or not the one that is asked for.
    """
    here = [each.name for each in host_isas() if each in isas]
    chosen = isa or (here[-1] if here else "")
    if chosen not in here:
        raise OptionError(
            f"target '{target}' cannot be tuned here: this processor is {host_machine()} with "
            f"{', '.join(each.name for each in host_isas())}; tune on the machine that it is for"
        )
    return chosen
