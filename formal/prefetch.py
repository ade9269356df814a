"""What the prefetch of one arbitrary tenant A must hold, as ghosts that watch it.

    age 0        slot: A's fetch of beat p = next_request
    age 2        the channel's outputs read base + p
    age 2 + L    the channel's input answers; the beat goes to ring entry p mod F, next_arrival becomes p + 1

The ghosts remember A's next_request of the last L + 3 cycles (`asked_{age}`), how long ago A last jumped and to
which beat, when each entry of the ring was last asked for, and, for one arbitrary entry E, which beat the memory last
answered for it, and what (`expected_beat`, `expected_data`), and whether its bank was written with that and with
nothing else since (`ring_is_expected`): so what is said of data needs nothing of what decides when it moves. A jump is
START, STOP, or what changes `in_frame`, which CALL and RETURN do and nothing else; the ghosts don't look at the epoch
for it. `formal.prefetch_lemmas` ties the netlist to them.
"""

from __future__ import annotations

from collections.abc import Callable

import pyrtl
from pyrtl import Const, Register, WireVector, select

from formal.algebra import Term
from formal.ghosts import arbitrary, of_tenant, watched_tenant
from formal.lemmas import pending
from formal.monitor import Lookup
from formal.shell import Sight, age_of_answer, register_in_flight
from isa.configuration import PoolConfig
from isa.instructions import WORD_BITS
from isa.registers import Command, Result, TenantState
from rtl.channels import Kind
from rtl.sizes import Sizes, joined, named

_PARTS = (
    "program_counter", "in_frame", "next_request", "next_arrival", "epoch", "progress", "attachment", "base", "limit",
)  # fmt: skip


def ring_bits(config: PoolConfig) -> int:
    """Bits of an entry of a tenant's prefetch ring, its channel included."""
    return (config.fetch_beats - 1).bit_length()


def time_bits(config: PoolConfig) -> int:
    """Bits of the ghost clock: enough to tell the ages of all accesses in flight apart."""
    return (age_of_answer(config) + 1).bit_length()


def watch_prefetch(config: PoolConfig, lookup: Lookup) -> None:
    """Build the ghosts."""
    tenant = watched_tenant(config)
    watched = {part: named(f"watched_{part}", of_tenant(lookup, config, tenant, part)) for part in _PARTS}
    since = _since_jump(config, lookup, tenant, watched)
    oldest = age_of_answer(config)
    asked: list[WireVector] = [named("asked_0", watched["next_request"])]
    for age in range(1, oldest + 2):
        later = Register(len(asked[0]), f"asked_{age}")
        later.next <<= asked[-1]
        asked.append(later)
    first = Register(len(asked[0]), "first_beat")
    first.next <<= select(since == 0, asked[0], first)
    _remember_times(config, asked, since)
    _remember_answers(config, lookup, asked, since)


def _since_jump(config: PoolConfig, lookup: Lookup, tenant: WireVector, watched: dict[str, WireVector]) -> WireVector:
    """Cycles since A's pointers last jumped; 0 while they show the jump's target for the first time, at most L + 2.

    `since_jump_register` is one more than what it was in the cycle before.
    """
    oldest = age_of_answer(config)
    for part in ("epoch", "in_frame"):
        last = Register(1, f"watched_last_{part}")
        last.next <<= watched[part]
    started, stopped = Register(1, "watched_started"), Register(1, "watched_stopped")
    ordered = (
        lookup("command_is_decided")
        & (lookup("command_verdict") == int(Result.ACCEPTED))
        & (lookup("argument_tenant") == tenant)
    )
    may_start = (watched["progress"] == 0) | (watched["progress"] == int(TenantState.DONE))
    started.next <<= ordered & (lookup("command") == int(Command.START)) & may_start
    stopped.next <<= ordered & (lookup("command") == int(Command.STOP))
    was_stopped = Register(1, "watched_was_stopped", reset_value=1)
    was_stopped.next <<= watched["progress"] == 0
    register = Register((oldest + 1).bit_length(), "since_jump_register", reset_value=oldest + 1)
    jumped = named("jumped", (watched["in_frame"] != _wire("watched_last_in_frame")) | started | stopped)
    capped = select(register == oldest + 1, Const(oldest, len(register)), register)
    since = named("since_jump", select(jumped, Const(0, len(register)), capped))
    register.next <<= (since + 1)[: len(register)]
    return since


