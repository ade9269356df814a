"""A bound on how many tasks any schedule of the pool can end in time, from knowing all arrivals beforehand.

It relaxes: cores may be given in fractions and moved at any cycle at no cost; a task may use any number of cores up to
all of them, even more than its network has frames for; layers may overlap and be divided. It keeps: a task takes at
least the core-cycles that its layers take in the most economical way that still ends within its own window (from
arrival to deadline), all of them within that window, and the pool has so many cores and no more. What every real
schedule does is a special case, so no schedule has more tasks in time.

Economical: fewer cores waste fewer core-cycles and take longer. For a network and a window the least core-cycles
follow from the layers' tables by choosing for every layer among its numbers of cores, fractions of layers allowed: a
linear program with one coupling constraint, solved exactly by its Lagrangian.

Which tasks can be in time together: by the theorem of preemptive scheduling on one machine (Horn 1974; as a machine
whose speed is all cores), a set can if and only if for every arrival a and deadline d, the tasks that arrive no sooner
than a and are due no later than d together need at most (d - a) x cores. Choosing the largest such set is an integer
program, solved by HiGHS (scipy.optimize.milp); if it does not finish in its time, its own proven bound is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.tasks import MixTask

TIME_LIMIT_SECONDS = 20.0


def least_core_cycles(table: LatencyTable, window: int) -> float:
    """Least core-cycles in which a network can end within `window` cycles; infinite if it cannot at all."""
    counts = np.array(table.core_counts)
    times = np.array([[layer[count] for count in table.core_counts] for layer in table.layers], float)
    if times.min(axis=1).sum() > window:
        return float("inf")

    def relaxed(price: float) -> tuple[float, float]:
        """The Lagrangian's value at a price per cycle, and the time that its solution takes (the shorter of ties)."""
        costs = times * counts + price * times
        best = costs.min(axis=1)
        chosen = np.where(costs <= best[:, None] * (1 + 1e-12), times, np.inf).min(axis=1)
        return float(best.sum() - price * window), float(chosen.sum())

    # The dual is concave in the price, and every value of it is a lower bound: bisect for the sign of its slope.
    low, high = 0.0, float(counts.max())
    best = relaxed(0.0)[0]
    for _ in range(60):
        middle = (low + high) / 2
        value, time = relaxed(middle)
        best = max(best, value)
        low, high = (middle, high) if time > window else (low, middle)
    return max(best, relaxed(low)[0], relaxed(high)[0])


def most_in_time(tasks: Sequence[MixTask], tables: Mapping[str, LatencyTable], cores: int) -> int:
    """A number that the tasks in time of no schedule of a pool with `cores` cores exceed."""
    known: dict[tuple[str, int], float] = {}
    needs = []
    for task in tasks:
        key = task.network, task.deadline - task.arrival
        if key not in known:
            known[key] = least_core_cycles(tables[task.network], key[1])
        needs.append(known[key])
    chosen = [index for index, need in enumerate(needs) if need < float("inf")]
    need = np.array([needs[index] for index in chosen])
    arrival = np.array([tasks[index].arrival for index in chosen])
    deadline = np.array([tasks[index].deadline for index in chosen])
    rows, limits = [], []
    for begin in np.unique(arrival):
        for end in np.unique(deadline[arrival >= begin]):
            inside = (arrival >= begin) & (deadline <= end)
            capacity = float(end - begin) * cores
            if need[inside].sum() > capacity:
                rows.append(inside * need / capacity)
                limits.append(1.0)
    if not rows:
        return len(chosen)
    result = milp(
        -np.ones(len(chosen)),
        integrality=np.ones(len(chosen)),
        bounds=(0, 1),
        constraints=LinearConstraint(csr_array(np.array(rows)), -np.inf, np.array(limits)),
        options={"time_limit": TIME_LIMIT_SECONDS},
    )
    if result.mip_dual_bound is None:
        return len(chosen)
    return int(np.floor(-result.mip_dual_bound + 1e-6))
