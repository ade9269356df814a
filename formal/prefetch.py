"""What the prefetch of one arbitrary tenant A must hold, as ghosts that watch, and the invariants that tie them to it.

    age 0        slot: A's fetch of beat p = next_request
    age 2        the channel's outputs read base + p
    age 2 + L    the channel's input answers; the beat goes to ring entry p mod F, next_arrival becomes p + 1

The ghosts remember A's next_request of the last L + 2 cycles, how many cycles ago it last jumped, when each entry of
the ring was last asked for, and, for one arbitrary entry E, which beat the memory last answered for it, and what. With
these every invariant speaks of one age only: next_arrival is what next_request was L + 2 cycles ago, unless there was
a jump since; then nothing has arrived yet, and what is still in flight from before carries the other epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pyrtl import Const, Register, WireVector, select

from formal.algebra import Term
from formal.ghosts import arbitrary, named, of_tenant, watched_tenant
from formal.lemmas import fetch_of, make
from formal.monitor import Lookup
from formal.problem import Candidate
from formal.shell import Sight, age_of_answer, register_in_flight
from isa.configuration import PoolConfig
from isa.registers import Command, Result, TenantState
from rtl.channels import Kind
from rtl.sizes import Sizes
from rtl.windows import Attachment

_PARTS = ("program_counter", "next_request", "next_arrival", "epoch", "progress", "attachment", "base", "limit")


def ring_bits(config: PoolConfig) -> int:
    """Bits of an entry of a tenant's prefetch ring, its channel included."""
    return (config.fetch_beats - 1).bit_length()


def _clock_bits(config: PoolConfig) -> int:
    return (age_of_answer(config) + 1).bit_length()


# ---- ghosts


def watch_prefetch(config: PoolConfig, lookup: Lookup) -> None:
    """Build `watched_*`, `asked_{age}`, `since_jump`, `asked_at_{entry}`, `expected_beat` and `expected_data`."""
    tenant = watched_tenant(config)
    watched = {part: named(f"watched_{part}", of_tenant(lookup, config, tenant, part)) for part in _PARTS}
    since = _since_jump(config, lookup, tenant, watched["epoch"])
    oldest = age_of_answer(config)
    asked: list[WireVector] = [named("asked_0", watched["next_request"])]
    for age in range(1, oldest + 1):
        later = Register(len(asked[0]), f"asked_{age}")
        later.next <<= asked[-1]
        asked.append(later)
    _remember_times(config, asked, since)
    _remember_answers(config, lookup, asked, since)


def _since_jump(config: PoolConfig, lookup: Lookup, tenant: WireVector, epoch: WireVector) -> WireVector:
    """Cycles since A's pointers last jumped; 0 while they show the jump's target for the first time, at most L + 2."""
    oldest = age_of_answer(config)
    last_epoch, stopped = Register(1, "watched_last_epoch"), Register(1, "watched_stopped")
    last_epoch.next <<= epoch
    stopped.next <<= (
        lookup("command_is_decided")
        & (lookup("command_verdict") == int(Result.ACCEPTED))
        & (lookup("command") == int(Command.STOP))
        & (lookup("argument_tenant") == tenant)
    )
    counter = Register(oldest.bit_length(), "since_jump_counter", reset_value=oldest)
    since = named("since_jump", select((epoch != last_epoch) | stopped, Const(0, len(counter)), counter))
    counter.next <<= select(since == oldest, since, (since + 1)[: len(since)])
    return since


def _remember_times(config: PoolConfig, asked: list[WireVector], since: WireVector) -> None:
    clock = Register(_clock_bits(config), "ghost_time")
    clock.next <<= (clock + 1)[: len(clock)]
    just_asked = (since >= 1) & (asked[0] != asked[1])
    for entry in range(config.fetch_beats):
        here = asked[1][: ring_bits(config)] == entry if ring_bits(config) else Const(1, 1)
        time = Register(len(clock), f"asked_at_{entry}")
        time.next <<= select(just_asked & here, (clock - 1)[: len(clock)], time)


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


def asked_at_age(s: Sight, age: int) -> Term:
    """A's fetch was granted a slot `age` cycles ago, and there was no jump since."""
    return s.all(s.logic.at_most(age, s["since_jump"]), s.no(s[f"asked_{age - 1}"] == s[f"asked_{age}"]))


