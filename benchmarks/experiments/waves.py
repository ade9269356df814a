"""Tasks in waves: so many at a time, each on an equal share of the pool; the next wave begins when the last has ended.

The hypervisor gives every command: `run_waves` drives any machine. On `TimetablePort` a program takes the cycles that a
table of exact latencies says and computes nothing, everything else (ownership, drains, scrubs, the wheel, the host's
commands and looks) being that of the model backend. So what a change of waves costs is simulated, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from benchmarks.experiments.shares import interleaved
from compiler.package import Package
from hypervisor.backends.model_backend import ModelPort
from hypervisor.hypervisor import POLL_CYCLES, Hypervisor, HypervisorError, Tenant
from hypervisor.pool_port import PoolPort
from isa.configuration import PoolConfig
from isa.registers import Fault, TenantState

Latency = Callable[[str, int], int]
"""(network, cores) to the cycles of one task, from START to END retired."""

PATIENCE_CYCLES = 1 << 30
"""Cycles that a wave may take."""
LOOKS_AHEAD_CYCLES = 16 * POLL_CYCLES
"""The host looks at a wave from so many cycles before its end on, which it knows from the latencies."""


@dataclass(frozen=True)
class Wave:
    """`tasks` tasks of the network `network` at the same time, on `cores` cores each."""

    network: str
    tasks: int
    cores: int


def best_waves(network: str, cycles: Mapping[int, int], tasks: int, cores: int, change: int) -> list[Wave]:
    """The waves in which `tasks` tasks of one network end first, larger waves first.

    `cycles[c]` are those of one task on c cores, `change` those between two waves. Raises ValueError when no share
    fits into `cores` cores.
    """
    shares = [share for share in cycles if share <= cores]
    if not shares:
        raise ValueError(f"{network}: no latencies for {cores} cores or fewer")

    @cache
    def best(left: int) -> tuple[int, tuple[Wave, ...]]:
        if not left:
            return -change, ()
        options = []
        for share in shares:
            wave = Wave(network, min(left, cores // share), share)
            later, waves = best(left - wave.tasks)
            options.append((cycles[share] + change + later, (wave, *waves)))
        return min(options, key=lambda option: (option[0], len(option[1])))

    return sorted(best(tasks)[1], key=lambda wave: -wave.tasks)


@dataclass(frozen=True)
class _TimedRun:
    """A run of which nothing but its end is known."""

    end: int
    barriers: tuple[int, ...] = ()
    fault: tuple[Fault, int] = (Fault.NONE, 0)

    def reach_barrier(self, number: int) -> None:
        """See control_plane.Run: it writes nothing."""


class TimetablePort(ModelPort):
    """The model backend with programs that take as long as a timetable says: a start word is a place in `names`."""

    def __init__(self, config: PoolConfig, names: Sequence[str], latency: Latency) -> None:
        super().__init__(config)
        self._names = tuple(names)
        self._latency = latency

    def _run(self, tenant: int, base: int, limit: int, start_word: int, cores: list[int]) -> _TimedRun:  # type: ignore[override]
        return _TimedRun(self._latency(self._names[start_word], len(cores)))


def timetable_cycles(config: PoolConfig, waves: Sequence[Wave], latency: Latency) -> int:
    """Cycles of waves from the first START to the last END."""
    names = sorted({wave.network for wave in waves})
    port = TimetablePort(config, names, latency)
    return _run_waves(port, waves, lambda wave: 1, lambda hypervisor, tenant, wave: names.index(wave.network), latency)


def machine_cycles(port: PoolPort, waves: Sequence[Wave], packages: Mapping[str, Package], latency: Latency) -> int:
    """The same on a machine that executes the packages, of one stage each. What they read is zero: time does not
    depend on data."""

    def load(hypervisor: Hypervisor, tenant: Tenant, wave: Wave) -> int:
        package = packages[wave.network]
        program = package.program(wave.cores)
        hypervisor.write(tenant, 0, package.image())
        hypervisor.write(tenant, program.offset_bytes, program.words)
        return program.start_word

    return _run_waves(port, waves, lambda wave: packages[wave.network].window_bytes, load, latency)


def _run_waves(
    port: PoolPort,
    waves: Sequence[Wave],
    window_bytes: Callable[[Wave], int],
    load: Callable[[Hypervisor, Tenant, Wave], int],
    latency: Latency,
) -> int:
    """Carry out waves; `load` fills a tenant's window and gives its start word. All are attached beforehand.

    Closes the port. Raises HypervisorError when a task does not come to its end.
    """
    try:
        hypervisor = Hypervisor(port)
        period = port.config.period_cycles
        attached = [[hypervisor.attach(window_bytes(wave)) for _ in range(wave.tasks)] for wave in waves]
        words = [[load(hypervisor, tenant, wave) for tenant in own] for wave, own in zip(waves, attached, strict=True)]
        began = None
        end = 0
        for number, (wave, tenants) in enumerate(zip(waves, attached, strict=True)):
            if number:
                hypervisor.revoke(*attached[number - 1])
            last = port.config.cores // wave.cores
            for place, tenant in enumerate(tenants):  # the last places, so that a wave of one is what `shares` timed
                hypervisor.grant(tenant, interleaved(port.config, wave.cores, last - len(tenants) + place))
            hypervisor.start(list(zip(tenants, words[number], strict=True)))
            start = -(-port.cycle // period) * period
            began = start if began is None else began
            port.step(max(0, start + latency(wave.network, wave.cores) - LOOKS_AHEAD_CYCLES - port.cycle))
            hypervisor.wait(tenants, PATIENCE_CYCLES)
            for tenant in tenants:
                status = hypervisor.status(tenant)
                if status.state is not TenantState.DONE:
                    raise HypervisorError(f"a task of {wave.network} is {status.state.name}: {status.describe_fault()}")
                end = max(end, start + status.cycles)
        return end - (began or 0)
    finally:
        port.close()
