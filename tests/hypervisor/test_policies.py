"""Policies give out no more than there is, and are the best by their own measure: compared with trying everything."""

from collections.abc import Iterator
from itertools import accumulate, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.policies import POLICIES, Latencies, Load, Task, deadlines, fairness, place, throughput


@st.composite
def latencies(draw: st.DrawFn) -> Latencies:
    """One to three layers on 1, 2, 3 and 4 cores or some of them, seldom faster by as much as they have more cores."""
    counts = sorted(draw(st.sets(st.integers(1, 4), min_size=1)))
    layers = draw(st.lists(st.lists(st.integers(1, 1000), min_size=4, max_size=4), min_size=1, max_size=3))
    return Latencies([{count: layer[count - 1] for count in counts} for layer in layers])


@st.composite
def loads(draw: st.DrawFn, most_tasks: int = 4) -> Load:
    tasks = []
    attached = 0
    free = cores = draw(st.integers(1, 5))
    contexts = draw(st.integers(1, 5))
    for number in range(draw(st.integers(0, most_tasks))):
        own = draw(latencies())
        held = draw(st.sampled_from([0, *(count for count in own.core_counts if count <= free)]))
        is_attached = attached < contexts and (held > 0 or draw(st.booleans()))
        held *= is_attached
        attached += is_attached
        free -= held
        tasks.append(
            Task(
                number,
                own,
                next_layer=draw(st.integers(0, own.layers - 1)),
                cycles_to_boundary=draw(st.integers(0, 300)),
                cores=held,
                attached=is_attached,
                priority=draw(st.sampled_from([0.5, 1.0, 3.0])),
                arrival=draw(st.integers(0, 1000)),
                deadline=draw(st.none() | st.integers(0, 5000)),
            )
        )
    return Load(1000, cores, contexts, tuple(tasks), switch_cycles=draw(st.sampled_from([0, 50])))


def every_answer(load: Load) -> Iterator[dict[int, int]]:
    for counts in product(*([0, *task.latencies.core_counts] for task in load.tasks)):
        waiting = sum(1 for task, count in zip(load.tasks, counts, strict=True) if count and not task.attached)
        attached = sum(task.attached for task in load.tasks)
        if sum(counts) <= load.cores and waiting + attached <= load.contexts:
            yield {task.number: count for task, count in zip(load.tasks, counts, strict=True)}


@pytest.mark.parametrize("name", POLICIES)
@given(load=loads(most_tasks=8))
def test_a_policy_gives_out_what_there_is(name: str, load: Load) -> None:
    answer = POLICIES[name](load)
    assert set(answer) == {task.number for task in load.tasks}
    assert sum(answer.values()) <= load.cores
    assert all(answer[task.number] in (0, *task.latencies.core_counts) for task in load.tasks)
    assert sum(task.attached or answer[task.number] > 0 for task in load.tasks) <= load.contexts
    assert answer == POLICIES[name](load)


@pytest.mark.parametrize("name", POLICIES)
@given(load=loads())
def test_no_core_is_idle_while_a_task_could_run_on_it(name: str, load: Load) -> None:
    """Where contexts are short, tasks are chosen before cores are given out."""
    if load.contexts < len(load.tasks):
        return
    answer = POLICIES[name](load)
    left = load.cores - sum(answer.values())
    assert all(answer[task.number] or left < task.latencies.core_counts[0] for task in load.tasks)


def system_throughput(load: Load, answer: dict[int, int]) -> float:
    total = 0.0
    for task in load.tasks:
        if count := answer[task.number]:
            fastest = min(task.cycles(c) for c in task.latencies.core_counts if c <= load.cores)
            total += task.priority * fastest / task.cycles(count, load.switch_cycles)
    return total


@given(loads(most_tasks=3))
def test_throughput_is_the_best_that_there_is(load: Load) -> None:
    if load.contexts < len(load.tasks):
        return  # who comes first is chosen before
    best = max(system_throughput(load, answer) for answer in every_answer(load))
    assert system_throughput(load, throughput(load)) == pytest.approx(best)


def test_throughput_serves_the_network_that_cores_help_most() -> None:
    scales = Latencies([{1: 1000, 2: 500, 3: 334, 4: 250}])
    does_not = Latencies([{1: 1000, 2: 990, 3: 980, 4: 970}])
    load = Load(0, 4, 4, (Task(0, does_not), Task(1, scales)))
    assert throughput(load) == {0: 1, 1: 3}


def worst_slowdown(load: Load, answer: dict[int, int]) -> float:
    return max(
        task.priority
        * (load.now - task.arrival + task.cycles(answer[task.number], load.switch_cycles))
        / task.isolated_cycles
        for task in load.tasks
    )


