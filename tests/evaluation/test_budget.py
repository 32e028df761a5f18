"""A budget is read as it is meant, and what is none is refused with the names that there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from irc.analysis.energy import Energy
from irc.errors import OptionError
from irc.evaluation.budget import QUANTITIES, amount_text, check_budget, over, parse_budget, spent
from irc.evaluation.measures import Measures

ROW = Measures(
    name="m",
    file_bytes=1000,
    weight_bytes=900,
    nodes=3,
    parameters=200,
    macs={"int8": 30, "float32": 10},
    peak_memory=500,
    activation_bytes=400,
    energy=Energy(1.0, 2.0, 4.0),
)


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("bytes=1e6", {"bytes": 1e6}),
        (" bytes = 1.5MB , latency = 2 ", {"bytes": 1.5e6, "latency": 2}),
        ("bytes=64KiB,macs=300M,flops=.5G", {"bytes": 65536, "macs": 3e8, "flops": 5e8}),
        ("parameters=20k,peak_memory=2K,", {"parameters": 20000, "peak_memory": 2000}),
        ("latency=2.5ms,energy=500uJ,bytes=12B", {"latency": 2.5, "energy": 500, "bytes": 12}),
        ("bytes=1 GiB", {"bytes": 2**30}),
    ],
)
def test_amounts(text: str, budget: dict[str, float]) -> None:
    assert parse_budget(text) == budget


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "there is no budget; give one or more of bytes, weight_bytes, parameters, macs"),
        ("size=3", "no quantity 'size'; there are bytes, weight_bytes, parameters, macs, flops, peak_memory"),
        ("bytes", "bytes= is no amount; write it as bytes=1.5MB"),
        ("byte=3", "no quantity 'byte'; did you mean 'bytes'"),
        ("metric=3", "floor is the least metric"),
        ("bytes=1,5MB", "no quantity '5MB'"),
        ("bytes=1MB,bytes=2MB", "'bytes' is given twice"),
        ("bytes=-1", "bytes=-1 is no amount"),
        ("bytes=nan", "bytes=nan is no amount"),
        ("bytes=0", "bytes=0.0 must be a number above 0"),
        ("bytes=1e999", "must be a number above 0"),
        ("bytes=2ms", "bytes=2ms is no amount"),
        ("macs=1MB", "macs=1MB is no amount; write it as macs=300M"),
        ("macs=1Mi", "macs=1Mi is no amount"),
        ("latency=2s", "latency=2s is no amount; write it as latency=2ms"),
        ("=3", "no quantity ''"),
    ],
)
def test_what_is_no_budget(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        parse_budget(text)


@pytest.mark.parametrize("amount", [0, -1, float("nan"), float("inf"), "1MB", None, True, -(10**400)])
def test_a_dict_is_checked_too(amount: Any) -> None:
    with pytest.raises(OptionError, match=r"budget: bytes=.* must be a number above 0"):
        check_budget({"bytes": amount})


def test_every_quantity_is_the_one_of_its_name() -> None:
    took = spent(ROW, dict.fromkeys(QUANTITIES, 1.0))
    assert took == {
        "bytes": 1000,
        "weight_bytes": 900,
        "parameters": 200,
        "macs": 40,
        "flops": 80,
        "peak_memory": 500,
        "latency": None,
        "energy": 7.0,
    }


def test_what_is_exactly_in_the_budget_fits() -> None:
    assert over(ROW, {"bytes": 1000, "energy": 7}) == {}
    assert over(ROW, {"bytes": 999, "energy": 6.9, "macs": 40}) == {"bytes": 1000, "energy": 7.0}
    assert over(ROW, {"latency": 1e9}) == {"latency": None}  # nobody knows that it fits


def test_amounts_in_words() -> None:
    assert amount_text("bytes", 9670, 1e4) == "9,670 of 10,000 bytes"
    assert amount_text("latency", 2.125, 2) == "2.125 of 2.000 ms"
    assert amount_text("peak_memory", None, 1024) == "an unknown number of 1,024 peak memory"


def test_an_amount_that_no_float_holds_is_refused() -> None:
    with pytest.raises(OptionError, match="bytes is larger than any model"):
        check_budget({"bytes": 10**400})


def test_what_is_no_number_is_in_no_budget() -> None:
    assert over(replace(ROW, latency_ms=float("nan")), {"latency": 1e9}).keys() == {"latency"}
