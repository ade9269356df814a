"""The public cloud: a tenant's cycles on its share, beside neighbours and alone, on a machine.

The timing model times each tenant for itself, so it can say nothing about neighbours: what is said here about them
comes from the RTL. T is TENANT_CYCLES, START to END. A tenant is *alone* on the same physical cores of a pool in which
nobody else is attached. Hostile neighbours are started again, with their cores revoked and granted anew, as soon as
they have ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.experiments.hostile import HOSTILE, Hostile, window_bytes
from compiler.package import Package
from hypervisor.hypervisor import ENDED, POLL_CYCLES, Hypervisor, HypervisorError, Tenant
from hypervisor.pool_port import PoolPort
from isa.configuration import PoolConfig
from isa.registers import TenantState

SPLITS = {"25/25/25/25": (4, 4, 4, 4), "50/25/25": (8, 4, 4), "75/25": (12, 4), "100": (16,)}
"""The splits of the paper's demo, in sixteenths of the pool."""
HOSTILE_SPLIT = "25 + 5 hostile"
HOSTILE_SIXTEENTHS = (4, 2, 2, 2, 2)
"""What the hostile neighbours of that split hold, in sixteenths."""
RESTART_LOOK_CYCLES = 64 * POLL_CYCLES
"""From one look at hostile neighbours to the next."""


@dataclass(frozen=True)
class Neighbour:
    """A hostile neighbour and its physical cores."""

    hostile: Hostile
    cores: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Tenants that run the network, by their physical cores, and hostile neighbours."""

    name: str
    tenants: tuple[tuple[int, ...], ...]
    neighbours: tuple[Neighbour, ...] = ()


@dataclass(frozen=True)
class Run:
    """Cycles of each tenant; `hostile_runs` counts programs of hostile neighbours that were started."""

    cycles: tuple[int, ...]
    hostile_runs: int
    faults: int
    """Faults of the neighbours."""


def splits(config: PoolConfig) -> list[Split]:
    """The demo's splits and hostile ones, as many as the pool's cores and tenants can be cut into.

    Cores are dealt like cards, so every tenant's are spread over the wheel and the channels.
    """
    found = [Split(name, tuple(_deal(config, shares))) for name, shares in SPLITS.items() if _fits(config, shares)]
    if _fits(config, (4, *HOSTILE_SIXTEENTHS)):
        own, *others = _deal(config, (4, *HOSTILE_SIXTEENTHS))
        found.append(Split(HOSTILE_SPLIT, (own,), tuple(map(Neighbour, HOSTILE, others))))
    elif _fits(config, (4, 4, 4, 4)):
        own, *others = _deal(config, (4, 4, 4, 4))
        for start in range(0, len(HOSTILE), len(others)):
            chosen = (HOSTILE + HOSTILE)[start : start + len(others)]
            found.append(Split(HOSTILE_SPLIT, (own,), tuple(map(Neighbour, chosen, others))))
    return found


def _fits(config: PoolConfig, sixteenths: Sequence[int]) -> bool:
    return len(sixteenths) <= config.tenants and all(share * config.cores % 16 == 0 for share in sixteenths)


def _deal(config: PoolConfig, sixteenths: Sequence[int]) -> list[tuple[int, ...]]:
    """Physical cores by shares: each core in turn goes to the tenant that is furthest behind its share."""
    shares = [share * config.cores // 16 for share in sixteenths]
    hands: list[list[int]] = [[] for _ in shares]
    for core in range(sum(shares)):
        places = [place for place, share in enumerate(shares) if len(hands[place]) < share]
        hands[min(places, key=lambda place: (len(hands[place]) + 1) / shares[place])].append(core)
    return [tuple(hand) for hand in hands]


def run_split(
    port: PoolPort, split: Split, package: Package, first_layer: int, limit_cycles: int, alone: int | None = None
) -> Run:
    """Run a split, or only its tenant number `alone`: the layers from `first_layer` on, on data that are zero.

    Closes the port. Raises HypervisorError when a tenant faults, or does not end within `limit_cycles` cycles.
    """
    try:
        hypervisor = Hypervisor(port)
        chosen = [cores for place, cores in enumerate(split.tenants) if alone is None or place == alone]
        tenants = [_load(hypervisor, package, cores, first_layer) for cores in chosen]
        crowd = _Crowd(hypervisor, split.neighbours if alone is None else ())
        crowd.start()
        hypervisor.start(tenants)
        waiting = [tenant for tenant, _ in tenants]
        end = port.cycle + limit_cycles
        while waiting:
            port.step(RESTART_LOOK_CYCLES)
            crowd.start()
            waiting = [tenant for tenant in waiting if hypervisor.status(tenant).state not in ENDED]
            if port.cycle > end:
                raise HypervisorError(f"split {split.name}: no end within {limit_cycles} cycles")
        states = [hypervisor.status(tenant) for tenant, _ in tenants]
        for state in states:
            if state.state is not TenantState.DONE:
                raise HypervisorError(f"split {split.name}: a tenant is {state.state.name}: {state.describe_fault()}")
        return Run(tuple(state.cycles for state in states), crowd.runs, crowd.faults)
    finally:
        port.close()


def _load(hypervisor: Hypervisor, package: Package, cores: Sequence[int], first_layer: int) -> tuple[Tenant, int]:
    """An attached tenant with the network's program in its window and its cores, and its start word."""
    tenant = hypervisor.attach(package.window_bytes)
    program = package.program(len(cores), first_layer)
    hypervisor.write(tenant, 0, package.image())
    hypervisor.write(tenant, program.offset_bytes, program.words)
    hypervisor.grant(tenant, cores)
    return tenant, program.start_word


class _Crowd:
    """The hostile neighbours of a run."""

    def __init__(self, hypervisor: Hypervisor, neighbours: Sequence[Neighbour]) -> None:
        self._hypervisor = hypervisor
        self._neighbours = []
        self.runs = self.faults = 0
        for neighbour in neighbours:
            program = neighbour.hostile.program(hypervisor.config, len(neighbour.cores))
            tenant = hypervisor.attach(window_bytes(hypervisor.config, program))
            hypervisor.write(tenant, 0, program)
            self._neighbours.append((neighbour, tenant))

    def start(self) -> None:
        """Start whoever does not run, on scrubbed cores."""
        for neighbour, tenant in self._neighbours:
            status = self._hypervisor.status(tenant)
            if status.state is TenantState.RUNNING or status.state is TenantState.STARTING:
                continue
            if status.state is not TenantState.STOPPED:
                self.faults += status.state is TenantState.FAULTED
                self._hypervisor.revoke(tenant)
                self._hypervisor.stop(tenant)
            self._hypervisor.grant(tenant, neighbour.cores)
            self._hypervisor.start([(tenant, 0)])
            self.runs += 1
