"""The simulation of the mix against the RTL: a task that is resized in the middle ends when the simulation says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.elastic import NOTICE_CYCLES, ElasticPool, cold_cycles
from benchmarks.mix.tasks import MixTask
from compiler.compile import compile_model
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.hypervisor import Hypervisor
from hypervisor.machines import open_port
from hypervisor.policies import Load
from hypervisor.switch import ANSWER_CYCLES, begin, start_after, switch
from isa.configuration import NAMED_POOLS
from isa.registers import TenantState

pytestmark = pytest.mark.xdist_group("small_rtl")
SMALL = NAMED_POOLS["small"]
NETWORKS = Path(__file__).parents[1] / "networks"
LIMIT = 1_000_000


@dataclass(frozen=True)
class Point:
    """A network on `before` cores that is to go on with layer `layer` on `after` cores (None: never)."""

    network: str
    before: int
    layer: int | None = None
    after: int = 0


POINTS = [Point("resnet8", 3), Point("lenet", 2, 3, 4), Point("resnet8", 4, 5, 1), Point("resnet8", 1, 9, 3)]


@cache
def package_of(name: str) -> Package:
    return compile_model(NETWORKS / f"{name}.int8.onnx", SMALL)


@cache
def table_of(name: str) -> LatencyTable:
    package = package_of(name)
    (stage,) = package.stages
    counts = package.core_counts
    timings = {count: time_stage(package, stage, range(count), SMALL, package.window()) for count in counts}
    spans = {count: [end - first for first, end in pairwise(timings[count].barriers)] for count in counts}
    return LatencyTable(
        name,
        SMALL.name,
        tuple(layer.name for layer in package.layers),
        tuple({count: spans[count][layer] for count in counts} for layer in range(len(package.layers))),
        {count: timings[count].barriers[0] for count in counts},
        {count: timings[count].cycles - timings[count].barriers[-1] for count in counts},
    )


def asked_at(point: Point) -> int:
    """Cycles after the start at which the task is asked to pause: in the middle of the layer before."""
    assert point.layer is not None
    table = table_of(point.network)
    complete = table.start[point.before] + sum(layer[point.before] for layer in table.layers[: point.layer])
    return complete - table.layers[point.layer - 1][point.before] // 2


def simulated(point: Point) -> int:
    """Cycles from the start of the program to the end of the task, in the simulation."""
    table = table_of(point.network)
    began = start_after(SMALL, 0, point.before)
    tasks = [MixTask(0, point.network, 0, 1, 1.0)]
    if point.layer is not None:
        tasks.append(MixTask(1, point.network, began + asked_at(point), 1, 1.0))

    def policy(load: Load) -> dict[int, int]:
        if load.tasks[0].number != 0:
            return {1: 1}
        return {0: point.before} if len(load.tasks) == 1 else {0: point.after, 1: 0}

    result = ElasticPool(SMALL, {point.network: table}, policy, {point.network: 1}).run(tasks)
    assert result.switches == (point.layer is not None)
    return result.finished[0].end - began


def measured(point: Point, backend: str) -> int:
    """The same on the machine."""
    port = open_port(backend, SMALL)
    try:
        hypervisor = Hypervisor(port)
        package = package_of(point.network)
        tenant = hypervisor.attach(package.window_bytes)
        hypervisor.write(tenant, 0, package.image())
        began = running = begin(hypervisor, tenant, package, range(point.before), 0)
        if point.layer is not None:
            port.step(began + asked_at(point) - port.cycle)
            found = switch(hypervisor, tenant, package, range(point.after), 0, LIMIT)
            assert found is not None
            assert found.layer == point.layer
            running = found.running
        hypervisor.wait([tenant], LIMIT)
        status = hypervisor.status(tenant)
        assert status.state is TenantState.DONE
        return running + status.cycles - began
    finally:
        port.close()


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("backend", ["pyrtl", "model"])
def test_a_task_ends_when_the_simulation_says(backend: str, point: Point) -> None:
    found, expected = measured(point, backend), simulated(point)
    if point.layer is None:
        assert found == expected
    else:  # the simulation counts weights as never loaded ahead and looks as late as they can be
        slack = cold_cycles(SMALL) + NOTICE_CYCLES - ANSWER_CYCLES + SMALL.period_cycles
        assert found <= expected <= found + slack
