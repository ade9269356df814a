"""Who gets how many cores: policies of the private cloud, as pure functions from a load to cores per task.

A policy knows nothing of hypervisors, simulators or the passing of time: it is asked whenever the load has changed (a
task came, ended, or reached the end of a layer) and answers how many cores every task should hold from now on. Whoever
asks, a hypervisor or a simulation of many pools, carries the answer out at layer boundaries; `place` names the cores.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from compiler.package import Package


class Latencies:
    """How long the layers of a network take on each number of cores.

    Args:
        layers: for every layer, cycles by number of cores; the same numbers of cores in every layer.

    Raises ValueError when there is no layer, or when layers know different numbers of cores.
    """

    def __init__(self, layers: Sequence[Mapping[int, int]]) -> None:
        if not layers or not layers[0]:
            raise ValueError("latencies need at least one layer and one number of cores")
        self.layers = len(layers)
        self.core_counts: tuple[int, ...] = tuple(sorted(layers[0]))
        """Numbers of cores that the network can run on, ascending."""
        if any(tuple(sorted(layer)) != self.core_counts for layer in layers):
            raise ValueError(f"every layer must have latencies for {self.core_counts} cores")
        self._remaining = {
            count: [0, *accumulate(layer[count] for layer in reversed(layers))][::-1] for count in self.core_counts
        }

    @classmethod
    def of(cls, package: Package) -> Latencies:
        """The latencies of a package: exact ones if it was compiled with exact latencies, else estimates."""
        return cls([{count: frame.cycles for count, frame in layer.frames.items()} for layer in package.layers])

    def remaining(self, cores: int, first_layer: int = 0) -> int:
        """Cycles of the layers from `first_layer` on. Raises KeyError for a number of cores without latencies."""
        return self._remaining[cores][first_layer]


@dataclass(frozen=True)
class Task:
    """What a policy may know of a task; times are in cycles.

    `cores` are those that it holds now, `next_layer` is the first layer that other cores could execute, and
    `cycles_to_boundary` is the time until then. `attached`: it has a context and a window, with cores or without.
    """

    number: int
    latencies: Latencies
    next_layer: int = 0
    cycles_to_boundary: int = 0
    cores: int = 0
    attached: bool = False
    priority: float = 1.0
    arrival: int = 0
    deadline: int | None = None

    def cycles(self, cores: int, switch_cycles: int = 0) -> int:
        """Cycles until its end on so many cores; `switch_cycles` are lost if it holds others now."""
        lost = switch_cycles if self.cores not in (0, cores) else 0
        return self.cycles_to_boundary + lost + self.latencies.remaining(cores, self.next_layer)

    @property
    def isolated_cycles(self) -> int:
        """Cycles of the whole task with the pool to itself."""
        return min(self.latencies.remaining(count) for count in self.latencies.core_counts)


@dataclass(frozen=True)
class Load:
    """What is to be decided: tasks that run or wait, and `cores` cores for them.

    At most `contexts` tasks are attached at a time. A resized task loses `switch_cycles` beyond waiting for the end of
    its layer.
    """

    now: int
    cores: int
    contexts: int
    tasks: tuple[Task, ...]
    switch_cycles: int = 0


class Policy(Protocol):
    """Decides how many cores each task should hold: an entry for every task of the load, 0 included.

    The sum is at most `load.cores`, every number but 0 is one of the task's `latencies.core_counts`, and tasks that
    would be attached are at most `load.contexts`. Pure: the same load gives the same answer.
    """

    def __call__(self, load: Load) -> dict[int, int]: ...


def throughput(load: Load) -> dict[int, int]:
    """Maximise system throughput: the sum over tasks of priority x (cycles on all cores / cycles on its own).

    System throughput as Eyerman and Eeckhout define it (IEEE Micro 28(3), 2008), of what is left of each task. An
    exact solution: a knapsack over the cores. Among equal ones tasks that came first get more.
    """
    tasks = _candidates(load, sorted(load.tasks, key=lambda task: (task.arrival, task.number)))
    best = np.zeros(load.cores + 1)
    choices = []
    for task in tasks:
        best, choice = _with_one_more(best, task, load)
        choices.append(choice)
    answer = dict.fromkeys((task.number for task in load.tasks), 0)
    left = load.cores
    for task, choice in zip(reversed(tasks), reversed(choices), strict=True):
        answer[task.number] = int(choice[left])
        left -= answer[task.number]
    return answer


def fairness(load: Load) -> dict[int, int]:
    """Minimise the worst slowdown: cycles from a task's arrival to its end, against those with the pool to itself.

    A task of priority p counts as p times as slow. Cores go one step at a time to the task that is worst off and
    gains by them; none has more than one step before every task has one, if there are enough.
    """

    def slowdown(task: Task, count: int) -> float:
        waited = load.now - task.arrival
        return task.priority * (waited + task.cycles(count, load.switch_cycles)) / max(1, task.isolated_cycles)

    ordered = sorted(load.tasks, key=lambda task: (-slowdown(task, _fewest(task)), task.arrival, task.number))
    answer, left = _one_step_each(load, _candidates(load, ordered))
    growing = [task for task in ordered if answer[task.number]]
    while growing:
        worst = max(growing, key=lambda task: slowdown(task, answer[task.number]))
        count = _next_useful(load, worst, answer[worst.number], left)
        if count is None:
            growing.remove(worst)
            continue
        left -= count - answer[worst.number]
        answer[worst.number] = count
    return answer


def deadlines(load: Load) -> dict[int, int]:
    """Let as many tasks as possible be in time, by a plan for all that are there.

    For every width the pool is taken for `cores // width` machines, which tasks with deadlines take one after another,
    earliest deadline first. When one would be late, the longest of those planned so far is left out: Moore's algorithm
    (Management Science 15(1), 1968), which is optimal on one machine. The width that gets most tasks to their end in
    time is chosen, among equal ones that with the earliest ends; the first task on every machine gets its cores now.
    Others share what is left: first those that are planned for later, then those left out or without a deadline, by
    priority. What then is still left goes to where it raises throughput most.
    """

    def urgency(task: Task) -> tuple[bool, int, int, int]:
        return task.deadline is None, task.deadline or 0, task.arrival, task.number

    ordered = sorted(load.tasks, key=urgency)
    candidates = _candidates(load, ordered)
    dated = [task for task in candidates if task.deadline is not None]
    widths = sorted({count for task in dated for count in task.latencies.core_counts if count <= load.cores})
    plans = [_plan(load, dated, width) for width in widths]
    best = max(plans, key=lambda plan: (len(plan.tasks), -plan.sum_of_ends), default=_Plan((), {}, 0))
    answer = dict.fromkeys((task.number for task in load.tasks), 0) | best.first
    left = load.cores - sum(best.first.values())
    later = [task for task in best.tasks if not answer[task.number]]
    rest = [task for task in candidates if task not in best.tasks]
    for task in later + sorted(rest, key=lambda task: (-task.priority, task.arrival, task.number)):
        kept = task.cores if task.cores in task.latencies.core_counts else 0
        answer[task.number] = kept if 0 < kept <= left else (_fewest(task) if _fewest(task) <= left else 0)
        left -= answer[task.number]
    growing = [task for task in candidates if answer[task.number]]
    while growing and left:
        gains = [_best_gain(load, task, answer[task.number], left) for task in growing]
        gain, count, index = max((gain, count, -index) for index, (gain, count) in enumerate(gains))
        if gain <= 0:
            break
        task = growing[-index]
        left -= count - answer[task.number]
        answer[task.number] = count
    return answer


POLICIES: dict[str, Policy] = {"throughput": throughput, "fairness": fairness, "deadlines": deadlines}
"""Every policy by its name."""


def place(
    counts: Mapping[int, int], held: Mapping[int, Sequence[int]], free: Collection[int]
) -> dict[int, tuple[int, ...]]:
    """Name the cores: for every task that `counts` gives any, physical cores in virtual order.

    Tasks keep what they hold: those that shrink lose their last cores, those that grow get the lowest free ones
    (`free`, and what others lose). Raises ValueError when there are not enough.
    """
    kept = {task: tuple(held.get(task, ()))[:count] for task, count in counts.items()}
    lost = [core for task, cores in held.items() for core in cores[len(kept.get(task, ())) :]]
    available = sorted({*free, *lost})
    placed = {}
    for task, count in counts.items():
        missing = count - len(kept[task])
        if missing > len(available):
            raise ValueError(f"task {task} needs {missing} more cores, and {len(available)} are left")
        if count:
            placed[task] = kept[task] + tuple(available[:missing])
        available = available[missing:]
    return placed


@dataclass(frozen=True)
class _Plan:
    """Tasks that are in time, in their order; cores of those that begin at once; the sum of their ends."""

    tasks: tuple[Task, ...]
    first: dict[int, int]
    sum_of_ends: int


def _plan(load: Load, ordered: Sequence[Task], width: int) -> _Plan:
    """Tasks with deadlines, in this order, on machines of `width` cores; those that would make others late left out."""
    machines = load.cores // width
    counts = {t.number: max((c for c in t.latencies.core_counts if c <= width), default=0) for t in ordered}
    cycles = {t.number: t.cycles(counts[t.number], load.switch_cycles) for t in ordered if counts[t.number]}
    chosen: list[Task] = []
    ends: list[int] = []
    first: list[int] = []
    for task in ordered:
        if not counts[task.number]:
            continue
        chosen.append(task)
        ends, first = _ends(chosen, cycles, machines)
        while any(load.now + end > (t.deadline or 0) for t, end in zip(chosen, ends, strict=True)):
            chosen.remove(max(chosen, key=lambda t: (cycles[t.number], t.number)))
            ends, first = _ends(chosen, cycles, machines)
    return _Plan(tuple(chosen), {number: counts[number] for number in first}, sum(ends))


def _ends(tasks: Sequence[Task], cycles: Mapping[int, int], machines: int) -> tuple[list[int], list[int]]:
    """The end of every task, each on the machine that is free first; the numbers of those that begin at once."""
    free = [0] * machines
    first = []
    ends = []
    for task in tasks:
        machine = min(range(machines), key=free.__getitem__)
        if free[machine] == 0:
            first.append(task.number)
        free[machine] += cycles[task.number]
        ends.append(free[machine])
    return ends, first


def _fewest(task: Task) -> int:
    return task.latencies.core_counts[0]


def _candidates(load: Load, ordered: Sequence[Task]) -> list[Task]:
    """The tasks that may hold cores, in the same order: all that are attached, and others while contexts last."""
    contexts = load.contexts - sum(task.attached for task in ordered)
    chosen = []
    for task in ordered:
        if not task.attached:
            contexts -= 1
        if task.attached or contexts >= 0:
            chosen.append(task)
    return chosen


def _progress(load: Load, task: Task, count: int) -> float:
    """Normalised progress on so many cores: 1 is as fast as with the whole pool."""
    fastest = min(task.cycles(usable) for usable in task.latencies.core_counts if usable <= load.cores)
    return task.priority * max(1, fastest) / max(1, task.cycles(count, load.switch_cycles))


def _with_one_more(best: NDArray[np.float64], task: Task, load: Load) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The knapsack with one more task: the best sum for every number of cores, and what the task gets of them."""
    raised, choice = best.copy(), np.zeros(len(best), np.int64)
    for count in task.latencies.core_counts:
        if count > load.cores:
            break
        sums = best[: len(best) - count] + _progress(load, task, count)
        better = sums > raised[count:] + 1e-12
        raised[count:][better] = sums[better]
        choice[count:][better] = count
    return raised, choice


def _one_step_each(load: Load, tasks: Sequence[Task]) -> tuple[dict[int, int], int]:
    """The fewest cores for every task, while they last, and what is left."""
    answer = dict.fromkeys((task.number for task in load.tasks), 0)
    left = load.cores
    for task in tasks:
        if _fewest(task) <= left:
            answer[task.number] = _fewest(task)
            left -= _fewest(task)
    return answer, left


def _larger(load: Load, task: Task, held: int, left: int) -> list[int]:
    """Larger numbers of cores that make the task faster."""
    present = task.cycles(held, load.switch_cycles)
    counts = [count for count in task.latencies.core_counts if held < count <= held + left]
    return [count for count in counts if task.cycles(count, load.switch_cycles) < present]


def _next_useful(load: Load, task: Task, held: int, left: int) -> int | None:
    return min(_larger(load, task, held, left), default=None)


def _best_gain(load: Load, task: Task, held: int, left: int) -> tuple[float, int]:
    """The largest gain of progress per core, and the number of cores that brings it."""
    present = _progress(load, task, held)
    gains = [((_progress(load, task, c) - present) / (c - held), c) for c in _larger(load, task, held, left)]
    return max(gains, default=(0.0, held))
