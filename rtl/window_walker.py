"""The window walker: one output pixel per cycle for each kernel tap of each block of input channels.

A *pass* is one tap of one block over all output pixels. The walker holds the current pass and, in registers of its
own, the first address of the upcoming one, which may belong to the next instruction.

    cycle   u       u+1          u+2        u+3              s             c = s+1
            issues  row offset,  first      upcoming pass    a pass        its first pixel: the features
                    column       address    is ready         starts        buffer is read
                    are added

- The first pass of an instruction starts at s >= u + max(A, 3), when its first weight tile has slid in, and when
  nothing else holds it back (see rtl/compute_engine.py).
- A pass of P pixels takes max(P, A, 3) cycles; the next one starts in the last cycle of the one before: no bubble.
- Pixel p of a pass is in the walker at c+p. Coordinates outside the input tile read nothing: `is_inside` is 0.
- A fault of an instruction comes while it walks: in its first cycle, if pixels exceed the accumulators, or outputs or
  parameters their buffers; in the first cycle of the pass whose weight tile lies behind the end; or in the cycle of
  the pixel whose features do.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import Const, Register, WireVector, concat, select

from isa.configuration import PoolConfig
from isa.instructions import BUFFER_INDEX_BITS, ConfigTile, ConfigWindow, Conv, Pool
from isa.pipeline import fill_cycles, pass_cycles
from rtl.instruction_fields import field, layout_of_field, value_of
from rtl.scrubbed import Scrub, log2, resized, signed_fit

_WALKS = (Conv, Pool)


def _highest(kind: type, name: str) -> int:
    return layout_of_field(kind, name).highest


def _row_bits() -> int:
    """Signed width of an input row: no sum of stride, dilation and first row wraps."""
    furthest = (
        _highest(ConfigTile, "output_rows") * _highest(ConfigWindow, "stride_rows")
        + _highest(ConfigWindow, "kernel_rows") * _highest(ConfigWindow, "dilation_rows")
        + _highest(Conv, "first_row")
    )
    return furthest.bit_length() + 1


def _column_bits() -> int:
    furthest = (
        _highest(ConfigTile, "output_columns") * _highest(ConfigWindow, "stride_columns")
        + _highest(ConfigWindow, "kernel_columns") * _highest(ConfigWindow, "dilation_columns")
        + _highest(Conv, "first_column")
    )
    return furthest.bit_length() + 1


def _index_bits() -> int:
    """Signed width of an index of the features buffer before it is checked: the furthest one does not wrap."""
    furthest = (
        (1 << BUFFER_INDEX_BITS)
        + _highest(ConfigWindow, "channel_blocks") * _highest(ConfigTile, "plane_pitch")
        + (1 << (_row_bits() - 1)) * _highest(ConfigTile, "input_columns")
        + (1 << (_column_bits() - 1))
    )
    return furthest.bit_length() + 1


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
    plane_pitch: WireVector
    row_step: WireVector
    """Vectors from the inputs of one output row to those of the next."""
    tap_row_step: WireVector
    """Vectors from the inputs of one kernel row to those of the next."""
    pixels: WireVector
    pass_left: WireVector
    """Cycles of a pass less one, where the pixels fit the accumulators."""


def window_settings(
    config: PoolConfig, scrub: Scrub, window: dict[str, Register], tile: dict[str, Register]
) -> WindowSettings:
    """Products and lengths, three cycles behind the registers of the two CONFIG instructions at the latest."""
    values = {name: value_of(register, ConfigWindow, name) for name, register in window.items()}
    values |= {name: value_of(register, ConfigTile, name) for name, register in tile.items()}
    columns = values["input_columns"]
    pixels = scrub.stage(values["output_rows"] * values["output_columns"], "pixels")
    shortest = pass_cycles(config.array, 1)
    bits = max(shortest, config.accumulator_pixels).bit_length()
    length = select(pixels > shortest, resized(pixels, bits), Const(shortest, bits))
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
        plane_pitch=values["plane_pitch"],
        row_step=scrub.stage(values["stride_rows"] * columns, "row_step"),
        tap_row_step=scrub.stage(values["dilation_rows"] * columns, "tap_row_step"),
        pixels=pixels,
        pass_left=scrub.stage((length - 1)[:bits], "pass_length_left"),
    )


@dataclass(frozen=True)
class Walker:
    """What the walker drives."""

    pending: Register
    """An instruction has issued whose first pass has not started."""
    walking: Register
    is_ready: WireVector
    """The pending instruction's first pass could start in this cycle."""
    in_last_pass: WireVector
    ends: WireVector
    """Last cycle of the last pass."""
    fetches: WireVector
    """A pass starts that is not the last: the next weight tile may slide in from the next cycle on."""
    is_first_cycle: WireVector
    """First cycle of a pass."""
    is_first_of_walk: WireVector
    """First cycle of the first pass."""
    overwrites: WireVector
    """This pass is the instruction's first one."""
    reads: WireVector
    """A pixel is in the walker."""
    is_inside: WireVector
    index: WireVector
    """Vector of the features buffer."""
    pixel: WireVector
    overruns: WireVector


