"""Synthesis of one module for one family with yosys, and what is worth keeping of the result."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.synthesis.devices import Resources, resources
from benchmarks.synthesis.mapped import LongestPath, cell_counts, longest_path, memory_cells
from formal.yosys import run_yosys

LARGE_MEMORY_BITS = 1024
"""Memories of more bits are listed."""


@dataclass(frozen=True)
class Memory:
    """A memory of a module: what it is, and the cells that it became (none: flip-flops)."""

    name: str
    words: int
    bits: int
    cells: dict[str, int]

    @property
    def place(self) -> str:
        """Where it went."""
        kinds = {
            "block RAM": any(kind.startswith("RAMB") for kind in self.cells),
            "URAM": any(kind.startswith("URAM") for kind in self.cells),
            "LUT RAM": any(kind.startswith("RAM") and not kind.startswith("RAMB") for kind in self.cells),
        }
        return " and ".join(kind for kind, holds in kinds.items() if holds) or "flip-flops"


@dataclass(frozen=True)
class Synthesis:
    """One module after synthesis."""

    cells: dict[str, int]
    memories: list[Memory]
    path: LongestPath

    @property
    def resources(self) -> Resources:
        """What its cells take of a device."""
        return resources(self.cells)

    @staticmethod
    def from_json(found: dict[str, Any]) -> Synthesis:
        """The inverse of `dataclasses.asdict`."""
        memories = [Memory(**each) for each in found["memories"]]
        return Synthesis(found["cells"], memories, LongestPath(**found["path"]))


def synthesise(files: Sequence[Path], top: str, family: str) -> dict[str, Any]:
    """Synthesise module `top` out of context, its hierarchy flattened; a Synthesis as JSON has it.

    Raises:
        YosysError: yosys refuses the Verilog.
    """
    with tempfile.TemporaryDirectory(prefix="synthesis-") as scratch:
        before, after = Path(scratch) / "memories.json", Path(scratch) / "mapped.json"
        command = f"synth_xilinx -family {family} -flatten -noiopad -noclkbuf -top {top}"
        run_yosys(
            [
                *(f"read_verilog {file}" for file in files),
                f"{command} -run begin:map_memory",
                f"select {top}/t:$mem_v2",
                f"write_json -selected {before}",
                "select -clear",
                f"{command} -run map_memory:",
                f"select {top}",
                f"write_json -selected {after}",
            ]
        )
        memories, mapped = (json.loads(file.read_text())["modules"].get(top) for file in (before, after))
    found = []
    for cell in (memories or {"cells": {}})["cells"].values():
        parameters = cell["parameters"]
        name = parameters["MEMID"].removeprefix("\\")
        words, bits = int(parameters["SIZE"], 2), int(parameters["WIDTH"], 2)
        found.append(Memory(name, words, bits, memory_cells(mapped, name)))
    found.sort(key=lambda memory: memory.name)
    return dataclasses.asdict(Synthesis(cell_counts(mapped), found, longest_path(mapped)))
