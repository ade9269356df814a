"""Latency tables: cycles of every layer of a network for every number of cores, from the exact timing model.

What a simulation of many tasks needs of a network, in a few kilobytes. Kept by the content of network, pool and sources
(`benchmarks.cache`), a file for each number of cores.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from benchmarks.cache import remembered, sources_digest
from benchmarks.networks import BuiltNetwork, build
from compiler.compile import compile_model
from compiler.latencies import time_stage
from isa.configuration import PoolConfig

Report = Callable[[float, str], None]
EXACT_SOURCES = ("isa/*.py", "compiler/*.py", "benchmarks/networks/*.py", "benchmarks/latency_tables.py")


@dataclass(frozen=True)
class LatencyTable:
    """A network on a pool; `layers[i][cores]` is the time from the barrier before layer i to its own, in cycles.

    `start[cores]` is the time from START taking effect to the first barrier, when the cores have come together. A run
    takes `start` and all layers, and `tail[cores]` from the last barrier to END retired. On the first `cores` physical
    cores; others may differ by a few cycles, since they meet the wheel elsewhere.
    """

    network: str
    pool: str
    names: tuple[str, ...]
    layers: tuple[dict[int, int], ...]
    start: dict[int, int]
    tail: dict[int, int]

    @property
    def core_counts(self) -> tuple[int, ...]:
        """Numbers of cores, ascending."""
        return tuple(sorted(self.start))

    def cycles(self, cores: int) -> int:
        """From START to END retired."""
        return self.start[cores] + sum(layer[cores] for layer in self.layers) + self.tail[cores]


def latency_table(name: str, config: PoolConfig, counts: Sequence[int], report: Report) -> LatencyTable:
    """The table of a network of `benchmarks.networks`, timed now or kept from before.

    Networks with several stages (layers on the host in between) count as one: the host's time is not in the table.
    """
    network = build(name, report)
    columns: dict[int, dict[str, Any]] = {}
    with ProcessPoolExecutor(max_workers=min(len(counts), os.cpu_count() or 1)) as workers:
        pending = {workers.submit(_remembered_column, network, config, count): count for count in counts}
        for done in as_completed(pending):
            columns[pending[done]] = done.result()
            report(len(columns) / len(counts), f"{name}: timed on {len(columns)} of {len(counts)} numbers of cores")
    layers = zip(*(columns[count]["layers"] for count in counts), strict=True)
    return LatencyTable(
        name,
        config.name,
        tuple(columns[counts[0]]["names"]),
        tuple(dict(zip(counts, layer, strict=True)) for layer in layers),
        {count: columns[count]["start"] for count in counts},
        {count: columns[count]["tail"] for count in counts},
    )


def _remembered_column(network: BuiltNetwork, config: PoolConfig, cores: int) -> dict[str, Any]:
    key = (network.digest, sorted(dataclasses.asdict(config).items()), cores, sources_digest(*EXACT_SOURCES))
    return remembered(f"latencies-{network.name}-{config.name}-{cores}", key, lambda: _column(network, config, cores))


def _column(network: BuiltNetwork, config: PoolConfig, cores: int) -> dict[str, Any]:
    """One number of cores; compiled alone, since frames do not depend on each other."""
    package = compile_model(network.path, config, [cores])
    window = package.window()
    layers: list[int] = []
    start = tail = 0
    for stage in package.stages:
        timing = time_stage(package, stage, range(cores), config, window)
        start += timing.barriers[0]
        layers += [end - begin for begin, end in zip(timing.barriers, timing.barriers[1:], strict=False)]
        tail += timing.cycles - timing.barriers[-1]
    names = [layer.name for layer in package.layers]
    return {"names": names, "layers": layers, "start": start, "tail": tail}