def _wire(name: str) -> WireVector:
    found: WireVector = pyrtl.working_block().wirevector_by_name[name]
    return found


def _remember_times(config: PoolConfig, asked: list[WireVector], since: WireVector) -> None:
    time = Register(time_bits(config), "ghost_time")
    time.next <<= (time + 1)[: len(time)]
    just_asked = (since >= 1) & (asked[0] != asked[1])
    for entry in range(config.fetch_beats):
        here = asked[1][: ring_bits(config)] == entry if ring_bits(config) else Const(1, 1)
        asked_at = Register(len(time), f"asked_at_{entry}")
        asked_at.next <<= select(just_asked & here, (time - 1)[: len(time)], asked_at)


def _remember_answers(config: PoolConfig, lookup: Lookup, asked: list[WireVector], since: WireVector) -> None:
    """For the arbitrary entry E: the beat and the data of the last answer to a fetch since the last jump."""
    oldest = age_of_answer(config)
    entry = arbitrary("watched_entry", max(1, ring_bits(config)), config.fetch_beats)
    here = asked[oldest][: ring_bits(config)] == entry if ring_bits(config) else Const(1, 1)
    answers = (since == oldest) & (asked[oldest - 1] != asked[oldest]) & here
    data = _of_channel(config, entry, [lookup(f"channel{channel}_response") for channel in range(config.channels)])
    for name, value in (("expected_beat", asked[oldest]), ("expected_data", data)):
        remembered = Register(len(value), name)
        remembered.next <<= select(answers, value, remembered)
    written, fetched = (_of_channel(config, entry, values) for values in _writes(config, lookup, entry))
    holds = Register(1, "ring_is_expected", reset_value=0)
    holds.next <<= select(answers, written & fetched, holds & ~written)


def _of_channel(config: PoolConfig, entry: WireVector, values: list[WireVector]) -> WireVector:
    """The value of the channel that an entry of the ring belongs to."""
    value = values[0]
    for channel in range(1, config.channels):
        value = select(entry[: Sizes(config).channel] == channel, values[channel], value)
    return value


def _writes(config: PoolConfig, lookup: Lookup, entry: WireVector) -> tuple[list[WireVector], list[WireVector]]:
    """For each channel: its bank is written where A's entry E would be; and what answers there is a fetch."""
    sizes = Sizes(config)
    place = joined((_wire("watched_tenant"), sizes.tenant), (entry[sizes.channel :], sizes.entry))
    written, fetched = [], []
    for channel in range(config.channels):
        name = f"channel{channel}_prefetch"
        ports = [net.args for net in pyrtl.working_block().logic_subset("@") if net.op_param[1].name == name]
        here = Const(0, 1)
        for address, _, enable in ports:
            here = here | (enable & (address == place))
        written.append(here)
        fetched.append(lookup(register_in_flight(channel, age_of_answer(config), "kind")) == int(Kind.FETCH))
    return written, fetched


# ---- claims


def beat_of(s: Sight, word_address: Term) -> Term:
    """The beat of an instruction's address."""
    sizes = Sizes(s.config)
    return s.logic.field(word_address, sizes.pointer + sizes.word - 1, sizes.word)


def word_of(s: Sight, beat: Term) -> Term:
    """The word of a beat at the place that the address in stage 1 names."""
    place = s.low(s["dispatch_address"], Sizes(s.config).word)
    word = s.logic.field(beat, WORD_BITS - 1, 0)
    for index in range(1, s.config.words_per_beat):
        word = s.logic.choose(place == index, s.logic.field(beat, WORD_BITS * (index + 1) - 1, WORD_BITS * index), word)
    return word


