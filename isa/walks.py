"""How a CONV or POOL walks over its input: passes and their cycles, and the window of a depthwise CONV.

A depthwise CONV reads its padded input once, in raster order. Of the last rows, and of the last columns of each, the
array sees a *window*, one vector in each of its rows, and so multiplies all taps of all channels of a block at once.
Row t of the array, and so vector t of the weight tile, belongs to one place of the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt

from isa.configuration import PoolConfig
from isa.instructions import ConfigTile, ConfigWindow, Conv, Pool
from isa.pipeline import pass_cycles, pool_pass_cycles, raster_cycles

_LARGEST_SIDE = 7
"""Larger kernels are so rare that a wide array spends nothing on them."""
_FEWEST_COLUMNS = 2
"""A line buffer is read one position before it is written: two neighbours must never be the same place."""


def window_shape(array: int) -> tuple[int, int]:
    """(rows, columns) of the window: wider than high, since rows cost a line buffer each; rows * columns <= array."""
    rows = min(_LARGEST_SIDE, max(1, isqrt(array * _LARGEST_SIDE**2 // 64)))
    return rows, min(_LARGEST_SIDE, array // rows)


def tap_vector(array: int, kernel: tuple[int, int], row: int, column: int) -> int:
    """Vector of a depthwise CONV's weight tile that holds tap (row, column) of the kernel: the last tap comes first."""
    return (kernel[0] - 1 - row) * window_shape(array)[1] + kernel[1] - 1 - column


def raster_of(kernel: tuple[int, int], strides: tuple[int, int], outputs: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of the padded input that a depthwise CONV reads; the arguments are (rows, columns) too."""
    rows, columns = ((outputs[axis] - 1) * strides[axis] + kernel[axis] for axis in range(2))
    return rows, max(_FEWEST_COLUMNS, columns)


def raster(window: ConfigWindow, tile: ConfigTile) -> tuple[int, int]:
    """(rows, columns) of the padded input that a depthwise CONV reads."""
    return raster_of(
        (window.kernel_rows, window.kernel_columns),
        (window.stride_rows, window.stride_columns),
        (tile.output_rows, tile.output_columns),
    )


@dataclass(frozen=True)
class Passes:
    """What a CONV or POOL does: `count` passes of `cycles` each, in each of which `reads` pixels are read."""

    count: int
    cycles: int
    reads: int


def passes(config: PoolConfig, window: ConfigWindow, tile: ConfigTile, instruction: Conv | Pool) -> Passes:
    """The passes of an instruction under a configuration."""
    pixels = tile.output_rows * tile.output_columns
    taps = window.kernel_rows * window.kernel_columns
    if isinstance(instruction, Pool):
        return Passes(taps, pool_pass_cycles(pixels), pixels)
    if instruction.depthwise:
        rows, columns = raster(window, tile)
        return Passes(1, raster_cycles(config.slide_cycles, rows * columns), rows * columns)
    return Passes(window.channel_blocks * taps, pass_cycles(config.slide_cycles, pixels), pixels)
