"""Throughput of one tenant on all cores of a pool against the baseline `single`: one core of the same peak."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log
from typing import Any

from benchmarks.measurement import NetworkBench
from benchmarks.networks import BUILDERS, build
from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.commands.reporting import fraction_progress

BASELINE = "single"


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each network, and their geometric mean: cycles, utilisation, and the ratio of the throughputs."""
    baseline = NAMED_POOLS[BASELINE]
    rows: list[dict[str, Any]] = []
    with fraction_progress("pools") as progress:
        for name in names or BUILDERS:
            network = build(name, progress)
            own, single = (
                NetworkBench(network, pool, [pool.cores], progress).measure(pool.cores) for pool in (config, baseline)
            )
            rows.append(
                {
                    "network": name,
                    "cycles": own.cycles,
                    "utilisation": round(own.utilisation, 4),
                    f"{BASELINE} cycles": single.cycles,
                    f"{BASELINE} utilisation": round(single.utilisation, 4),
                    "ratio": round(single.cycles / own.cycles, 3),
                }
            )
    mean = exp(sum(log(row["ratio"]) for row in rows) / len(rows))
    blank = {key: "" for key in rows[0]}
    return [*rows, blank | {"network": "geometric mean", "ratio": round(mean, 3)}]
