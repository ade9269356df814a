"""Latencies of layers from the exact timing model, in place of the estimates that a package is laid out with.

A layer's latency is the time from the barrier before it to its own, in a program that runs all layers of its stage on
virtual cores that are the first physical ones. What one layer prefetches for the next one is therefore counted once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from compiler.package import Package
from isa.configuration import PoolConfig
from isa.timing import Timing, simulate


def time_stage(
    package: Package, first_layer: int, physical: Sequence[int], config: PoolConfig, window: NDArray[np.uint8]
) -> Timing:
    """The exact timing from `first_layer` to the end of its stage, on the cores `physical` (index: virtual core).

    `window` holds the package, and gets the program.
    """
    program = package.program(len(physical), first_layer)
    program.place(window)
    return simulate(config, window, program.start_word, physical)


def with_exact_latencies(
    package: Package, config: PoolConfig, report: Callable[[float, str], None] = lambda fraction, what: None
) -> Package:
    """The package with exact cycles of every layer for every number of cores that it has frames for."""
    window = package.window()
    frames = [dict(layer.frames) for layer in package.layers]
    for number, cores in enumerate(package.core_counts):
        report(number / len(package.core_counts), f"timing {package.name} on {cores} cores")
        for stage in package.stages:
            barriers = time_stage(package, stage.first_layer, range(cores), config, window).barriers
            for layer in range(stage.first_layer, stage.end_layer):
                last = package.barriers_until(layer, stage.first_layer) - 1
                cycles = barriers[last] - barriers[last - 1]
                frames[layer][cores] = replace(frames[layer][cores], cycles=cycles)
    report(1.0, "done")
    layers = (replace(layer, frames=own) for layer, own in zip(package.layers, frames, strict=True))
    return replace(package, layers=tuple(layers))
