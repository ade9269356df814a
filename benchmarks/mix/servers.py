"""The baselines: machines that do not resize. One core that is shared over time, or a pool cut into fixed parts.

Both are servers with queues. Switching between tasks costs them nothing, which favours them.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.metrics import Finished
from benchmarks.mix.tasks import MixTask

Tables = Mapping[str, LatencyTable]


@dataclass
class _Job:
    """A task on the server that preempts, and how far it has come."""

    task: MixTask
    done: int = 0
    """Layers that are complete."""


Order = Callable[[int, MixTask, int], tuple[float, ...]]
"""Who is served first: smallest of f(now, task, cycles that it still takes on the fastest server)."""


def first_come(_now: int, task: MixTask, _left: int) -> tuple[float, ...]:
    """In the order of arrival."""
    return (task.arrival, task.number)


def earliest_deadline(now: int, task: MixTask, left: int) -> tuple[float, ...]:
    """Earliest deadline first; those that cannot be in time any more come last, by priority."""
    if now + left > task.deadline:
        return (1, -task.priority, task.arrival, task.number)
    return (0, task.deadline, task.arrival, task.number)


def run_partition(
    tasks: Sequence[MixTask],
    tables: Tables,
    parts: Sequence[int],
    isolated: Mapping[str, int],
    order: Order,
    homes: Mapping[str, Collection[int]] | None = None,
) -> list[Finished]:
    """A pool cut into parts of so many cores each; a task runs on one part from its start to its end.

    Whenever parts are free, the first task in `order` that may use one of them gets the smallest on which it is in
    time, or the largest one if there is none. `homes`: the parts that a network may use, as indices of `parts`; others
    use all.
    """
    cycles = {name: {count: table.cycles(count) for count in set(parts)} for name, table in tables.items()}
    usable = {name: sorted((homes or {}).get(name, range(len(parts))), key=parts.__getitem__) for name in tables}
    fastest = {name: min(cycles[name][parts[index]] for index in usable[name]) for name in tables}
    free = set(range(len(parts)))
    waiting: list[MixTask] = []
    running: list[tuple[int, int, int]] = []
    by_number = {task.number: task for task in tasks}
    finished = []
    arrivals = sorted(tasks, key=lambda task: (task.arrival, task.number))
    upcoming = 0
    while upcoming < len(arrivals) or running:
        now = min([task.arrival for task in arrivals[upcoming : upcoming + 1]] + [end for end, _, _ in running[:1]])
        while running and running[0][0] == now:
            _, number, part = heapq.heappop(running)
            finished.append(Finished(by_number[number], now, isolated[by_number[number].network]))
            free.add(part)
        while upcoming < len(arrivals) and arrivals[upcoming].arrival == now:
            waiting.append(arrivals[upcoming])
            upcoming += 1
        for task in sorted(waiting, key=lambda each: order(now, each, fastest[each.network])):
            open_parts = [part for part in usable[task.network] if part in free]
            if open_parts:
                own = cycles[task.network]
                in_time = (part for part in open_parts if now + own[parts[part]] <= task.deadline)
                part = next(in_time, open_parts[-1])
                waiting.remove(task)
                free.remove(part)
                heapq.heappush(running, (now + own[parts[part]], task.number, part))
    return sorted(finished, key=lambda each: each.task.number)


def run_preemptive(
    tasks: Sequence[MixTask], tables: Tables, cores: int, isolated: Mapping[str, int], order: Order
) -> list[Finished]:
    """One server of `cores` cores. At the end of every layer the first task in `order` goes on."""
    ends = {name: _layer_ends(table, cores) for name, table in tables.items()}
    jobs: list[_Job] = []
    finished = []
    arrivals = sorted(tasks, key=lambda task: (task.arrival, task.number))
    upcoming, now = 0, 0
    while upcoming < len(arrivals) or jobs:
        if not jobs:
            now = max(now, arrivals[upcoming].arrival)
        while upcoming < len(arrivals) and arrivals[upcoming].arrival <= now:
            jobs.append(_Job(arrivals[upcoming]))
            upcoming += 1

        def left(job: _Job) -> int:
            own = ends[job.task.network]
            return own[-1] - own[job.done]

        job = min(jobs, key=lambda each: order(now, each.task, left(each)))
        own = ends[job.task.network]
        # Nothing changes before the next arrival: go on to the first boundary behind it, or to the end.
        goal = arrivals[upcoming].arrival - now + own[job.done] if upcoming < len(arrivals) else own[-1]
        until = min(len(own) - 1, max(job.done + 1, bisect_right(own, goal - 1)))
        now += own[until] - own[job.done]
        job.done = until
        if until == len(own) - 1:
            jobs.remove(job)
            finished.append(Finished(job.task, now, isolated[job.task.network]))
    return sorted(finished, key=lambda each: each.task.number)


def _layer_ends(table: LatencyTable, cores: int) -> list[int]:
    """Cycles from the start to the start, and to the end of every layer; the last one to the end of the run."""
    ends = [0, *accumulate(layer[cores] for layer in table.layers)]
    ends[-1] += table.tail[cores]
    return [0, *(end + table.start[cores] for end in ends[1:])]
