"""The private cloud of the paper: 1..16 tasks on one pool, against one core time-shared and one core per task.

Definitions: docs/experiments.md. The cycles are the timing model's; three points of the cheapest network are run on the
Verilog, too, by the same hypervisor commands, and must take the same number of cycles.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.cache import BENCHES, modules_digest, remembered, write_atomically
from benchmarks.experiments.private import (
    MIXED,
    NETWORKS,
    Curve,
    Figures,
    Point,
    curve,
    geometric_mean,
    mixed_curve,
)
from benchmarks.experiments.shares import share_cycles, useful_shares, with_room
from benchmarks.experiments.waves import machine_cycles
from benchmarks.latency_tables import table_package
from benchmarks.networks import build
from compiler.compile import Progress
from hypervisor.backends.verilator_build import HARNESS
from hypervisor.hypervisor import HypervisorError
from hypervisor.machines import open_port
from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.benches import plots
from scripts.benches.page import note
from scripts.commands.reporting import fraction_progress

BASELINE = NAMED_POOLS["single"]
SAMPLED_TASKS = (1, 4, 12)
"""Numbers of tasks that are run on the RTL, too."""


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A row for each workload and number of tasks, then the means; the four networks unless `names` chooses."""
    networks = tuple(names or NETWORKS)
    with fraction_progress("private") as progress:
        figures = figures_of(config, networks, progress)
        curves = [curve(figures, network) for network in networks]
        if len(networks) > 1:
            mixed = mixed_curve(figures, networks)
            curves += [mixed] if mixed.points else []
        sampled = min(curves[: len(networks)], key=lambda each: each.points[0].virtualised)
        points = [point for point in sampled.points if point.tasks in SAMPLED_TASKS]
        on_rtl = {point: rtl_cycles(point, figures, progress) for point in points}
    rows = [_row(point, on_rtl.get(point)) for each in curves for point in each.points]
    rows += summary(curves[: len(networks)])
    path = BENCHES / f"private-{config.name}.png"
    plots.private(curves, path)
    write_atomically(path.with_suffix(".json"), json.dumps(rows, indent=1).encode())
    note(f"plot and rows: {path}, .json; RTL: {len(on_rtl)} points, equal")
    return rows


def figures_of(config: PoolConfig, networks: Sequence[str], report: Progress) -> Figures:
    """The cycles of each network on every useful share of the pool, and on the baseline."""
    built = {name: build(name, report) for name in networks}
    shares = {name: share_cycles(each, config, useful_shares(config.cores), report) for name, each in built.items()}
    single = {name: share_cycles(each, BASELINE, [BASELINE.cores], report) for name, each in built.items()}
    return Figures(config, shares, {name: cycles[BASELINE.cores] for name, cycles in single.items()})


def rtl_cycles(point: Point, figures: Figures, report: Progress) -> int:
    """The virtualised makespan of a point of one network on the Verilog. Raises HypervisorError if it differs."""
    (network,) = {wave.network for wave in point.waves}
    built = build(network)
    config = figures.config

    def run() -> dict[str, Any]:
        package = table_package(built, config, useful_shares(config.cores), report)
        roomy = with_room(config, point.tasks, package.window_bytes)
        what = f"{network}: {point.tasks} tasks on the Verilog"
        port = open_port("verilator", roomy, lambda cycle: report(min(1.0, cycle / point.virtualised), what))
        return {"cycles": machine_cycles(port, point.waves, {network: package}, figures.latency)}

    sources = modules_digest("benchmarks.experiments.waves", "hypervisor.machines", files=(HARNESS,))
    key = (built.digest, sorted(dataclasses.asdict(config).items()), point, sources)
    cycles = int(remembered(f"private-rtl-{network}-{config.name}-{point.tasks}", key, run)["cycles"])
    if cycles != point.virtualised:
        raise HypervisorError(
            f"{point.tasks} tasks of {network} take {cycles} cycles on the Verilog and {point.virtualised} in "
            "the model: one of them is wrong, and these figures with it"
        )
    return cycles


def summary(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Rows of the means: of each network over its numbers of tasks; then over the networks."""
    rows = []
    for each in curves:
        rows.append(_summary_row(each.workload, "mean", each.mean_against_single, each.mean_against_static))
        rows.append(_summary_row(each.workload, "geometric mean", None, each.geometric_mean_against_static))
    single, static = [each.mean_against_single for each in curves], [each.mean_against_static for each in curves]
    rows.append(_summary_row("worst network", "mean", min(single), min(static)))
    rows.append(_summary_row("geometric mean", "mean", geometric_mean(single), geometric_mean(static)))
    rows.append(_summary_row("best network", "mean", max(single), max(static)))
    return rows


def _row(point: Point, on_rtl: int | None) -> dict[str, Any]:
    mixed = point.workload == MIXED
    waves = ", then ".join(
        f"{wave.tasks} on {wave.cores}" + (f" ({wave.network})" if mixed else "") for wave in point.waves
    )
    return {
        "workload": point.workload,
        "tasks": point.tasks,
        "tasks on cores": waves,
        "virtualised": point.virtualised,
        "RTL": on_rtl,
        "single": point.single,
        "static": point.static,
        "against single": round(point.against_single, 3),
        "against static": round(point.against_static, 3),
    }


def _summary_row(workload: str, mean: str, single: float | None, static: float) -> dict[str, Any]:
    blank = dict.fromkeys(("tasks on cores", "virtualised", "RTL", "single", "static"))
    return {
        "workload": workload,
        "tasks": mean,
        **blank,
        "against single": None if single is None else round(single, 3),
        "against static": round(static, 3),
    }
