"""No access leaves its owner's window, and no two windows that are live or dirty have a beat in common.

Whatever a memory channel's outputs ask for (`channel{g}_request_*`) in any cycle is one of three:

- an access from a slot of core c, two cycles ago: c is HELD, or DRAINING for no more than two cycles, by a tenant whose
  window is live, and the physical beat is inside that window. There is no wrapped address: the beat is
  base + offset with offset < limit, computed without losing a bit;
- a write of the sweep: its beat is inside the window of the DIRTY tenant that is being swept, and it writes zeros;
- a request of the host's, in a slot of the host's.

The shell's own record of what is in flight says in every cycle which of the three it is, read or write, or that the
outputs are idle and show zeros. Besides: two tenants that are attached or DIRTY have disjoint windows, so together no
tenant can read or write a beat of another one's, nor one that has not been swept since its last owner.

Scope: every program, every behaviour of the cores, every order of host commands and requests, every answer of memory.
Unbounded in time. The host itself may read and write everything: it loads programs and inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl

from formal.accesses import (
    HOST_KINDS,
    access_is_inside,
    access_lemmas,
    disjoint,
    outputs_are_recorded,
    pair_group,
    sweep_is_inside,
    window_pair_lemmas,
)
from formal.algebra import Term
from formal.busy_host import busy_host
from formal.lemmas import command_lemmas, command_registers, make, window_lemmas
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, seen
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from rtl.channels import Kind

ASSUMPTIONS: tuple[str, ...] = ()
_CONTEXT = (
    "progress", "pause_pending", "release", "barriers", "program_counter", "next_request", "next_arrival", "epoch",
)  # fmt: skip


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it.

    `over_approximate` makes registers free that the proof need not know; a run of such a system is none of `block`.
    """
    roots = [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in ("base", "limit", "attachment")]
    roots += [f"core{core}_state" for core in range(config.cores)] + command_registers(config)
    for channel in range(config.channels):
        roots += [f"channel{channel}_request_{port}" for port in ("valid", "write", "address", "data", "strobe")]
        roots += [f"channel{channel}_flight0_kind", f"channel{channel}_stage_tenant"]
    cuts = [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in _CONTEXT]
    cuts += [f"core{core}_request_taken" for core in range(config.cores)]
    system = TransitionSystem(block, roots, cuts if over_approximate else ())
    return Problem(
        name="no_access_leaves_its_window",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[
            Claim("a core's access reaches memory", seen(config, _core_accesses)),
            Claim("a sweep reaches memory", seen(config, _sweeps)),
        ],
        stimulus=busy_host(config, system),
    )


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for channel in range(config.channels):
        here = f"channel{channel}"
        for core in range(config.cores):
            yield claim(f"{here}: core{core} stays in its owner's window", here, access_is_inside(channel, core))
        yield claim(f"{here}: the sweep stays in the window it sweeps", here, sweep_is_inside(channel))
        yield claim(f"{here}: the sweep writes zeros", here, _sweep_writes_zeros(channel))
        yield claim(f"{here}: what is sent is what is recorded", here, outputs_are_recorded(channel))
        yield claim(f"{here}: the host uses slots of its own", here, _host_slots(channel))
    for first in range(config.tenants):
        for second in range(first):
            name = f"windows of tenant{first} and tenant{second} are disjoint"
            group = pair_group(first, second)
            yield Claim(name, seen(config, disjoint(first, second)), group, near=frozenset((group,)))


def _sweep_writes_zeros(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        ports = f"channel{channel}_request_"
        everything = s[f"{ports}strobe"] == (1 << s.config.vectors_per_beat) - 1
        zeros = s.all(s[f"{ports}write"] == 1, s[f"{ports}data"] == 0, everything)
        return s.implies(s.in_flight(channel, 2) == int(Kind.SWEEP), zeros)

    return claim


def _host_slots(channel: int, age: int = 2) -> Callable[[Sight], Term]:
    """Host and sweep were served in the host's revolution, cores in the others."""

    def claim(s: Sight) -> Term:
        of_host = s.is_slot_of_host(channel, age)
        kind = s.in_flight(channel, age)
        for_host = s.one_of(kind, (*HOST_KINDS, Kind.SWEEP))
        return s.any(kind == int(Kind.NOTHING), s.all(of_host, for_host), s.no(s.any(of_host, for_host)))

    return claim


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield from access_lemmas(config)
    yield from window_pair_lemmas(config)
    for channel in range(config.channels):
        for age in (1, 2):
            group = f"channel{channel} age {age}"
            yield make(config, "host and cores have slots of their own", group, _host_slots(channel, age))
        yield make(config, "a sweep writes zeros", f"channel{channel} age 2", _sweep_writes_zeros(channel))


def _core_accesses(s: Sight) -> Term:
    return s.in_flight(0, 2) == int(Kind.WRITE)


def _sweeps(s: Sight) -> Term:
    return s.in_flight(0, 2) == int(Kind.SWEEP)
