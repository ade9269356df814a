"""What the cards hold, and how many of it a mapped cell takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Resources:
    """A part of a device, or all of it. `lut` includes `lut_ram`; `bram` counts RAMB36, a RAMB18 being half of one."""

    lut: int = 0
    lut_ram: int = 0
    ff: int = 0
    dsp: int = 0
    bram: float = 0
    uram: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    def __sub__(self, other: Resources) -> Resources:
        return self + other * -1

    def __mul__(self, count: int) -> Resources:
        return Resources(**{each.name: getattr(self, each.name) * count for each in fields(self)})


ALVEO = {
    "Alveo U200": Resources(lut=1_182_240, lut_ram=591_840, ff=2_364_480, dsp=6_840, bram=2_160, uram=960),
    "Alveo U280": Resources(lut=1_303_680, lut_ram=600_960, ff=2_607_360, dsp=9_024, bram=2_016, uram=960),
}
"""Whole devices (data sheets DS962 and DS963); AMD's own shell, if it is used, takes a part of each."""

FAMILIES = {"xcup": "UltraScale+", "xc7": "7-series"}
"""Families of `synth_xilinx`."""

_COSTS = {
    **{f"LUT{inputs}": Resources(lut=1) for inputs in range(1, 7)},
    "INV": Resources(lut=1),
    "SRL16E": Resources(lut=1, lut_ram=1),
    "SRLC16E": Resources(lut=1, lut_ram=1),
    "SRLC32E": Resources(lut=1, lut_ram=1),
    "RAM32X1S": Resources(lut=1, lut_ram=1),
    "RAM64X1S": Resources(lut=1, lut_ram=1),
    "RAM32X1D": Resources(lut=2, lut_ram=2),
    "RAM64X1D": Resources(lut=2, lut_ram=2),
    "RAM128X1S": Resources(lut=2, lut_ram=2),
    "RAM128X1D": Resources(lut=4, lut_ram=4),
    "RAM256X1S": Resources(lut=4, lut_ram=4),
    "RAM32M": Resources(lut=4, lut_ram=4),
    "RAM64M": Resources(lut=4, lut_ram=4),
    "RAM32M16": Resources(lut=8, lut_ram=8),
    "RAM64M8": Resources(lut=8, lut_ram=8),
    "RAM256X1D": Resources(lut=8, lut_ram=8),
    **{flip_flop: Resources(ff=1) for flip_flop in ("FDRE", "FDSE", "FDCE", "FDPE")},
    "DSP48E1": Resources(dsp=1),
    "DSP48E2": Resources(dsp=1),
    "RAMB18E1": Resources(bram=0.5),
    "RAMB18E2": Resources(bram=0.5),
    "RAMB36E1": Resources(bram=1),
    "RAMB36E2": Resources(bram=1),
    "URAM288": Resources(uram=1),
    **{free: Resources() for free in ("CARRY4", "CARRY8", "MUXF7", "MUXF8", "MUXF9")},
}
"""Carry chains and wide multiplexers lie beside the LUTs that feed them and take no place of their own."""


def resources(cells: Mapping[str, int]) -> Resources:
    """What cells take, given how many there are of each type. Raises KeyError for a type that is not known."""
    total = Resources()
    for kind, count in cells.items():
        total += _COSTS[kind] * count
    return total
