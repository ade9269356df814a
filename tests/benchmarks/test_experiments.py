"""The experiments `isolation` and `private`: their arithmetic, and on small pools their runs, to the cycle."""

from itertools import product
from math import inf
from pathlib import Path

import pytest

from benchmarks import cache
from benchmarks.experiments import isolation
from benchmarks.experiments.hostile import HOSTILE
from benchmarks.experiments.private import Figures, arithmetic_mean, curve, geometric_mean, mixed_curve
from benchmarks.experiments.shares import interleaved, useful_shares
from benchmarks.experiments.waves import Wave, best_waves, machine_cycles, timetable_cycles
from benchmarks.networks import BuiltNetwork
from compiler.compile import compile_model
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.machines import open_port
from isa.configuration import NAMED_POOLS
from scripts.benches import isolation as bench

NETWORKS = Path(__file__).parents[1] / "networks"
PAPER, TINY, SMALL = NAMED_POOLS["paper"], NAMED_POOLS["tiny"], NAMED_POOLS["small"]
LINEAR = {cores: 1_000_000 // cores for cores in useful_shares(16)}
"""A network that scales perfectly."""


def test_equal_shares_are_disjoint_and_spread_over_the_wheel() -> None:
    assert useful_shares(16) == (1, 2, 3, 4, 5, 8, 16)
    for cores in range(1, 17):
        held = [interleaved(PAPER, cores, tenant) for tenant in range(16 // cores)]
        assert len({core for hand in held for core in hand}) == 16 // cores * cores
        for hand in held:
            turns = [later - earlier for earlier, later in zip(hand, [*hand[1:], hand[0] + 16], strict=True)]
            assert max(turns) <= -(-16 // cores) + 16 % cores and list(hand) == sorted(hand)


def test_no_waves_end_earlier_than_the_best_ones() -> None:
    latencies = {1: 900, 2: 500, 3: 340, 4: 260}

    def shortest(tasks: int) -> float:
        found = inf
        for shares in (shares for length in range(1, tasks + 1) for shares in product(latencies, repeat=length)):
            if sum(4 // share for share in shares) >= tasks:
                found = min(found, sum(latencies[share] + 30 for share in shares) - 30)
        return found

    for tasks in range(1, 7):
        waves = best_waves("any", latencies, tasks, 4, 30)
        assert sum(wave.tasks for wave in waves) == tasks
        assert all(wave.tasks * wave.cores <= 4 for wave in waves)
        assert sum(latencies[wave.cores] + 30 for wave in waves) - 30 == shortest(tasks)


def test_twelve_tasks_go_on_two_cores_each_and_then_on_four() -> None:
    figures = Figures(PAPER, {"linear": LINEAR}, {"linear": 80_000})
    (point,) = curve(figures, "linear", [12]).points
    assert point.waves == (Wave("linear", 8, 2), Wave("linear", 4, 4))
    assert 4_500 < point.virtualised - LINEAR[2] - LINEAR[4] < 5_200
    assert point.against_static == 1_000_000 / point.virtualised
    assert point.against_single == 12 * 80_000 / point.virtualised


def test_a_change_of_waves_takes_what_is_documented_wherever_it_meets_the_wheel() -> None:
    for before, after in (((8, 2), (8, 2)), ((1, 16), (1, 16))):
        waves = [Wave("any", *before), Wave("any", *after)]
        ends = range(60_000, 60_000 + PAPER.period_cycles, 32)
        changes = [timetable_cycles(PAPER, waves, lambda _, __, end=end: end) - 2 * end for end in ends]  # type: ignore[misc]
        assert PAPER.drain_cycles + PAPER.scrub_cycles < 4_500 < min(changes)
        assert max(changes) < 5_200
        assert len(set(changes)) > 1


def test_ratios_are_those_of_throughputs_and_means_those_of_ratios() -> None:
    shares = {"one": LINEAR, "two": {cores: 2 * cycles for cores, cycles in LINEAR.items()}}
    figures = Figures(PAPER, shares, {"one": 50_000, "two": 250_000})
    own = curve(figures, "one", [1, 16])
    assert [point.virtualised for point in own.points] == [62_500, 1_000_000]
    assert [point.against_single for point in own.points] == [0.8, 0.8]
    assert [point.against_static for point in own.points] == [16, 1]
    assert own.mean_against_single == pytest.approx(0.8)
    assert own.mean_against_static == 8.5
    assert own.geometric_mean_against_static == pytest.approx(4)
    assert arithmetic_mean([1, 2, 6]) == 3 and geometric_mean([1, 2, 4]) == pytest.approx(2)
    (mixed,) = mixed_curve(figures, ["one", "two"], [1, 2]).points
    assert mixed.tasks == 2 and mixed.single == 300_000 and mixed.static == 2_000_000
    assert mixed.virtualised > 62_500 + 125_000


@pytest.mark.xdist_group("tiny_rtl")
def test_waves_take_on_the_rtl_what_the_timetable_says() -> None:
    package = compile_model(NETWORKS / "lenet.int8.onnx", TINY, [1, 2])
    (stage,) = package.stages

    def latency(network: str, cores: int) -> int:
        physical = interleaved(TINY, cores, TINY.cores // cores - 1)
        return time_stage(package, stage.first_layer, physical, TINY, package.window()).cycles

    waves = [Wave("lenet", 1, 1), Wave("lenet", 1, 2)]
    expected = timetable_cycles(TINY, waves, latency)
    assert expected > latency("lenet", 1) + latency("lenet", 2) + TINY.scrub_cycles
    assert machine_cycles(open_port("verilator", TINY), waves, {"lenet": package}, latency) == expected


def test_splits_use_every_core_once_and_every_hostile_neighbour() -> None:
    for config in (PAPER, SMALL):
        found = isolation.splits(config)
        for split in found:
            cores = [core for hand in (*split.tenants, *(each.cores for each in split.neighbours)) for core in hand]
            assert sorted(cores) == list(range(config.cores))
        assert {each.hostile.name for split in found for each in split.neighbours} == {each.name for each in HOSTILE}
    assert [len(hand) for hand in isolation.splits(PAPER)[1].tenants] == [8, 4, 4]


@pytest.mark.xdist_group("small_verilator")
def test_hostile_neighbours_fault_and_flood_and_cost_a_tenant_no_cycle() -> None:
    package = compile_model(NETWORKS / "lenet.int8.onnx", SMALL, [1])
    (stage,) = package.stages
    for split in isolation.splits(SMALL):
        if split.neighbours:
            run = isolation.run_split(open_port("verilator", SMALL), split, package, 0, 200_000)
            expected = time_stage(package, stage.first_layer, split.tenants[0], SMALL, package.window()).cycles
            assert run.cycles == (expected,)
            if "faults" in (each.hostile.name for each in split.neighbours):
                assert run.faults > 0
                assert run.hostile_runs > len(split.neighbours), "whoever has faulted is started again"


def test_the_bench_shows_a_deviation_that_the_rtl_has(monkeypatch: pytest.MonkeyPatch) -> None:
    network = BuiltNetwork("lenet", NETWORKS / "lenet.int8.onnx", 0.0, 0.0)
    measured = bench.IsolationBench(network, SMALL, lambda fraction, what: None)

    def late(split: isolation.Split, alone: int | None) -> isolation.Run:
        exact = [measured.model_cycles(cores) for cores in split.tenants]
        return isolation.Run(tuple(exact[:1] if alone is not None else [cycles + 7 for cycles in exact]), 0, 0)

    monkeypatch.setattr(measured, "_run", late)
    rows = measured.rows()
    assert {row["deviation"] for row in rows} == {7}
    assert all(row["relative deviation"] == 7 / row["model alone"] for row in rows)


def test_what_the_bench_has_measured_is_neither_run_nor_compiled_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    network = BuiltNetwork("lenet", NETWORKS / "lenet.int8.onnx", 0.0, 0.0)
    monkeypatch.setattr(cache, "BENCHES", tmp_path)
    monkeypatch.setattr(bench, "open_port", lambda backend, config, report: None)

    def run(port: None, split: isolation.Split, package: Package, first: int, limit: int, alone: int | None):  # type: ignore[no-untyped-def]
        exact = tuple(measured.model_cycles(cores) for cores in split.tenants)
        return isolation.Run(exact if alone is None else (exact[alone],), 3, 1)

    def never(*_: object) -> None:
        raise AssertionError("this is in the cache")

    monkeypatch.setattr(bench, "run_split", run)
    measured = bench.IsolationBench(network, SMALL, lambda fraction, what: None)
    rows = measured.rows()
    assert "0x" not in str(measured.splits), "an address is another one in the next process"
    for name in ("table_package", "time_stage", "run_split"):
        monkeypatch.setattr(bench, name, never)
    assert bench.IsolationBench(network, SMALL, lambda fraction, what: None).rows() == rows
