"""The window walker: one output pixel per cycle for each kernel tap of each block of input channels.

A *pass* is one tap of one block over all output pixels. The walker holds the current pass and, in registers of its
own, the first address of the upcoming one, which may belong to the next instruction. The only pass of a depthwise CONV
goes over the *raster*: all padded input, pixel by pixel; an output pixel is complete at the position of its last tap.

    cycle   u       u+1          u+2        u+3              s             c = s+1
            issues  row offset,  first      upcoming pass    a pass        its first pixel: the features
                    column       address    is ready         starts        buffer is read
                    are added

- The first pass of an instruction starts at s >= u + max(A/W, 3), when its first weight tile has slid in, and when
  nothing else holds it back (see rtl/compute_engine.py).
- A pass of P pixels takes max(P, A/W, 3) cycles (POOL: max(P, 3), it waits for no weights); the next one starts in the
  last cycle of the one before: no bubble. The raster of N positions takes max(N + 2, A/W) cycles, for its last pixel
  may be read again 3 cycles later only.
- Pixel p of a pass is in the walker at c+p. Coordinates outside the input tile read nothing: `is_inside` is 0.
- A fault of an instruction comes while it walks: in its first cycle, if pixels exceed the accumulators, outputs or
  parameters their buffers, or kernel or input columns of a depthwise CONV the window or the line buffers; in the first
  cycle of the pass whose weight tile lies behind the end; or in the cycle of the pixel whose features do.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import Const, Register, WireVector, concat, select

from isa.configuration import PoolConfig
from isa.instructions import BUFFER_INDEX_BITS, ConfigTile, ConfigWindow, Conv, Pool
from isa.pipeline import fill_cycles, pass_cycles
from rtl.hierarchy import hardware
from rtl.instruction_fields import field, layout_of_field
from rtl.scrubbed import Scrub, log2, resized, signed_fit
from rtl.window_settings import WindowSettings

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
class Walker:
    """What the walker drives."""

    pending: Register
    """An instruction has issued whose first pass has not started."""
    keeps_pending: Register  # the same, for the many registers that keep what is pending
    walking: Register
    may_reload: WireVector
    """Nobody looks at what an instruction needs before its last pass: it takes the fields at the head of the queue."""
    is_ready: WireVector
    """The pending instruction's first pass could start in this cycle."""
    ends: WireVector
    """Last cycle of the last pass."""
    fetches: WireVector
    """A pass of a CONV starts that is not the last: the next weight tile may slide in from the next cycle on."""
    is_first_cycle: WireVector
    """First cycle of a pass."""
    is_first_of_walk: WireVector
    """First cycle of the first pass."""
    overwrites: WireVector
    """This pass is the instruction's first one."""
    reads: WireVector
    """A pixel, or a position of the raster, is in the walker."""
    is_inside: WireVector
    index: WireVector
    """Vector of the features buffer."""
    line_place: WireVector
    """Column of the raster."""
    completes: WireVector
    """`pixel` gets what the array makes of this cycle's input."""
    pixel: WireVector
    overruns: WireVector


@dataclass(frozen=True)
class _Pass:
    """First coordinates of a pass."""

    row: Register
    column: Register
    index: Register
    is_last: WireVector


