"""The drain: bank -> bias -> requantiser -> table -> output buffer, in the background; and ADD and LOOKUP, which
share its pipeline. One *job* at a time; G = A / lanes groups per vector, S = max(2, G).

A drain of P pixels that is handed over at x:

    cycle   x      x+1 .. x+8      x+9+pG+g        +1         +20        +22              x+PG+31
            job    parameters      pixel p, read   group g    group g    pixel p is       another job may start;
            starts are read        a cycle before  in lanes   leaves     written (g=G-1)  the token is visible

With `add` the bytes that leave the requantiser go through the adder, which takes 19 cycles more: the residual buffer is
read in the cycle before they leave, and everything behind it is 19 cycles later.

An ADD of N vectors that issues at u:

            u      u+1+iS   u+2+iS   u+4+iS+g   u+23+iS+g   u+25+iS+G-1     u+(N-1)S+G+25
            issues b read   a read   in lanes   leaves      is written      another job may start

A LOOKUP of N vectors that issues at u:

            u      u+1+iG           u+3+iG+g              u+5+iG+G-1        u+NG+5
            issues vector is read   byte group g is the   is written        another job may start
                                    table's address

`post_save` is given in the cycle of the last write; `post_load` of ADD (LOOKUP) in the last of the cycles u+1 ..
u+NS (u+NG) in which the features buffer is read, and any CONV, POOL or CONFIG may issue in the cycle behind it.
An ADD or LOOKUP that does not fit its buffers faults at u+1 (visible on the port at u+3); it reads at u+1 and
u+2 at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, concat_list, mux, select

from isa.configuration import PoolConfig
from isa.instructions import PARAMETER_VECTORS, Add, Lookup
from isa.pipeline import DRAIN_SETUP, LANE_LATENCY, add_cycles, drain_groups
from rtl.accumulators import ACCUMULATOR_BITS, DrainRead
from rtl.banked_memory import BankedMemory
from rtl.hierarchy import hardware
from rtl.instruction_fields import field, is_kind
from rtl.mac_array import slices
from rtl.result_path import Clipping, GroupMark, JobKind, LaneInputs, ResultVector, TableWrite, result_path
from rtl.scrubbed import Scrub, log2, resized

_OPERANDS = (Add, Lookup)


@dataclass(frozen=True)
class HandOver:
    """A bank to drain, from the walker."""

    valid: WireVector
    bank: WireVector
    pixels: WireVector
    output: WireVector
    parameters: WireVector
    lookup: WireVector
    adds: WireVector
    residual_is_a: WireVector
    residual: WireVector
    posts: WireVector
    instruction: WireVector


@dataclass(frozen=True)
class Job:
    """State of the drain."""

    is_busy: Register
    is_drain: WireVector
    """Meaningful while busy: neither ADD nor LOOKUP."""
    bank: WireVector
    instruction: WireVector
    reads_features: WireVector
    """An ADD or LOOKUP reads the features buffer."""
    features_index: WireVector
    ends_reading: WireVector
    """Last such cycle."""
    posts_load: WireVector
    overruns: WireVector
    accumulator_read: DrainRead
    sequence: Sequence
    posts_save: WireVector
    output_index: Register


@dataclass(frozen=True)
class Sequence:
    """The groups at the lanes, of accumulators or of operands."""

    drain_mark: GroupMark
    drain_group: WireVector
    operand_reads_b: WireVector
    """Operand b is in the features buffer's data register."""
    operand_arrives: WireVector
    """Operand a of ADD, or the operand of LOOKUP, is there."""
    operand_ends: WireVector
    is_add: WireVector
    is_lookup: WireVector
    adds_residual: WireVector
    """The drain's bytes go through the adder, with those of the residual buffer."""
    residual_is_a: WireVector
    residual_index: WireVector
    residual_group: WireVector
    """Group of the residual vector in that buffer's data register."""
    uses_table: WireVector
    clipping: Clipping
    parameters_index: WireVector
    parameters_slide: WireVector


