"""No tenant can observe its neighbours: neither in its data nor in its timing, not even by one cycle.

Take two runs of the shell from reset in which the host gives the same commands at the same times, and in which
everything else that is not tenant A's may be different: programs, data, the behaviour of all cores that A does not
hold, the memory's answers to all slots but A's, what the host writes to memory and what the prefetch memory held
before reset. Then in every cycle

- the control plane is the same: ownership table, virtual indices, state machines, timers, windows, wheel, commands and
  their checks. So the host's commands about A are accepted or refused alike, and take effect in the same cycle;
- every bit of every port into a core that is HELD (or DRAINING) for A is the same;
- A's context is the same: program counter, call frame, progress, fault and its address, barriers, cycles, fetch
  pointers; and, while A is attached, A's prefetch memory. What the host reads of A is the same, one cycle later;
- A's accesses to memory are the same: on which channel, in which cycle, fetch, read or write, address, data, strobe.

A is symbolic: the proof holds for every tenant at once. A may use any number of cores, from any program, valid or not.

Scope: any behaviour of the cores, any neighbours, every order of host commands (the same in both runs), through any
re-assignment of cores. Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyrtl

from formal.accesses import by_age
from formal.algebra import Term
from formal.host_automaton import HOST_INPUTS
from formal.lemmas import command_lemmas, flight_lemmas, named_core_lemmas, window_lemmas
from formal.monitor import monitored
from formal.problem import Candidate, Claim, Problem, closed_under_dependence
from formal.relations import (
    CONTROL_PLANE,
    Pair,
    Relation,
    Same,
    agreement_lemmas,
    compared,
    context_agrees,
    context_registers,
    dispatch_agrees,
    flight_agrees,
    in_both,
    owned_stage,
    port_agrees,
    prefetch_agrees,
    request_agrees,
    same_when,
    shell_to_core,
)
from formal.shell import age_of_answer
from formal.sweep import prefetch_entries, sweep_lemmas, watch_sweep
from formal.transition import TransitionSystem
from formal.two_hosts import equal_hosts
from isa.configuration import PoolConfig
from isa.registers import Register
from rtl.channels import Kind
from rtl.core_ports import core_ports
from rtl.sizes import Sizes

ASSUMPTIONS = (
    "The host does the same in both runs: control port inputs, and when and where it asks for memory, are equal.",
    "The outputs of the cores that are HELD by A are equal in both runs.",
    "The memory answers A's fetches and reads with the same data in both runs.",
)


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""
    watched = monitored(block, lambda lookup: watch_sweep(config, lookup))
    system = TransitionSystem(watched)
    control = [name for name in system.registers if CONTROL_PLANE.fullmatch(name)]
    ghosts = [name for name in system.registers if "_swept_" in name]
    shared = closed_under_dependence(system, [*control, *ghosts, *HOST_INPUTS])
    return Problem(
        name="neighbours_cannot_be_observed",
        system=system,
        properties=list(_properties(config, system, control)),
        candidates=list(_candidates(config, system, [name for name in control if name not in shared])),
        assumptions=list(_assumptions(config)),
        covers=[
            Claim("A's core gets an instruction while the runs differ", compared(config, _served_differently)),
            Claim("A's core gets data from memory while the runs differ", compared(config, _answered_differently)),
        ],
        copies=2,
        symbols={"A": Sizes(config).tenant},
        stimulus=equal_hosts(config, system),
        free_memories={f"channel{channel}_prefetch" for channel in range(config.channels)},
        shared=shared,
    )


# ---- assumptions


def _assumptions(config: PoolConfig) -> Iterator[Claim]:
    for name in HOST_INPUTS:
        yield Claim(f"{name} is equal", compared(config, _equal(name)))
    yield from tenant_assumptions(config)


def tenant_assumptions(config: PoolConfig) -> Iterator[Claim]:
    """What is A's does the same in both runs."""
    if config.tenants != 1 << Sizes(config).tenant:
        is_tenant = compared(config, lambda p: p.left.logic.less(p.observer, p.left.config.tenants))
        yield Claim("A is a tenant", is_tenant, "assumed")
    for core in range(config.cores):
        yield Claim(
            f"core{core} does the same when HELD by A", compared(config, _same_outputs(config, core)), "assumed"
        )
    for channel in range(config.channels):
        yield Claim(f"channel{channel} answers A alike", compared(config, _same_answer(channel)), "assumed")


