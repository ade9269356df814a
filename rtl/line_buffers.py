"""The window of a depthwise CONV: R rows of the last C pixels each, from line buffers and shift registers.

    cycle   c             c+1                  c+2
            position in   its place in the     pixel, the pixels above it and the last C-1 columns are in the array;
            the walker    lines is read        pixel and pixels above move one line up, columns move one place on

The input comes in raster order, so the pixel one line above is what was written at this place one line ago. A line
has at least two columns: a place is never read in the cycle in which it is written. What an earlier instruction has
left in the lines meets only weights that are 0, or positions at which nothing is accumulated.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import WireVector

from isa.configuration import PoolConfig
from isa.walks import window_shape
from rtl.hierarchy import hardware
from rtl.scrubbed import Scrub


@dataclass(frozen=True)
class Window:
    """What the array sees in a depthwise CONV."""

    vectors: list[WireVector]
    """Row by row, the newest one first."""
    moves: WireVector
    """In the next cycle each place shows what the one in front of it shows now."""


@hardware()
def line_buffers(
    config: PoolConfig, scrub: Scrub, pixel: WireVector, place: WireVector, valid: WireVector, clears: WireVector
) -> Window:
    """The window. `pixel` belongs to the position whose `place` (in its line) and `valid` came two cycles ago.

    `clears`: in the next cycle all places but the newest one of each row are 0.
    """
    rows, columns = window_shape(config.array)
    read_place = scrub.stage(place, "line_place")
    write_place = scrub.stage(read_place, "written_place")
    moves = scrub.delay(valid, 2, "line_valid")
    window: list[WireVector] = []
    newest = pixel
    for row in range(rows):
        if row:
            line = scrub.memory(8 * config.array, config.line_vectors, f"line_{row}")
            above = line.read(read_place)
            line.write(write_place, newest, moves)
            newest = above
        vector = newest
        window.append(vector)
        for column in range(1, columns):
            vector = scrub.kept(vector, moves, f"window_{row}_{column}", clear=clears)
            window.append(vector)
    return Window(vectors=window, moves=moves)