def reads_at_outputs(channel: int) -> Callable[[Sight], Term]:
    """Two cycles after the slot of A's fetch of beat p the channel's outputs read beat base + p of the memory."""

    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        beat, name = s["asked_2"], f"channel{channel}_request_"
        here = s.low(beat, sizes.channel) == channel if sizes.channel else s.all()
        physical = s.logic.plus(s["watched_base"], beat, sizes.beat)
        address = s.logic.field(physical, sizes.beat - 1, sizes.channel) if sizes.beat > sizes.channel else 0
        reads = s.all(s[f"{name}valid"] == 1, s[f"{name}write"] == 0, s[f"{name}address"] == address)
        inside = s.logic.less(beat, s["watched_limit"])
        return s.implies(s.all(asked_at_age(s, 2), here), s.all(reads, inside))

    return claim


def expected_at_dispatch(s: Sight, channel: int) -> Term:
    """If stage 1 holds a word of A in entry E, on this channel, its beat is the one that the memory answered."""
    sizes, bits = Sizes(s.config), ring_bits(s.config)
    beat = beat_of(s, s["dispatch_address"])
    here = s.all(
        s["dispatch_valid"] == 1,
        s["dispatch_is_outside"] == 0,
        s.logic.equal(s["dispatch_tenant"], s["watched_tenant"]),
        s.logic.equal(s.low(beat, bits), s["watched_entry"]),
        s.low(beat, sizes.channel) == channel,
    )
    same = s.all(s["expected_beat"] == beat, s[f"channel{channel}_dispatch_beat"] == s["expected_data"])
    return s.implies(here, same)


# ---- invariants


def prefetch_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """Everything about A's pointers, what is in flight for A, and the ring."""
    oldest = age_of_answer(config)
    yield make(config, "program counter <= next arrival <= next request <= program counter + F", "ring", _ordered)
    yield make(config, "nothing has arrived yet after a jump", "ring", _nothing_arrived)
    yield make(config, "what has arrived was asked for L + 2 cycles ago", "ring", _arrived)
    yield make(config, "a DONE tenant jumped long ago", "ring", _done_is_settled)
    yield make(config, "a stopped tenant has an empty ring", "ring", _stopped_is_empty)
    for tenant in range(config.tenants):
        yield make(config, "only an ACTIVE tenant makes progress", f"tenant{tenant}", _active(tenant))
        yield make(config, "stage 1 holds the word at the program counter", f"tenant{tenant}", _current(tenant))
    for age in range(1, oldest + 1):
        yield make(config, "one fetch at a time", f"age {age}", _one_step(age))
        yield make(config, "after a jump fetching starts at the target", f"age {age}", _starts_at_target(age))
        yield make(config, "a beat asked for is still to come", f"age {age}", _still_to_come(age, 0))
        if age >= 2:
            yield make(config, "a beat asked for came before the last", f"age {age}", _still_to_come(age, 1))
            yield make(config, "each entry knows when it was asked for", f"age {age}", _time_known(config, age))
        for channel in range(config.channels):
            group = f"channel{channel} age {age}"
            yield make(config, "A's fetches are in flight", group, _in_flight(channel, age))
            yield make(config, "fetches from before a jump carry the other epoch", group, _other_epoch(channel, age))
            yield make(config, "nothing is in flight for a stopped tenant", group, _nothing_in_flight(channel, age))
            yield make(config, "a sweep in flight is not over", group, _sweep_in_flight(channel, age))
    for channel in range(config.channels):
        yield make(config, "the stage holds the beat asked for", f"channel{channel} age 1", _stage_holds_beat(channel))
        yield make(config, "the outputs read the beat asked for", f"channel{channel} age 2", reads_at_outputs(channel))
        yield make(config, "stage 1 holds what was answered", "dispatch", _expected_at_dispatch(channel))
    for tenant in range(config.tenants):
        for entry in range(config.fetch_beats):
            yield make(config, "the ring holds what was answered", f"entry {entry}", _ring_holds(tenant, entry))


def _ordered(s: Sight) -> Term:
    start = beat_of(s, s["watched_program_counter"])
    arrived, asked = (ahead(s, s[f"watched_next_{what}"], start) for what in ("arrival", "request"))
    return s.all(s.logic.at_most(asked, s.config.fetch_beats), s.logic.at_most(arrived, asked))


def _nothing_arrived(s: Sight) -> Term:
    jumped = s.logic.less(s["since_jump"], age_of_answer(s.config))
    return s.implies(jumped, s["watched_next_arrival"] == beat_of(s, s["watched_program_counter"]))


def _arrived(s: Sight) -> Term:
    oldest = age_of_answer(s.config)
    return s.implies(s["since_jump"] == oldest, s["watched_next_arrival"] == s[f"asked_{oldest}"])


def _done_is_settled(s: Sight) -> Term:
    done = s["watched_progress"] == int(TenantState.DONE)
    return s.implies(done, s["since_jump"] == age_of_answer(s.config))


