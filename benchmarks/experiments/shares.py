"""What one image of a network takes on a share of a pool, from the exact timing model.

A pool of M cores holds M // s tenants of s cores each. Their cores are interleaved on the wheel, so that every tenant's
turns are spread evenly. Tenants of equal shares differ by as many cycles as their first cores lie apart on the wheel (a
cycle for each position); what is timed is the last of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.cache import modules_digest, remembered
from benchmarks.latency_tables import table_package
from benchmarks.networks import BuiltNetwork
from compiler.compile import Progress
from compiler.latencies import time_stage
from compiler.package import Package
from isa.configuration import PoolConfig


def interleaved(config: PoolConfig, cores: int, tenant: int) -> tuple[int, ...]:
    """The physical cores of tenant `tenant`, 0 .. config.cores // cores - 1, when all hold `cores` cores.

    Raises ValueError for a tenant or a number of cores that the pool has no room for.
    """
    if not 1 <= cores <= config.cores or not 0 <= tenant < config.cores // cores:
        raise ValueError(f"{config.cores} cores have no room for tenant {tenant} with {cores} cores")
    tenants = config.cores // cores
    return tuple((tenant + place * tenants) * config.cores // (tenants * cores) for place in range(cores))


def useful_shares(cores: int) -> tuple[int, ...]:
    """The largest equal share for every number of tenants, ascending: for 16 cores 1, 2, 3, 4, 5, 8, 16."""
    return tuple(sorted({cores // tenants for tenants in range(1, cores + 1)}))


def with_room(config: PoolConfig, windows: int, window_bytes: int) -> PoolConfig:
    """The pool with as much memory as so many windows need: VGG-16 has 140 MB of weights."""
    beats = (windows + 1) * window_bytes // config.beat_bytes
    return dataclasses.replace(config, memory_beats=max(config.memory_beats, 1 << beats.bit_length()))


def share_cycles(network: BuiltNetwork, config: PoolConfig, shares: Sequence[int], report: Progress) -> dict[int, int]:
    """Cycles of one image from START to END retired, by number of cores; kept by content, a share at a time.

    All shares are those of one package, since where a frame lies decides on which channel it is fetched first. Networks
    with several stages (layers on the host in between) count as one: the host's time is not in them.
    """
    compiled: list[Package] = []

    def cycles(cores: int) -> dict[str, Any]:
        if not compiled:
            compiled.append(table_package(network, config, shares, report))
        (package,) = compiled
        window = package.window()
        physical = interleaved(config, cores, config.cores // cores - 1)
        timings = (time_stage(package, stage.first_layer, physical, config, window) for stage in package.stages)
        return {"cycles": sum(timing.cycles for timing in timings)}

    sizes = sorted(dataclasses.asdict(config).items())
    sources = modules_digest("compiler.compile", "compiler.latencies", files=(Path(__file__),))
    done: dict[int, int] = {}
    for cores in shares:
        report(len(done) / len(shares), f"{network.name}: timing {cores} of {config.cores} cores")
        key = (network.digest, sizes, tuple(shares), cores, sources)
        kind = f"share-{network.name}-{config.name}-{cores}"
        done[cores] = int(remembered(kind, key, lambda cores=cores: cycles(cores))["cycles"])  # type: ignore[misc]
    return done