@given(st.lists(st.tuples(st.integers(8, 500), st.integers(0, 1000), st.sampled_from([1.0, 2.0])), min_size=1))
def test_fairness_has_the_smallest_worst_slowdown(tasks: list[tuple[int, int, float]]) -> None:
    """For networks that more cores always help."""
    load = Load(
        1000,
        5,
        5,
        tuple(
            Task(number, Latencies([{k: size * 12 // k for k in range(1, 6)}]), arrival=arrival, priority=priority)
            for number, (size, arrival, priority) in enumerate(tasks[:3])
        ),
    )
    complete = [answer for answer in every_answer(load) if all(answer.values())]
    best = min(worst_slowdown(load, answer) for answer in complete)
    assert worst_slowdown(load, fairness(load)) == pytest.approx(best)


def test_tasks_that_cores_help_get_all_of_them_one_after_the_other() -> None:
    """So all end as early as they can, which leaves most time for what comes later."""
    network = Latencies([{1: 4000, 2: 2000, 3: 1400, 4: 1000}])
    urgent, relaxed, free = Task(0, network, deadline=1500), Task(1, network, deadline=4000), Task(2, network)
    assert deadlines(Load(0, 4, 4, (free, relaxed, urgent))) == {0: 4, 1: 0, 2: 0}


def test_tasks_that_can_be_in_time_only_beside_each_other_run_beside_each_other() -> None:
    network = Latencies([{1: 1100, 2: 1000, 4: 900}])
    tasks = tuple(Task(number, network, deadline=1500) for number in range(4))
    assert deadlines(Load(0, 4, 4, tasks)) == dict.fromkeys(range(4), 1)
    assert deadlines(Load(0, 4, 4, tasks[:2])) == {0: 2, 1: 2}


def test_the_longest_task_is_left_out_when_not_all_can_be_in_time() -> None:
    long, short = Latencies([{1: 900}]), Latencies([{1: 400}])
    tasks = (Task(0, long, deadline=1000), Task(1, short, deadline=1100), Task(2, short, deadline=1200))
    assert deadlines(Load(0, 1, 3, tasks)) == {0: 0, 1: 1, 2: 0}


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=6))
def test_on_one_core_as_many_tasks_are_in_time_as_can_be(cases: list[tuple[int, int]]) -> None:
    """Followed to the end, the plan keeps what it promises, and no order of any subset does better."""
    left = {n: Task(n, Latencies([{1: cycles}]), deadline=deadline) for n, (cycles, deadline) in enumerate(cases)}
    best = max(
        sum(end <= left[n].deadline for n, end in zip(order, accumulate(cases[n][0] for n in order), strict=True))  # type: ignore[operator]
        for order in permutations(range(len(cases)))
    )
    now = in_time = 0
    while left:
        answer = deadlines(Load(now, 1, 6, tuple(left.values())))
        (chosen,) = (number for number, count in answer.items() if count)
        now += cases[chosen][0]
        in_time += now <= cases[chosen][1]
        del left[chosen]
    assert in_time == best


def test_a_task_that_is_late_anyway_waits_for_those_that_can_be_in_time() -> None:
    network = Latencies([{1: 4000, 2: 2000}])
    late, in_time = Task(0, network, deadline=100), Task(1, network, deadline=2000)
    assert deadlines(Load(0, 2, 2, (late, in_time))) == {0: 0, 1: 2}


def test_a_resize_that_costs_more_than_it_brings_is_not_made() -> None:
    network = Latencies([{1: 1000, 2: 900}])
    task = Task(0, network, cores=1, attached=True)
    assert throughput(Load(0, 2, 2, (task,), switch_cycles=99)) == {0: 2}
    for policy in (throughput, fairness, deadlines):
        assert policy(Load(0, 2, 2, (task,), switch_cycles=101)) == {0: 1}


@given(st.dictionaries(st.integers(0, 5), st.integers(0, 4), max_size=4), st.data())
def test_placing_keeps_what_tasks_hold_and_shares_nothing(counts: dict[int, int], data: st.DataObject) -> None:
    cores = data.draw(st.permutations(range(16)))
    held = {task: cores[3 * task : 3 * task + data.draw(st.integers(0, 3))] for task in range(5)}
    free = sorted(set(cores) - {core for own in held.values() for core in own})
    placed = place(counts, held, free)
    everything = [core for own in placed.values() for core in own]
    assert len(everything) == len(set(everything))
    for task, count in counts.items():
        own = placed.get(task, ())
        assert len(own) == count
        common = min(count, len(held.get(task, ())))
        assert list(own[:common]) == list(held.get(task, ()))[:common]


def test_too_few_cores_cannot_be_placed() -> None:
    with pytest.raises(ValueError, match="task 1 needs 2 more cores, and 1 are left"):
        place({0: 1, 1: 2}, {}, [3, 4])


def test_latencies_are_of_whole_networks_on_the_same_numbers_of_cores() -> None:
    assert Latencies([{1: 10, 2: 6}, {1: 5, 2: 3}]).remaining(2, 1) == 3
    assert Latencies([{1: 10, 2: 6}, {1: 5, 2: 3}]).remaining(1) == 15
    with pytest.raises(ValueError, match="at least one layer"):
        Latencies([])
    with pytest.raises(ValueError, match=r"for \(1, 2\) cores"):
        Latencies([{1: 10, 2: 6}, {1: 5}])
