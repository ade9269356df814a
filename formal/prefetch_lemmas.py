"""Invariants that tie a tenant's prefetch to the ghosts of `formal.prefetch`.

Every invariant that is repeated for each age speaks of one age only, and of what the ghosts knew one cycle ago, so
that its proof needs next to nothing of the netlist. The few invariants about the present tie the two together:
next_arrival is what next_request was L + 2 cycles ago, unless there was a jump since; then nothing has arrived yet,
and what is still in flight from before the jump carries the other epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from formal.algebra import Term
from formal.lemmas import fetch_of
from formal.prefetch import ahead, beat_of, reads_at_outputs, ring_bits, time_bits, word_of
from formal.problem import Candidate
from formal.shell import Sight, age_of_answer, register_in_flight, seen
from formal.sweep import prefetch_entries
from isa.configuration import PoolConfig
from isa.registers import CoreState, TenantState
from rtl.channels import Kind
from rtl.sizes import Sizes
from rtl.windows import Attachment

_Claim = Callable[[Sight], Term]


def prefetch_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """Everything about A's pointers, what is in flight for A, and the ring."""
    oldest = age_of_answer(config)
    last = f"age {oldest}"

    def make(schema: str, group: str, claim: _Claim, *near: str) -> Candidate:
        return Candidate(schema, seen(config, claim), group, near=frozenset((group, *near)))

    arrival = [f"channel{channel} {last}" for channel in range(config.channels)]
    tenants = [f"tenant{tenant}" for tenant in range(config.tenants)]
    present = ["ring", "ghost", "jump", "command", last, *arrival, *tenants]
    yield make("program counter <= next arrival <= next request <= program counter + F", "ring", _ordered, *present)
    yield make("next arrival is what was asked for L + 2 cycles ago", "ring", _arrived, *present)
    yield make("nothing has arrived yet after a jump", "ring", _nothing_arrived, *present)
    yield make("a jump changes the epoch, STOP resets it", "jump", _changes_epoch)
    yield make("one fetch at a time", "ghost", _one_step, *present)
    yield make("what was asked for last is still to come", "ghost", _newest_to_come, *present)
    yield make("a jump waits for the fetches after the last", "ring", _settled, *present)
    yield make("stage 1 holds a word of A that has arrived", "ring", _has_word, *present)
    yield make("a DONE tenant jumped long ago", "ring", _done_is_settled, *present)
    yield make("a stopped tenant has an empty ring", "ring", _stopped_is_empty, *present)
    yield make("a stopped tenant was stopped, or is so by STOP", "ring", _was_stopped, *present)
    for core in range(config.cores):
        yield make("a tenant that is being stopped has no core", "stopped", _stopped_has_no_core(core), "command")
    for tenant in range(config.tenants):
        yield make("only an ACTIVE tenant makes progress", f"tenant{tenant}", _active(tenant), "command")
        yield make("stage 1 holds the word at the program counter", f"tenant{tenant}", _current(tenant))
        yield make("stage 1 holds a word of the window", f"tenant{tenant}", _inside(tenant), "window", "command")
        yield make("RETURN stays in the window", f"tenant{tenant}", _returns_inside(tenant), "window", "command")
    yield make("the ghost counts the cycles since a jump", "ghost", _counts_cycles)
    for age in range(2, oldest + 2):
        near = [f"age {age - 1}", "age 2", last, f"age {oldest + 1}", "ghost"]
        yield make("fetches one at a time", f"age {age}", _one_step_at(age), *near)
        yield make("a beat asked for came before the last", f"age {age}", _still_to_come(age), *near)
        yield make("each entry knows when it was asked for", f"age {age}", _time_known(config, age), *near)
    for age in range(1, oldest + 1):
        yield make("after a jump fetching starts at the target", f"age {age}", _starts_at_target(age), f"age {age - 1}")
        for channel in range(config.channels):
            group, before = f"channel{channel} age {age}", f"channel{channel} age {age - 1}"
            near = [before, "stopped", "ring", "jump", "command"]
            if age == 1:
                yield make("the stage holds A's fetch", group, _stage_holds_fetch(channel), *near)
            else:
                yield make("A's fetches are in flight", group, _in_flight(channel, age), *near)
                yield make("fetches from before a jump carry the other epoch", group, _old(channel, age), *near)
            yield make("nothing is in flight for a stopped tenant", group, _none_in_flight(channel, age), *near)
            yield make("a sweep in flight is not over", group, _sweep_in_flight(channel, age), before)
    for channel in range(config.channels):
        group = f"channel{channel} age 2"
        near = [f"channel{channel} age 1", "ring", "window", "command"]
        yield make("the outputs read the beat asked for", group, reads_at_outputs(channel), *near)
    near = ["ring", "ghost", "window", last]
    yield make(
        "what has arrived is what was answered", "entry", _ring_is_expected,
        *near, "stopped", "age 2", f"age {oldest + 1}", *arrival, *tenants,
    )  # fmt: skip
    for entry in range(config.fetch_beats):
        yield make("the ring holds what was answered", f"words {entry}", _ring_holds(config, entry))
        yield make(
            "stage 1 holds what was answered", f"dispatch {entry}", _expected_at_dispatch(entry),
            *near, "entry", f"words {entry}",
        )  # fmt: skip


