"""What is said of a schedule: throughput, turnaround, fairness, service level and tail, as the literature defines them.

PREMA: Choi and Rhu, "PREMA: A Predictive Multi-task Scheduling Algorithm For Preemptible Neural Processing Units", HPCA
2020. Planaria: Ghodrati et al., "Planaria: Dynamic Architecture Fission for Spatial Multi-Tenant Acceleration of Deep
Neural Networks", MICRO 2020. MoCA: Kim et al., "MoCA: Memory-Centric, Adaptive Execution for Multi-Tenant Deep Neural
Networks", HPCA 2023. Throughput and turnaround of these come from Eyerman and Eeckhout, "System-Level Performance
Metrics for Multiprogram Workloads", IEEE Micro 28(3), 2008.

Every measure compares the turnaround of a task, from arrival to end, waiting included, with its cycles alone on one
reference machine, the whole pool, which is the same for all schedules that are compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.mix.tasks import MixTask


@dataclass(frozen=True)
class Finished:
    """A task of the mix that has ended in cycle `end`; alone on the reference machine it takes `isolated` cycles."""

    task: MixTask
    end: int
    isolated: int

    @property
    def turnaround(self) -> int:
        """Cycles from its arrival to its end."""
        return self.end - self.task.arrival

    @property
    def progress(self) -> float:
        """Normalised progress, C_single / C_multi: 1 if it went as if alone, less if it was slower."""
        return self.isolated / self.turnaround

    @property
    def is_in_time(self) -> bool:
        """Whether it has ended by its deadline."""
        return self.end <= self.task.deadline


def system_throughput(finished: Sequence[Finished]) -> float:
    """STP: the sum over tasks of C_single / C_multi, as PREMA and MoCA use it. Higher is better.

    At most the number of tasks on the reference machine; divide by it for a figure between 0 and 1.
    """
    return sum(each.progress for each in finished)


def average_normalised_turnaround(finished: Sequence[Finished]) -> float:
    """ANTT: the mean over tasks of C_multi / C_single, as PREMA uses it. Lower is better, 1 is alone."""
    return sum(1 / each.progress for each in finished) / len(finished)


def fairness(finished: Sequence[Finished]) -> float:
    """The smallest ratio PP_i / PP_j of two tasks' proportional progress (PREMA, and with priorities MoCA). 1 is fair.

    PP_i = (C_single / C_multi) / (priority_i / sum of all priorities). The sum cancels out in the ratio.
    """
    proportional = [each.progress / each.task.priority for each in finished]
    return min(proportional) / max(proportional)


def equal_fairness(finished: Sequence[Finished]) -> float:
    """`fairness` as if all priorities were equal: the smallest progress over the largest (Eyerman and Eeckhout)."""
    progress = [each.progress for each in finished]
    return min(progress) / max(progress)


def sla_satisfaction(finished: Sequence[Finished]) -> float:
    """The part of the tasks that meet their deadline (MoCA's SLA satisfaction rate; Planaria's, for every query)."""
    return sum(each.is_in_time for each in finished) / len(finished)


def tail_latency(finished: Sequence[Finished], percent: float = 99) -> dict[str, int]:
    """For each network, the turnaround that `percent` of its tasks do not exceed, in cycles (nearest rank).

    PREMA reports the 95 % tail of high-priority tasks, Planaria the 99 % tail that MLPerf's server scenario bounds.
    """
    turnarounds: dict[str, list[int]] = {}
    for each in finished:
        turnarounds.setdefault(each.task.network, []).append(each.turnaround)
    return {
        network: int(np.percentile(own, percent, method="inverted_cdf")) for network, own in sorted(turnarounds.items())
    }


def normalised_tail(finished: Sequence[Finished]) -> float:
    """The turnaround over the time to the deadline that 99 % of all tasks do not exceed (nearest rank)."""
    ratios = [each.turnaround / (each.task.deadline - each.task.arrival) for each in finished]
    return float(np.percentile(ratios, 99, method="inverted_cdf"))


def summary(finished: Sequence[Finished]) -> Mapping[str, float]:
    """All of them, by the names of the table's columns. Raises ValueError without a task."""
    if not finished:
        raise ValueError("no task has ended: there is nothing to summarise")
    return {
        "SLA": sla_satisfaction(finished),
        "STP / tasks": system_throughput(finished) / len(finished),
        "ANTT": average_normalised_turnaround(finished),
        "fairness": fairness(finished),
        "fairness, equal": equal_fairness(finished),
        "p99 / deadline": normalised_tail(finished),
    }