@hardware()
def window_walker(
    config: PoolConfig,
    scrub: Scrub,
    settings: WindowSettings,
    word: WireVector,
    is_pool: WireVector,
    is_depthwise: WireVector,
    issues: WireVector,
    starts: WireVector,
    stops: WireVector,
) -> Walker:
    """`issues`: the word at the head is a CONV or POOL that issues (`is_pool`, `is_depthwise`: of which kind);
    `starts`: the pending one starts to walk; `stops`: a fault."""
    pending, keeps_pending, walking = (scrub.register(1, name) for name in ("pending", "keeps_pending", "walking"))
    is_last, is_first = scrub.register(1, "in_last_pass"), scrub.register(1, "in_first_pass")
    pass_left = scrub.register(len(settings.pass_left), "pass_left")
    # The passes to come load the head of the queue while there are none: so they need not know whether it issues.
    has_more = scrub.register(1, "has_more")  # another pass of this instruction follows
    occupied = scrub.register(1, "occupied")  # pending or has_more, for many wait for it
    may_reload = ~occupied
    pending_pool = scrub.kept(is_pool, may_reload, "pending_is_pool")
    pending_raster = scrub.kept(is_depthwise, may_reload, "pending_is_raster")
    setup_left = scrub.register(fill_cycles(config.slide_cycles).bit_length(), "setup_left")
    # The last cycle of a pass: of the last one, of another one. Registers, for what starts then loads many others.
    ends, continues = scrub.register(1, "ends"), scrub.register(1, "continues")
    starts_pass = starts | continues
    # What only a walk looks at may as well load while there is none: so it need not know whether one starts.
    may_load = ~walking | ends | continues

    fill = Const(fill_cycles(config.slide_cycles) - 1, len(setup_left))
    one_less = resized(setup_left - (setup_left != 0), len(setup_left))
    scrub.load(setup_left, select(pending, one_less, fill))
    stays_pending = (issues | (pending & ~starts)) & ~stops
    scrub.load(pending, stays_pending)
    scrub.load(keeps_pending, (issues | (keeps_pending & ~starts)) & ~stops)
    scrub.load(walking, (starts_pass | (walking & ~ends)) & ~stops)
    is_ready = scrub.register(1, "ready")  # pending, and setup_left is 0: none issues while one is pending
    scrub.load(is_ready, pending & ~starts & ~stops & (setup_left <= 1))
    # One cycle later the next pass can at the earliest start two cycles later still.
    first_cycle = scrub.stage(starts_pass, "first_cycle")
    upcoming = _upcoming_pass(scrub, settings, word, is_pool, is_depthwise, issues, may_reload, first_cycle)
    walks_raster = scrub.kept(pending_raster, may_load, "walks_raster")
    scrub.load(is_last, select(may_load, upcoming.is_last, is_last))
    scrub.load(is_first, select(may_load, ~continues, is_first))
    another_follows = select(may_load, starts_pass & ~upcoming.is_last, has_more) & ~stops
    scrub.load(has_more, another_follows)
    scrub.load(occupied, stays_pending | another_follows)
    pixels = _pixels(config, scrub, settings, upcoming, may_load, pending_raster, walks_raster)
    row, column, index = pixels.row, pixels.column, pixels.index
    shortest_raster = Const(pass_cycles(config.slide_cycles, 1) - 1, len(pass_left))
    # A pass that starts belongs to what issued last: the next one issues in a last pass only, which no other follows.
    length_left = select(
        pending_raster, shortest_raster, select(pending_pool, settings.pool_pass_left, settings.pass_left)
    )
    has_one_left = pass_left == 1
    stays = walks_raster & pixels.streaming & has_one_left  # the raster decides when the last two cycles begin
    goes_on = walking & ~stays
    scrub.load(pass_left, select(may_load, length_left, resized(pass_left - goes_on, len(pass_left))))
    leaves_one_cycle = goes_on & has_one_left & ~stops  # never in the last cycle, in which pass_left is 0
    scrub.load(ends, leaves_one_cycle & is_last)
    scrub.load(continues, leaves_one_cycle & ~is_last)

    # A negative coordinate, read as unsigned, exceeds every tile.
    is_inside = (row < settings.input_rows) & (column < settings.input_columns)
    reads = walking & pixels.streaming
    return Walker(
        pending=pending,
        keeps_pending=keeps_pending,
        walking=walking,
        may_reload=may_reload,
        is_ready=is_ready,
        ends=walking & ends,
        fetches=starts_pass & ~upcoming.is_last & ~pending_pool,
        is_first_cycle=walking & first_cycle,
        is_first_of_walk=walking & first_cycle & is_first,
        overwrites=is_first,
        reads=reads,
        is_inside=is_inside,
        index=index,
        line_place=pixels.line_place,
        completes=reads & pixels.completes,
        pixel=pixels.pixel,
        overruns=reads & is_inside & (index[log2(config.features_vectors) :] != 0),
    )


