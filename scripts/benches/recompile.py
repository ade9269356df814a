"""Re-compilation: what the dynamic compiler takes from a request to the bytes of a program, against the static one.

Every request asks for k' cores from some layer on, after one for k: a program is whole words of the package joined,
so it depends on k' and the layer alone. One process, one core. What a live switch to that program costs in cycles is
in `scripts.benches.switches`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.cache import BENCHES
from benchmarks.latency_tables import table_package
from benchmarks.mix.tasks import CLOCK_HERTZ
from benchmarks.networks import BUILDERS, build
from compiler.dynamic import Linker
from compiler.package import Package
from isa.configuration import PoolConfig
from scripts.benches import plots, switches
from scripts.benches.page import note
from scripts.commands.reporting import fraction_progress

REQUESTS = 1000
SEED = 5


SWITCHED = ("resnet50",)
"""Networks whose switches are measured, unless the user names some: it takes minutes the first time."""


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each network; all of them unless `names` chooses."""
    rows = []
    with fraction_progress("recompile") as progress:
        for name in names or BUILDERS:
            network = build(name, progress)
            began = time.perf_counter()
            package = table_package(network, config, range(1, config.cores + 1), progress)
            figures = row(package, config, time.perf_counter() - began)
            found = switches.measure(package, config, progress) if name in (names or SWITCHED) else None
            rows.append(figures | switches.columns(found))
            if found is not None:
                plots.switches(found, config, BENCHES / f"switches-{name}-{config.name}.png")
        validated = switches.validate(progress)
    note(
        "switch: cycles from the barrier at which a tenant pauses to the end of its program, beyond what the new cores "
        f"would have needed from there; microseconds at {CLOCK_HERTZ / 1e6:.0f} MHz. From hypervisor.switch "
        "and the timing model; over the moments of the barrier on the wheel and some layers of the network. Whole "
        f"tables: {BENCHES}/switches-*.json"
    )
    note("load: the package once, at the rate of the host's slots, at the same clock. Compile times: this machine.")
    for text in validated:
        note(text)
    return rows


def row(package: Package, config: PoolConfig, static_seconds: float) -> dict[str, Any]:
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
        "load_milliseconds": round(len(package.image()) / _host_rate(config) / CLOCK_HERTZ * 1e3, 3),
    }


def _requests(package: Package) -> list[tuple[int, int]]:
    """(cores, first layer) of each request, seeded."""
    random = np.random.default_rng(SEED)
    cores = random.choice(np.array(package.core_counts), REQUESTS)
    layers = random.integers(0, len(package.layers), REQUESTS)
    return [(int(count), int(layer)) for count, layer in zip(cores, layers, strict=True)]


def _host_rate(config: PoolConfig) -> float:
    """Bytes a cycle that the slots of the host can carry."""
    return config.channels * config.beat_bytes / config.host_revolutions
