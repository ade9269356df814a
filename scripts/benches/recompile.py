"""Re-compilation: what the dynamic compiler takes from a request to the bytes of a program, against the static one.

Every request asks for k' cores from some layer on, after one for k: a program is whole words of the package joined,
so it depends on k' and the layer alone. One process, one core.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.networks import BUILDERS, build
from compiler.compile import compile_model
from compiler.dynamic import Linker
from compiler.package import Package
from isa.configuration import PoolConfig
from scripts.commands.reporting import fraction_progress

REQUESTS = 1000
SEED = 5


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each network; all of them unless `names` chooses."""
    rows = []
    with fraction_progress("recompile") as progress:
        for name in names or BUILDERS:
            network = build(name, progress)
            began = time.perf_counter()
            package = compile_model(network.path, config, progress=progress)
            rows.append(row(package, time.perf_counter() - began))
    return rows


def row(package: Package, static_seconds: float) -> dict[str, Any]:
    """The figures of one package; `static_seconds` is what compiling it took."""
    began = time.perf_counter()
    linker = Linker(package)
    prepared = time.perf_counter() - began
    times, longest = [], 0
    for cores, layer in _requests(package):
        began = time.perf_counter()
        program = linker.link(cores, layer)
        times.append(time.perf_counter() - began)
        longest = max(longest, len(program.words))
    microseconds = np.array(times) * 1e6
    return {
        "network": package.name,
        "core counts": len(package.core_counts),
        "requests": REQUESTS,
        "static_seconds": round(static_seconds, 2),
        "prepare_milliseconds": round(prepared * 1e3, 3),
        "dynamic_median_microseconds": round(float(np.median(microseconds)), 2),
        "dynamic_p99_microseconds": round(float(np.percentile(microseconds, 99)), 2),
        "switch_bytes": max(longest, *(len(linker.link(cores).words) for cores in package.core_counts)),
        "package_bytes": len(package.image()),
    }


def _requests(package: Package) -> list[tuple[int, int]]:
    """(cores, first layer) of each request, seeded."""
    random = np.random.default_rng(SEED)
    cores = random.choice(np.array(package.core_counts), REQUESTS)
    layers = random.integers(0, len(package.layers), REQUESTS)
    return [(int(count), int(layer)) for count, layer in zip(cores, layers, strict=True)]
