"""Mixed networks with deadlines, arriving at random: our policy, static partitions, time sharing, and a bound.

Every schedule gets the same tasks. Deadlines are those of MLPerf's server scenario at 300 MHz: 15 ms for a classifier,
100 ms for a detector. There is no int8 detector among our networks: the convolutions of VGG-16, the backbone of SSD300,
stand for one. What costs what, and what is left out: `benchmarks.mix.elastic`.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from typing import Any

from benchmarks.cache import BENCHES, modules_digest, remembered
from benchmarks.experiments.shares import with_room
from benchmarks.latency_tables import LatencyTable, latency_table, table_package
from benchmarks.mix.bound import most_in_time
from benchmarks.mix.elastic import ElasticPool
from benchmarks.mix.fleet import FleetError, run_fleet, workers
from benchmarks.mix.metrics import Finished, equal_fairness, fairness, sla_satisfaction, summary, tail_latency
from benchmarks.mix.points import Point, measured, simulated, slack
from benchmarks.mix.servers import earliest_deadline, first_come, run_partition, run_preemptive
from benchmarks.mix.tasks import CLOCK_HERTZ, MixTask, TaskKind, poisson_tasks
from benchmarks.networks import BuiltNetwork, build
from compiler.compile import Progress
from hypervisor.backends.verilator_build import HARNESS
from hypervisor.hypervisor import HypervisorError
from hypervisor.machines import open_port
from hypervisor.policies import POLICIES
from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.benches import plots
from scripts.benches.page import note
from scripts.commands.reporting import InputError, fraction_progress

DETECTOR, DETECTOR_NETWORK = "detector", "vgg16"
"""The stand-in for a detector: this network without its fully-connected layers."""
KINDS = (
    TaskKind("resnet50", 15, 0.4),
    TaskKind("inception_v1", 15, 0.4),
    TaskKind(DETECTOR, 100, 0.2),
)
CORE_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Numbers of cores that our tables have; the bound is for these, too."""
LOADS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.7, 2.0)
TASKS, SEEDS = 50, 10
MOST_PARTS = 4
"""Of a static partition: with more, the smallest ones serve nobody's deadline."""
FLEET_TASKS, FLEET_POOLS, FLEET_LOAD = 10_000, 64, 0.9
BASELINE = "single"
SINGLE = "single, preemptive"

Schedules = dict[str, list[list[Finished]]]