@dataclass(frozen=True)
class _Pass:
    """First coordinates of a pass."""

    row: Register
    column: Register
    index: Register
    is_last: WireVector


def window_walker(
    config: PoolConfig,
    scrub: Scrub,
    settings: WindowSettings,
    word: WireVector,
    is_pool: WireVector,
    issues: WireVector,
    starts: WireVector,
    stops: WireVector,
) -> Walker:
    """`issues`: the word at the head is a CONV or POOL that issues; `starts`: the pending one starts to walk;
    `stops`: a fault."""
    pending, walking = scrub.register(1, "pending"), scrub.register(1, "walking")
    is_last, is_first = scrub.register(1, "in_last_pass"), scrub.register(1, "in_first_pass")
    pass_left = scrub.register(len(settings.pass_left), "pass_left")
    setup_left = scrub.register(fill_cycles(config.array).bit_length(), "setup_left")
    pass_ends = walking & (pass_left == 0)
    continues = pass_ends & ~is_last
    starts_pass = starts | continues

    fill = Const(fill_cycles(config.array) - 1, len(setup_left))
    one_less = resized(setup_left - (setup_left != 0), len(setup_left))
    scrub.load(setup_left, select(issues, fill, one_less))
    scrub.load(pending, (issues | (pending & ~starts)) & ~stops)
    scrub.load(walking, (starts_pass | (walking & ~pass_ends)) & ~stops)
    upcoming = _upcoming_pass(scrub, settings, word, is_pool, issues, starts_pass)
    scrub.load(is_last, select(starts_pass, upcoming.is_last, is_last))
    scrub.load(is_first, select(starts_pass, starts, is_first))
    scrub.load(pass_left, select(starts_pass, settings.pass_left, resized(pass_left - walking, len(pass_left))))
    first_cycle = scrub.stage(starts_pass, "first_cycle")
    row, column, index, pixel, streaming = _pixels(config, scrub, settings, upcoming, starts_pass)

    # A negative coordinate, read as unsigned, exceeds every tile.
    is_inside = (row < settings.input_rows) & (column < settings.input_columns)
    reads = walking & streaming
    return Walker(
        pending=pending,
        walking=walking,
        is_ready=pending & (setup_left == 0),
        in_last_pass=is_last,
        ends=pass_ends & is_last,
        fetches=starts_pass & ~upcoming.is_last,
        is_first_cycle=walking & first_cycle,
        is_first_of_walk=walking & first_cycle & is_first,
        overwrites=is_first,
        reads=reads,
        is_inside=is_inside,
        index=index,
        pixel=pixel,
        overruns=reads & is_inside & (index[log2(config.features_vectors) :] != 0),
    )