def starts(s: Sight, tenant: int) -> Term:
    """START takes effect for a tenant that is STOPPED or DONE."""
    ordered = s.all(pending(s, "decided", Command.START), s["argument_tenant"] == tenant)
    return s.all(ordered, s.one_of(s.tenant(tenant, "progress"), (0, TenantState.DONE)))


def stops(s: Sight, tenant: int) -> Term:
    """STOP takes effect."""
    return s.all(pending(s, "decided", Command.STOP), s["argument_tenant"] == tenant)


def ahead(s: Sight, beat: Term, of: Term) -> Term:
    """How far `beat` is ahead of `of`, as the pointers count: modulo their width."""
    return s.logic.minus(beat, of, Sizes(s.config).pointer)


def reads_at_outputs(channel: int) -> Callable[[Sight], Term]:
    """Two cycles after the slot of A's fetch of beat p the channel's outputs read beat base + p of the memory.

    A's fetch was granted two cycles ago when next_request moved on then, and not because of a jump.
    """

    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        beat, name = s["asked_2"], f"channel{channel}_request_"
        granted = s.all(s.logic.at_most(2, s["since_jump"]), s.no(s["asked_1"] == beat))
        here = s.low(beat, sizes.channel) == channel
        physical = s.logic.plus(s["watched_base"], beat, sizes.beat)
        address = s.logic.field(physical, sizes.beat - 1, sizes.channel) if sizes.beat > sizes.channel else 0
        reads = s.all(s[f"{name}valid"] == 1, s[f"{name}write"] == 0, s[f"{name}address"] == address)
        inside = s.logic.less(beat, s["watched_limit"])
        return s.implies(s.all(granted, here), s.all(reads, inside))

    return claim


def arrives_in_time(s: Sight) -> Term:
    """A's next_arrival is what A's next_request was L + 2 cycles ago; or where A jumped to, if it jumped since.

    So each fetch, and nothing else, moves it on when its answer comes, unless there was a jump in between.
    """
    oldest = age_of_answer(s.config)
    start = beat_of(s, s["watched_program_counter"])
    settled = s.all(s["since_jump"] == oldest)
    asked = s["watched_next_arrival"] == s[f"asked_{oldest}"]
    target = s.all(s["watched_next_arrival"] == start, s["first_beat"] == start)
    at_once = s.all(s["watched_next_arrival"] == start, s["watched_next_request"] == start)
    now = s["since_jump"] == 0
    return s.all(s.implies(settled, asked), s.implies(now, at_once), s.implies(s.no(s.any(settled, now)), target))


def fetches_in_its_slots(tenant: int) -> Callable[[Sight], Term]:
    """A asks for its next beat in each slot of a core that it holds, on the beat's channel: as long as it is RUNNING,
    the beat is in its window, and there is room for it. Only then, and by a jump, next_request moves.
    """

    def claim(s: Sight) -> Term:
        sizes, pointer = Sizes(s.config), f"tenant{tenant}_next_request"
        beat, start = s[pointer], beat_of(s, s[f"tenant{tenant}_program_counter"])
        room = s.no(ahead(s, beat, start) == s.config.fetch_beats)
        wants = s.all(s.is_running(tenant), room, s.logic.less(beat, s.tenant(tenant, "limit")))
        slots = []
        for channel in range(s.config.channels):
            here = s.low(beat, sizes.channel) == channel if sizes.channel else s.all()
            mine = [
                s.all(s.slot_names(core, channel), s.is_held(core), s.owned_by(core, tenant))
                for core in range(s.config.cores)
            ]
            slots.append(s.all(here, s.no(s.is_slot_of_host(channel)), s.any(*mine)))
        one = s.logic.plus(beat, 1, sizes.pointer)
        following = s.logic.choose(s.all(wants, s.any(*slots)), one, beat)
        jumps = s.any(
            starts(s, tenant),
            stops(s, tenant),
            s.no(s.next(f"tenant{tenant}_in_frame") == s.tenant(tenant, "in_frame")),
        )
        target = beat_of(s, s.next(f"tenant{tenant}_program_counter"))
        expected = s.logic.choose(jumps, target, following)
        return s.implies(s["watched_tenant"] == tenant, s.logic.equal(s.next(pointer), expected))

    return claim