# ---- the present


def _oldest(s: Sight) -> int:
    return age_of_answer(s.config)


def _start(s: Sight) -> Term:
    return beat_of(s, s["watched_program_counter"])


def _ordered(s: Sight) -> Term:
    arrived, asked = (ahead(s, s[f"watched_next_{what}"], _start(s)) for what in ("arrival", "request"))
    return s.all(s.logic.at_most(asked, s.config.fetch_beats), s.logic.at_most(arrived, asked))


def _arrived(s: Sight) -> Term:
    return s["watched_next_arrival"] == _arrival_by_ghosts(s)


def _nothing_arrived(s: Sight) -> Term:
    return s.implies(s.logic.less(s["since_jump"], _oldest(s)), s["watched_next_arrival"] == _start(s))


def _one_step(s: Sight) -> Term:
    return s.implies(s.logic.less(0, s["since_jump"]), s.logic.at_most(ahead(s, s["asked_0"], s["asked_1"]), 1))


def _newest_to_come(s: Sight) -> Term:
    asked = s.all(s.logic.less(0, s["since_jump"]), _moved(s, 1))
    waiting = ahead(s, s["asked_0"], _arrival_by_ghosts(s))
    return s.all(s.logic.at_most(waiting, s.config.fetch_beats), s.implies(asked, s.no(waiting == 0)))


def _arrival_by_ghosts(s: Sight) -> Term:
    """What next_arrival is, as far as the ghosts know."""
    since, oldest = s["since_jump"], _oldest(s)
    later = s.logic.choose(since == oldest, s[f"asked_{oldest}"], s["first_beat"])
    return s.logic.choose(since == 0, s["asked_0"], later)


def _settled(s: Sight) -> Term:
    quiet = s.any(s["since_jump_register"] == _oldest(s) + 1, s["watched_was_stopped"] == 1, s["watched_stopped"] == 1)
    return s.implies(s["jumped"] == 1, quiet)


def _changes_epoch(s: Sight) -> Term:
    other, stopped = s.no(s["watched_epoch"] == s["watched_last_epoch"]), s["watched_stopped"] == 1
    reset = s.implies(stopped, s["watched_epoch"] == 0)
    return s.all(reset, s.implies(s.no(stopped), s.logic.equal(other, s["jumped"] == 1)))


def _done_is_settled(s: Sight) -> Term:
    return s.implies(s["watched_progress"] == int(TenantState.DONE), s["since_jump"] == _oldest(s))


def _stopped_is_empty(s: Sight) -> Term:
    beats = [s["watched_next_request"], s["watched_next_arrival"]]
    return s.implies(s["watched_progress"] == 0, s.all(*(beat == _start(s) for beat in beats)))


def _was_stopped(s: Sight) -> Term:
    return s.implies(s["watched_progress"] == 0, s.any(s["watched_was_stopped"] == 1, s["watched_stopped"] == 1))


def _stopped_has_no_core(core: int) -> _Claim:
    return lambda s: s.implies(
        s["watched_stopped"] == 1,
        s.any(s.core(core, "state") == int(CoreState.FREE), s.no(s.owned_by(core, s["watched_tenant"]))),
    )


def _active(tenant: int) -> _Claim:
    return lambda s: s.any(s.tenant(tenant, "progress") == 0, s.tenant(tenant, "attachment") == int(Attachment.ACTIVE))