def _stopped_is_empty(s: Sight) -> Term:
    beats = [s["watched_next_request"], s["watched_next_arrival"]]
    start = beat_of(s, s["watched_program_counter"])
    return s.implies(s["watched_progress"] == 0, s.all(*(beat == start for beat in beats)))


def _active(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.any(s.tenant(tenant, "progress") == 0, s.tenant(tenant, "attachment") == int(Attachment.ACTIVE))


def _current(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        held = s.all(s["dispatch_valid"] == 1, s["dispatch_tenant"] == tenant, s.is_running(tenant))
        counter = s.tenant(tenant, "program_counter")
        has_word = s.no(beat_of(s, counter) == s.tenant(tenant, "next_arrival"))
        there = s.any(s["dispatch_is_outside"] == 1, has_word)
        return s.implies(held, s.all(s["dispatch_address"] == counter, there))

    return claim


def _one_step(age: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.logic.at_most(age, s["since_jump"]), s.logic.at_most(ahead(s, s[f"asked_{age - 1}"], s[f"asked_{age}"]), 1)
    )


def _starts_at_target(age: int) -> Callable[[Sight], Term]:
    """For since_jump = age - 1."""
    return lambda s: s.implies(
        s["since_jump"] == age - 1, s[f"asked_{age - 1}"] == beat_of(s, s["watched_program_counter"])
    )


def _still_to_come(age: int, newest: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        arrival = s["watched_next_arrival"]
        place = ahead(s, s[f"asked_{age}"], arrival)
        return s.implies(asked_at_age(s, age), s.logic.less(place, ahead(s, s[f"asked_{newest}"], arrival)))

    return claim


def _time_known(config: PoolConfig, age: int) -> Callable[[Sight], Term]:
    bits = ring_bits(config)

    def claim(s: Sight) -> Term:
        time = s.logic.minus(s["ghost_time"], age, _clock_bits(config))
        entry = s.low(s[f"asked_{age}"], bits)
        times = [s.implies(entry == e, s[f"asked_at_{e}"] == time) for e in range(config.fetch_beats)]
        return s.implies(asked_at_age(s, age), s.all(*times))

    return claim


def _fetches(s: Sight, channel: int, age: int) -> Term:
    """The channel's slot `age` cycles ago carried a fetch, for a core that belongs to A."""
    return s.any(
        *(
            s.all(fetch_of(s, channel, age, core), s.owned_by(core, s["watched_tenant"]))
            for core in range(s.config.cores)
        )
    )


def _in_flight(channel: int, age: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        fetches = _fetches(s, channel, age)
        here = s.low(s[f"asked_{age}"], sizes.channel) == channel
        wanted = s.all(asked_at_age(s, age), here)
        epoch = s[register_in_flight(channel, age, "epoch")] == s["watched_epoch"]
        present = s.logic.at_most(age, s["since_jump"])
        return s.implies(present, s.all(s.implies(wanted, fetches), s.implies(fetches, s.all(wanted, epoch))))

    return claim


def _other_epoch(channel: int, age: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        old = s.all(s.logic.less(s["since_jump"], age), _fetches(s, channel, age))
        return s.implies(old, s.no(s[register_in_flight(channel, age, "epoch")] == s["watched_epoch"]))

    return claim


def _nothing_in_flight(channel: int, age: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s["watched_progress"] == 0, s.no(_fetches(s, channel, age)))


def _sweep_in_flight(channel: int, age: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.in_flight(channel, age) == int(Kind.SWEEP),
        s.all(s["sweep_is_busy"] == 1, s.logic.less(s["sweep_timer"], age)),
    )


def _stage_holds_beat(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        here = s.low(s["asked_1"], sizes.channel) == channel
        return s.implies(
            s.all(asked_at_age(s, 1), here), s.logic.equal(s[f"channel{channel}_stage_offset"], s["asked_1"])
        )

    return claim


def _expected_at_dispatch(channel: int) -> Callable[[Sight], Term]:
    return lambda s: expected_at_dispatch(s, channel)


def _ring_holds(tenant: int, entry: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        bits, channels = ring_bits(s.config), s.config.channels
        entries = s.config.fetch_beats // channels
        start = beat_of(s, s["watched_program_counter"])
        place = s.logic.minus(entry, s.low(start, bits), bits) if bits else 0
        has_arrived = s.logic.less(place, ahead(s, s["watched_next_arrival"], start))
        here = s.all(s["watched_tenant"] == tenant, s["watched_entry"] == entry, has_arrived)
        held = s[f"channel{entry % channels}_prefetch"][tenant * entries + entry // channels]
        beat = s.logic.plus(start, place, Sizes(s.config).pointer)
        return s.implies(here, s.all(held == s["expected_data"], s["expected_beat"] == beat))

    return claim
