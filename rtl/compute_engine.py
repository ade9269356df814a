"""The compute engine: issue, the window walker, the MAC array, two accumulator banks and the drain.

    queue head -> issue --> pending -> walker -> features -> array -> bank 0 | bank 1 -> drain -> output buffer
                     |                weights ----^                                       ^
                     +--> ADD, LOOKUP: features ------------------------------------------+

When the instruction at the head of the queue issues (u: the first cycle in which this holds and its tokens are there):

    CONV, POOL                  nothing is pending, no ADD or LOOKUP reads, and the walker is idle or in its last pass
    ADD, LOOKUP                 nothing is pending, the walker is idle, nothing waits for hand-over, the drain is idle
    CONFIG_ADD_*                the same
    CONFIG_WINDOW, _TILE,       nothing is pending, the walker is idle, nothing waits for hand-over, no ADD or LOOKUP
    _OUTPUT                     reads

When the pending CONV or POOL starts (s; its first pixel is in the walker at c = s+1):

    s >= u + max(A/W, 3), W vectors of a weight tile sliding in per cycle; the walker is idle, or s is the last cycle of
    its last pass; no bank waits for hand-over, unless it is handed over at s; the instruction's own bank is neither
    being drained nor handed over at s.

It then walks K = blocks * kernel rows * kernel columns passes of Q = max(P, A/W, 3) cycles each (POOL: one block,
max(P, 3) cycles; a depthwise CONV: one pass of max(N + 2, A/W) cycles over N input positions): its last cycle is
e = c + K * Q - 1. At e it gives `post_load`. If it drains, its bank is handed over at x = e, or,
if the drain is busy, in the first cycle x > e in which it is idle. For the drain see rtl/drain.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import Const, Register, WireVector, concat_list, mux, select

from isa.configuration import PoolConfig
from isa.instructions import (
    BUFFER_INDEX_BITS,
    PARAMETER_VECTORS,
    Add,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigOutput,
    ConfigTile,
    ConfigWindow,
    Conv,
    Lookup,
    Pool,
    Reduction,
)
from isa.pipeline import ACCUMULATOR_REUSE, DRAIN_SETUP, adder_stages
from isa.registers import Fault
from isa.walks import window_shape
from rtl.accumulators import Accumulation, accumulators
from rtl.banked_memory import BankedMemory, stepped
from rtl.drain import HandOver, drain_job, drain_results
from rtl.hierarchy import hardware
from rtl.instruction_fields import field, is_kind, settings
from rtl.instruction_queue import QueueHead
from rtl.line_buffers import line_buffers
from rtl.mac_array import identity_vector, mac_array, weight_tile
from rtl.result_path import TableWrite
from rtl.scrubbed import Scrub, any_of, drive, log2, resized
from rtl.tokens import FaultReport, FaultSignal, Tokens, halt
from rtl.window_settings import WindowSettings, window_settings
from rtl.window_walker import Walker, window_walker

_WALKS = (Conv, Pool)
_ALL = (Conv, Pool, Add, Lookup)


@dataclass(frozen=True)
class ComputeBuffers:
    """The memories that the compute engine reads or writes; their other ports belong to load and save."""

    features: BankedMemory
    weights: BankedMemory
    parameters: BankedMemory
    output: BankedMemory
    residual: BankedMemory


@dataclass(frozen=True)
class ComputeEngine:
    """What the compute engine drives."""

    taken: WireVector
    """An instruction leaves the queue."""
    is_busy: WireVector
    fault: FaultReport


@dataclass(frozen=True)
class _Walk:
    """Fields of a CONV or POOL that its walk and its drain need."""

    is_depthwise: WireVector
    maximum: WireVector
    accumulate: WireVector
    bank: WireVector
    drain: WireVector
    lookup: WireVector
    post_load: WireVector
    post_save: WireVector
    output: WireVector
    parameters: WireVector
    adds: WireVector
    residual_is_a: WireVector
    residual: WireVector
    instruction: WireVector

    def kept(self, scrub: Scrub, enable: WireVector, name: str) -> _Walk:
        """Registers that take these fields."""
        return _Walk(**{key: scrub.kept(value, enable, f"{name}_{key}") for key, value in vars(self).items()})


@hardware()
def compute_engine(
    config: PoolConfig,
    scrub: Scrub,
    scrub_behind: Scrub,
    head: QueueHead,
    buffers: ComputeBuffers,
    table: TableWrite,
    from_load: Tokens,
    from_save: Tokens,
    to_load: Tokens,
    to_save: Tokens,
) -> ComputeEngine:
    """The compute engine of one core. `scrub_behind`: of the array and what is behind it, which two cycles or more
    lie between it and an instruction."""
    _check_sizes(config)
    halted, stops, walk_may_issue, is_free, is_idle = (WireVector(1) for _ in range(5))

    # Issue.
    kinds = {kind: is_kind(head.word, kind) for kind in _ALL}
    is_walk, is_operands = kinds[Conv] | kinds[Pool], kinds[Add] | kinds[Lookup]
    uses_tokens = is_walk | is_operands
    waits_load = uses_tokens & field(head.word, _ALL, "wait_load")
    waits_save = uses_tokens & field(head.word, _ALL, "wait_save")
    needs_idle = is_operands | is_kind(head.word, ConfigAddFactors) | is_kind(head.word, ConfigAddOffset)
    may = select(is_walk, walk_may_issue, select(needs_idle, is_idle, is_free))
    has_tokens = (~waits_load | from_load.available) & (~waits_save | from_save.available)
    issues = head.valid & ~halted & may & has_tokens
    drive(from_load.taken, issues & waits_load)
    drive(from_save.taken, issues & waits_save)
    # A CONFIG waits for no token.
    registers = {
        kind: settings(scrub, head.word, kind, head.valid & ~halted & may_configure & is_kind(head.word, kind))
        for kind, may_configure in (
            (ConfigWindow, is_free), (ConfigTile, is_free), (ConfigOutput, is_free),
            (ConfigAddFactors, is_idle), (ConfigAddOffset, is_idle),
        )
    }  # fmt: skip

    # Walk.
    starts = WireVector(1)
    issues_walk = issues & is_walk
    is_depthwise = kinds[Conv] & field(head.word, Conv, "depthwise")
    window = window_settings(config, scrub, registers[ConfigWindow], registers[ConfigTile])
    with pyrtl.name_scope("walker"):
        walker = window_walker(
            config, scrub, window, head.word, kinds[Pool], is_depthwise, issues_walk, starts, stops
        )  # fmt: skip
    # These load while nobody looks at them: so they need not know whether anything issues or starts.
    may_load = WireVector(1)
    pending = _fields_of(head, kinds[Pool], is_depthwise).kept(scrub, ~walker.keeps_pending, "pending")
    walk = pending.kept(scrub, may_load, "walk")

    # Hand-over.
    hands_over, waits = WireVector(1), scrub.register(1, "waits_for_drain")
    writes, job_ends = WireVector(1), WireVector(1)
    hand_over = HandOver(
        valid=hands_over, bank=walk.bank, pixels=window.pixels, output=walk.output, parameters=walk.parameters,
        lookup=walk.lookup, adds=walk.adds, residual_is_a=walk.residual_is_a, residual=walk.residual,
        posts=walk.post_save, instruction=walk.instruction,
    )  # fmt: skip
    with pyrtl.name_scope("drain"):
        job = drain_job(
            config, scrub, hand_over, head.word, head.address, issues & is_operands, registers[ConfigOutput],
            stops, writes, job_ends,
        )  # fmt: skip
    has_bank = (walker.ends & walk.drain) | waits
    hands_over <<= has_bank & ~job.is_busy
    scrub.load(waits, has_bank & job.is_busy)
    drains_own_bank = job.is_busy & job.is_drain & (job.bank == pending.bank)
    holds_back = has_bank & (job.is_busy | (walk.bank == pending.bank))
    may_load <<= (~walker.walking | walker.ends) & ~(has_bank & job.is_busy)
    starts <<= walker.is_ready & (~walker.walking | walker.ends) & ~holds_back & ~drains_own_bank
    walk_may_issue <<= walker.may_reload & ~walker.pending & ~job.reads_features
    is_free <<= ~walker.pending & ~walker.walking & ~waits & ~job.reads_features
    is_idle <<= ~walker.pending & ~walker.walking & ~waits & ~job.is_busy

    # Data.
    with pyrtl.name_scope("array"):
        sums = _array(config, scrub, scrub_behind, buffers, window, walker, walk, registers[ConfigWindow]["pad_value"],
                      job.reads_features, job.features_index, head.word, issues_walk, kinds[Pool],
                      is_depthwise)  # fmt: skip
    pixel = Accumulation(
        valid=walker.completes,
        pixel=walker.pixel,
        overwrites=walker.overwrites & ~walk.accumulate,
        maximum=walk.maximum,
        bank=walk.bank,
    )
    with pyrtl.name_scope("accumulators"):
        word = accumulators(config, scrub_behind.apart("banks"), pixel, sums.values, job.accumulator_read)
    factors = {**registers[ConfigAddFactors], **registers[ConfigAddOffset]}
    with pyrtl.name_scope("results"):
        result = drain_results(
            config,
            scrub_behind.apart("common"),
            job.sequence,
            word,
            sums.features,
            buffers.parameters,
            buffers.residual,
            factors,
            table,
        )
    buffers.output.write_one(job.output_index, result.data, result.valid)
    writes <<= result.valid
    job_ends <<= result.valid & result.ends_job

    # Tokens and faults.
    drive(to_load.given, (walker.ends & walk.post_load) | (job.ends_reading & job.posts_load))
    drive(to_save.given, job_ends & job.posts_save)
    # Settings stay while an instruction is pending; the pixels are there a cycle after it has issued, the columns two.
    pending_misfits = scrub.stage(_misfits(config, window.pixels, pending), "pending_misfits")
    pending_misfits_lines = _misfits_lines(config, window, pending)
    walk_misfits = scrub.kept(pending_misfits | pending_misfits_lines, may_load, "walk_misfits")
    misfits = walker.is_first_of_walk & walk_misfits
    misses_weights = walker.is_first_cycle & sums.weights_overrun
    # Who gave a token is known late: so which of the two it was is chosen behind the registers of the faults.
    faults = [
        FaultSignal(job.overruns, Fault.BUFFER_OVERRUN, job.instruction),
        FaultSignal(misfits | misses_weights | walker.overruns, Fault.BUFFER_OVERRUN, walk.instruction),
        FaultSignal(to_load.overflows & job.ends_reading, Fault.TOKEN_OVERFLOW, job.instruction),
        FaultSignal(to_load.overflows & ~job.ends_reading, Fault.TOKEN_OVERFLOW, walk.instruction),
        FaultSignal(to_save.overflows, Fault.TOKEN_OVERFLOW, job.instruction),
    ]
    stop = halt(scrub, faults)
    halted <<= stop.halted
    stops <<= stop.stops
    return ComputeEngine(
        taken=issues, is_busy=any_of([walker.pending, walker.walking, waits, job.is_busy]), fault=stop.report
    )


def _check_sizes(config: PoolConfig) -> None:
    """An accumulator must be written before the drain reads it, the first one DRAIN_SETUP - 1 cycles behind hand-over.

    Pixel p is in the walker ACCUMULATOR_REUSE - 1 - p cycles before hand-over at the latest, and can be read 6 + T
    cycles later; the drain reads it p cycles behind the first one at the earliest.
    """
    if adder_stages(config.array) + 6 - (ACCUMULATOR_REUSE - 1) > DRAIN_SETUP - 1:
        raise ValueError(f"an array of {config.array} needs more cycles to settle than the drain's set-up takes")


def _fields_of(head: QueueHead, is_pool: WireVector, is_depthwise: WireVector) -> _Walk:
    def walk_field(name: str) -> WireVector:
        return field(head.word, _WALKS, name)

    return _Walk(
        is_depthwise=is_depthwise,
        maximum=is_pool & (field(head.word, Pool, "reduction") == int(Reduction.MAXIMUM)),
        accumulate=walk_field("accumulate"),
        bank=walk_field("bank"),
        drain=walk_field("drain"),
        lookup=walk_field("lookup"),
        post_load=walk_field("post_load"),
        post_save=walk_field("post_save"),
        output=walk_field("output"),
        parameters=walk_field("parameters"),
        adds=~is_pool & field(head.word, Conv, "add"),
        residual_is_a=field(head.word, Conv, "residual_is_a"),
        residual=field(head.word, Conv, "residual"),
        instruction=head.address,
    )


def _misfits(config: PoolConfig, pixels: WireVector, walk: _Walk) -> WireVector:
    """Whether pixels exceed the accumulators, or what is drained the output, parameters or residual buffer."""
    exceeds_output = walk.output + pixels > config.output_vectors
    exceeds_parameters = walk.parameters + PARAMETER_VECTORS > config.parameters_vectors
    exceeds_residual = walk.adds & (walk.residual + pixels > config.residual_vectors)
    exceeds = exceeds_output | exceeds_parameters | exceeds_residual
    return (pixels > config.accumulator_pixels) | (walk.drain & exceeds)


def _misfits_lines(config: PoolConfig, window: WindowSettings, walk: _Walk) -> WireVector:
    """Whether the kernel of a depthwise CONV exceeds the window, or its input columns the line buffers."""
    rows, columns = window_shape(config.array)
    exceeds_window = (window.kernel_rows_left >= rows) | (window.kernel_columns_left >= columns)
    return walk.is_depthwise & (exceeds_window | (window.raster_columns_left >= config.line_vectors))


@dataclass(frozen=True)
class _Sums:
    """Results of the array, 4 + adder stages behind the walker, and by-products."""

    values: list[WireVector]
    features: WireVector
    """Data register of the features buffer."""
    weights_overrun: WireVector
    """The tile that has just slid in lies behind the end of the weights buffer."""


@hardware("array")
def _array(
    config: PoolConfig,
    scrub: Scrub,
    scrub_behind: Scrub,
    buffers: ComputeBuffers,
    window: WindowSettings,
    walker: Walker,
    walk: _Walk,
    pad_value: WireVector,
    operands_read: WireVector,
    operands_index: WireVector,
    word: WireVector,
    issues_walk: WireVector,
    is_pool: WireVector,
    is_depthwise: WireVector,
) -> _Sums:
    """Features and weights buffers, padding, line buffers, and the array. POOL walks with the identity for a weight
    tile."""
    features_bits = log2(config.features_vectors)
    index = select(operands_read, resized(operands_index, features_bits), walker.index[:features_bits])
    features = buffers.features.read(index)
    is_inside = scrub.stage(walker.is_inside, "is_inside")
    pad = concat_list([pad_value] * config.array)
    pixel = scrub.stage(select(is_inside, features, pad), "pixel_vector")

    swaps = scrub.stage(walker.is_first_cycle, "swaps")
    places = line_buffers(config, scrub_behind, pixel, walker.line_place, walker.reads & walk.is_depthwise, swaps)
    fetch = _weight_fetch(config, scrub, buffers.weights, window, walker, word, issues_walk, is_pool, is_depthwise)
    swaps_to_depthwise = scrub.stage(walk.is_depthwise, "swaps_to_depthwise")
    tile = weight_tile(scrub_behind, config.array, fetch.vectors, fetch.slides, swaps, swaps_to_depthwise)
    return _Sums(
        values=mac_array(scrub_behind, pixel, places, swaps, tile), features=features, weights_overrun=fetch.overrun
    )


@dataclass(frozen=True)
class _Fetch:
    vectors: list[WireVector]
    slides: WireVector
    overrun: Register


@hardware("weight_fetch")
def _weight_fetch(
    config: PoolConfig,
    scrub: Scrub,
    weights: BankedMemory,
    window: WindowSettings,
    walker: Walker,
    word: WireVector,
    issues_walk: WireVector,
    is_pool: WireVector,
    is_depthwise: WireVector,
) -> _Fetch:
    """Reads the tile for the upcoming pass, W vectors a cycle, from the cycle behind the issue, or behind the start of
    the pass before. For POOL it makes the identity instead, once; for a depthwise CONV vectors 0 that are no taps."""
    width, steps = config.port_vectors, config.slide_cycles
    begins = issues_walk | walker.fetches
    place = scrub.register(max(1, log2(steps)), "fetched_vectors")
    fetching = scrub.register(1, "fetching")
    is_last = place == steps - 1
    scrub.load(fetching, begins | (fetching & ~is_last))
    scrub.load(place, select(fetching & ~is_last, resized(place + 1, len(place)), Const(0, len(place))))
    makes_identity = scrub.kept(is_pool, walker.may_reload, "makes_identity")
    index = scrub.register(BUFFER_INDEX_BITS + 1, "weights_index")
    first = field(word, Conv, "weights").zero_extended(len(index))
    scrub.load(index, select(walker.may_reload, first, select(fetching, (index + width)[: len(index)], index)))

    overrun = scrub.register(1, "weights_overrun")
    scrub.load(overrun, overrun | (fetching & ~makes_identity & (index > config.weights_vectors - width)))
    slides = scrub.stage(fetching, "slides")
    taps, slid = _taps(config, window), scrub.stage(place, "slid_vectors")
    is_window = scrub.kept(is_depthwise, walker.may_reload, "clears_no_taps")
    vectors = []
    for number, data in enumerate(weights.read_words(index)):
        its_taps = taps[number::width]
        is_tap = scrub.stage(mux(place, *its_taps) if steps > 1 else its_taps[0], f"is_tap_{number}")
        read = select(is_window & ~is_tap, Const(0, len(data)), data)
        identity = identity_vector(config.array, stepped(slid, width, number))
        vectors.append(select(makes_identity, identity, read))
    return _Fetch(vectors=vectors, slides=slides, overrun=overrun)


def _taps(config: PoolConfig, window: WindowSettings) -> list[WireVector]:
    """For each vector of a depthwise CONV's weight tile, whether its place of the window lies in the kernel."""
    rows, columns = window_shape(config.array)
    always = Const(1, 1)
    in_rows = [always, *[window.kernel_rows_left >= row for row in range(1, rows)]]
    in_columns = [always, *[window.kernel_columns_left >= column for column in range(1, columns)]]
    taps: list[WireVector] = [in_row & in_column for in_row in in_rows for in_column in in_columns]
    return taps + [Const(0, 1)] * (config.array - len(taps))
