"""The load engine: presents the beats of a LOAD, remembers where each goes, and unpacks the responses.

    queue head -> generator -> request port                      (memory)
                      |                                             |
                      +-> outstanding queue -> unpacker <- response port
                                                  +-> features | weights | parameters | table

A beat of N vectors, W of which are written in a cycle; the first LOAD of an idle engine, the port free, its slot at t:

    cycle   u       u+1                        u+2       t   t+1             r = t+L+3   r+1 .. r+C     r+C+1
            issues  generator holds the beat;  request       request_taken   response    vector i is    a token is
                    it moves to the port and   visible       visible         visible     written at     visible;
                    to the outstanding queue                                             r+1+i/W        C = ceil(N/W)

- A beat moves to the port in a cycle x in which the port has room, no write goes first (rtl/request_port.py), and the
  last read was taken V/W cycles before the new request is visible: with `request_taken` of a read visible at y,
  x >= y + V/W - 2. The request is visible at x+1.
- The generator holds the next beat at x+1. The next instruction issues at x, when the last beat moves, or later.
- CONFIG_LOAD and SYNC_WAIT occupy the engine in their issue cycle only; SYNC_WAIT issues at s+1 at the earliest if
  sync_global is visible at s.
- A beat any of whose vectors lies behind the end of its buffer is not presented: the fault is on the port two cycles
  after the generator holds the beat, and the engine stops. What is in flight is still unpacked.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import Const, Register, WireVector, concat, select

from isa.configuration import PoolConfig
from isa.instructions import (
    BUFFER_INDEX_BITS,
    COMPUTED_ADDRESS_BITS,
    TABLE_VECTORS,
    Buffer,
    ConfigLoad,
    Load,
    SyncWait,
)
from isa.registers import Fault
from rtl.banked_memory import BankWrite, bank_writes
from rtl.hierarchy import hardware
from rtl.instruction_fields import field, is_kind, settings
from rtl.instruction_queue import QueueHead
from rtl.rounding import sum_with_carry
from rtl.scrubbed import Scrub, any_of, drive, log2, resized
from rtl.tokens import FaultReport, FaultSignal, Tokens, halt

_INDEX_BITS = BUFFER_INDEX_BITS + 1
"""One beat behind the last index still counts: no index wraps before it is checked."""


def buffer_depths(config: PoolConfig) -> dict[Buffer, int]:
    """Vectors in each buffer that LOAD can fill."""
    return {
        Buffer.FEATURES: config.features_vectors,
        Buffer.WEIGHTS: config.weights_vectors,
        Buffer.PARAMETERS: config.parameters_vectors,
        Buffer.TABLE: TABLE_VECTORS,
        Buffer.RESIDUAL: config.residual_vectors,
    }


def outstanding_beats(config: PoolConfig) -> int:
    """Depth of the outstanding queue: all reads in flight, the one on the port, and a margin."""
    return 1 << ((config.channel_latency + 8) // config.beat_spacing + 3).bit_length()


@dataclass(frozen=True)
class LoadEngine:
    """What the load engine drives."""

    taken: WireVector
    """An instruction leaves the queue."""
    request_valid: WireVector
    request_address: WireVector
    """Beat address."""
    request_instruction: WireVector
    writes: dict[Buffer, WireVector]
    """One bit per buffer: vectors of it are written in this cycle."""
    bank_writes: list[BankWrite]
    """What is written into each of its banks."""
    waits_for_sync: WireVector
    """SYNC_WAIT issues in this cycle."""
    is_busy: WireVector
    fault: FaultReport


@dataclass(frozen=True)
class _Beat:
    """The beat that the generator holds. What follows from its address was computed in the cycle before."""

    address: WireVector
    """Of its first vector."""
    lane: WireVector
    """Place of that vector in the beat."""
    count_minus_one: WireVector
    index: WireVector
    """Of its first vector in the buffer."""
    last_index: WireVector
    """Of its last vector there."""
    last: WireVector
    """Of the instruction."""


@hardware()
def load_engine(
    config: PoolConfig,
    scrub: Scrub,
    head: QueueHead,
    response_valid: WireVector,
    response_data: WireVector,
    request_moves: WireVector,
    read_taken: WireVector,
    sync_global: WireVector,
    from_compute: Tokens,
    to_compute: Tokens,
) -> LoadEngine:
    """The load engine of one core. `request_moves`: its request moves to the port; `read_taken`: the port's read
    has been taken by the memory."""
    halted, active = WireVector(1), scrub.register(1, "generating")

    # Issue.
    is_load, is_wait = is_kind(head.word, Load), is_kind(head.word, SyncWait)
    is_config = is_kind(head.word, ConfigLoad)
    waits = field(head.word, Load, "wait_compute")
    is_released = scrub.register(1, "sync_pending")
    may = (is_load & (~waits | from_compute.available)) | (is_wait & is_released) | is_config
    issues = WireVector(1)
    starts = issues & is_load
    drive(from_compute.taken, starts & waits)
    pitches = settings(scrub, head.word, ConfigLoad, issues & is_config)
    takes_sync = issues & is_wait
    scrub.load(is_released, sync_global | (is_released & ~takes_sync))

    # Beats. While the last one moves, the next instruction may issue.
    # What only beats look at loads while there is none: so it need not know whether anything issues.
    beat = _beat_generator(config, scrub, head.word, starts, request_moves, active, pitches)
    may_load = beat.last & (~active | request_moves)
    # The same as `active`, for this alone: whether the beat moves is known late, many wait for what is made of the two,
    # and what issues has a long way to go.
    holds_back = scrub.register(1, "holds_back")
    scrub.load(holds_back, starts | (holds_back & ~(request_moves & beat.last)))
    could_issue = head.valid & ~halted & may & beat.last
    issues <<= (could_issue & ~holds_back) | (could_issue & request_moves)
    buffer = scrub.kept(field(head.word, Load, "buffer"), may_load, "buffer")
    posts = scrub.kept(field(head.word, Load, "post_compute"), may_load, "posts")
    instruction = scrub.kept(head.address, starts, "instruction")
    overruns = active & _overrun(config, scrub, head.word, may_load, beat.last_index)
    spaced = _read_spacing(config, scrub, read_taken)

    # Responses.
    write = _unpacker(config, scrub, request_moves, response_valid, response_data, buffer, beat, posts & beat.last,
                      instruction)  # fmt: skip
    drive(to_compute.given, write.posts)

    faults = [
        FaultSignal(overruns, Fault.BUFFER_OVERRUN, instruction),
        FaultSignal(to_compute.overflows, Fault.TOKEN_OVERFLOW, write.instruction),
        FaultSignal(sync_global & is_released & ~takes_sync, Fault.TOKEN_OVERFLOW, instruction),
    ]
    stop = halt(scrub, faults)
    halted <<= stop.halted
    return LoadEngine(
        taken=issues,
        request_valid=active & ~halted & ~overruns & spaced,
        request_address=beat.address[log2(config.vectors_per_beat) :],
        request_instruction=instruction,
        writes={name: write.valid & (write.buffer == int(name)) for name in Buffer},
        bank_writes=write.banks,
        waits_for_sync=takes_sync,
        is_busy=active | write.is_busy,
        fault=stop.report,
    )


def _overrun(
    config: PoolConfig, scrub: Scrub, word: WireVector, may_load: WireVector, last_index: WireVector
) -> WireVector:
    """Whether the last index of a beat lies behind the end of the buffer that was chosen when the LOAD started.

    A LOAD either begins there already, or has a beat in which the bit of the index that is worth the buffer's depth
    becomes 1, and none behind that. (A beat that is longer than its buffer may jump over this bit.)
    """
    buffer, destination = field(word, Load, "buffer"), field(word, Load, "destination")
    begins_behind: WireVector = buffer > max(Buffer)
    ends_behind: WireVector = Const(0, 1)
    for bits in sorted({log2(depth) for depth in buffer_depths(config).values()}):
        is_chosen = any_of(buffer == int(name) for name, depth in buffer_depths(config).items() if log2(depth) == bits)
        if bits < BUFFER_INDEX_BITS:
            begins_behind = begins_behind | (is_chosen & (destination[bits:] != 0))
        beyond = last_index[bits : max(bits, log2(config.vectors_per_beat)) + 1] != 0
        ends_behind = ends_behind | (scrub.kept(is_chosen, may_load, f"has_{bits}_bits") & beyond)
    return scrub.kept(begins_behind, may_load, "begins_behind") | ends_behind


def _read_spacing(config: PoolConfig, scrub: Scrub, read_taken: WireVector) -> WireVector:
    """Whether a read may move to the port: its slot is then V cycles behind the last one at least."""
    pause = config.vectors_per_beat // config.port_vectors - 2
    if pause <= 0:
        return Const(1, 1)
    wait = scrub.register(max(1, (pause - 1).bit_length()), "spacing")
    one_less = select(wait != 0, wait - 1, wait.zero_extended(len(wait) + 1))
    scrub.load(wait, select(read_taken, Const(pause - 1, len(wait)), one_less[: len(wait)]))
    return ~read_taken & (wait == 0)


def _beat_generator(
    config: PoolConfig,
    scrub: Scrub,
    word: WireVector,
    starts: WireVector,
    moves: WireVector,
    active: Register,
    pitches: dict[str, Register],
) -> _Beat:
    """The current beat; `moves` steps to the next one, `active` falls behind the last, unless a LOAD `starts`.

    The shape of the next beat is computed for each of the three places where it may lie (at the start, in the same row,
    in another one) from what is known before the step, so that only a choice is left when the beat moves.
    """
    lane_bits = log2(config.vectors_per_beat)
    ends_row, in_last_row, in_last_plane = (
        scrub.register(1, name) for name in ("ends_row", "in_last_row", "in_last_plane")
    )
    ends_plane = ends_row & in_last_row
    goes_on = scrub.register(1, "goes_on")  # another beat of this LOAD follows
    goes_on_here = scrub.register(1, "goes_on_here")  # the same, for the many registers in which that beat is made
    # Between two LOADs it loads the head of the queue, whatever that is, until one starts. What only beats to come look
    # at does so as soon as none comes: so it need not know whether the last one moves. While one comes one is active.
    takes_head = ~goes_on_here
    steps = ~active | moves
    looks_ahead = takes_head | moves
    columns = scrub.kept(field(word, Load, "columns"), takes_head, "columns")
    rows = scrub.kept(field(word, Load, "rows"), takes_head, "rows")

    address = scrub.register(COMPUTED_ADDRESS_BITS, "address")
    row_address = scrub.register(COMPUTED_ADDRESS_BITS, "row_address")
    plane_address = scrub.register(COMPUTED_ADDRESS_BITS, "plane_address")
    columns_left = scrub.register(len(columns), "columns_left")
    rows_left = scrub.register(len(rows), "rows_left")
    planes_left = scrub.register(len(field(word, Load, "planes")), "planes_left")
    count_minus_one = scrub.register(max(1, lane_bits), "count_minus_one")
    index, last_index = scrub.register(_INDEX_BITS, "index"), scrub.register(_INDEX_BITS, "last_index")

    next_beat = (address[lane_bits:] + 1)[: COMPUTED_ADDRESS_BITS - lane_bits]
    if lane_bits:
        next_beat = concat(next_beat, Const(0, lane_bits))
    next_row = (row_address + pitches["row_pitch"])[:COMPUTED_ADDRESS_BITS]
    next_plane = (plane_address + pitches["plane_pitch"])[:COMPUTED_ADDRESS_BITS]
    first = field(word, Load, "address").zero_extended(COMPUTED_ADDRESS_BITS)

    def step(register: Register, enable: WireVector, at_start: WireVector, at_move: WireVector) -> None:
        scrub.load(register, select(enable, select(takes_head, at_start, at_move), register))

    row_start = select(ends_plane, next_plane, next_row)
    step(address, steps, first, select(ends_row, row_start, next_beat))
    step(row_address, looks_ahead, first, select(ends_row, row_start, row_address))
    step(plane_address, looks_ahead, first, select(ends_plane, next_plane, plane_address))
    fewer_columns = (columns_left + ~count_minus_one.zero_extended(len(columns)))[: len(columns)]
    step(columns_left, looks_ahead, field(word, Load, "columns"), select(ends_row, columns, fewer_columns))
    fewer_rows = (rows_left - ends_row)[: len(rows)]
    step(rows_left, looks_ahead, field(word, Load, "rows"), select(ends_plane, rows, fewer_rows))
    fewer_planes = (planes_left - ends_plane)[: len(planes_left)]
    step(planes_left, looks_ahead, field(word, Load, "planes"), fewer_planes)
    of_next_row = select(ends_plane, rows == 0, select(ends_row, rows_left == 1, in_last_row))
    of_next_plane = select(ends_plane, planes_left == 1, in_last_plane)
    has_one_row, has_one_plane = field(word, Load, "rows") == 0, field(word, Load, "planes") == 0
    step(in_last_row, looks_ahead, has_one_row, of_next_row)
    step(in_last_plane, looks_ahead, has_one_plane, of_next_plane)

    def shape(place: WireVector, columns_there: WireVector) -> tuple[WireVector, WireVector]:
        """(last of its row, room behind the first vector) of a beat whose first one lies at `place` in memory."""
        room = ~place[:lane_bits] if lane_bits else Const(0, 1)
        bits = len(room)
        return (columns_there[bits:] == 0) & (columns_there[:bits] <= room), room

    def count(is_last: WireVector, columns_there: WireVector, room: WireVector) -> WireVector:
        """Vectors of a beat less one."""
        return select(is_last, resized(columns_there, len(room)), room)

    # In a row this beat does not take all columns; the next one is the last if a whole one takes what is left.
    fits = fewer_columns == 0
    if lane_bits:
        beats_left, behind_beats = columns_left[lane_bits:], columns_left[:lane_bits]
        fits = (beats_left == 0) | ((beats_left == 1) & (behind_beats <= count_minus_one))
    in_row = fits, Const(config.vectors_per_beat - 1, len(count_minus_one))
    of_row, of_plane = shape(next_row, columns), shape(next_plane, columns)
    last_at_move, room_at_move = (
        select(ends_plane, first_place, select(ends_row, other, same))
        for same, other, first_place in zip(in_row, of_row, of_plane, strict=True)
    )
    columns_at_move = select(ends_row, columns, fewer_columns)
    first_columns = field(word, Load, "columns")
    last_at_start, room_at_start = shape(first, first_columns)
    count_at_start = count(last_at_start, first_columns, room_at_start)
    step(ends_row, looks_ahead, last_at_start, last_at_move)
    step(count_minus_one, steps, count_at_start, count(last_at_move, columns_at_move, room_at_move))
    is_more = ~(last_at_start & has_one_row & has_one_plane)
    has_more = ~(moves & last_at_move & of_next_row & of_next_plane)
    for register in (goes_on, goes_on_here):
        scrub.load(register, select(register, has_more, starts & is_more))
    destination = field(word, Load, "destination").zero_extended(_INDEX_BITS)
    step(index, steps, destination, (last_index + 1)[:_INDEX_BITS])

    def behind(further: WireVector) -> WireVector:
        """Last index of a beat behind this one, of so many vectors less one."""
        last = resized(further, len(room_at_move)).zero_extended(_INDEX_BITS)
        return sum_with_carry(last_index, last, Const(1, 1))[:-1]

    # All sums are there before it is known which one is meant.
    in_other, in_first, in_same = (behind(room) for _, room in (of_row, of_plane, in_row))
    index_behind_room = select(ends_plane, in_first, select(ends_row, in_other, in_same))
    index_at_move = select(last_at_move, behind(columns_at_move), index_behind_room)
    step(last_index, steps, (destination + count_at_start)[:_INDEX_BITS], index_at_move)
    scrub.load(active, starts | (active & ~(moves & ~goes_on)))
    return _Beat(
        address=address,
        lane=address[:lane_bits] if lane_bits else Const(0, 1),
        count_minus_one=count_minus_one,
        index=index,
        last_index=last_index,
        last=~goes_on,
    )


@dataclass(frozen=True)
class _BufferWrite:
    valid: WireVector
    buffer: WireVector
    banks: list[BankWrite]
    posts: WireVector
    instruction: WireVector
    is_busy: WireVector


def _unpacker(
    config: PoolConfig,
    scrub: Scrub,
    pushes: WireVector,
    response_valid: WireVector,
    response_data: WireVector,
    buffer: WireVector,
    beat: _Beat,
    posts: WireVector,
    instruction: WireVector,
) -> _BufferWrite:
    """Queues what it is told about each beat, and writes the vectors of each response, `port_vectors` per cycle."""
    vector_bits, width = 8 * config.array, config.port_vectors
    fields = [buffer, beat.index, beat.lane, beat.count_minus_one, posts, instruction]
    memory = scrub.queue_memory(sum(len(wire) for wire in fields), outstanding_beats(config), "outstanding")
    write_pointer = scrub.register(memory.address_bits, "outstanding_write")
    read_pointer = scrub.register(memory.address_bits, "outstanding_read")
    memory.write(write_pointer, pyrtl.concat_list(fields), pushes)
    scrub.load(write_pointer, resized(write_pointer + pushes, memory.address_bits))
    # A register holds the oldest word, for it chooses what all of a response goes through. No response comes as soon
    # as in the second cycle behind that in which its request moves.
    pointer_above = resized(read_pointer + 1, memory.address_bits)
    next_pointer = select(response_valid, pointer_above, read_pointer)
    is_none = select(response_valid, pointer_above == write_pointer, read_pointer == write_pointer)
    scrub.load(read_pointer, next_pointer)
    word = scrub.stage(memory.word(next_pointer, is_none), "oldest")
    parts, offset = [], 0
    for wire in fields:
        parts.append(word[offset : offset + len(wire)])
        offset += len(wire)
    new_buffer, new_index, new_lane, new_count, new_posts, new_instruction = parts
    is_unpacking = scrub.register(1, "unpacking")
    place = scrub.register(len(beat.index), "unpack_index")
    left = scrub.register(len(new_count), "unpack_left")
    data = scrub.register(len(response_data), "unpack_data")
    is_last = left < width

    aligned = response_data
    for place_bit in range(log2(config.vectors_per_beat)):
        aligned = select(new_lane[place_bit], _lower(aligned, vector_bits << place_bit), aligned)
    moved = _lower(data, width * vector_bits) if config.vectors_per_beat > width else data
    scrub.load(is_unpacking, response_valid | (is_unpacking & ~is_last))
    scrub.load(place, select(response_valid, new_index, (place + width)[: len(place)]))
    scrub.load(left, select(response_valid, new_count, select(is_last, left, (left - width)[: len(left)])))
    scrub.load(data, select(response_valid, aligned, moved))
    words = [data[number * vector_bits : (number + 1) * vector_bits] for number in range(width)]
    enables = [left >= number if number else Const(1, 1) for number in range(width)]
    kept_posts = scrub.kept(new_posts, response_valid, "unpack_posts")
    return _BufferWrite(
        valid=is_unpacking,
        buffer=scrub.kept(new_buffer, response_valid, "unpack_buffer"),
        banks=bank_writes(place[:BUFFER_INDEX_BITS], words, enables),
        posts=is_unpacking & is_last & kept_posts,
        instruction=scrub.kept(new_instruction, response_valid, "unpack_instruction"),
        is_busy=is_unpacking | (write_pointer != read_pointer),
    )


def _lower(data: WireVector, bits: int) -> WireVector:
    """data >> bits."""
    return concat(Const(0, bits), data[bits:])
