"""The simulation of mixed tasks: metrics and schedules against examples computed by hand, and one rule for all."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.bound import least_core_cycles, most_in_time
from benchmarks.mix.elastic import ElasticPool, cold_cycles
from benchmarks.mix.metrics import (
    Finished,
    average_normalised_turnaround,
    equal_fairness,
    fairness,
    normalised_tail,
    sla_satisfaction,
    summary,
    system_throughput,
    tail_latency,
)
from benchmarks.mix.servers import earliest_deadline, first_come, run_partition, run_preemptive
from benchmarks.mix.tasks import MixTask, TaskKind, poisson_tasks
from hypervisor.policies import POLICIES, Load
from hypervisor.switch import END_DELAY_CYCLES, NOTICE_CYCLES, free_cycles, start_after, start_of_switch
from isa.configuration import NAMED_POOLS

SMALL = NAMED_POOLS["small"]


def table(name: str, *layers: Mapping[int, int], start: int = 0, tail: int = 0) -> LatencyTable:
    counts = list(layers[0])
    names = tuple(f"layer {number}" for number in range(len(layers)))
    return LatencyTable(
        name, "small", names, tuple(map(dict, layers)), dict.fromkeys(counts, start), dict.fromkeys(counts, tail)
    )


def task(number: int, arrival: int, deadline: int, network: str = "net", priority: float = 1.0) -> MixTask:
    return MixTask(number, network, arrival, deadline, priority)


# --- metrics ---------------------------------------------------------------------------------------------------------

EXAMPLE = [
    Finished(task(0, 0, 100, "a", 1.0), end=100, isolated=50),  # progress 1/2, just in time
    Finished(task(1, 20, 100, "a", 2.0), end=120, isolated=25),  # progress 1/4, late
    Finished(task(2, 50, 500, "b", 4.0), end=150, isolated=100),  # progress 1, in time
]


def test_metrics_are_those_of_the_literature() -> None:
    assert system_throughput(EXAMPLE) == 1 / 2 + 1 / 4 + 1
    assert average_normalised_turnaround(EXAMPLE) == (2 + 4 + 1) / 3
    # PP = progress / (priority / 7): 7 x (1/2, 1/8, 1/4)
    assert fairness(EXAMPLE) == (1 / 8) / (1 / 2)
    assert equal_fairness(EXAMPLE) == 1 / 4
    assert sla_satisfaction(EXAMPLE) == 2 / 3
    assert tail_latency(EXAMPLE) == {"a": 100, "b": 100}
    assert normalised_tail(EXAMPLE) == 100 / 80
    assert summary(EXAMPLE)["STP / tasks"] == 1.75 / 3


def test_the_tail_is_what_so_many_percent_do_not_exceed() -> None:
    many = [Finished(task(number, 0, 1000), end=number + 1, isolated=1) for number in range(200)]
    assert tail_latency(many, 99) == {"net": 198}
    assert tail_latency(many, 50) == {"net": 100}


# --- tasks -----------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_tasks_and_load_only_scales_time() -> None:
    kinds, isolated = [TaskKind("a", 15, 0.75), TaskKind("b", 100, 0.25)], {"a": 1000, "b": 5000}
    once = poisson_tasks(kinds, isolated, 0.5, 4000, seed=3)
    assert once == poisson_tasks(kinds, isolated, 0.5, 4000, seed=3)
    assert once != poisson_tasks(kinds, isolated, 0.5, 4000, seed=4)
    denser = poisson_tasks(kinds, isolated, 1.0, 4000, seed=3)
    assert [each.network for each in denser] == [each.network for each in once]
    assert denser[-1].arrival == pytest.approx(once[-1].arrival / 2, abs=1)
    assert once[-1].arrival / 4000 == pytest.approx(2000 / 0.5, rel=0.06), "mean gap: mean cycles alone / load"
    assert sum(each.network == "a" for each in once) == pytest.approx(3000, rel=0.05)
    assert {each.deadline - each.arrival for each in once} == {4_500_000, 30_000_000}


# --- machines that do not resize -----------------------------------------------------------------------------------

ONE_CORE = {"net": table("net", {1: 60}, {1: 40}, start=5, tail=2), "short": table("short", {1: 20})}
ALONE = {"net": 107, "short": 20}


def ends(finished: list[Finished]) -> list[int]:
    return [each.end for each in finished]


def test_one_core_serves_one_after_the_other() -> None:
    tasks = [task(0, 0, 1000), task(1, 10, 125, "short"), task(2, 5, 300)]
    assert ends(run_partition(tasks, ONE_CORE, [1], ALONE, first_come)) == [107, 107 + 107 + 20, 107 + 107]


def test_preemption_waits_for_the_end_of_a_layer() -> None:
    tasks = [task(0, 0, 1000), task(1, 10, 200, "short")]
    assert ends(run_preemptive(tasks, ONE_CORE, 1, ALONE, earliest_deadline)) == [107 + 20, 65 + 20]
    assert ends(run_preemptive(tasks, ONE_CORE, 1, ALONE, first_come)) == [107, 127]


def test_a_task_that_cannot_be_in_time_lets_others_pass() -> None:
    tasks = [task(0, 0, 100), task(1, 1, 180)]
    assert ends(run_preemptive(tasks, ONE_CORE, 1, ALONE, earliest_deadline)) == [65 + 107 + 42, 65 + 107]


def test_a_partition_gives_a_task_the_smallest_part_on_which_it_is_in_time() -> None:
    tables = {"net": table("net", {1: 100, 2: 60})}
    isolated = {"net": 60}
    relaxed, urgent, late = task(0, 0, 1000), task(1, 0, 70), task(2, 0, 130)
    finished = run_partition([relaxed, urgent, late], tables, [1, 2], isolated, earliest_deadline)
    assert ends(finished) == [120, 60, 100]


def test_a_task_stays_on_the_parts_of_its_network() -> None:
    tables = {"net": table("net", {1: 100, 2: 60}), "short": table("short", {1: 20, 2: 10})}
    tasks = [task(0, 0, 1000), task(1, 0, 1000), task(2, 30, 1000, "short")]
    homes = {"net": [1], "short": [0]}
    assert ends(run_partition(tasks, tables, [1, 2], {"net": 60, "short": 10}, first_come, homes)) == [60, 120, 50]


# --- our pool --------------------------------------------------------------------------------------------------------

TWO_LAYERS = {
    "net": table("net", {1: 40_000, 2: 20_000, 4: 10_000}, {1: 40_000, 2: 20_000, 4: 10_000}, start=200, tail=7)
}


def fixed(*answers: dict[int, int]) -> object:
    """A policy that gives these answers, the last one for good; numbers that are not there are left out."""
    given = list(answers)

    def policy(load: Load) -> dict[int, int]:
        answer = given.pop(0) if len(given) > 1 else given[0]
        return {each.number: answer.get(each.number, 0) for each in load.tasks}

    return policy


def test_a_task_alone_takes_its_table_from_the_first_period_after_its_start() -> None:
    pool = ElasticPool(SMALL, TWO_LAYERS, POLICIES["deadlines"], {"net": 20_207})
    (only,) = pool.run([task(0, 1000, 10**6)]).finished
    assert only.end == start_after(SMALL, 1000, 4) + 200 + 20_000 + 7


def test_a_task_grows_at_the_end_of_its_layer_for_the_price_of_a_switch() -> None:
    # The first task gets 2 of 4 cores; when the second one comes it is told to hold all, and the second one nothing.
    policy = fixed({0: 2, 1: 0}, {0: 4, 1: 0}, {0: 4, 1: 4})
    result = ElasticPool(SMALL, TWO_LAYERS, policy, {"net": 1}).run([task(0, 0, 1), task(1, 500, 1)])  # type: ignore[arg-type]
    boundary = start_after(SMALL, 0, 2) + 200 + 20_000
    running = start_of_switch(SMALL, boundary + NOTICE_CYCLES, 2, 4)
    end = running + 200 + cold_cycles(SMALL) + 10_000 + 7
    assert result.switches == 1
    assert result.finished[0].end == end
    free = end + NOTICE_CYCLES + free_cycles(SMALL, 4)
    assert result.finished[1].end == start_after(SMALL, free, 4) + 200 + 20_000 + 7


def test_a_decision_that_is_taken_back_costs_a_look_and_resume() -> None:
    policy = fixed({0: 2}, {0: 4, 1: 0}, {0: 2, 1: 2, 2: 0}, {0: 2, 1: 2, 2: 2})
    tasks = [task(number, arrival, 1) for number, arrival in enumerate((0, 500, 600))]
    result = ElasticPool(SMALL, TWO_LAYERS, policy, {"net": 1}).run(tasks)  # type: ignore[arg-type]
    assert result.switches == 0
    assert result.finished[0].end == start_after(SMALL, 0, 2) + 200 + 2 * 20_000 + 7 + END_DELAY_CYCLES
    assert result.finished[1].end == start_after(SMALL, 600, 2) + 200 + 2 * 20_000 + 7


def test_cores_that_a_shrinking_task_loses_are_scrubbed_before_another_one_gets_them() -> None:
    policy = fixed({0: 4}, {0: 2, 1: 2})
    result = ElasticPool(SMALL, TWO_LAYERS, policy, {"net": 1}).run([task(0, 0, 1), task(1, 500, 1)])  # type: ignore[arg-type]
    noticed = start_after(SMALL, 0, 4) + 200 + 10_000 + NOTICE_CYCLES
    free = noticed + free_cycles(SMALL, 4)
    assert result.finished[0].end == start_of_switch(SMALL, noticed, 4, 2) + 200 + cold_cycles(SMALL) + 20_000 + 7
    assert result.finished[1].end == start_after(SMALL, free, 2) + 200 + 40_000 + 7


@st.composite
def workloads(draw: st.DrawFn) -> tuple[dict[str, LatencyTable], list[MixTask]]:
    tables = {}
    for name in ("a", "b"):
        layers = []
        for _ in range(draw(st.integers(1, 4))):
            work = draw(st.integers(100, 40_000))
            overhead = draw(st.integers(0, 500))
            layers.append({count: work // count + overhead for count in (1, 2, 4)})
        tables[name] = table(name, *layers, start=100, tail=3)
    arrivals = draw(st.lists(st.integers(0, 60_000), min_size=1, max_size=9))
    tasks = [
        task(
            number,
            arrival,
            arrival + draw(st.integers(1000, 120_000)),
            draw(st.sampled_from("ab")),
            draw(st.sampled_from([1.0, 9.0])),
        )
        for number, arrival in enumerate(sorted(arrivals))
    ]
    return tables, tasks


@settings(max_examples=60, deadline=None)
@given(workloads(), st.sampled_from(sorted(POLICIES)))
def test_every_task_ends_cores_are_never_given_twice_and_no_schedule_beats_the_bound(
    case: tuple[dict[str, LatencyTable], list[MixTask]], policy: str
) -> None:
    tables, tasks = case
    isolated = {name: own.cycles(4) for name, own in tables.items()}

    def watched(load: Load) -> dict[int, int]:
        assert sum(each.cores for each in load.tasks) <= SMALL.cores
        return POLICIES[policy](load)

    result = ElasticPool(SMALL, tables, watched, isolated).run(tasks)
    assert [each.task for each in result.finished] == tasks
    assert result == ElasticPool(SMALL, tables, POLICIES[policy], isolated).run(tasks), "same tasks, same result"
    bound = most_in_time(tasks, tables, SMALL.cores)
    schedules = [result.finished, run_preemptive(tasks, tables, 4, isolated, earliest_deadline)]
    schedules += [
        run_partition(tasks, tables, parts, isolated, earliest_deadline) for parts in ([4], [2, 2], [1, 1, 2])
    ]
    assert max(sum(each.is_in_time for each in finished) for finished in schedules) <= bound


# --- the bound -------------------------------------------------------------------------------------------------------


def test_least_core_cycles_choose_the_fewest_cores_that_a_window_allows() -> None:
    network = table("net", {1: 100, 2: 60}, {1: 100, 2: 50})
    assert least_core_cycles(network, 200) == pytest.approx(200)
    # From 200 to 150 cycles the second layer, which loses nothing, goes to two cores; below, the first one pays.
    assert least_core_cycles(network, 150) == pytest.approx(200)
    assert least_core_cycles(network, 110) == pytest.approx(220)
    assert least_core_cycles(network, 130) == pytest.approx(210)
    assert least_core_cycles(network, 109) == float("inf")


def test_the_bound_counts_what_fits_into_the_pool_by_the_deadlines() -> None:
    tables = {"net": table("net", {1: 400, 4: 100})}
    together = [task(number, 0, 250) for number in range(5)]
    assert most_in_time(together, tables, 4) == 2
    assert most_in_time([*together, task(5, 100, 400)], tables, 4) == 3
    assert most_in_time([task(0, 0, 99)], tables, 4) == 0