def _upcoming_pass(
    scrub: Scrub,
    settings: WindowSettings,
    word: WireVector,
    is_pool: WireVector,
    is_depthwise: WireVector,
    issues: WireVector,
    may_reload: WireVector,
    steps: WireVector,
) -> _Pass:
    """First coordinates of the next pass to start; `steps`, in the first cycle of a pass, goes on to the one behind it.
    `may_reload`: an instruction may issue; the passes of the one before have all started."""
    row_bits, column_bits, index_bits = _row_bits(), _column_bits(), _index_bits()
    first_row = scrub.kept(field(word, _WALKS, "first_row"), may_reload, "first_row")
    first_column = scrub.kept(field(word, _WALKS, "first_column"), may_reload, "first_column")
    features = scrub.kept(field(word, _WALKS, "features"), may_reload, "features")
    offset = pyrtl.signed_mult(first_row, concat(Const(0, 1), settings.multiplied_columns))
    offset = scrub.stage(signed_fit(offset, index_bits), "first_row_offset")
    base = features.zero_extended(index_bits) + signed_fit(first_column, index_bits)
    base = scrub.stage(base[:index_bits], "first_base")
    sets = scrub.delay(issues, 2, "sets_index")
    first_index = (base + offset)[:index_bits]

    columns_left = scrub.register(len(settings.kernel_columns_left), "kernel_columns_left")
    rows_left = scrub.register(len(settings.kernel_rows_left), "kernel_rows_left")
    blocks_left = scrub.register(len(settings.blocks_left), "blocks_left")
    # Nobody looks as soon as in the cycle behind that in which the counters change: a pass takes three.
    at_row_end = columns_left == 0
    at_block_end = at_row_end & (rows_left == 0)
    ends_row, ends_block = scrub.stage(at_row_end, "ends_row"), scrub.stage(at_block_end, "ends_block")
    one = Const(1, 1)

    def counter(
        register: Register, at_issue: WireVector, reload: WireVector, enable: WireVector, full: WireVector
    ) -> None:
        less = select(reload, full, (register - one)[: len(register)])
        scrub.load(register, select(may_reload, at_issue, select(steps & enable, less, register)))

    def unless(single: WireVector, count: WireVector) -> WireVector:
        return select(single, Const(0, len(count)), count)

    all_columns, all_rows = settings.kernel_columns_left, settings.kernel_rows_left
    counter(columns_left, unless(is_depthwise, all_columns), ends_row, one, all_columns)
    counter(rows_left, unless(is_depthwise, all_rows), ends_block, ends_row, all_rows)
    counter(blocks_left, unless(is_pool | is_depthwise, settings.blocks_left), Const(0, 1), ends_block, blocks_left)

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
    return _Pass(row, column, index, is_last=scrub.stage(at_block_end & (blocks_left == 0), "ends_all"))


@dataclass(frozen=True)
class _Pixels:
    """The current position."""

    row: Register
    column: Register
    index: Register
    line_place: Register
    completes: WireVector
    pixel: Register
    streaming: Register