@hardware()
def drain_job(
    config: PoolConfig,
    scrub: Scrub,
    hand_over: HandOver,
    word: WireVector,
    address: WireVector,
    starts_operands: WireVector,
    output_settings: Mapping[str, WireVector],
    stops: WireVector,
    writes: WireVector,
    job_ends: WireVector,
) -> Job:
    """Control of the drain's pipeline. `starts_operands`: the word at the head is an ADD or LOOKUP that issues;
    `writes`: a vector of the job, `job_ends`: its last one is written in this cycle."""
    starts = hand_over.valid | starts_operands
    is_busy = scrub.register(1, "busy")
    # What only a job looks at may as well load while there is none. That is much: so it has a register of its own, the
    # same as `is_busy`, for which long paths wait.
    is_occupied = scrub.register(1, "occupied")
    may_load = ~is_occupied

    def taken(from_walk: WireVector, from_word: WireVector, name: str) -> Register:
        bits = max(len(from_walk), len(from_word))
        chosen = select(hand_over.valid, from_walk.zero_extended(bits), from_word.zero_extended(bits))
        return scrub.kept(chosen, may_load, name)

    zero = Const(0, 1)
    # Whether it starts is known late; while nobody is busy nobody asks.
    of_add, of_lookup = (~hand_over.valid & is_kind(word, kind) for kind in _OPERANDS)
    scrub.load(is_busy, starts | (is_busy & ~job_ends))
    scrub.load(is_occupied, starts | (is_occupied & ~job_ends))
    is_add = scrub.kept(of_add, may_load, "is_add")
    is_lookup = scrub.kept(of_lookup, may_load, "is_lookup")
    is_drain = scrub.kept(hand_over.valid, may_load, "is_drain")
    uses_table = taken(hand_over.lookup, is_kind(word, Lookup) | field(word, Add, "lookup"), "uses_table")
    adds_residual = scrub.kept(hand_over.valid & hand_over.adds, may_load, "adds_residual")
    bank = taken(hand_over.bank, zero, "bank")
    posts = taken(hand_over.posts, field(word, _OPERANDS, "post_save"), "posts_save")
    posts_load = taken(zero, field(word, _OPERANDS, "post_load"), "posts_load")
    instruction = taken(hand_over.instruction, address, "instruction")

    # Items: pixels of a drain, vectors of an ADD or LOOKUP, less one.
    def of_operands(name: str) -> WireVector:
        return select(is_kind(word, Lookup), field(word, Lookup, name), field(word, Add, name))

    item_bits = max(len(of_operands("vectors")), log2(config.accumulator_pixels))
    first_left = select(
        hand_over.valid,
        resized(hand_over.pixels - 1, item_bits),
        of_operands("vectors").zero_extended(item_bits),
    )
    generating = scrub.register(1, "generating")
    items_left = scrub.register(item_bits, "items_left")
    groups, add_steps = drain_groups(config.array, config.lanes), add_cycles(config.array, config.lanes)
    step = scrub.register(max(1, (add_steps - 1).bit_length()), "step")
    last_step = select(is_add, Const(add_steps - 1, len(step)), Const(groups - 1, len(step)))
    ends_item = generating & (step == last_step)
    is_last_item = items_left == 0
    setup_left = scrub.register(DRAIN_SETUP.bit_length(), "setup_left")
    one_less = resized(setup_left - (setup_left != 0), len(setup_left))
    scrub.load(setup_left, select(hand_over.valid, Const(DRAIN_SETUP - 1, len(setup_left)), one_less))
    begins = starts_operands | (setup_left == 1)
    scrub.load(generating, (begins | (generating & ~(ends_item & is_last_item))) & ~stops)
    scrub.load(step, select(may_load | ends_item, Const(0, len(step)), resized(step + generating, len(step))))
    scrub.load(items_left, select(may_load, first_left, resized(items_left - ends_item, item_bits)))

    # Indices.
    def counter(at_start: WireVector, steps: WireVector, name: str) -> Register:
        register = scrub.register(len(at_start), name)
        scrub.load(register, select(may_load, at_start, resized(register + steps, len(register))))
        return register

    index_a = counter(of_operands("features"), ends_item, "index_a")
    index_b = counter(field(word, Add, "features_b"), ends_item, "index_b")
    pixel = scrub.register(log2(config.accumulator_pixels), "pixel")
    pixel_above = scrub.register(len(pixel), "pixel_above")  # by one: the next pixel is an address of a memory
    next_pixel = select(ends_item, pixel_above, pixel)
    scrub.load(pixel, select(may_load, Const(0, len(pixel)), next_pixel))
    scrub.load(pixel_above, select(may_load, Const(1, len(pixel)), resized(next_pixel + 1, len(pixel))))
    output_first = select(hand_over.valid, hand_over.output, of_operands("output"))
    output_index = counter(output_first, writes, "output_index")
    parameters_index = counter(hand_over.parameters, setup_left != 0, "parameters_index")

    is_first = scrub.stage(starts_operands, "checks")
    features_depth = config.features_vectors
    overruns = is_first & (
        (index_a + items_left >= features_depth)
        | (is_add & (index_b + items_left >= features_depth))
        | (output_index + items_left >= config.output_vectors)
    )

    ends_job = ends_item & is_last_item
    drains = generating & is_drain
    last_group = step == groups - 1
    drain_ends_vector = scrub.stage(drains & last_group, "drain_ends_vector")
    drain_group = scrub.stage(step, "drain_group")
    leaves_requantiser = scrub.delay(drain_ends_vector, LANE_LATENCY - 1, "requantised")
    sequence = Sequence(
        drain_mark=GroupMark(
            valid=scrub.stage(drains, "drain_valid"),
            ends_vector=drain_ends_vector,
            ends_job=scrub.stage(drains & ends_job, "drain_ends_job"),
        ),
        drain_group=drain_group,
        operand_reads_b=scrub.stage(generating & is_add & (step == 0), "b_arrives"),
        operand_arrives=scrub.stage(generating & ~is_drain & select(is_add, step == 1, step == 0), "a_arrives"),
        operand_ends=scrub.stage(is_last_item, "operand_ends"),
        is_add=is_add,
        is_lookup=is_lookup,
        adds_residual=adds_residual,
        residual_is_a=scrub.kept(hand_over.residual_is_a, may_load, "residual_is_a"),
        residual_index=counter(hand_over.residual, leaves_requantiser, "residual_index"),
        residual_group=scrub.delay(drain_group, LANE_LATENCY, "residual_group"),
        uses_table=uses_table,
        clipping=Clipping(**{name: scrub.kept(output_settings[name], may_load, name) for name in output_settings}),
        parameters_index=parameters_index,
        parameters_slide=scrub.stage(setup_left != 0, "parameters_slide"),
    )
    return Job(
        is_busy=is_busy,
        is_drain=is_drain,
        bank=bank,
        instruction=instruction,
        reads_features=generating & ~is_drain,
        features_index=select(is_add & (step == 0), index_b, index_a),
        ends_reading=ends_job & ~is_drain,
        posts_load=posts_load,
        overruns=overruns,
        # A cycle ahead of the groups, for the word to be chosen from the banks in a cycle of its own.
        accumulator_read=DrainRead(
            valid=is_drain & (generating | (setup_left == 1)),
            steps=ends_item,
            pixel=pixel,
            pixel_above=pixel_above,
            bank=bank,
        ),
        sequence=sequence,
        posts_save=posts,
        output_index=output_index,
    )


