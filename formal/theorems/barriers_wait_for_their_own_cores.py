"""A barrier completes when the last core that its tenant holds has arrived: not before, and within a fixed time.

A core *waits* from the cycle after it raised `sync_local` while HELD until the next barrier of its owner completes; to
raise it twice is to wait once. A barrier of tenant n *completes* in a cycle in which n is RUNNING, holds a core, and
every core that n holds waits. No other core has a say, HELD by others, DRAINING or FREE. Then

- never earlier: `sync_global` comes to a core only if it was HELD one cycle before, while its owner's `release` was
  set, and `release` is set only one cycle after a barrier of that tenant completed, or by a RESUME of a PAUSED tenant;
- within the bound: the last `sync_local` at t, waiting at t + 1, `release` at t + 2, `sync_global` at t + 3 on every
  core that the tenant holds at t + 2, however many there are and whatever the others do;
- but when PAUSE is pending: the tenant is PAUSED at t + 2 (unless a fault or END stops it there), nothing is released,
  and RESUME releases it, so that `sync_global` comes two cycles after RESUME takes effect;
- each barrier is counted once, up to 65535.

Scope: any set of cores, any behaviour of all cores, any programs, every order of host commands. Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl
from pyrtl import Const, Register

from formal.algebra import Term
from formal.busy_host import busy_host
from formal.lemmas import command_lemmas, command_registers, make, pending, window_lemmas
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, seen
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState, TenantState
from rtl.sizes import all_of, any_of, named
from rtl.tenants import BARRIER_BITS
from rtl.windows import Attachment

ASSUMPTIONS: tuple[str, ...] = ()


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""
    roots = [f"core{core}_{part}" for core in range(config.cores) for part in ("sync_global", "waits")]
    roots += [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in ("barriers", "completes")]
    roots += command_registers(config)
    system = TransitionSystem(monitored(block, lambda lookup: _monitor(config, lookup)), roots)
    return Problem(
        name="barriers_wait_for_their_own_cores",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[Claim("a barrier releases a core while another tenant holds a core", seen(config, _releases))],
        stimulus=busy_host(config, system),
    )


def _monitor(config: PoolConfig, lookup: Lookup) -> None:
    """`core{c}_waits`, and `tenant{n}_completes`: a barrier of n completes in this cycle."""
    waits = [Register(1, f"core{core}_waits", reset_value=0) for core in range(config.cores)]
    held = [lookup(f"core{core}_state") == int(CoreState.HELD) for core in range(config.cores)]
    owners = [lookup(f"core{core}_owner") for core in range(config.cores)]
    completes = []
    for tenant in range(config.tenants):
        members = [here & (owner == tenant) for here, owner in zip(held, owners, strict=True)]
        everybody = all_of([~member | waiting for member, waiting in zip(members, waits, strict=True)])
        running = lookup(f"tenant{tenant}_progress") == int(TenantState.RUNNING)
        completes.append(named(f"tenant{tenant}_completes", running & any_of(members) & everybody))
    for core in range(config.cores):
        completed = Const(0, 1)
        for tenant in range(config.tenants):
            completed = completed | ((owners[core] == tenant) & completes[tenant])
        waits[core].next <<= held[core] & (lookup(f"core{core}_sync_local_i") | (waits[core] & ~completed))


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for tenant in range(config.tenants):
        here = f"tenant{tenant}"
        yield claim(f"{here} is released only by a barrier or RESUME", here, _released_only(tenant))
        yield claim(f"{here} is released when its barrier completes", here, _released_when(tenant))
        yield claim(f"{here} pauses at its barrier", here, _pauses(tenant))
        yield claim(f"{here} is released by RESUME", here, _released_by_resume(tenant))
        yield claim(f"{here} counts its barriers", here, _counts(tenant))
    for core in range(config.cores):
        yield claim(f"core{core} gets the release of its owner", f"core{core}", _gets_release(core))


def _ordered(s: Sight, tenant: int, *commands: Command) -> Term:
    """One of these commands takes effect for the tenant in this cycle."""
    return s.all(pending(s, "decided", *commands), s["argument_tenant"] == tenant)


def _completes(s: Sight, tenant: int) -> Term:
    return s.tenant(tenant, "completes") == 1


def _resumes(s: Sight, tenant: int) -> Term:
    is_paused = s.tenant(tenant, "progress") == int(TenantState.PAUSED)
    return s.all(is_paused, _ordered(s, tenant, Command.RESUME))


def _released_only(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.next(f"tenant{tenant}_release") == 1, s.any(_completes(s, tenant), _resumes(s, tenant))
    )


def _pauses_now(s: Sight, tenant: int) -> Term:
    return s.all(s.tenant(tenant, "pause_pending") == 1, s.no(_ordered(s, tenant, Command.RESUME)))


def _released_when(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(_completes(s, tenant), s.no(_pauses_now(s, tenant))), s.next(f"tenant{tenant}_release") == 1
    )


def _pauses(tenant: int) -> Callable[[Sight], Term]:
    stopped = (TenantState.PAUSED, TenantState.FAULTED, TenantState.DONE)
    return lambda s: s.implies(
        s.all(_completes(s, tenant), _pauses_now(s, tenant)),
        s.all(s.next(f"tenant{tenant}_release") == 0, s.one_of(s.next(f"tenant{tenant}_progress"), stopped)),
    )


def _released_by_resume(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(_resumes(s, tenant), s.next(f"tenant{tenant}_release") == 1)


def _counts(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        name = f"tenant{tenant}_barriers"
        restarts = _ordered(s, tenant, Command.START, Command.STOP)
        full = s[name] == (1 << BARRIER_BITS) - 1
        counted = s.all(_completes(s, tenant), s.no(full))
        following = s.logic.choose(counted, s.logic.plus(s[name], 1, BARRIER_BITS), s[name])
        return s.any(restarts, s.next(name) == following)

    return claim


def _gets_release(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        released = s.any(
            *(s.all(s.owned_by(core, tenant), s.tenant(tenant, "release") == 1) for tenant in range(s.config.tenants))
        )
        due = s.all(s.is_held(core), released)
        given = s.next(f"core{core}_sync_global") == 1
        return s.all(s.implies(given, due), s.implies(due, given))

    return claim


def _releases(s: Sight) -> Term:
    cases = []
    for core in range(s.config.cores):
        for other in range(s.config.cores):
            if other != core:
                foreign = s.no(s.owned_by(core, s.core(other, "owner")))
                cases.append(s.all(s.core(core, "sync_global") == 1, s.is_held(core), s.is_held(other), foreign))
    return s.any(*cases) if cases else s.core(0, "sync_global") == 1


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    for core in range(config.cores):
        yield make(config, "the shell's record of arrivals is right", f"core{core}", _arrived(core))
    for tenant in range(config.tenants):
        yield make(config, "only an ACTIVE tenant makes progress", f"tenant{tenant}", _active(tenant))


def _arrived(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.core(core, "arrived") == s.core(core, "waits")


def _active(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.any(s.tenant(tenant, "progress") == 0, s.tenant(tenant, "attachment") == int(Attachment.ACTIVE))