def _pixels(
    config: PoolConfig,
    scrub: Scrub,
    settings: WindowSettings,
    upcoming: _Pass,
    may_load: WireVector,
    starts_raster: WireVector,
    in_raster: WireVector,
) -> _Pixels:
    """`may_load`: a pass may start in this cycle; `starts_raster`: the one that would goes over the raster;
    `in_raster`: the current one does."""
    row, column = scrub.register(len(upcoming.row), "row"), scrub.register(len(upcoming.column), "column")
    first_column = scrub.kept(upcoming.column, may_load, "pass_column")
    index, line_index = scrub.register(len(upcoming.index), "index"), scrub.register(len(upcoming.index), "line_index")

    def extent(raster: WireVector, of_raster: WireVector, of_outputs: WireVector) -> WireVector:
        bits = max(len(of_raster), len(of_outputs))
        return select(raster, of_raster.zero_extended(bits), of_outputs.zero_extended(bits))

    first_columns_left, all_columns_left = (
        extent(raster, settings.raster_columns_left, settings.output_columns_left)
        for raster in (starts_raster, in_raster)
    )
    all_rows_left = extent(starts_raster, settings.raster_rows_left, settings.output_rows_left)
    columns_left = scrub.register(len(all_columns_left), "columns_left")
    rows_left = scrub.register(len(all_rows_left), "rows_left")
    pixel = scrub.register(log2(config.accumulator_pixels), "pixel")
    streaming = scrub.register(1, "streaming")
    line_place = scrub.register(log2(config.line_vectors), "line_place")
    ends_line = scrub.register(1, "ends_line")  # no columns are left
    row_step = extent(in_raster, Const(1, 1), settings.stride_rows)
    column_step = extent(in_raster, Const(1, 1), settings.stride_columns)
    line_step = extent(in_raster, settings.input_columns, settings.row_step)
    next_line = (line_index + line_step)[: len(index)]

    def pixel_register(register: Register, at_start: WireVector, at_step: WireVector) -> None:
        scrub.load(register, select(may_load, at_start, at_step))

    pixel_register(row, upcoming.row, select(ends_line, (row + row_step)[: len(row)], row))
    next_column = (column + column_step)[: len(column)]
    pixel_register(column, upcoming.column, select(ends_line, first_column, next_column))
    next_index = (index + column_step)[: len(index)]
    pixel_register(index, upcoming.index, select(ends_line, next_line, next_index))
    pixel_register(line_index, upcoming.index, select(ends_line, next_line, line_index))
    fewer = (columns_left - 1)[: len(columns_left)]
    pixel_register(columns_left, first_columns_left, select(ends_line, all_columns_left, fewer))
    pixel_register(ends_line, first_columns_left == 0, select(ends_line, all_columns_left == 0, columns_left == 1))
    pixel_register(rows_left, all_rows_left, resized(rows_left - ends_line, len(rows_left)))
    pixel_register(streaming, Const(1, 1), streaming & ~(ends_line & (rows_left == 0)))
    next_place = resized(line_place + 1, len(line_place))
    pixel_register(line_place, Const(0, len(line_place)), select(ends_line, Const(0, len(line_place)), next_place))

    # Positions up to the next one that completes a pixel, in both directions; outside a raster always 0.
    columns_away = scrub.register(len(settings.column_wait_left), "columns_away")
    rows_away = scrub.register(len(settings.kernel_rows_left), "rows_away")

    def wait(register: Register, first: WireVector, between: WireVector, enable: WireVector, again: WireVector) -> None:
        def only_if(raster: WireVector, count: WireVector) -> WireVector:
            return select(raster, count.zero_extended(len(register)), Const(0, len(register)))

        less = select(register == 0, only_if(in_raster, between), resized(register - 1, len(register)))
        at_step = select(again, only_if(in_raster, first), select(enable, less, register))
        pixel_register(register, only_if(starts_raster, first), at_step)

    wait(columns_away, settings.kernel_columns_left, settings.column_wait_left, Const(1, 1), ends_line)
    wait(rows_away, settings.kernel_rows_left, settings.stride_rows_left, ends_line, Const(0, 1))
    completes = (columns_away == 0) & (rows_away == 0)
    pixel_register(pixel, Const(0, len(pixel)), resized(pixel + completes, len(pixel)))
    return _Pixels(
        row=row, column=column, index=index, line_place=line_place, completes=completes, pixel=pixel,
        streaming=streaming,
    )  # fmt: skip
