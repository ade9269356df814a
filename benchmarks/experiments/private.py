"""The private cloud: m tasks at once, virtualised against one core time-shared and one core per task.

All tasks are there at cycle 0, each is one image; the throughput is m / makespan (first START to last END).

- virtualised: one pool; waves of equal shares (`waves.best_waves`), re-fitted when a wave has ended, with everything
  that the hypervisor does in between.
- single: one core as large as the pool; one task after another with nothing in between, which flatters it.
- static: the pool's cores, one core to a task, all tasks at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from benchmarks.experiments.waves import Wave, best_waves, timetable_cycles
from hypervisor.switch import free_cycles
from isa.configuration import PoolConfig

NETWORKS = ("resnet50", "vgg16", "inception_v3", "mobilenet_v1")
TASKS = (1, 2, 4, 8, 12, 16)
MIXED = "equal parts"
"""A workload with as many tasks of each network as of any other."""


@dataclass(frozen=True)
class Figures:
    """Cycles of one image: `shares[network][cores]` on so many cores of the pool, `single[network]` on the baseline."""

    config: PoolConfig
    shares: Mapping[str, Mapping[int, int]]
    single: Mapping[str, int]

    def latency(self, network: str, cores: int) -> int:
        """Cycles of one image on `cores` cores of the pool."""
        return self.shares[network][cores]


@dataclass(frozen=True)
class Point:
    """One workload with so many tasks; makespans in cycles."""

    workload: str
    tasks: int
    waves: tuple[Wave, ...]
    virtualised: int
    single: int
    static: int

    @property
    def against_single(self) -> float:
        """Ratio of the throughputs."""
        return self.single / self.virtualised

    @property
    def against_static(self) -> float:
        """Ratio of the throughputs."""
        return self.static / self.virtualised


@dataclass(frozen=True)
class Curve:
    """The points of one workload, by ascending number of tasks."""

    workload: str
    points: tuple[Point, ...]

    @cached_property
    def mean_against_single(self) -> float:
        """Arithmetic mean over the numbers of tasks."""
        return arithmetic_mean([point.against_single for point in self.points])

    @cached_property
    def mean_against_static(self) -> float:
        """Arithmetic mean over the numbers of tasks."""
        return arithmetic_mean([point.against_static for point in self.points])

    @cached_property
    def geometric_mean_against_static(self) -> float:
        """Geometric mean over the numbers of tasks."""
        return geometric_mean([point.against_static for point in self.points])


def curve(figures: Figures, network: str, tasks: Sequence[int] = TASKS) -> Curve:
    """Tasks of one network, as many as the pool has cores and tenants for."""
    counts = [count for count in tasks if count <= _most(figures.config)]
    return Curve(network, tuple(_point(figures, network, {network: count}) for count in counts))


def mixed_curve(figures: Figures, networks: Sequence[str], tasks: Sequence[int] = TASKS) -> Curve:
    """As many tasks of each network; numbers of tasks that cannot be divided so are left out."""
    counts = [count for count in tasks if count <= _most(figures.config) and count % len(networks) == 0]
    parts = ({network: count // len(networks) for network in networks} for count in counts)
    return Curve(MIXED, tuple(_point(figures, MIXED, part) for part in parts))


def _most(config: PoolConfig) -> int:
    """Tasks that can be there at once: all are attached, and `static` gives each a core."""
    return min(config.cores, config.tenants)


def _point(figures: Figures, workload: str, tasks: Mapping[str, int]) -> Point:
    config = figures.config
    change = free_cycles(config, config.cores) + config.period_cycles  # to plan with; what it takes is simulated
    waves = tuple(
        wave
        for network, count in tasks.items()
        for wave in best_waves(network, figures.shares[network], count, config.cores, change)
    )
    return Point(
        workload,
        sum(tasks.values()),
        waves,
        timetable_cycles(config, waves, figures.latency),
        sum(count * figures.single[network] for network, count in tasks.items()),
        max(figures.latency(network, 1) for network in tasks),
    )


def arithmetic_mean(values: Sequence[float]) -> float:
    """Of at least one value."""
    return sum(values) / len(values)


def geometric_mean(values: Sequence[float]) -> float:
    """Of at least one positive value."""
    return float(prod(values) ** (1 / len(values)))
