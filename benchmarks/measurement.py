"""One image of a network on some cores of a pool: cycles, layer by layer, from the compiler and the timing model."""

from __future__ import annotations

import dataclasses
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.bounds import layer_works
from benchmarks.cache import modules_digest, remembered
from benchmarks.networks import BuiltNetwork
from compiler.compile import Progress, compile_model
from compiler.latencies import time_stage
from compiler.package import Package, Stage
from isa.configuration import PoolConfig
from isa.instructions import WORD_BYTES

FILL = "fill"
"""What a layer is bound by when the barrier, filling and waiting take longer than any resource needs."""


@dataclass(frozen=True)
class LayerMeasurement:
    """A layer: its cycles from barrier to barrier, least cycles by resource, and the one that it is bound by."""

    name: str
    operation: str
    macs: int
    cycles: int
    utilisation: float
    bound: str
    compute: int
    channel: int
    dispatch: int
    instructions: int
    bytes_moved: int
    estimated: int
    """Cycles that the package's frame promises."""
    barrier: int
    """Least cycles from the last write to the next layer's first load."""
    tiling: str


@dataclass(frozen=True)
class Measurement:
    """A network on `cores` cores; bytes of instructions are those of all numbers of cores in the package."""

    network: str
    pool: str
    cores: int
    macs: int
    cycles: int
    utilisation: float
    compile_seconds: float
    compile_megabytes: int
    core_counts: int
    dispatch_wait: float
    """Part of the cycles in which the array of a core was idle and waited for an instruction, mean over the cores."""
    timing_seconds: float
    instruction_bytes: int
    constant_bytes: int
    host: tuple[str, ...]
    layers: tuple[LayerMeasurement, ...]


@dataclass
class _Compiled:
    package: Package
    seconds: float
    megabytes: int


class NetworkBench:
    """Measures one network; compiles it when the first result is not in the cache."""

    def __init__(self, network: BuiltNetwork, config: PoolConfig, counts: Sequence[int], report: Progress) -> None:
        self._network = network
        self._config = config
        self._counts = tuple(counts)
        self._report = report
        self._compiled: _Compiled | None = None

    def measure(self, cores: int) -> Measurement:
        """The network on virtual cores 0..cores-1, which are the same physical ones."""
        key = (
            self._network.digest,
            sorted(dataclasses.asdict(self._config).items()),
            self._counts,
            cores,
            modules_digest("benchmarks.bounds", "compiler.compile", "compiler.latencies", files=(Path(__file__),)),
        )
        kind = f"{self._network.name}-{self._config.name}-{cores}"
        result = remembered(kind, key, lambda: dataclasses.asdict(self._measure(cores)))
        layers = tuple(LayerMeasurement(**layer) for layer in result.pop("layers"))
        return Measurement(**{**result, "host": tuple(result["host"]), "layers": layers})

    def _compile(self) -> _Compiled:
        if self._compiled is None:
            began = time.monotonic()
            package = compile_model(
                self._network.path,
                self._config,
                self._counts,
                progress=lambda fraction, what: self._report(fraction / 2, f"{self._network.name}: {what}"),
            )
            self._compiled = _Compiled(package, time.monotonic() - began, _peak_megabytes())
        return self._compiled

    def _measure(self, cores: int) -> Measurement:
        compiled = self._compile()
        package = compiled.package
        began = time.monotonic()
        cycles, waiting, layers = 0, 0, []
        window = package.window()
        self._report(0.5, f"{self._network.name}: timing {cores} cores")
        for stage in package.stages:
            stage_cycles, stage_waiting, stage_layers = measure_stage(
                self._config, package, stage, range(cores), window
            )
            cycles += stage_cycles
            waiting += stage_waiting
            layers += stage_layers
        words = sum(frame.words for layer in package.layers for frame in layer.frames.values())
        return Measurement(
            network=self._network.name,
            pool=self._config.name,
            cores=cores,
            macs=package.macs,
            cycles=cycles,
            utilisation=package.macs / (cycles * cores * self._config.macs_per_cycle),
            compile_seconds=round(compiled.seconds, 2),
            compile_megabytes=compiled.megabytes,
            core_counts=len(self._counts),
            dispatch_wait=waiting / (cycles * cores),
            timing_seconds=round(time.monotonic() - began, 2),
            instruction_bytes=words * WORD_BYTES,
            constant_bytes=len(package.image()) - words * WORD_BYTES,
            host=tuple(package.explain()),
            layers=tuple(layers),
        )


def measure_stage(
    config: PoolConfig, package: Package, stage: Stage, physical: Sequence[int], window: NDArray[np.uint8]
) -> tuple[int, int, list[LayerMeasurement]]:
    """Cycles of a stage from START to END retired, those in which cores waited for instructions, all cores together,
    and its layers from barrier to barrier. `physical`: the cores, by virtual index; `window` holds the package."""
    cores = len(physical)
    timing = time_stage(package, stage.first_layer, physical, config, window)
    layers = package.layers[stage.first_layer : stage.end_layer]
    frames = [layer.frames[cores] for layer in layers]
    works = layer_works(config, cores, [(frame.word, frame.word + frame.words) for frame in frames], timing.dispatched)
    result = []
    for number, (layer, frame, work) in enumerate(zip(layers, frames, works, strict=True)):
        first = package.barriers_until(stage.first_layer + number, stage.first_layer) - 2
        cycles = timing.barriers[first + 1] - timing.barriers[first]
        bounds = {name: round(least) for name, least in work.bounds(config).items()}
        candidates: dict[str, Any] = {**bounds, FILL: cycles - max(bounds.values()) - bounds["barrier"]}
        result.append(
            LayerMeasurement(
                name=layer.name.split(" ")[-1].strip("'").removesuffix("_quant"),
                operation=layer.operation,
                macs=layer.macs,
                cycles=cycles,
                utilisation=layer.macs / (cycles * cores * config.macs_per_cycle),
                bound=max(candidates, key=candidates.__getitem__),
                compute=bounds["compute"],
                channel=bounds["channel"],
                dispatch=bounds["dispatch"],
                instructions=work.instructions,
                bytes_moved=work.beats * config.beat_bytes,
                estimated=frame.cycles,
                barrier=bounds["barrier"],
                tiling=work.tiling,
            )
        )
    return timing.cycles, sum(timing.dispatch_wait), result


def _peak_megabytes() -> int:
    """Most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // (1 << 20) if sys.platform == "darwin" else peak >> 10