def _upcoming_pass(
    scrub: Scrub,
    settings: WindowSettings,
    word: WireVector,
    is_pool: WireVector,
    issues: WireVector,
    steps: WireVector,
) -> _Pass:
    """First coordinates of the next pass to start; `steps` goes on to the one behind it."""
    row_bits, column_bits, index_bits = _row_bits(), _column_bits(), _index_bits()
    first_row = scrub.kept(field(word, _WALKS, "first_row"), issues, "first_row")
    first_column = scrub.kept(field(word, _WALKS, "first_column"), issues, "first_column")
    features = scrub.kept(field(word, _WALKS, "features"), issues, "features")
    offset = pyrtl.signed_mult(first_row, concat(Const(0, 1), settings.input_columns))
    offset = scrub.stage(signed_fit(offset, index_bits), "first_row_offset")
    base = features.zero_extended(index_bits) + signed_fit(first_column, index_bits)
    base = scrub.stage(base[:index_bits], "first_base")
    sets = scrub.delay(issues, 2, "sets_index")
    first_index = (base + offset)[:index_bits]

    columns_left = scrub.register(len(settings.kernel_columns_left), "kernel_columns_left")
    rows_left = scrub.register(len(settings.kernel_rows_left), "kernel_rows_left")
    blocks_left = scrub.register(len(settings.blocks_left), "blocks_left")
    ends_row = columns_left == 0
    ends_block = ends_row & (rows_left == 0)
    one = Const(1, 1)

    def counter(
        register: Register, at_issue: WireVector, reload: WireVector, enable: WireVector, full: WireVector
    ) -> None:
        less = select(reload, full, (register - one)[: len(register)])
        scrub.load(register, select(issues, at_issue, select(steps & enable, less, register)))

    counter(columns_left, settings.kernel_columns_left, ends_row, one, settings.kernel_columns_left)
    counter(rows_left, settings.kernel_rows_left, ends_block, ends_row, settings.kernel_rows_left)
    all_blocks = select(is_pool, Const(0, len(blocks_left)), settings.blocks_left)
    counter(blocks_left, all_blocks, Const(0, 1), ends_block, blocks_left)

    row, column = scrub.register(row_bits, "tap_row"), scrub.register(column_bits, "tap_column")
    index, row_index = scrub.register(index_bits, "tap_index"), scrub.register(index_bits, "tap_row_index")
    block_index = scrub.register(index_bits, "block_index")
    wide_first_row, wide_first_column = signed_fit(first_row, row_bits), signed_fit(first_column, column_bits)

    def coordinate(register: Register, at_set: WireVector, at_step: WireVector) -> None:
        scrub.load(register, select(sets, at_set, select(steps, at_step, register)))

    next_row = select(ends_row, (row + settings.dilation_rows)[:row_bits], row)
    coordinate(row, wide_first_row, select(ends_block, wide_first_row, next_row))
    next_column = (column + settings.dilation_columns)[:column_bits]
    coordinate(column, wide_first_column, select(ends_row, wide_first_column, next_column))
    next_row_index = (row_index + settings.tap_row_step)[:index_bits]
    next_block_index = (block_index + settings.plane_pitch)[:index_bits]
    next_index = (index + settings.dilation_columns)[:index_bits]
    behind_row = select(ends_block, next_block_index, next_row_index)
    coordinate(index, first_index, select(ends_row, behind_row, next_index))
    coordinate(row_index, first_index, select(ends_row, behind_row, row_index))
    coordinate(block_index, first_index, select(ends_block, next_block_index, block_index))
    return _Pass(row=row, column=column, index=index, is_last=ends_block & (blocks_left == 0))


def _pixels(
    config: PoolConfig, scrub: Scrub, settings: WindowSettings, upcoming: _Pass, starts_pass: WireVector
) -> tuple[WireVector, WireVector, WireVector, WireVector, WireVector]:
    """(row, column, index, number of the output pixel, valid) of the current pixel."""
    row, column = scrub.register(len(upcoming.row), "row"), scrub.register(len(upcoming.column), "column")
    first_column = scrub.kept(upcoming.column, starts_pass, "pass_column")
    index, line_index = scrub.register(len(upcoming.index), "index"), scrub.register(len(upcoming.index), "line_index")
    columns_left = scrub.register(len(settings.output_columns_left), "columns_left")
    rows_left = scrub.register(len(settings.output_rows_left), "rows_left")
    pixel = scrub.register(log2(config.accumulator_pixels), "pixel")
    streaming = scrub.register(1, "streaming")
    ends_line = columns_left == 0
    next_line = (line_index + settings.row_step)[: len(index)]

    def pixel_register(register: Register, at_start: WireVector, at_step: WireVector) -> None:
        scrub.load(register, select(starts_pass, at_start, at_step))

    pixel_register(row, upcoming.row, select(ends_line, (row + settings.stride_rows)[: len(row)], row))
    next_column = (column + settings.stride_columns)[: len(column)]
    pixel_register(column, upcoming.column, select(ends_line, first_column, next_column))
    next_index = (index + settings.stride_columns)[: len(index)]
    pixel_register(index, upcoming.index, select(ends_line, next_line, next_index))
    pixel_register(line_index, upcoming.index, select(ends_line, next_line, line_index))
    fewer = (columns_left - 1)[: len(columns_left)]
    pixel_register(columns_left, settings.output_columns_left, select(ends_line, settings.output_columns_left, fewer))
    pixel_register(rows_left, settings.output_rows_left, resized(rows_left - ends_line, len(rows_left)))
    pixel_register(pixel, Const(0, len(pixel)), resized(pixel + 1, len(pixel)))
    pixel_register(streaming, Const(1, 1), streaming & ~(ends_line & (rows_left == 0)))
    return row, column, index, pixel, streaming