def _current(tenant: int) -> _Claim:
    def claim(s: Sight) -> Term:
        held = s.all(s["dispatch_valid"] == 1, s["dispatch_tenant"] == tenant, s.is_running(tenant))
        return s.implies(held, s["dispatch_address"] == s.tenant(tenant, "program_counter"))

    return claim


def _inside(tenant: int) -> _Claim:
    def claim(s: Sight) -> Term:
        held = s.all(s["dispatch_valid"] == 1, s["dispatch_tenant"] == tenant)
        in_window = s.logic.less(beat_of(s, s["dispatch_address"]), s.tenant(tenant, "limit"))
        return s.implies(held, s.any(s["dispatch_is_outside"] == 1, in_window))

    return claim


def _returns_inside(tenant: int) -> _Claim:
    def claim(s: Sight) -> Term:
        address, sizes = s.tenant(tenant, "return_address"), Sizes(s.config)
        beat = s.logic.field(address, sizes.pointer + sizes.word - 1, sizes.word)
        first = s.low(address, sizes.word) == 0
        last = s.all(first, s.logic.equal(beat, s.tenant(tenant, "limit")))
        inside = s.any(s.logic.less(beat, s.tenant(tenant, "limit")), last)
        return s.all(s.implies(s.tenant(tenant, "progress") == 0, address == 0), s.any(address == 0, inside))

    return claim


def _has_word(s: Sight) -> Term:
    mine = s.logic.equal(s["dispatch_tenant"], s["watched_tenant"])
    running = s["watched_progress"] == int(TenantState.RUNNING)
    held = s.all(s["dispatch_valid"] == 1, mine, running)
    there = s.no(_start(s) == s["watched_next_arrival"])
    return s.implies(held, s.any(s["dispatch_is_outside"] == 1, there))


# ---- what the ghosts knew one cycle ago: age a then is age a + 1 now


def _moved(s: Sight, age: int) -> Term:
    """next_request moved `age` cycles ago. It moves by one, so that its lowest bit tells."""
    return s.no(s.low(s[f"asked_{age - 1}"], 1) == s.low(s[f"asked_{age}"], 1))


def _asked_at(s: Sight, age: int) -> Term:
    """A's fetch was granted `age` cycles ago, and there was no jump since, as of the last cycle."""
    return s.all(s.logic.at_most(age, s["since_jump_register"]), _moved(s, age))


def _last_arrival(s: Sight) -> Term:
    """next_arrival of the last cycle."""
    oldest = _oldest(s)
    return s.logic.choose(s["since_jump_register"] == oldest + 1, s[f"asked_{oldest + 1}"], s["first_beat"])


def _counts_cycles(s: Sight) -> Term:
    register = s["since_jump_register"]
    return s.all(s.logic.less(0, register), s.logic.at_most(register, _oldest(s) + 1))


def _one_step_at(age: int) -> _Claim:
    return lambda s: s.implies(
        s.logic.at_most(age, s["since_jump_register"]),
        s.logic.at_most(ahead(s, s[f"asked_{age - 1}"], s[f"asked_{age}"]), 1),
    )


def _still_to_come(age: int) -> _Claim:
    def claim(s: Sight) -> Term:
        bits = ring_bits(s.config) + 1  # enough for differences of up to F
        arrival = s.low(_last_arrival(s), bits)
        beat, newest = (s.logic.minus(s.low(s[f"asked_{which}"], bits), arrival, bits) for which in (age, 1))
        return s.implies(_asked_at(s, age), s.logic.less(beat, newest))

    return claim


def _time_known(config: PoolConfig, age: int) -> _Claim:
    bits = ring_bits(config)

    def claim(s: Sight) -> Term:
        time = s.logic.minus(s["ghost_time"], age, time_bits(config))
        entry = s.low(s[f"asked_{age}"], bits)
        times = [s.implies(entry == e, s[f"asked_at_{e}"] == time) for e in range(config.fetch_beats)]
        return s.implies(_asked_at(s, age), s.all(*times))

    return claim


def _starts_at_target(age: int) -> _Claim:
    return lambda s: s.implies(s["since_jump_register"] == age, s[f"asked_{age}"] == s["first_beat"])


# ---- what is in flight


