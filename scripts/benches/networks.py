"""The networks of the paper on all cores of a pool: one image, one tenant, cycles from START to END retired.

Utilisation is the network's own multiply-accumulates over those that the cores could have done. Tables by layer and
plots go to build/benches/.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.cache import BENCHES, write_atomically
from benchmarks.measurement import LayerMeasurement, Measurement, NetworkBench
from benchmarks.networks import BUILDERS, BuiltNetwork, build
from isa.configuration import PoolConfig
from scripts.benches import plots
from scripts.commands.reporting import fraction_progress, messages


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each network; all of them unless `names` chooses."""
    rows, results = [], []
    with fraction_progress("networks") as progress:
        for name in names or BUILDERS:
            network = build(name, progress)
            result = NetworkBench(network, config, [config.cores], progress).measure(config.cores)
            results.append(result)
            rows.append(_row(network, result))
            _write_layers(result)
    plots.utilisation(results, BENCHES / f"networks-{config.name}.png")
    for result in results:
        plots.roofline(result, config, BENCHES / f"roofline-{result.network}-{config.name}.png")
    messages.print(f"layers and plots: {BENCHES}", highlight=False)
    return rows


def _row(network: BuiltNetwork, result: Measurement) -> dict[str, Any]:
    bound: Counter[str] = Counter()
    for layer in result.layers:
        bound[layer.bound] += layer.cycles
    return {
        "network": result.network,
        "cores": result.cores,
        "gmacs": round(result.macs / 1e9, 3),
        "cycles": result.cycles,
        "utilisation": round(result.utilisation, 4),
        "bound by": ", ".join(f"{name} {cycles / result.cycles:.0%}" for name, cycles in bound.most_common()),
        "dispatch wait": round(result.dispatch_wait, 5),
        "host layers": len(result.host),
        "sqnr_db": round(network.sqnr_db, 1),
        "instruction_bytes": result.instruction_bytes,
        "constant_bytes": result.constant_bytes,
        "compile_seconds": result.compile_seconds,
        "compile_megabytes": result.compile_megabytes,
        "timing_seconds": result.timing_seconds,
    }


def _write_layers(result: Measurement) -> None:
    """The table by layer, as JSON and as text."""
    path = BENCHES / f"layers-{result.network}-{result.pool}-{result.cores}.json"
    write_atomically(path, json.dumps(dataclasses.asdict(result), indent=1).encode())
    columns = [field.name for field in dataclasses.fields(LayerMeasurement)]
    lines = ["\t".join(columns)]
    for layer in result.layers:
        values = dataclasses.astuple(layer)
        lines.append("\t".join(f"{value:.3f}" if isinstance(value, float) else str(value) for value in values))
    write_atomically(path.with_suffix(".tsv"), ("\n".join(lines) + "\n").encode())
