"""The public cloud of the paper: VGG-16 at the splits of its demo, and beside hostile neighbours, on the Verilog.

Definitions: docs/experiments.md. Whole VGG-16 on a quarter of `paper` takes a quarter of an hour on the Verilog, for
each split; what runs is the end of the network that takes RTL_CYCLES on the smallest share, or all of it with
TENURE_LONG=1.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.cache import BENCHES, remembered, sources_digest, write_atomically
from benchmarks.experiments.isolation import HOSTILE_SPLIT, Run, Split, run_split, splits
from benchmarks.experiments.shares import Report, elastic_package
from benchmarks.networks import BuiltNetwork, build
from compiler.latencies import time_stage
from hypervisor.hypervisor import HypervisorError
from hypervisor.machines import open_port
from isa.configuration import PoolConfig
from scripts.benches import plots
from scripts.benches.page import note
from scripts.benches.private import RTL_SOURCES
from scripts.commands.reporting import fraction_progress

DEFAULT_NETWORKS = ("vgg16",)
RTL_CYCLES = 1_000_000
ALONE_ON_RTL = ("50/25/25", "75/25", HOSTILE_SPLIT)
"""Splits whose first tenant runs alone on the RTL, too; in split 100 it is alone anyway."""


class IsolationBench:
    """One network at every split; compiled when the first result is not in the cache."""

    def __init__(self, network: BuiltNetwork, config: PoolConfig, report: Report) -> None:
        self.network = network
        self.splits = splits(config)
        self._report = report
        shares = sorted({len(cores) for split in self.splits for cores in split.tenants})
        self.package = elastic_package(network, config, shares, report)
        self.first_layer = 0 if os.environ.get("TENURE_LONG") else self._end_of_network(config, shares[0])
        self.config = self._with_room(config)

    def rows(self) -> list[dict[str, Any]]:
        """A row for each tenant of each split. Raises HypervisorError where the RTL alone is not the model."""
        layers = len(self.package.layers)
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
                        "layers": f"{self.first_layer + 1}-{layers} of {layers}",
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
        return time_stage(self.package, self.first_layer, cores, self.config, self.package.window()).cycles

    def _neighbours(self, split: Split, run: Run) -> str:
        others = [neighbour.hostile.name for neighbour in split.neighbours]
        if others:
            return f"{', '.join(others)}: {run.hostile_runs} runs, {run.faults} faults"
        return "" if len(split.tenants) == 1 else f"{len(split.tenants) - 1} of the same"

    def _run(self, split: Split, alone: int | None) -> Run:
        limit = 1_000_000 + 4 * max(self.model_cycles(cores) for cores in split.tenants)
        who = "together" if alone is None else "alone"

        def run() -> dict[str, Any]:
            what = f"{self.network.name}, split {split.name}, {who}, on the Verilog"
            port = open_port("verilator", self.config, lambda cycle: self._report(min(1.0, 4 * cycle / limit), what))
            return dataclasses.asdict(run_split(port, split, self.package, self.first_layer, limit, alone))

        sizes = sorted(dataclasses.asdict(self.config).items())
        key = (self.network.digest, sizes, split, self.first_layer, alone, sources_digest(*RTL_SOURCES))
        result = remembered(f"isolation-{self.network.name}-{self.config.name}-{who}", key, run)
        return Run(**{**result, "cycles": tuple(result["cycles"])})

    def _end_of_network(self, config: PoolConfig, cores: int) -> int:
        """The first layer of the network's end."""
        package = self.package
        timing = time_stage(package, package.stages[0].first_layer, range(cores), config, package.window())
        left = timing.cycles - np.array(timing.barriers[:-1])
        return int(np.argmax(left <= RTL_CYCLES))

    def _with_room(self, config: PoolConfig) -> PoolConfig:
        """The pool with as much memory as all tenants' windows need: VGG-16 has 140 MB of weights."""
        tenants = max(len(split.tenants) + len(split.neighbours) for split in self.splits)
        beats = (tenants + 1) * self.package.window_bytes // config.beat_bytes
        return dataclasses.replace(config, memory_beats=max(config.memory_beats, 1 << beats.bit_length()))


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
