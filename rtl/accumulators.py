"""Two banks of int32 accumulators, one word of A of them per output pixel.

    cycle   c           c+2+T         c+3+T              c+4+T                c+5+T
            pixel in    its word      is taken from      + or max with the    is written, and
            the walker  is read       the pixel's bank   sums of the array    can be read

T is the number of adder stages. So a word may be read again, with its new value, 3 cycles after it was read: a pass
takes at least that long. Who reads it in the very cycle of its write gets what is written, past the memory. The drain
reads the bank in which nothing is being accumulated.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import WireVector, concat_list, select

from isa.configuration import PoolConfig
from isa.pipeline import adder_stages
from rtl.hierarchy import hardware
from rtl.mac_array import slices
from rtl.scrubbed import Scrub, log2

ACCUMULATOR_BITS = 32


@dataclass(frozen=True)
class Accumulation:
    """What the walker says about a pixel, in cycle c."""

    valid: WireVector
    pixel: WireVector
    overwrites: WireVector
    maximum: WireVector
    bank: WireVector


@dataclass(frozen=True)
class DrainRead:
    """The drain's read of a word; no pixel of that bank is in the pipeline."""

    valid: WireVector
    steps: WireVector
    """It reads `pixel_above`, not `pixel`: known late."""
    pixel: WireVector
    pixel_above: WireVector
    bank: WireVector


@hardware()
def accumulators(
    config: PoolConfig, scrub: Scrub, pixel: Accumulation, sums: list[WireVector], drain: DrainRead
) -> list[WireVector]:
    """The word that the drain read two cycles ago: A accumulators. `sums` belong to the pixel of 4+T cycles ago."""
    stages = adder_stages(config.array) + 1
    read_pixel = scrub.delay(pixel.pixel, stages + 1, "pixel")
    write_pixel = scrub.delay(read_pixel, 3, "written_pixel")
    valid = scrub.delay(pixel.valid, stages + 4, "valid")
    read_bank = scrub.delay(pixel.bank, stages + 1, "read_bank")
    bank = scrub.stage(read_bank, "pixel_bank")
    written_bank = scrub.delay(bank, 2, "written_bank")
    overwrites = scrub.delay(pixel.overwrites, stages + 3, "overwrites")
    maximum = scrub.delay(pixel.maximum, stages + 3, "maximum")

    memories = [
        scrub.memory(ACCUMULATOR_BITS * config.array, config.accumulator_pixels, f"bank_{number}") for number in (0, 1)
    ]
    words = []
    drained_pixel = select(drain.steps, drain.pixel_above, drain.pixel)
    # Each is compared before it is known which one is read.
    drained_is_written = select(drain.steps, drain.pixel_above == write_pixel, drain.pixel == write_pixel)
    read_is_written = read_pixel == write_pixel
    for number, memory in enumerate(memories):
        drains = drain.valid & (drain.bank == number)
        is_written = select(drains, drained_is_written, read_is_written)
        words.append(memory.read(select(drains, drained_pixel, read_pixel), is_written=is_written))

    totals = [scrub.register(ACCUMULATOR_BITS, f"total_{number}") for number in range(config.array)]
    total_word = concat_list(totals)
    is_new = scrub.stage(select(read_bank, memories[1].collides, memories[0].collides), "is_new")
    new_word = scrub.stage(total_word, "new_word")
    before = slices(scrub.stage(select(is_new, new_word, select(bank, words[1], words[0])), "before"), ACCUMULATOR_BITS)
    for number, (old, new) in enumerate(zip(before, sums, strict=True)):
        added = (old + new)[:ACCUMULATOR_BITS]
        larger = select(pyrtl.signed_gt(old, new), old, new)
        scrub.load(totals[number], select(overwrites, new, select(maximum, larger, added)))
    for number, memory in enumerate(memories):
        memory.write(write_pixel, total_word, valid & (written_bank == number))

    drained_bank = scrub.stage(drain.bank, "drained_bank")
    drained = scrub.stage(select(drained_bank, words[1], words[0]), "drained")
    assert log2(config.accumulator_pixels) == len(pixel.pixel)
    return slices(drained, ACCUMULATOR_BITS)
