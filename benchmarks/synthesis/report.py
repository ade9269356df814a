"""Everything that the bench `synthesis` measures of one pool: Verilog, yosys for every module and family, sums."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.cache import modules_digest, remembered
from benchmarks.synthesis.dedicated import write_baseline
from benchmarks.synthesis.devices import FAMILIES, Resources
from benchmarks.synthesis.parts import Part, synthesise_parts
from benchmarks.synthesis.synthesise import Synthesis, synthesise
from isa.configuration import PoolConfig
from rtl.export import export, module_files

WORKERS = 2
"""Runs of yosys at the same time; each takes a gigabyte or two at `paper`."""

Report = Callable[[float, str], None]


@dataclass(frozen=True)
class Module:
    """What is synthesised: the module of a Verilog file, with its parts, and how many of them the pool has."""

    file: str
    top: str
    families: tuple[str, ...] = tuple(FAMILIES)


MODULES = {
    "core": Module("core.v", "core"),
    "shell": Module("shell.v", "shell"),
    "dedicated shell": Module("dedicated_shell.v", "shell"),
    "dedicated core": Module("dedicated_core.v", "core", ("xcup",)),
    "axi_control": Module("axi_control.v", "axi_control"),
    "axi_host": Module("axi_host.v", "axi_host"),
    "axi_channel": Module("axi_channel.v", "axi_channel"),
}
"""By name, the longest ones first."""
PARTED = ("core", "shell")
"""Those whose hierarchy is shown, too."""
AXI = ("axi_control", "axi_host", "axi_channel")


def instances(config: PoolConfig, module: str) -> int:
    """How many of a module there are in `axi_pool`; 0 for the baseline's."""
    counts = {"core": config.cores, "axi_channel": config.channels}
    return 0 if module.startswith("dedicated") else counts.get(module, 1)


@dataclass(frozen=True)
class Cost:
    """The modules of a pool after synthesis, by family and name."""

    config: PoolConfig
    modules: dict[str, dict[str, Synthesis]]
    parts: dict[str, list[Part]]
    """Of the modules in PARTED, for UltraScale+."""

    def pool(self, family: str) -> Resources:
        """The module `pool`: the shell and its cores."""
        return self._sum(family, ("core", "shell"))

    def axi_pool(self, family: str) -> Resources:
        """The module `axi_pool`; the pool alone where it fits no AXI bus."""
        return self.pool(family) + self._sum(family, AXI)

    def virtualisation(self, family: str) -> Resources:
        """The shell beyond what the baseline's needs."""
        return self.modules[family]["shell"].resources - self.modules[family]["dedicated shell"].resources

    def scrub(self) -> Resources:
        """What a core, on UltraScale+, has for its scrub."""
        return self.modules["xcup"]["core"].resources - self.modules["xcup"]["dedicated core"].resources

    def _sum(self, family: str, names: tuple[str, ...]) -> Resources:
        found = self.modules[family]
        total = Resources()
        for name in names:
            if name in found:
                total += found[name].resources * instances(self.config, name)
        return total


def measure_cost(config: PoolConfig, report: Report) -> Cost:
    """Export the pool and its baseline, and synthesise every module; what is known is not synthesised again."""
    sources = modules_digest("rtl.axi_export", "rtl.core", "benchmarks.synthesis.report")
    found = remembered("synthesis", (config, sources, version("pyosys")), lambda: _synthesised(config, report))
    return Cost(
        config,
        {family: {name: Synthesis.from_json(each) for name, each in found[family].items()} for family in FAMILIES},
        {name: [Part(**part) for part in each["parts"]] for name, each in found["parts"].items()},
    )


def _synthesised(config: PoolConfig, report: Report) -> dict[str, dict[str, object]]:
    with tempfile.TemporaryDirectory(prefix="synthesis-") as scratch:
        directory = Path(scratch)
        report(0, "elaborating")
        export(config, directory)
        write_baseline(config, directory)
        files = {
            name: module_files(directory / module.file)
            for name, module in MODULES.items()
            if (directory / module.file).exists()  # no AXI for beats that are wider than any AXI bus
        }
        jobs = [(family, name) for name, module in MODULES.items() for family in module.families if name in files]
        jobs += [("parts", name) for name in PARTED]
        weights = {name: math.sqrt(sum(file.stat().st_size for file in files[name])) for _, name in jobs}
        whole, done = sum(weights[name] for _, name in jobs), 0.0
        result: dict[str, dict[str, object]] = {family: {} for family in (*FAMILIES, "parts")}
        # Not in the workers: Python 3.11 fails now and then when two threads parse sources at once.
        synthesis, parts = (modules_digest(f"benchmarks.synthesis.{module}") for module in ("synthesise", "parts"))

        def run(family: str, name: str) -> dict[str, object]:
            top = MODULES[name].top
            texts = [file.read_text() for file in files[name]]
            if family == "parts":
                key = (texts, top, parts, version("pyosys"))
                return remembered("parts", key, lambda: {"parts": synthesise_parts(files[name], top, "xcup")})
            key = (texts, top, family, synthesis, version("pyosys"))
            return remembered("synthesised", key, lambda: synthesise(files[name], top, family))

        with ThreadPoolExecutor(WORKERS) as workers:
            running = {workers.submit(run, family, name): (family, name) for family, name in jobs}
            report(0.01, f"yosys, {len(jobs)} modules")
            try:
                for finished in as_completed(running):
                    family, name = running[finished]
                    result[family][name] = finished.result()
                    done += weights[name]
                    report(done / whole, f"{name} for {FAMILIES[family]}" if family in FAMILIES else f"parts of {name}")
            except BaseException:
                workers.shutdown(cancel_futures=True)
                raise
    return result
