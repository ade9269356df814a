"""Latency tables: cycles of every layer of a network for every number of cores, from the exact timing model.

What a simulation of many tasks needs of a network, in a few kilobytes. Kept by the content of network, pool and sources
(`benchmarks.cache`).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.cache import modules_digest, remembered
from benchmarks.networks import BuiltNetwork, build
from compiler.compile import Progress, compile_model
from compiler.latencies import time_stage
from compiler.package import Package
from isa.configuration import PoolConfig


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


def latency_table(name: str, config: PoolConfig, counts: Sequence[int], report: Progress) -> LatencyTable:
    """The table of a network of `benchmarks.networks`, timed now or kept from before.

    All numbers of cores are those of one package, since where a frame lies decides on which channel it is fetched
    first.
    """
    network = build(name, report)
    sizes = sorted(dataclasses.asdict(config).items())
    sources = modules_digest("compiler.compile", "compiler.latencies", files=(Path(__file__),))
    key = (network.digest, sizes, tuple(counts), sources)
    found = remembered(f"latencies-{name}-{config.name}", key, lambda: _compute(network, config, counts, report))
    columns = {count: found["columns"][str(count)] for count in counts}
    return _table(name, config, found["names"], columns)


def table_package(network: BuiltNetwork, config: PoolConfig, counts: Sequence[int], report: Progress) -> Package:
    """The package that a table is about, with the network's name instead of its file's."""
    package = compile_model(
        network.path, config, counts, progress=lambda fraction, what: report(fraction / 2, f"{network.name}: {what}")
    )
    return dataclasses.replace(package, name=network.name)


def table_of(package: Package, config: PoolConfig, counts: Sequence[int]) -> LatencyTable:
    """The table of a package, timed here and now."""
    columns = {count: _column(package, config, count) for count in counts}
    return _table(package.name, config, [layer.name for layer in package.layers], columns)


def _table(
    network: str, config: PoolConfig, names: Sequence[str], columns: Mapping[int, Mapping[str, Any]]
) -> LatencyTable:
    """The table of these layers; `columns[cores]` is what `_column` gives."""
    return LatencyTable(
        network,
        config.name,
        tuple(names),
        tuple({count: column["layers"][layer] for count, column in columns.items()} for layer in range(len(names))),
        {count: column["start"] for count, column in columns.items()},
        {count: column["tail"] for count, column in columns.items()},
    )


def _compute(network: BuiltNetwork, config: PoolConfig, counts: Sequence[int], report: Progress) -> dict[str, Any]:
    package = table_package(network, config, counts, report)
    columns: dict[str, dict[str, Any]] = {}
    workers = min(len(counts), os.cpu_count() or 1)
    with ProcessPoolExecutor(workers, initializer=_adopt, initargs=(package, config)) as pool:
        pending = {pool.submit(_adopted_column, count): count for count in sorted(counts)}
        for done in as_completed(pending):
            columns[str(pending[done])] = done.result()
            what = f"{network.name}: timed on {len(columns)} of {len(counts)} numbers of cores"
            report(0.5 + len(columns) / len(counts) / 2, what)
    return {"names": [layer.name for layer in package.layers], "columns": columns}


_adopted: tuple[Package, PoolConfig] | None = None
"""What a worker process times."""


def _adopt(package: Package, config: PoolConfig) -> None:
    global _adopted
    _adopted = package, config


def _adopted_column(cores: int) -> dict[str, Any]:
    assert _adopted is not None
    return _column(*_adopted, cores)


def _column(package: Package, config: PoolConfig, cores: int) -> dict[str, Any]:
    """One number of cores. Several stages (layers on the host in between) count as one, without the host's time."""
    window = package.window()
    layers: list[int] = []
    start = tail = 0
    for stage in package.stages:
        timing = time_stage(package, stage.first_layer, range(cores), config, window)
        start += timing.barriers[0]
        layers += [end - begin for begin, end in pairwise(timing.barriers)]
        tail += timing.cycles - timing.barriers[-1]
    return {"layers": layers, "start": start, "tail": tail}