@dataclass(frozen=True)
class Mix:
    """What all schedules share: the pool, tables of the pool and of `single`, cycles alone on the whole pool."""

    config: PoolConfig
    tables: Mapping[str, LatencyTable]
    single: Mapping[str, LatencyTable]
    isolated: Mapping[str, int]


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each load and schedule: `SEEDS` times `TASKS` tasks."""
    if names:
        raise InputError(f"--network {names[0]}: the bench 'mix' has networks of its own")
    _check(config)
    with fraction_progress("mix") as progress:
        mix = tables(config, progress)
        on_rtl = validate(mix, progress)
        rows: list[dict[str, Any]] = []
        for number, load in enumerate(LOADS):
            progress(number / len(LOADS), f"load {load}")
            workloads = [poisson_tasks(KINDS, mix.isolated, load, TASKS, seed) for seed in range(SEEDS)]
            rows += rows_of(mix, workloads, load)
    plots.mix(rows, BENCHES / f"mix-{config.name}.png")
    note(
        "Times: latencies of layers from the exact timing model, costs of switching from hypervisor.switch, schedules "
        f"simulated from these. Sampled on the Verilog of pool {config.name}: {on_rtl}."
    )
    note(
        "detector: the convolutions of VGG-16 (backbone of SSD300) stand for a detector. static: the best of all "
        "partitions of the pool into two to four parts, with or without parts of their own for detectors, chosen for "
        "each load afterwards. Switching costs "
        "single, static and 'pool, preemptive' nothing; it costs elastic what it costs."
    )
    return rows


def measure_fleet(config: PoolConfig, tasks: int, pools: int, scheduler: str | None, seed: int) -> list[dict[str, Any]]:
    """One row: a fleet under our policy, simulated by the workers at `scheduler` or by processes of this machine."""
    _check(config)
    with fraction_progress("mix") as progress:
        mix = tables(config, progress)
        workload = poisson_tasks(KINDS, mix.isolated, FLEET_LOAD, tasks, seed, pools)
        try:
            with workers(scheduler, min(pools, os.cpu_count() or 1)) as client:
                finished, switches = run_fleet(
                    client, config, mix.tables, "deadlines", mix.isolated, workload, pools, progress
                )
        except FleetError as problem:
            raise InputError(f"--scheduler: {problem}") from None
    last = max(each.end for each in finished)
    row: dict[str, Any] = {
        "schedule": "elastic",
        "load": FLEET_LOAD,
        "pools": pools,
        "tasks": len(finished),
        "seed": seed,
    }
    row |= {"simulated seconds": round(last / CLOCK_HERTZ, 4), "switches": switches}
    return [row | _rounded(summary(finished)) | _tails(finished)]


def _check(config: PoolConfig) -> None:
    if config.cores < 2:
        raise InputError("--pool: the bench 'mix' needs at least two cores")


def validate(mix: Mix, report: Progress) -> str:
    """Run sampled tasks on the Verilog, too; what they take. Raises HypervisorError where the simulation is wrong.

    A task that is resized may end earlier than the simulation says, by what that counts too much (`points.slack`).
    """
    config, points = mix.config, sampled_points(mix.config)
    texts = []
    for number, point in enumerate(points):
        network = build(point.network)
        table = mix.tables[point.network]
        report(number / len(points), f"{point}, on the Verilog")

        def run(point: Point = point, network: BuiltNetwork = network, table: LatencyTable = table) -> dict[str, Any]:
            package = table_package(network, config, table.core_counts, report)
            roomy = with_room(config, 1, package.window_bytes)
            expected = simulated(config, point, table)
            port = open_port("verilator", roomy, lambda cycle: report(min(1.0, cycle / expected), f"{point}: Verilog"))
            try:
                return {"cycles": measured(port, point, package, table)}
            finally:
                port.close()

        sources = modules_digest("benchmarks.mix.points", "hypervisor.machines", files=(HARNESS,))
        key = (network.digest, sorted(dataclasses.asdict(config).items()), point, table, sources)
        cycles = int(remembered(f"mix-rtl-{point.network}-{config.name}", key, run)["cycles"])
        expected = simulated(config, point, table)
        if not cycles <= expected <= cycles + slack(config, point):
            raise HypervisorError(
                f"{point} takes {cycles} cycles on the Verilog and {expected} in the simulation: one of them is wrong"
            )
        texts.append(f"{point}: {cycles:,} cycles ({expected:,} simulated)")
    return "; ".join(texts)


def sampled_points(config: PoolConfig) -> tuple[Point, ...]:
    """Tasks on all cores, on more from some layer on, and on fewer."""
    most = config.cores
    some = max(count for count in CORE_COUNTS if count < most)
    return Point("resnet50", most), Point("resnet50", some, 20, most), Point("resnet50", most, 45, some)


def tables(config: PoolConfig, report: Progress) -> Mix:
    """Latency tables of all networks of the mix on the pool and on `single`."""
    counts = tuple(count for count in CORE_COUNTS if count <= config.cores)
    baseline = NAMED_POOLS[BASELINE]
    found, single = {}, {}
    for kind in KINDS:
        name = DETECTOR_NETWORK if kind.network == DETECTOR else kind.network
        for pool, into, own in ((config, found, counts), (baseline, single, (1,))):
            table = latency_table(name, pool, own, report)
            into[kind.network] = without_classifier(table) if kind.network == DETECTOR else table
    isolated = {name: table.cycles(counts[-1]) for name, table in found.items()}
    return Mix(config, found, single, isolated)


def without_classifier(table: LatencyTable) -> LatencyTable:
    """A network's layers before its first fully-connected one, which is the part of it that a program can end with."""
    end = next(number for number, name in enumerate(table.names) if "Gemm" in name)
    return replace(table, network=DETECTOR, names=table.names[:end], layers=table.layers[:end])


def partitions(config: PoolConfig) -> list[tuple[int, ...]]:
    """Every way to cut a pool into two to `MOST_PARTS` parts of sizes in the tables that uses all cores, ascending."""
    sizes = [count for count in CORE_COUNTS if count < config.cores]
    cuts = (parts for number in range(2, MOST_PARTS + 1) for parts in combinations_with_replacement(sizes, number))
    return [parts for parts in cuts if sum(parts) == config.cores]


