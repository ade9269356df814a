"""The simulation of the mix against the RTL: a task that is resized in the middle ends when the simulation says."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from benchmarks.latency_tables import LatencyTable, table_of
from benchmarks.mix.points import Point, measured, simulated, slack
from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.machines import open_port
from isa.configuration import NAMED_POOLS

pytestmark = pytest.mark.xdist_group("small_rtl")
SMALL = NAMED_POOLS["small"]
NETWORKS = Path(__file__).parents[1] / "networks"
POINTS = [Point("resnet8", 3), Point("lenet", 2, 3, 4), Point("resnet8", 4, 5, 1), Point("resnet8", 1, 9, 3)]


@cache
def compiled(name: str) -> tuple[Package, LatencyTable]:
    package = compile_model(NETWORKS / f"{name}.int8.onnx", SMALL)
    return package, table_of(package, SMALL, package.core_counts)


@pytest.mark.parametrize("point", POINTS, ids=str)
@pytest.mark.parametrize("backend", ["pyrtl", "model"])
def test_a_task_ends_when_the_simulation_says(backend: str, point: Point) -> None:
    package, table = compiled(point.network)
    port = open_port(backend, SMALL)
    found = measured(port, point, package, table)
    port.close()
    assert found <= simulated(SMALL, point, table) <= found + slack(SMALL, point)