@hardware()
def drain_results(
    config: PoolConfig,
    scrub: Scrub,
    sequence: Sequence,
    word: list[WireVector],
    features: WireVector,
    parameters: BankedMemory,
    residual: BankedMemory,
    factors: Mapping[str, WireVector],
    table: TableWrite,
) -> ResultVector:
    """The drain's datapath: `word` is that of the groups at the lanes, `features` the data register of that buffer."""
    groups = drain_groups(config.array, config.lanes)

    # Parameter planes: eight vectors slide in; plane 0 is the first one.
    vector = parameters.read(sequence.parameters_index)
    planes: list[list[WireVector]] = []
    for plane in reversed(range(PARAMETER_VECTORS)):
        vector = scrub.kept(vector, sequence.parameters_slide, f"parameters_{plane}")
        planes.insert(0, slices(vector, 8))
    biases = [concat_list([planes[byte][channel] for byte in range(4)]) for channel in range(config.array)]
    mantissas = [concat_list([planes[byte][channel] for byte in range(4, 7)]) for channel in range(config.array)]

    def group_of(channels: list[WireVector], group: WireVector) -> list[WireVector]:
        """Of all channels, those of the group: one per lane."""
        if groups == 1:
            return channels
        select_bits = group[: log2(groups)]
        return [mux(select_bits, *channels[lane :: config.lanes]) for lane in range(config.lanes)]

    now = sequence.drain_group
    sums = [
        (accumulator + bias)[:ACCUMULATOR_BITS]
        for accumulator, bias in zip(group_of(word, now), group_of(biases, now), strict=True)
    ]

    # Operands: pair up, then group by group.
    held_b = scrub.kept(features, sequence.operand_reads_b, "held_b")
    pair_b = scrub.stage(held_b, "operand_b")  # b changes every S cycles, the pair needs it for G <= S
    pair_a = scrub.kept(features, sequence.operand_arrives, "operand_a")
    ends = scrub.kept(sequence.operand_ends, sequence.operand_arrives, "operand_is_last")
    valid = scrub.register(1, "operand_valid")
    group = scrub.register(max(1, log2(groups)), "operand_group")
    is_last_group = group == groups - 1
    scrub.load(valid, sequence.operand_arrives | (valid & ~is_last_group))
    scrub.load(group, select(sequence.operand_arrives, Const(0, len(group)), resized(group + valid, len(group))))
    operand = GroupMark(valid=valid, ends_vector=valid & is_last_group, ends_job=valid & is_last_group & ends)
    mark = sequence.drain_mark
    into_lanes = valid & sequence.is_add
    lane_mark = GroupMark(
        valid=mark.valid | into_lanes,
        ends_vector=mark.ends_vector | (operand.ends_vector & sequence.is_add),
        ends_job=mark.ends_job | (operand.ends_job & sequence.is_add),
    )
    inputs = LaneInputs(
        accumulators=sums,
        mantissas=group_of(mantissas, now),
        shifts=group_of(planes[7], now),
        a=group_of(slices(pair_a, 8), group),
        b=group_of(slices(pair_b, 8), group),
        residuals=group_of(slices(residual.read(sequence.residual_index), 8), sequence.residual_group),
    )
    return result_path(
        config,
        scrub,
        inputs,
        lane_mark,
        operand,
        JobKind(
            sequence.is_add,
            sequence.is_lookup,
            sequence.adds_residual,
            sequence.residual_is_a,
            sequence.uses_table,
        ),
        sequence.clipping,
        factors,
        table,
    )
