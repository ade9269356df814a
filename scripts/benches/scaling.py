"""Throughput of a network against the number of cores that its tenant holds, with the ideal line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.cache import BENCHES
from benchmarks.measurement import NetworkBench
from benchmarks.networks import build
from isa.configuration import PoolConfig
from scripts.benches import plots
from scripts.commands.reporting import fraction_progress, messages

DEFAULT_NETWORKS = ("resnet50",)


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each network and number of cores; `scaling` is throughput / (cores x throughput of one core)."""
    rows = []
    counts = range(1, config.cores + 1)
    with fraction_progress("scaling") as progress:
        for name in names or DEFAULT_NETWORKS:
            bench = NetworkBench(build(name, progress), config, counts, progress)
            alone = 0
            for cores in counts:
                result = bench.measure(cores)
                progress(cores / config.cores, f"{name}: {cores} cores")
                alone = alone or result.cycles
                rows.append(
                    {
                        "network": name,
                        "cores": cores,
                        "cycles": result.cycles,
                        "utilisation": round(result.utilisation, 4),
                        "speedup": round(alone / result.cycles, 3),
                        "scaling": round(alone / result.cycles / cores, 4),
                    }
                )
    path = BENCHES / f"scaling-{config.name}.png"
    plots.scaling(rows, path)
    messages.print(f"plot: {path}", highlight=False)
    return rows