def homes_of(parts: Sequence[int]) -> Iterator[tuple[str, dict[str, range]]]:
    """Who may use which parts: all use all; or detectors the smallest ones only, classifiers the others, or all."""
    yield "", {}
    for number in range(1, len(parts)):
        home = {DETECTOR: range(number)}
        yield f"; detectors on {_sum(parts[:number])}", home
        others = {kind.network: range(number, len(parts)) for kind in KINDS if kind.network != DETECTOR}
        yield f"; detectors alone on {_sum(parts[:number])}", home | others


def _sum(parts: Sequence[int]) -> str:
    return " + ".join(map(str, sorted(parts, reverse=True)))


def schedules_of(mix: Mix, tasks: Sequence[MixTask]) -> dict[str, list[Finished]]:
    """Every schedule but the static partitions, for one workload."""
    own, single, isolated = mix.tables, mix.single, mix.isolated

    def elastic(policy: str) -> list[Finished]:
        return ElasticPool(mix.config, own, POLICIES[policy], isolated).run(tasks).finished

    return {
        "elastic": elastic("deadlines"),
        "elastic, throughput": elastic("throughput"),
        "elastic, fairness": elastic("fairness"),
        "static, one core each": run_partition(tasks, own, [1] * mix.config.cores, isolated, earliest_deadline),
        "single, in order": run_partition(tasks, single, [1], isolated, first_come),
        SINGLE: run_preemptive(tasks, single, 1, isolated, earliest_deadline),
        "pool, preemptive": run_preemptive(tasks, own, mix.config.cores, isolated, earliest_deadline),
    }


def rows_of(mix: Mix, workloads: Sequence[Sequence[MixTask]], load: float) -> list[dict[str, Any]]:
    """The rows of one load."""
    runs: Schedules = {}
    for tasks in workloads:
        for name, finished in schedules_of(mix, tasks).items():
            runs.setdefault(name, []).append(finished)
    partition, runs["static"] = best_partition(mix, workloads)
    total = sum(map(len, workloads))
    bound = sum(most_in_time(tasks, mix.tables, mix.config.cores) for tasks in workloads) / total
    rows = [_row(load, schedule, finished, bound) for schedule, finished in runs.items()]
    rows[-1]["parts"] = partition
    empty = dict.fromkeys(rows[0])
    return [
        *rows,
        empty
        | {"load": load, "schedule": "clairvoyant bound", "SLA": round(bound, 4), "SLA / bound": 1.0, "parts": ""},
    ]


def best_partition(mix: Mix, workloads: Sequence[Sequence[MixTask]]) -> tuple[str, list[list[Finished]]]:
    """The static partition with most tasks in time over all workloads: its name and its runs."""
    best: tuple[float, str, list[list[Finished]]] = (-1.0, "", [])
    for parts in partitions(mix.config):
        for who, homes in homes_of(parts):
            runs = [
                run_partition(tasks, mix.tables, parts, mix.isolated, earliest_deadline, homes) for tasks in workloads
            ]
            in_time = sum(map(sla_satisfaction, runs))
            if in_time > best[0]:
                best = in_time, f"{_sum(parts)}{who}", runs
    return best[1:]


def _row(load: float, schedule: str, runs: Sequence[Sequence[Finished]], bound: float) -> dict[str, Any]:
    """All tasks together; the fairness of a workload is that of its tasks, so there the mean over workloads."""
    everyone = [each for finished in runs for each in finished]
    figures = dict(summary(everyone))
    figures["fairness"] = sum(map(fairness, runs)) / len(runs)
    figures["fairness, equal"] = sum(map(equal_fairness, runs)) / len(runs)
    row = {"schedule": schedule, "load": load} | _rounded(figures)
    return row | {"SLA / bound": round(figures["SLA"] / bound, 4)} | _tails(everyone) | {"parts": ""}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def _tails(finished: Sequence[Finished]) -> dict[str, float]:
    """Tail latency by network, in milliseconds at 300 MHz."""
    return {f"p99 ms {name}": round(cycles / CLOCK_HERTZ * 1e3, 3) for name, cycles in tail_latency(finished).items()}
