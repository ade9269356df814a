"""The save engine: collects vectors of the output buffer into beats and writes them; SYNC_RAISE.

    queue head -> generator -> output buffer -> vector register -> beat being collected -> request port

A beat of C groups, the first SAVE of an idle engine, the port free. A group are the vectors that belong into W
neighbouring places of the beat, the first one a multiple of W; its vectors move together.

    cycle   u       u+1 .. u+C         u+2 .. u+C+1            u+C+2                  u+C+3
            issues  group i is read    and enters the beat     the beat is complete   request visible
                    at u+1+i           one cycle later         and moves to the port

- A complete beat moves to the port in a cycle x in which the port has room for a write (rtl/request_port.py);
  writes go before reads. While it cannot, the whole pipeline stands still, its next group waiting in
  the vector register: the beat that follows is complete C cycles after x at the earliest (x' >= x + C).
- Beats end with the beat in memory and with the row. Without such a stop one group is read per cycle, across rows
  and across SAVEs: behind the read of its last group, at c, the next instruction issues at c+1 or later; the
  token is given at c and visible at c+1.
- SYNC_RAISE issues when no SAVE is reading, no beat is on its way to the port, every write that went there has been
  acknowledged (an acknowledgement visible at a allows a+1), and the SYNC_WAIT of the SYNC_RAISE before it has issued
  (at w, allows w+1). sync_local is visible one cycle after its issue.
- A vector behind the end of the buffer is not read: the fault is on the port two cycles after the generator holds
  its index, and the engine stops. What was collected before still leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector, concat, concat_list, mux, select

from isa.configuration import PoolConfig
from isa.instructions import BUFFER_INDEX_BITS, COMPUTED_ADDRESS_BITS, ConfigSave, Save, SyncRaise
from isa.registers import Fault
from rtl.banked_memory import BankedMemory
from rtl.hierarchy import hardware
from rtl.instruction_fields import field, is_kind, settings
from rtl.instruction_queue import QueueHead
from rtl.scrubbed import Scrub, drive, log2, onehot, resized
from rtl.tokens import FaultReport, FaultSignal, Tokens, halt

_INDEX_BITS = BUFFER_INDEX_BITS + 1


@dataclass(frozen=True)
class SaveEngine:
    """What the save engine drives."""

    taken: WireVector
    """An instruction leaves the queue."""
    request_valid: WireVector
    request_address: WireVector
    """Beat address."""
    request_data: WireVector
    request_strobe: WireVector
    request_instruction: WireVector
    sync_local: WireVector
    """A register."""
    is_busy: WireVector
    fault: FaultReport


@dataclass(frozen=True)
class _Group:
    """A group of vectors on its way: where the first one belongs, and how many more there are."""

    valid: WireVector
    last: WireVector
    address: WireVector
    count_minus_one: WireVector
    instruction: WireVector


def writes_in_flight(config: PoolConfig) -> int:
    """Writes that can be unacknowledged at a time."""
    return (config.channel_latency + 8) // config.slot_spacing + 3


@hardware()
def save_engine(
    config: PoolConfig,
    scrub: Scrub,
    head: QueueHead,
    output: BankedMemory,
    may_move: WireVector,
    acknowledged: WireVector,
    waits_for_sync: WireVector,
    from_compute: Tokens,
    to_compute: Tokens,
) -> SaveEngine:
    """The save engine of one core. `may_move`: its request, if it has one, moves to the port; `waits_for_sync`:
    SYNC_WAIT issues in this cycle."""
    halted, is_drained, steps = (WireVector(1) for _ in range(3))
    active = scrub.register(1, "generating")

    # Issue.
    is_save, is_raise = is_kind(head.word, Save), is_kind(head.word, SyncRaise)
    is_config = is_kind(head.word, ConfigSave)
    waits = field(head.word, Save, "wait_compute")
    may = (is_save & (~waits | from_compute.available)) | (is_raise & is_drained) | is_config
    issues = head.valid & ~active & ~halted & may
    starts = issues & is_save
    raises = issues & is_raise
    drive(from_compute.taken, starts & waits)
    row_pitch = settings(scrub, head.word, ConfigSave, issues & is_config)["row_pitch"]
    may_load = ~active  # what only a SAVE looks at may as well load while there is none
    posts = scrub.kept(field(head.word, Save, "post_compute"), may_load, "posts")
    instruction = scrub.kept(head.address, may_load, "instruction")

    # Groups: the generator steps, and everything behind it, unless a complete beat cannot leave.
    is_complete = scrub.register(1, "complete")
    flows = ~is_complete | may_move
    index = scrub.register(_INDEX_BITS, "index")
    address, count_minus_one, ends_row, ends = _address_generator(config, scrub, head.word, may_load, steps, row_pitch)
    overruns = active & (index + count_minus_one >= config.output_vectors)
    steps <<= active & flows & ~overruns & ~halted
    first = field(head.word, Save, "source").zero_extended(_INDEX_BITS)
    behind = resized(index + count_minus_one + 1, _INDEX_BITS)
    scrub.load(index, select(may_load, first, select(steps, behind, index)))
    scrub.load(active, starts | (active & ~(steps & ends)))
    drive(to_compute.given, steps & ends & posts)

    lane_bits, width_bits = log2(config.vectors_per_beat), log2(config.port_vectors)
    ends_beat = ends_row | (~address[width_bits:lane_bits] == 0) if lane_bits > width_bits else Const(1, 1)
    vector = _Group(
        valid=scrub.kept(steps, flows, "vector_valid"),
        last=scrub.kept(ends_beat, flows, "vector_last"),
        address=scrub.kept(address, flows, "vector_address"),
        count_minus_one=scrub.kept(count_minus_one, flows, "vector_count"),
        instruction=scrub.kept(instruction, flows, "vector_instruction"),
    )
    data = output.read_words(index, flows)

    # Beats.
    scrub.load(is_complete, select(flows, vector.valid & vector.last, is_complete))
    collected, strobe = _collected_beat(config, scrub, vector, data, flows)
    inserts = vector.valid & flows
    moves = is_complete & may_move

    # Acknowledgements and barriers.
    count_bits = writes_in_flight(config).bit_length()
    unacknowledged = scrub.register(count_bits, "unacknowledged")
    scrub.load(unacknowledged, (unacknowledged + moves - acknowledged)[:count_bits])
    has_raised = scrub.register(1, "raised")
    scrub.load(has_raised, raises | (has_raised & ~waits_for_sync))
    is_drained <<= ~vector.valid & ~is_complete & (unacknowledged == 0) & ~has_raised

    faults = [
        FaultSignal(overruns, Fault.BUFFER_OVERRUN, instruction),
        FaultSignal(to_compute.overflows, Fault.TOKEN_OVERFLOW, instruction),
    ]
    stop = halt(scrub, faults)
    halted <<= stop.halted
    return SaveEngine(
        taken=issues,
        request_valid=is_complete,
        request_address=scrub.kept(vector.address[lane_bits:], inserts, "beat_address"),
        request_data=collected,
        request_strobe=strobe,
        request_instruction=scrub.kept(vector.instruction, inserts, "beat_instruction"),
        sync_local=scrub.stage(raises, "sync_local"),
        is_busy=active | vector.valid | is_complete | (unacknowledged != 0),
        fault=stop.report,
    )


def _address_generator(
    config: PoolConfig, scrub: Scrub, word: WireVector, may_load: WireVector, steps: WireVector, row_pitch: WireVector
) -> tuple[WireVector, WireVector, WireVector, WireVector]:
    """(vector address of a group, its vectors less one, last of its row, last of all); `steps` goes on to the next."""
    bits, width_bits = COMPUTED_ADDRESS_BITS, log2(config.port_vectors)
    columns = scrub.kept(field(word, Save, "columns"), may_load, "columns")
    address, row_address = scrub.register(bits, "address"), scrub.register(bits, "row_address")
    columns_left = scrub.register(len(columns), "columns_left")
    rows_left = scrub.register(len(field(word, Save, "rows")), "rows_left")
    room = ~address[:width_bits] if width_bits else Const(0, 1)  # vectors in the group behind the first one
    ends_row = columns_left <= room
    count_minus_one = select(ends_row, resized(columns_left, len(room)), room)
    next_row = (row_address + row_pitch)[:bits]
    first = field(word, Save, "address").zero_extended(bits)
    next_group = (address[width_bits:] + 1)[: bits - width_bits]
    if width_bits:
        next_group = concat(next_group, Const(0, width_bits))
    stepped = select(ends_row, next_row, next_group)
    scrub.load(address, select(may_load, first, select(steps, stepped, address)))
    scrub.load(row_address, select(may_load, first, select(steps & ends_row, next_row, row_address)))
    fewer = select(ends_row, columns, (columns_left + ~count_minus_one.zero_extended(len(columns)))[: len(columns)])
    scrub.load(columns_left, select(may_load, field(word, Save, "columns"), select(steps, fewer, columns_left)))
    scrub.load(
        rows_left,
        select(may_load, field(word, Save, "rows"), resized(rows_left - (steps & ends_row), len(rows_left))),
    )
    return address, count_minus_one, ends_row, ends_row & (rows_left == 0)


def _collected_beat(
    config: PoolConfig, scrub: Scrub, vector: _Group, data: list[WireVector], flows: WireVector
) -> tuple[WireVector, WireVector]:
    """(data, strobe) of the beat being collected. A beat begins behind the last vector of the one before."""
    inserts = vector.valid & flows
    width = config.port_vectors
    groups = config.vectors_per_beat // width
    lane_bits, width_bits = log2(config.vectors_per_beat), log2(width)
    is_meant = onehot(vector.address[width_bits:lane_bits], groups) if groups > 1 else Const(1, 1)
    if width > 1:
        first = vector.address[:width_bits]
        last = (first + vector.count_minus_one)[:width_bits]
        of_group = concat_list([(first <= place) & (last >= place) for place in range(width)])
        data = [mux(first, *[data[(place - start) % width] for start in range(width)]) for place in range(width)]
        lanes = concat_list([is_meant[group] & of_group[place] for group in range(groups) for place in range(width)])
    else:
        lanes = is_meant
    is_partial = scrub.register(1, "partial")
    scrub.load(is_partial, select(inserts, ~vector.last, is_partial))
    strobe = scrub.register(config.vectors_per_beat, "strobe")
    before = select(is_partial, strobe, Const(0, len(strobe)))
    scrub.load(strobe, select(inserts, before | lanes, strobe))
    parts = [scrub.kept(data[lane % width], inserts & lanes[lane], f"lane_{lane}") for lane in range(len(strobe))]
    return concat_list(parts), strobe
