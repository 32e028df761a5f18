"""The energy is what one adds up by hand from the costs, and the costs are those of the source, or of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from irc.analysis.energy import EnergyCosts, energy, read_energy_costs
from irc.errors import OptionError


def test_the_numbers_of_the_source() -> None:
    """Horowitz, ISSCC 2014, figure 1.1.9, in pJ."""
    add = {"int32": 0.1, "float16": 0.4, "float32": 0.9}
    multiply = {"int8": 0.2, "int32": 3.1, "float16": 1.1, "float32": 3.7}
    costs = EnergyCosts()
    assert set(costs.mac) == set(multiply)
    for width, each in multiply.items():
        assert costs.mac[width] == pytest.approx(each + add["int32" if width.startswith("int") else width])
    assert costs.sram == 100 / 8  # 1 MB, 64 bits
    assert costs.dram == (1300 + 2600) / 2 / 8  # 64 bits
    assert "Horowitz" in costs.source


def test_a_sum_by_hand() -> None:
    costs = EnergyCosts(mac={"int8": 2.0, "float32": 10.0}, dram=100.0, sram=5.0)
    made = energy({"int8": 3_000_000, "float32": 500_000}, 1000, 2000, costs)
    assert made is not None
    assert made.arithmetic == pytest.approx(6 + 5)  # uJ
    assert made.weights == pytest.approx(0.1)
    assert made.activations == pytest.approx(2 * 2000 * 5e-6)
    assert made.total == pytest.approx(11 + 0.1 + 0.02)


@pytest.mark.parametrize(
    ("width", "cost"),
    [
        ("int2", 0.3),
        ("int8", 0.3),
        ("int16", 3.2),
        ("float8", 1.5),
        ("float16", 1.5),
        ("float64", None),
        ("int64", None),
    ],
)
def test_a_width_costs_what_the_next_wider_one_does(width: str, cost: float | None) -> None:
    assert EnergyCosts().of_mac(width) == cost
    made = energy({width: 10}, 0, 0)
    assert (made is None) == (cost is None)


def test_costs_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chip.toml"
    path.write_text('source = "our chip"\nsram = 1\n[mac]\nint4 = 0.05\nfloat32 = 1.5\n')
    costs = read_energy_costs(path)
    assert (costs.source, costs.sram, costs.dram) == ("our chip", 1, EnergyCosts().dram)
    assert costs.mac == {"int4": 0.05, "int8": 0.3, "int32": 3.2, "float16": 1.5, "float32": 1.5}
    path.write_text("dram = 2.5\n")
    assert read_energy_costs(path).source == str(path)  # the numbers are no longer those of the source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mac = 3", "'mac' must be a table"),
        ("[mac]\nint8 = -1", "'int8' is -1; it must be a number of pJ, 0 or more"),
        ("[mac]\nint8 = nan", "'int8' is nan"),
        ("[mac]\nint8 = true", "'int8' is True"),
        ('[mac]\nint8 = "0.3"', "'int8' is '0.3'"),
        ("[mac]\nuint8 = 1", "mac 'uint8' is no type"),
        ("[mac]\nint0 = 1", "mac 'int0' is no type"),
        ("dram = [1]", r"'dram' is \[1\]"),
        ("ddr = 1", "has 'ddr'; the keys are mac, dram, sram, source"),
        ("source = 1", "source must be a text"),
        ("dram = ", "is not TOML"),
        ("\udcff", "is not TOML"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "chip.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(OptionError, match=said):
        read_energy_costs(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(OptionError, match=f"'{path}' cannot be read"):
            read_energy_costs(path)


def test_costs_in_python_are_checked() -> None:
    wrong: Any = {"mac": {"int8": "x"}}
    with pytest.raises(OptionError, match="int8"):
        EnergyCosts(**wrong)
