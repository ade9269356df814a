"""Single tasks of the mix, resized in the middle: what the simulation says, and what a machine does."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.elastic import ElasticPool, cold_cycles
from benchmarks.mix.tasks import MixTask
from compiler.package import Package
from hypervisor.hypervisor import Hypervisor
from hypervisor.policies import Load
from hypervisor.pool_port import PoolPort
from hypervisor.switch import ANSWER_CYCLES, NOTICE_CYCLES, begin, start_after, switch
from isa.configuration import PoolConfig
from isa.registers import TenantState

LIMIT = 100_000_000


@dataclass(frozen=True)
class Point:
    """A network on `before` cores that is to go on with layer `layer` on `after` cores (None: never)."""

    network: str
    before: int
    layer: int | None = None
    after: int = 0

    def __str__(self) -> str:
        change = "" if self.layer is None else f", from layer {self.layer} on {self.after}"
        return f"{self.network} on {self.before}{change}"


def slack(config: PoolConfig, point: Point) -> int:
    """By how many cycles at most the simulation says more than a machine takes: 0 without a resize.

    The simulation counts weights as never loaded ahead, and looks as late as they can be.
    """
    return 0 if point.layer is None else cold_cycles(config) + NOTICE_CYCLES - ANSWER_CYCLES + config.period_cycles


def asked_at(point: Point, table: LatencyTable) -> int:
    """Cycles after the start at which the task is asked to pause: in the middle of the layer before."""
    assert point.layer is not None
    complete = table.start[point.before] + sum(layer[point.before] for layer in table.layers[: point.layer])
    return complete - table.layers[point.layer - 1][point.before] // 2


def simulated(config: PoolConfig, point: Point, table: LatencyTable) -> int:
    """Cycles from the start of the program to the end of the task, in the simulation."""
    began = start_after(config, 0, point.before)
    tasks = [MixTask(0, point.network, 0, 1, 1.0)]
    if point.layer is not None:
        tasks.append(MixTask(1, point.network, began + asked_at(point, table), 1, 1.0))

    def policy(load: Load) -> dict[int, int]:
        if load.tasks[0].number != 0:
            return {1: 1}
        return {0: point.before} if len(load.tasks) == 1 else {0: point.after, 1: 0}

    result = ElasticPool(config, {point.network: table}, policy, {point.network: 1}).run(tasks)
    return result.finished[0].end - began


def measured(port: PoolPort, point: Point, package: Package, table: LatencyTable) -> int:
    """The same on the machine behind `port`, which is at reset. Raises RuntimeError if it does not come to its end."""
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(package.window_bytes)
    hypervisor.write(tenant, 0, package.image())
    began = running = begin(hypervisor, tenant, package, range(point.before), 0)
    if point.layer is not None:
        port.step(began + asked_at(point, table) - port.cycle)
        found = switch(hypervisor, tenant, package, range(point.after), 0, LIMIT)
        if found is None or found.layer != point.layer:
            raise RuntimeError(f"{point}: the switch came at {found}")
        running = found.running
    hypervisor.wait([tenant], LIMIT)
    status = hypervisor.status(tenant)
    if status.state is not TenantState.DONE:
        raise RuntimeError(f"{point}: {status}")
    return running + status.cycles - began
