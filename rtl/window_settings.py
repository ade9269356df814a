"""What a walk needs of CONFIG_WINDOW and CONFIG_TILE: counts, products and lengths, in registers ahead of the walk."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, select

from isa.configuration import PoolConfig
from isa.instructions import ConfigTile, ConfigWindow
from isa.pipeline import pass_cycles, pool_pass_cycles
from rtl.hierarchy import hardware
from rtl.instruction_fields import value_of
from rtl.scrubbed import Scrub, resized

_FACTORS = ("output_rows", "output_columns", "input_columns", "stride_rows", "dilation_rows")
"""Settings that are multiplied by one another."""


@dataclass(frozen=True)
class WindowSettings:
    """What CONFIG_WINDOW and CONFIG_TILE say, and what follows from it. `_left`: a count less one."""

    kernel_rows_left: WireVector
    kernel_columns_left: WireVector
    blocks_left: WireVector
    output_rows_left: WireVector
    output_columns_left: WireVector
    stride_columns: WireVector
    stride_rows: WireVector
    dilation_columns: WireVector
    dilation_rows: WireVector
    input_rows: WireVector
    input_columns: WireVector
    multiplied_columns: WireVector
    """The same a cycle later, for a multiplier."""
    plane_pitch: WireVector
    row_step: WireVector
    """Vectors from the inputs of one output row to those of the next."""
    tap_row_step: WireVector
    """Vectors from the inputs of one kernel row to those of the next."""
    pixels: WireVector
    pass_left: WireVector
    """Cycles of a pass less one, where the pixels fit the accumulators."""
    pool_pass_left: WireVector
    raster_rows_left: WireVector
    raster_columns_left: WireVector
    stride_rows_left: WireVector
    column_wait_left: WireVector
    """Raster columns from one output pixel to the next, less one; more than there are where a row has one pixel."""


@hardware()
def window_settings(
    config: PoolConfig, scrub: Scrub, window: dict[str, Register], tile: dict[str, Register]
) -> WindowSettings:
    """Products and lengths, three cycles behind the registers of the two CONFIG instructions at the latest."""
    values = {name: value_of(register, ConfigWindow, name) for name, register in window.items()}
    values |= {name: value_of(register, ConfigTile, name) for name, register in tile.items()}
    columns = values["input_columns"]
    # Nothing but registers before and behind a multiplier: the ways to it are long.
    factors = {name: scrub.stage(value, f"factor_{name}") for name, value in values.items() if name in _FACTORS}
    pixels = scrub.stage(factors["output_rows"] * factors["output_columns"], "pixels")
    bits = max(pass_cycles(config.slide_cycles, 1), config.accumulator_pixels).bit_length()

    def length_left(shortest: int) -> WireVector:
        length = select(pixels > shortest, resized(pixels, bits), Const(shortest, bits))
        return (length - 1)[:bits]

    def extent_left(direction: str, name: str) -> WireVector:
        """Strides between the outputs, and a kernel: a stride is stored less one, so it multiplies without a sum."""
        outputs = tile[f"output_{direction}"]
        product = scrub.stage(outputs * window[f"stride_{direction}"], f"strides_{direction}")
        once = scrub.stage(outputs + window[f"kernel_{direction}"], f"once_{direction}")
        return scrub.stage(product + once, name)

    needed_columns_left = extent_left("columns", "needed_columns_left")
    raster_columns_left = needed_columns_left | (needed_columns_left == 0)  # two columns at least
    has_one_column = tile["output_columns"] == 0
    wait_bits = len(window["kernel_columns"])
    column_wait_left = window["stride_columns"].zero_extended(wait_bits) | has_one_column.sign_extended(wait_bits)
    return WindowSettings(
        kernel_rows_left=window["kernel_rows"],
        kernel_columns_left=window["kernel_columns"],
        blocks_left=window["channel_blocks"],
        output_rows_left=tile["output_rows"],
        output_columns_left=tile["output_columns"],
        stride_columns=values["stride_columns"],
        stride_rows=values["stride_rows"],
        dilation_columns=values["dilation_columns"],
        dilation_rows=values["dilation_rows"],
        input_rows=values["input_rows"],
        input_columns=columns,
        multiplied_columns=factors["input_columns"],
        plane_pitch=values["plane_pitch"],
        row_step=scrub.stage(factors["stride_rows"] * factors["input_columns"], "row_step"),
        tap_row_step=scrub.stage(factors["dilation_rows"] * factors["input_columns"], "tap_row_step"),
        pixels=pixels,
        pass_left=scrub.stage(length_left(pass_cycles(config.slide_cycles, 1)), "pass_length_left"),
        pool_pass_left=scrub.stage(length_left(pool_pass_cycles(1)), "pool_pass_length_left"),
        raster_rows_left=extent_left("rows", "raster_rows_left"),
        raster_columns_left=scrub.stage(raster_columns_left, "raster_columns_left"),
        stride_rows_left=window["stride_rows"],
        column_wait_left=column_wait_left,
    )