def _equal(name: str) -> Callable[[Pair], Term]:
    return lambda p: p.same(name)


def _same_outputs(config: PoolConfig, core: int) -> Same:
    ports = [port for port in core_ports(config).outputs if port != "activity"]
    return same_when(lambda p: p.holds(core), *(f"core{core}_{port}_i" for port in ports))


def _same_answer(channel: int) -> Same:
    """The answer that is due is that of a fetch or a read, from a slot of a core in use by A."""

    def is_due(p: Pair) -> Term:
        age = age_of_answer(p.left.config)
        asked = p.left.one_of(p.left.in_flight(channel, age), (Kind.FETCH, Kind.READ))
        due = [p.left.all(p.left.slot_names(core, channel, age), p.uses(core)) for core in range(p.left.config.cores)]
        return p.left.all(asked, p.left.any(*due))

    return same_when(is_due, f"channel{channel}_response")


# ---- claims


def _properties(config: PoolConfig, system: TransitionSystem, control: Sequence[str]) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Relation) -> Claim:
        return Claim(name, compared(config, formula), group)

    for name in control:
        yield claim(f"{name} is the same", "control plane", _equal(name))
    yield from view_claims(config, system)
    yield claim("the host reads the same about A", "host", _host_reads_the_same)


def view_claims(config: PoolConfig, system: TransitionSystem) -> Iterator[Claim]:
    """A's view, but for the control plane, is the same in both runs."""

    def claim(name: str, group: str, formula: Relation) -> Claim:
        return Claim(name, compared(config, formula), group)

    for tenant in range(config.tenants):
        for name in context_registers(system, tenant):
            yield claim(f"{name} is the same for A", f"tenant{tenant}", context_agrees(tenant, name))
        for channel in range(config.channels):
            for entry in range(prefetch_entries(config)):
                name = f"entry {entry} of tenant{tenant} on channel{channel} is the same for A"
                yield claim(name, f"tenant{tenant}", prefetch_agrees(config, channel, tenant, entry))
    for core in range(config.cores):
        for port in shell_to_core(config):
            yield claim(f"core{core}_{port} is the same for A", f"core{core}", port_agrees(core, port))
    for channel in range(config.channels):
        here = f"channel{channel}"
        yield claim(f"{here} carries the same for A", here, flight_agrees(channel, 2))
        for port in ("valid", "write", "address", "data", "strobe"):
            yield claim(f"{here}_{port} is the same for A", here, request_agrees(channel, port))
    yield claim("level 1 serves A in the same cycles", "dispatch", dispatch_agrees)


def _host_reads_the_same(p: Pair) -> Term:
    """With A in ARGUMENT_TENANT. COMMAND_RESULT is about the last command, which may have been another tenant's."""
    about = p.left.all(
        p.left.logic.equal(p.left["argument_tenant"], p.observer),
        p.left.no(p.left["control_address"] == int(Register.COMMAND_RESULT)),
    )
    return p.left.implies(about, p.left.next("control_answer") == p.right.next("control_answer"))


def _differs(p: Pair) -> Term:
    """Another tenant is RUNNING, at different instructions."""
    tenants = range(p.left.config.tenants)
    return p.left.any(
        *(
            p.left.all(
                p.left.no(p.is_observer(tenant)),
                p.left.is_running(tenant),
                p.left.no(p.same(f"tenant{tenant}_program_counter")),
            )
            for tenant in tenants
        )
    )


def _served_differently(p: Pair) -> Term:
    served = [p.left.all(p.holds(core), p.left.core(core, "instruction_valid") == 1) for core in _cores(p)]
    return p.left.all(p.left.any(*served), _differs(p))


def _answered_differently(p: Pair) -> Term:
    answered = [p.left.all(p.holds(core), p.left.core(core, "response_valid") == 1) for core in _cores(p)]
    return p.left.all(p.left.any(*answered), _differs(p))


def _cores(p: Pair) -> range:
    return range(p.left.config.cores)


# ---- invariants


def _candidates(config: PoolConfig, system: TransitionSystem, control: Sequence[str]) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    for candidate in [*named_core_lemmas(config), *by_age([*flight_lemmas(config), *sweep_lemmas(config)])]:
        yield in_both(candidate)
    for channel in range(config.channels):
        yield owned_stage(config, channel)
    for name in control:
        yield Candidate("control plane agrees", compared(config, _equal(name)), "control plane")
    yield from by_age(agreement_lemmas(config, system, age_of_answer(config)))
