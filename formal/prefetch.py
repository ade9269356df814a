"""What the prefetch of one arbitrary tenant A must hold, as ghosts that watch it.

    age 0        slot: A's fetch of beat p = next_request
    age 2        the channel's outputs read base + p
    age 2 + L    the channel's input answers; the beat goes to ring entry p mod F, next_arrival becomes p + 1

The ghosts remember A's next_request of the last L + 3 cycles (`asked_{age}`), how long ago A last jumped and to
which beat, when each entry of the ring was last asked for, and, for one arbitrary entry E, which beat the memory last
answered for it, and what (`expected_beat`, `expected_data`). `formal.prefetch_lemmas` ties the netlist to them.
"""

from __future__ import annotations

from collections.abc import Callable

from pyrtl import Const, Register, WireVector, select

from formal.algebra import Term
from formal.ghosts import arbitrary, of_tenant, watched_tenant
from formal.monitor import Lookup
from formal.shell import Sight, age_of_answer
from isa.configuration import PoolConfig
from isa.registers import Command, Result
from rtl.sizes import Sizes, named

_PARTS = ("program_counter", "next_request", "next_arrival", "epoch", "progress", "attachment", "base", "limit")


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
    last_epoch, stopped = Register(1, "watched_last_epoch"), Register(1, "watched_stopped")
    last_epoch.next <<= watched["epoch"]
    stopped.next <<= (
        lookup("command_is_decided")
        & (lookup("command_verdict") == int(Result.ACCEPTED))
        & (lookup("command") == int(Command.STOP))
        & (lookup("argument_tenant") == tenant)
    )
    was_stopped = Register(1, "watched_was_stopped", reset_value=1)
    was_stopped.next <<= watched["progress"] == 0
    register = Register((oldest + 1).bit_length(), "since_jump_register", reset_value=oldest + 1)
    jumped = named("jumped", (watched["epoch"] != last_epoch) | stopped)
    capped = select(register == oldest + 1, Const(oldest, len(register)), register)
    since = named("since_jump", select(jumped, Const(0, len(register)), capped))
    register.next <<= (since + 1)[: len(register)]
    return since


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
    sizes, oldest = Sizes(config), age_of_answer(config)
    entry = arbitrary("watched_entry", max(1, ring_bits(config)), config.fetch_beats)
    here = asked[oldest][: ring_bits(config)] == entry if ring_bits(config) else Const(1, 1)
    answers = (since == oldest) & (asked[oldest - 1] != asked[oldest]) & here
    data = lookup("channel0_response")
    for channel in range(1, config.channels):
        data = select(entry[: sizes.channel] == channel, lookup(f"channel{channel}_response"), data)
    for name, value in (("expected_beat", asked[oldest]), ("expected_data", data)):
        remembered = Register(len(value), name)
        remembered.next <<= select(answers, value, remembered)


# ---- claims


def beat_of(s: Sight, word_address: Term) -> Term:
    """The beat of an instruction's address."""
    sizes = Sizes(s.config)
    return s.logic.field(word_address, sizes.pointer + sizes.word - 1, sizes.word)


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
