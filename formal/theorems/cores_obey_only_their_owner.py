"""No core ever receives an instruction of a tenant that does not own it, through any re-assignment.

An instruction that is on the port of core c (`instruction_valid`) in any cycle

- was in stage 1 of the dispatcher, one cycle before, for the tenant that owns c, while that tenant was RUNNING and c
  was HELD by it; when it arrives the same tenant still owns c, which is HELD or in its first cycle of DRAINING;
- is, bit for bit, part of a beat that a memory channel returned for an address inside the window of that tenant, asked
  for by a read in a slot of a core that was then HELD by that tenant. Every answer of a channel carries a *mark* unless
  it answers such a read; marks follow the data through the prefetch memory, the multiplexers and the registers of the
  netlist itself; and no marked instruction ever reaches a core of that tenant.

Besides: a port shows zeros when no instruction arrives; no two cores in use by one tenant have the same virtual index;
and owner and virtual index of a core change only while it is FREE, or back to zero when its scrub ends, and nothing is
in flight for the core or on any of its ports then.

Scope: every program, every answer of the memory, every order of host commands, every behaviour of the cores, and any
contents of the prefetch memory after reset, all of it marked. Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyrtl
from pyrtl import Const, Register, WireVector, concat

from formal.algebra import Term
from formal.busy_host import busy_host
from formal.ghosts import of_tenant, owned_slot, watched_tenant
from formal.lemmas import (
    command_lemmas,
    command_registers,
    core_lemmas,
    fetch_of,
    fetch_stage_lemmas,
    flight_in_use,
    flight_lemmas,
    make,
    unique_virtual_index,
    window_lemmas,
)
from formal.marks import follow_marks
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, age_of_answer, seen
from formal.sweep import is_swept, prefetch_entries, prefetch_lemma, sweep_progress_lemmas, watch_sweep
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.sizes import Sizes, named
from rtl.windows import Attachment

ASSUMPTIONS: tuple[str, ...] = ()


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it.

    `over_approximate` makes registers free that the proof need not know; a run of such a system is none of `block`.
    """
    cores = range(config.cores)
    ports = [f"core{core}_{port}" for core in cores for port in ("instruction", "instruction_address", *_PULSES)]
    ghosts = [f"core{core}_instruction_mark" for core in cores] + ["sender", "watched_tenant", "sweep_length"]
    ghosts += [f"channel{channel}_swept_{age_of_answer(config)}" for channel in range(config.channels)]
    watched = monitored(block, lambda lookup: _monitor(config, lookup))
    roots = [*ports, *ghosts, *command_registers(config)]
    system = TransitionSystem(watched, roots, _irrelevant(config) if over_approximate else ())
    return Problem(
        name="cores_obey_only_their_owner",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[Claim("an instruction of the watched tenant arrives", seen(config, _arrives))],
        stimulus=busy_host(config, system),
        free_memories={"watched_tenant_word", *(memory for memory in system.memories if "prefetch" in memory)},
    )


_PULSES = ("instruction_valid", "response_valid", "write_acknowledged", "request_taken", "sync_global")


def _irrelevant(config: PoolConfig) -> list[str]:
    """Registers that the proof does not need to know: made free, so that they may take any value in any cycle."""
    cores = [
        f"core{core}_{part}"
        for core in range(config.cores)
        for part in ("arrived", "credits_load", "credits_compute", "credits_save")
    ]
    parts = ("barriers", "pause_pending", "release", "in_frame", "return_address")
    return cores + [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in parts]


# ---- ghosts


def _monitor(config: PoolConfig, lookup: Lookup) -> None:
    """The ghosts.

    `watched_tenant` A; `channel{g}_own_{age}`: what the slot `age` cycles ago asked for is A's; the marks; `sender`,
    the tenant in stage 1 one cycle ago; and how far the sweep is.
    """
    watch_sweep(config, lookup)
    watched = watched_tenant(config)
    sources = {}
    for channel in range(config.channels):
        own = _asks_for_own_window(config, lookup, channel, watched)
        for age in range(3, age_of_answer(config) + 1):
            later = Register(1, f"channel{channel}_own_{age}")
            later.next <<= own
            own = later
        sources[lookup(f"channel{channel}_response")] = ~own
    follow_marks([lookup(f"core{core}_instruction") for core in range(config.cores)], sources)
    sender = Register(Sizes(config).tenant, "sender")
    sender.next <<= lookup("dispatch_tenant")


def _asks_for_own_window(config: PoolConfig, lookup: Lookup, channel: int, watched: WireVector) -> WireVector:
    """The channel's outputs read inside A's window, in a slot that belonged to a core HELD by A two cycles ago."""
    sizes = Sizes(config)
    slot = owned_slot(lookup, config, channel, watched)
    for age in (1, 2):
        later = Register(1, f"channel{channel}_own_{age}")
        later.next <<= slot
        slot = later
    beat = lookup(f"channel{channel}_request_address")[: max(1, sizes.beat - sizes.channel)]
    if sizes.channel:
        beat = concat(beat, Const(channel, sizes.channel))
    base, limit = (of_tenant(lookup, config, watched, part) for part in ("base", "limit"))
    inside = (beat >= base) & (beat < base + limit)
    reads = lookup(f"channel{channel}_request_valid") & ~lookup(f"channel{channel}_request_write")
    return named(f"channel{channel}_own", slot & reads & inside)


