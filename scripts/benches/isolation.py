"""The public cloud of the paper: VGG-16 at the splits of its demo, and beside hostile neighbours, on the Verilog.

Definitions: docs/experiments.md. Whole VGG-16 on a quarter of `paper` takes a quarter of an hour on the Verilog, for
each split; what runs is the end of the network that takes RTL_CYCLES on the smallest share, or all of it with
TENURE_LONG=1.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cache import BENCHES, modules_digest, remembered, write_atomically
from benchmarks.experiments.isolation import HOSTILE_SPLIT, Run, Split, run_split, splits
from benchmarks.experiments.shares import with_room
from benchmarks.latency_tables import table_package
from benchmarks.networks import BuiltNetwork, build
from compiler.compile import Progress
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.backends.verilator_build import HARNESS
from hypervisor.hypervisor import HypervisorError
from hypervisor.machines import open_port
from isa.configuration import PoolConfig
from scripts.benches import plots
from scripts.benches.page import note
from scripts.commands.reporting import fraction_progress

DEFAULT_NETWORKS = ("vgg16",)
RTL_CYCLES = 3_000_000
ALONE_ON_RTL = ("50/25/25", "75/25", HOSTILE_SPLIT)
"""Splits whose first tenant runs alone on the RTL, too; in split 100 it is alone anyway."""


class IsolationBench:
    """One network at every split, from `first_layer` on; compiled when the first result is not in the cache."""

    def __init__(self, network: BuiltNetwork, config: PoolConfig, report: Progress) -> None:
        self.network = network
        self.splits = splits(config)
        self._pool = config
        self._shares = sorted({len(cores) for split in self.splits for cores in split.tenants})
        self._report = report
        found = self._timed("layers", (RTL_CYCLES,), self._layers)
        self.layers: int = found["layers"]
        self.first_layer: int = 0 if os.environ.get("TENURE_LONG") else found["first_layer"]
        tenants = max(len(split.tenants) + len(split.neighbours) for split in self.splits)
        self.config = with_room(config, tenants, found["window_bytes"])

    @cached_property
    def package(self) -> Package:
        """The network for every share of the splits."""
        return table_package(self.network, self._pool, self._shares, self._report)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each tenant of each split. Raises HypervisorError where the RTL alone is not the model."""
        found = []
        for split in self.splits:
            together = self._run(split, None)
            for place, cores in enumerate(split.tenants):
                model = self.model_cycles(cores)
                alone = self._run(split, place).cycles[0] if place == 0 and split.name in ALONE_ON_RTL else None
                if alone not in (None, model):
                    raise HypervisorError(
                        f"{self.network.name} alone on cores {list(cores)} takes {alone} cycles on the Verilog, and "
                        f"{model} in the model"
                    )
                deviation = abs(together.cycles[place] - model)
                found.append(
                    {
                        "network": self.network.name,
                        "layers": f"{self.first_layer + 1}-{self.layers} of {self.layers}",
                        "split": split.name,
                        "neighbours": self._neighbours(split, together),
                        "tenant": place,
                        "cores": len(cores),
                        "model alone": model,
                        "RTL alone": alone,
                        "RTL together": together.cycles[place],
                        "deviation": deviation,
                        "relative deviation": deviation / model,
                    }
                )
        return found

    def model_cycles(self, cores: Sequence[int]) -> int:
        """What the timing model says of the same layers on these physical cores."""

        def time() -> dict[str, Any]:
            window = self.package.window()
            return {"cycles": time_stage(self.package, self.first_layer, cores, self.config, window).cycles}

        return int(self._timed("model", (self.first_layer, tuple(cores)), time)["cycles"])

    def _neighbours(self, split: Split, run: Run) -> str:
        others = [neighbour.hostile.name for neighbour in split.neighbours]
        if others:
            return f"{', '.join(others)}: {run.hostile_runs} runs, {run.faults} faults"
        return "" if len(split.tenants) == 1 else f"{len(split.tenants) - 1} of the same"

    def _run(self, split: Split, alone: int | None) -> Run:
        who = "together" if alone is None else "alone"

        def run() -> dict[str, Any]:
            limit = 1_000_000 + 4 * max(self.model_cycles(cores) for cores in split.tenants)
            what = f"{self.network.name}, split {split.name}, {who}, on the Verilog"
            port = open_port("verilator", self.config, lambda cycle: self._report(min(1.0, 4 * cycle / limit), what))
            return dataclasses.asdict(run_split(port, split, self.package, self.first_layer, limit, alone))

        sizes = sorted(dataclasses.asdict(self.config).items())
        modules = ("benchmarks.experiments.isolation", "compiler.compile", "hypervisor.machines")
        sources = modules_digest(*modules, files=(HARNESS,))
        key = (self.network.digest, sizes, split, self.first_layer, alone, sources)
        result = remembered(f"isolation-{self.network.name}-{self.config.name}-{who}", key, run)
        return Run(**{**result, "cycles": tuple(result["cycles"])})

    def _timed(self, kind: str, key: Sequence[object], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What compiler and timing model say, from the cache if it is there."""
        sources = modules_digest("compiler.compile", "compiler.latencies", files=(Path(__file__),))
        sizes = sorted(dataclasses.asdict(self._pool).items())
        whole = (self.network.digest, sizes, self._shares, *key, sources)
        return remembered(f"isolation-{self.network.name}-{self._pool.name}-{kind}", whole, compute)

    def _layers(self) -> dict[str, Any]:
        """Layers of the network, the first one of its end, bytes of its window."""
        package = self.package
        timing = time_stage(
            package, package.stages[0].first_layer, range(self._shares[0]), self._pool, package.window()
        )
        left = timing.cycles - np.array(timing.barriers[:-1])
        return {
            "layers": len(package.layers),
            "first_layer": int(np.argmax(left <= RTL_CYCLES)),
            "window_bytes": package.window_bytes,
        }


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A row for each tenant of each split; VGG-16 unless `names` chooses."""
    rows = []
    with fraction_progress("isolation") as progress:
        for name in names or DEFAULT_NETWORKS:
            rows += IsolationBench(build(name, progress), config, progress).rows()
    path = BENCHES / f"isolation-{config.name}.png"
    plots.isolation(rows, path)
    write_atomically(path.with_suffix(".json"), json.dumps(rows, indent=1).encode())
    note(f"plot and rows: {path}, .json")
    return rows