def _fetches(s: Sight, channel: int, age: int) -> Term:
    """The channel's slot `age` cycles ago carried a fetch, for a core that belongs to A."""
    return s.any(
        *(
            s.all(fetch_of(s, channel, age, core), s.owned_by(core, s["watched_tenant"]))
            for core in range(s.config.cores)
        )
    )


def _stage_holds_fetch(channel: int) -> _Claim:
    """The present, of age 1: A's fetch is in the stage, with the beat and the epoch of its slot."""

    def claim(s: Sight) -> Term:
        name = f"channel{channel}_stage_"
        fetches = _fetches(s, channel, 1)
        here = s.low(s["asked_1"], Sizes(s.config).channel) == channel
        wanted = s.all(_moved(s, 1), here)
        beat = s.logic.equal(s[f"{name}offset"], s["asked_1"])
        same_epoch = s[f"{name}epoch"] == s["watched_epoch"]
        after = s.all(s.implies(wanted, fetches), s.implies(fetches, s.all(wanted, same_epoch, beat)))
        old = s.implies(fetches, s.no(same_epoch))
        return s.logic.all([s.implies(s.no(s["since_jump"] == 0), after), s.implies(s["since_jump"] == 0, old)])

    return claim


def _in_flight(channel: int, age: int) -> _Claim:
    def claim(s: Sight) -> Term:
        fetches = _fetches(s, channel, age)
        here = s.low(s[f"asked_{age}"], Sizes(s.config).channel) == channel
        wanted = s.all(_asked_at(s, age), here)
        epoch = s[register_in_flight(channel, age, "epoch")] == s["watched_last_epoch"]
        known = s.logic.at_most(age, s["since_jump_register"])
        return s.implies(known, s.all(s.implies(wanted, fetches), s.implies(fetches, s.all(wanted, epoch))))

    return claim


def _old(channel: int, age: int) -> _Claim:
    def claim(s: Sight) -> Term:
        old = s.all(s.logic.less(s["since_jump_register"], age), _fetches(s, channel, age))
        return s.implies(old, s.no(s[register_in_flight(channel, age, "epoch")] == s["watched_last_epoch"]))

    return claim


def _none_in_flight(channel: int, age: int) -> _Claim:
    return lambda s: s.implies(s["watched_was_stopped"] == 1, s.no(_fetches(s, channel, age)))


def _sweep_in_flight(channel: int, age: int) -> _Claim:
    return lambda s: s.implies(
        s.in_flight(channel, age) == int(Kind.SWEEP),
        s.all(s["sweep_is_busy"] == 1, s.logic.less(s["sweep_timer"], age)),
    )


# ---- the ring


def _ring_is_expected(s: Sight) -> Term:
    bits, start = ring_bits(s.config), _start(s)
    place = s.logic.minus(s["watched_entry"], s.low(start, bits), bits) if bits else 0
    has_arrived = s.logic.less(place, ahead(s, s["watched_next_arrival"], start))
    beat = s.logic.plus(start, place, Sizes(s.config).pointer)
    return s.implies(has_arrived, s.all(s["ring_is_expected"] == 1, s["expected_beat"] == beat))


def _ring_holds(config: PoolConfig, entry: int) -> _Claim:
    entries, channel = prefetch_entries(config), entry % config.channels

    def claim(s: Sight) -> Term:
        bank, place = s[f"channel{channel}_prefetch"], entry // config.channels
        held = bank[place]
        for tenant in range(1, config.tenants):
            held = s.logic.choose(s["watched_tenant"] == tenant, bank[entries * tenant + place], held)
        here = s.all(s["watched_entry"] == entry, s["ring_is_expected"] == 1)
        return s.implies(here, held == s["expected_data"])

    return claim


def _expected_at_dispatch(entry: int) -> _Claim:
    """If stage 1 holds a word of A in entry E, it is that of the beat that the memory answered."""

    def claim(s: Sight) -> Term:
        beat = beat_of(s, s["dispatch_address"])
        here = s.all(
            s["watched_entry"] == entry,
            s["dispatch_valid"] == 1,
            s["dispatch_is_outside"] == 0,
            s.logic.equal(s["dispatch_tenant"], s["watched_tenant"]),
            s.low(beat, ring_bits(s.config)) == entry,
        )
        same = s.all(s["expected_beat"] == beat, s["dispatch_word"] == word_of(s, s["expected_data"]))
        return s.implies(here, same)

    return claim