# ---- claims


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for core in range(config.cores):
        here = f"core{core}"
        yield claim(f"{here} receives only while HELD, from its owner", here, _sent_by_owner(core))
        yield claim(f"{here} still belongs to the sender on arrival", here, _arrives_at_owner(core))
        yield claim(f"{here} receives only words of its owner's window", here, _is_unmarked(core))
        yield claim(f"{here} sees zeros without an instruction", here, _sees_zeros(core))
        yield claim(f"{here} changes hands only when nothing is left", here, _changes_hands(core))
        for second in range(core):
            name = f"{here} and core{second} have different virtual indices"
            yield claim(name, here, unique_virtual_index(core, second))
    for channel in range(config.channels):
        for age in range(1, age_of_answer(config) + 1):
            name = f"channel{channel} carries nothing of an unused core {age} cycles after its slot"
            yield claim(name, f"channel{channel}", flight_in_use(channel, age))


def _sent_by_owner(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        sender_runs = s.each(
            s.implies(s["dispatch_tenant"] == tenant, s.is_running(tenant)) for tenant in range(s.config.tenants)
        )
        rightful = s.all(s["dispatch_valid"] == 1, s.is_held(core), s.owned_by(core, s["dispatch_tenant"]), sender_runs)
        return s.implies(s.next(f"core{core}_instruction_valid") == 1, rightful)

    return claim


def _arrives_at_owner(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.core(core, "instruction_valid") == 1, s.all(s.in_use(core, 1), s.owned_by(core, s["sender"]))
    )


def _is_unmarked(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s.core(core, "instruction_valid") == 1, s.owned_by(core, s["watched_tenant"])),
        s.core(core, "instruction_mark") == 0,
    )


def _sees_zeros(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.core(core, "instruction_valid") == 0,
        s.all(s.core(core, "instruction") == 0, s.core(core, "instruction_address") == 0),
    )


def _changes_hands(core: int) -> Callable[[Sight], Term]:
    """Owner and virtual index are written by GRANT to a FREE core and zeroed at the end of the scrub, ports idle."""

    def claim(s: Sight) -> Term:
        names = [f"core{core}_owner", f"core{core}_virtual"]
        stays = s.each(s.next(name) == s[name] for name in names)
        granted = s.core(core, "state") == int(CoreState.FREE)
        scrubbed = s.all(s.core(core, "state") == int(CoreState.SCRUBBING), *(s.next(name) == 0 for name in names))
        idle = [s.core(core, port) == 0 for port in _PULSES]
        return s.any(stays, s.all(s.any(granted, scrubbed), *idle))

    return claim


def _arrives(s: Sight) -> Term:
    return s.any(
        *(
            s.all(s.core(core, "instruction_valid") == 1, s.owned_by(core, s["watched_tenant"]))
            for core in range(s.config.cores)
        )
    )


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield from core_lemmas(config)
    yield from flight_lemmas(config)
    yield from fetch_stage_lemmas(config)
    yield from sweep_progress_lemmas(config)
    for channel in range(config.channels):
        for age in range(1, age_of_answer(config) + 1):
            group = f"channel{channel} age {age}"
            near = (f"channel{channel} age {age - past}" for past in range(3) if age > past)
            claim = make(config, "a fetch for the owner is the owner's", group, _fetch_is_own(channel, age))
            yield replace(claim, near=frozenset((*near, "window", "command")))
        for tenant in range(config.tenants):
            for entry in range(prefetch_entries(config)):
                group, place = f"channel{channel} prefetch", (channel, tenant, entry)
                yield prefetch_lemma(config, "what was swept is unmarked", group, channel, _swept_unmarked(*place))
                yield prefetch_lemma(config, "prefetched beats are unmarked", group, channel, _entry_unmarked(*place))
    yield make(config, "the word read is unmarked", "dispatch", _word_unmarked)
    for core in range(config.cores):
        yield make(config, "an instruction comes from the owner", f"core{core}", _arrives_at_owner(core))
        yield make(config, "an instruction is unmarked", f"core{core}", _is_unmarked(core))
        yield make(config, "no instruction, no bits", f"core{core}", _sees_zeros(core))


def _fetch_is_own(channel: int, age: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        own = s[f"channel{channel}_own" if age == 2 else f"channel{channel}_own_{age}"] == 1
        return s.each(
            s.implies(s.all(fetch_of(s, channel, age, core), s.owned_by(core, s["watched_tenant"])), own)
            for core in range(s.config.cores)
        )

    return claim


def _mark(s: Sight, channel: int, tenant: int, entry: int) -> Term:
    return s[f"channel{channel}_prefetch_mark"][tenant * prefetch_entries(s.config) + entry]


def _swept_unmarked(channel: int, tenant: int, entry: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s["watched_tenant"] == tenant, is_swept(s, channel, tenant, entry)), _mark(s, channel, tenant, entry) == 0
    )


def _entry_unmarked(channel: int, tenant: int, entry: int) -> Callable[[Sight], Term]:
    """What A finds in its prefetch when it is attached was put there by the sweep, and then by A's own fetches."""

    def claim(s: Sight) -> Term:
        clean = s.no(s.tenant(tenant, "attachment") == int(Attachment.DIRTY))
        return s.implies(s.all(s["watched_tenant"] == tenant, clean), _mark(s, channel, tenant, entry) == 0)

    return claim


def _word_unmarked(s: Sight) -> Term:
    return s.implies(
        s.all(s["dispatch_valid"] == 1, s.logic.equal(s["dispatch_tenant"], s["watched_tenant"])),
        s["dispatch_word_mark"] == 0,
    )
