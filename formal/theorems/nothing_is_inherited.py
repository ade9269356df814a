"""What a new owner gets is as after reset: no bit of it depends on who had it before.

- A core that is FREE, and so every core when GRANT takes effect, has an entry of zeros, full credits, no arrival at a
  barrier and zeros on all its ports; and nothing is in flight for it on any channel, whatever kind of access.
- A core becomes FREE only at the end of a scrub that began with its reset or with the end of DRAINING: `scrub` is on
  its port for scrub_cycles consecutive cycles, with the addresses 0, 1, 2, ..., and is never there at any other time.
  When the scrub begins nothing is in flight for the core. A core becomes HELD only from FREE, and instructions come to
  cores that are HELD or DRAINING only. What it does inside a core is lemma L4 (formal/structure.py):
  from any state every register is zero after two cycles of scrub, and every word of memory after its address.
- A tenant that is DETACHED, and so every tenant when ATTACH takes effect, has a context of zeros (program counter,
  call frame, fetch pointers, epoch, progress, pause, barriers, cycles, fault), a window of zeros, a prefetch memory of
  zeros, and nothing in flight. The context is zero, too, while it is STOPPED, so that START begins from zeros.

Scope: every program, every answer of memory, every order of host commands, any behaviour of the cores, and any contents
of the prefetch memory after reset. Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pyrtl
from pyrtl import Const, Register, WireVector

from formal.accesses import by_age
from formal.algebra import Term
from formal.busy_host import busy_host
from formal.lemmas import command_lemmas, core_lemmas, flight_in_use, flight_lemmas, make, window_lemmas
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem
from formal.relations import context_registers, shell_to_core
from formal.shell import CORE_KINDS, Sight, age_of_answer, seen
from formal.sweep import prefetch_entries, prefetch_is_clean, sweep_lemmas, watch_sweep
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.dispatcher import ENGINES
from rtl.sizes import SCRUB_MARGIN_CYCLES, Sizes
from rtl.windows import Attachment

ASSUMPTIONS: tuple[str, ...] = ()


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""
    system = TransitionSystem(monitored(block, lambda lookup: watch(config, lookup)))
    return Problem(
        name="nothing_is_inherited",
        system=system,
        properties=list(_properties(config, system)),
        candidates=list(invariants(config, system)),
        covers=[
            Claim("a core is FREE after DRAINING", seen(config, _scrubs_owned)),
            Claim("a tenant is attached", seen(config, _attached)),
        ],
        stimulus=busy_host(config, system),
        free_memories={f"channel{channel}_prefetch" for channel in range(config.channels)},
    )


def watch(config: PoolConfig, lookup: Lookup) -> None:
    """Build the ghosts of `watch_sweep` and `core{c}_was_active`: while c was not FREE, its owner has been ACTIVE.

    An ACTIVE tenant stays so while it has cores. So nothing need be said of tenants for each age of what is in flight.
    """
    watch_sweep(config, lookup)
    for core in range(config.cores):
        idle: WireVector = Const(0, 1)
        for tenant in range(config.tenants):
            is_owner = lookup(f"core{core}_owner") == tenant
            idle = idle | (is_owner & (lookup(f"tenant{tenant}_attachment") != int(Attachment.ACTIVE)))
        was_active = Register(1, f"core{core}_was_active", reset_value=0)
        was_active.next <<= (lookup(f"core{core}_state") != int(CoreState.FREE)) & (was_active | ~idle)


# ---- claims


def _properties(config: PoolConfig, system: TransitionSystem) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for core in range(config.cores):
        here = f"core{core}"
        yield claim(f"{here} is at reset when FREE", here, _free_is_reset(core))
        yield claim(f"{here} is scrubbed before it is FREE", here, _scrubbed_before_free(core))
        yield claim(f"{here} is swept word by word", here, _sweep_on_port(core))
        yield claim(f"{here} becomes HELD from FREE", here, _granted_from_free(core))
        yield claim(f"{here} gets an instruction only in use", here, _instructed_in_use(core))
        for channel in range(config.channels):
            for age in range(1, age_of_answer(config) + 1):
                name = f"nothing is in flight for {here} when scrub begins (channel{channel}, {age})"
                yield claim(name, f"channel{channel} age {age}", _nothing_in_flight(core, channel, age))
    for tenant in range(config.tenants):
        here = f"tenant{tenant}"
        yield claim(f"{here} has a context of zeros unless ACTIVE", here, _context_is_zero(tenant, system))
        yield claim(f"{here} has no window when DETACHED", here, _no_window(tenant))
        for channel in range(config.channels):
            for entry in range(prefetch_entries(config)):
                name = f"{here} has a clean prefetch when DETACHED (channel{channel}, entry {entry})"
                formula = prefetch_is_clean(config, channel, tenant, entry)
                yield Claim(name, formula, f"channel{channel} prefetch of {here}")
    for channel in range(config.channels):
        for age in range(1, age_of_answer(config) + 1):
            group = f"channel{channel} age {age}"
            yield claim(f"what {group} carries is for a core in use", group, flight_in_use(channel, age))
            name = f"what {group} carries is for an ACTIVE tenant"
            yield replace(claim(name, group, _for_active(channel, age)), near=frozenset((group, "active")))


def _is(s: Sight, core: int, state: CoreState) -> Term:
    return s.core(core, "state") == int(state)


def _free_is_reset(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        zeros = ["owner", "virtual", "timer", "arrived", "scrub", "scrub_address", *shell_to_core(s.config)]
        full = [s.core(core, f"credits_{engine}") == s.config.queue_instructions for engine in ENGINES]
        return s.implies(_is(s, core, CoreState.FREE), s.all(*(s.core(core, part) == 0 for part in zeros), *full))

    return claim


def _scrubbed_before_free(core: int) -> Callable[[Sight], Term]:
    """FREE follows the last cycle of SCRUBBING, which begins at timer 0, behind DRAINING, and advances by one."""

    def claim(s: Sight) -> Term:
        following, timer = s.next(f"core{core}_state"), s.next(f"core{core}_timer")
        last = s.config.scrub_cycles + SCRUB_MARGIN_CYCLES - 1
        stays = following == s.core(core, "state")
        scrubbing = _is(s, core, CoreState.SCRUBBING)
        is_last = s.core(core, "timer") == last
        advances = timer == s.logic.plus(s.core(core, "timer"), 1, Sizes(s.config).core_timer)
        one_more = s.all(stays, s.no(is_last), advances)
        begins = s.all(_is(s, core, CoreState.DRAINING), timer == 0)
        return s.all(
            s.any(s.no(following == int(CoreState.FREE)), stays, s.all(scrubbing, is_last)),
            s.any(s.no(following == int(CoreState.SCRUBBING)), stays, begins),
            s.implies(scrubbing, s.any(one_more, s.all(is_last, following == int(CoreState.FREE)))),
        )

    return claim


def _sweep_on_port(core: int) -> Callable[[Sight], Term]:
    """In cycle k of SCRUBBING, 1 <= k <= scrub_cycles, the ports show `scrub` and address k - 1; else zeros."""

    def claim(s: Sight) -> Term:
        timer, scrub, address = (s.core(core, part) for part in ("timer", "scrub", "scrub_address"))
        sweeping = s.all(
            _is(s, core, CoreState.SCRUBBING),
            s.no(timer == 0),
            s.logic.at_most(timer, s.config.scrub_cycles),
        )
        expected = s.logic.minus(timer, 1, 40)
        return s.all(
            s.implies(sweeping, s.all(scrub == 1, s.logic.equal(address, expected))),
            s.any(sweeping, s.all(scrub == 0, address == 0)),
        )

    return claim


def _granted_from_free(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.next(f"core{core}_state") == int(CoreState.HELD),
        s.any(s.is_held(core), _is(s, core, CoreState.FREE)),
    )


def _instructed_in_use(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s.core(core, "instruction_valid") == 1, s.in_use(core))


def _nothing_in_flight(core: int, channel: int, age: int) -> Callable[[Sight], Term]:
    """For a core that is SCRUBBING or FREE no channel carries an access."""
    return lambda s: s.implies(
        s.all(s.one_of(s.in_flight(channel, age), CORE_KINDS), s.slot_names(core, channel, age)),
        s.no(s.any(_is(s, core, CoreState.SCRUBBING), _is(s, core, CoreState.FREE))),
    )


def _for_active(channel: int, age: int) -> Callable[[Sight], Term]:
    """A tenant that is not ACTIVE has nothing in flight."""

    def claim(s: Sight) -> Term:
        carries = s.one_of(s.in_flight(channel, age), CORE_KINDS)
        return s.each(
            s.implies(
                s.all(carries, s.slot_names(core, channel, age), s.owned_by(core, tenant)),
                s.tenant(tenant, "attachment") == int(Attachment.ACTIVE),
            )
            for core in range(s.config.cores)
            for tenant in range(s.config.tenants)
        )

    return claim


def _context_is_zero(tenant: int, system: TransitionSystem) -> Callable[[Sight], Term]:
    names = context_registers(system, tenant)
    return lambda s: s.any(
        s.tenant(tenant, "attachment") == int(Attachment.ACTIVE), s.all(*(s[name] == 0 for name in names))
    )


def _register_is_zero(tenant: int, name: str) -> Callable[[Sight], Term]:
    return lambda s: s.any(s.tenant(tenant, "attachment") == int(Attachment.ACTIVE), s[name] == 0)


def _no_window(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.tenant(tenant, "attachment") == int(Attachment.DETACHED),
        s.all(s.tenant(tenant, "base") == 0, s.tenant(tenant, "limit") == 0),
    )


def _scrubs_owned(s: Sight) -> Term:
    return s.any(
        *(
            s.all(_is(s, core, CoreState.SCRUBBING), s.core(core, "virtual") == 0, s.core(core, "timer") == 0)
            for core in range(s.config.cores)
        )
    )


def _attached(s: Sight) -> Term:
    return s.any(
        *(
            s.all(
                s.tenant(tenant, "attachment") == int(Attachment.DETACHED),
                s.next(f"tenant{tenant}_attachment") == int(Attachment.STOPPED),
            )
            for tenant in range(s.config.tenants)
        )
    )


# ---- invariants


def invariants(config: PoolConfig, system: TransitionSystem) -> Iterator[Candidate]:
    """The whole invariant; the system needs the ghosts of `watch`."""
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield from core_lemmas(config)
    yield from by_age([*flight_lemmas(config), *sweep_lemmas(config)])
    for core in range(config.cores):
        yield make(config, "a FREE core is at reset", f"core{core}", _free_is_reset(core))
        yield make(config, "scrub sweeps word by word", f"core{core}", _sweep_on_port(core))
        yield make(config, "credits are full unless HELD", f"core{core}", _not_held(core))
        yield make(config, "the timer of a core stops where it is due", f"core{core}", _timer_bound(core))
        yield make(config, "no payload without its valid bit", f"core{core}", _payload_follows(core))
    for tenant in range(config.tenants):
        for name in context_registers(system, tenant):
            schema = f"{name.removeprefix(f'tenant{tenant}_')} is 0 unless ACTIVE"
            yield make(config, schema, f"tenant{tenant}", _register_is_zero(tenant, name))
        yield make(config, "a DETACHED tenant has no window", "window", _no_window(tenant))
    for core in range(config.cores):
        for tenant in range(config.tenants):
            claim = make(config, "an owner that was ACTIVE still is", "active", _stays_active(core, tenant))
            ages = (f"channel{channel} age 1" for channel in range(config.channels))
            yield replace(claim, near=frozenset(("active", "window", "command", *ages)))
    for channel in range(config.channels):
        schema, group = "what is in flight is for an ACTIVE tenant", f"channel{channel} age 1"
        yield make(config, schema, group, _for_active(channel, 1))
        for age in range(2, age_of_answer(config) + 1):
            schema, group = "what is in flight is for a core whose owner was ACTIVE", f"channel{channel} age {age}"
            near = frozenset((group, f"channel{channel} age {age - 1}"))
            yield replace(make(config, schema, group, _for_once_active(channel, age)), near=near)


def _stays_active(core: int, tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s.in_use(core), s.core(core, "was_active") == 1, s.owned_by(core, tenant)),
        s.tenant(tenant, "attachment") == int(Attachment.ACTIVE),
    )


def _for_once_active(channel: int, age: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        carries = s.one_of(s.in_flight(channel, age), CORE_KINDS)
        return s.each(
            s.implies(s.all(carries, s.slot_names(core, channel, age)), s.core(core, "was_active") == 1)
            for core in range(s.config.cores)
        )

    return claim


def _not_held(core: int) -> Callable[[Sight], Term]:
    """One cycle after HELD ends credits are full and the arrival is forgotten: but for the first of DRAINING."""

    def claim(s: Sight) -> Term:
        first = s.all(_is(s, core, CoreState.DRAINING), s.core(core, "timer") == 0)
        full = [s.core(core, f"credits_{engine}") == s.config.queue_instructions for engine in ENGINES]
        return s.any(s.is_held(core), first, s.all(s.core(core, "arrived") == 0, *full))

    return claim


def _timer_bound(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        timer = s.core(core, "timer")
        scrub = s.config.scrub_cycles + SCRUB_MARGIN_CYCLES
        return s.all(
            s.implies(_is(s, core, CoreState.DRAINING), s.logic.less(timer, s.config.drain_cycles)),
            s.implies(_is(s, core, CoreState.SCRUBBING), s.logic.less(timer, scrub)),
            s.implies(s.any(s.is_held(core), _is(s, core, CoreState.FREE)), timer == 0),
        )

    return claim


def _payload_follows(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        pairs = {"instruction_valid": ("instruction", "instruction_address"), "response_valid": ("response_data",)}
        return s.all(
            *(
                s.any(s.core(core, valid) == 1, s.core(core, payload) == 0)
                for valid, payloads in pairs.items()
                for payload in payloads
            )
        )

    return claim
