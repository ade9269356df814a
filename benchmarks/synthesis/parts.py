"""The hierarchy inside a module, each part synthesised by itself."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.synthesis.devices import Resources, resources
from benchmarks.synthesis.mapped import cell_counts
from formal.yosys import run_yosys


@dataclass(frozen=True)
class Part:
    """A part of a module's hierarchy, synthesised by itself: without its own parts, whose cells are theirs."""

    name: str
    instances: int
    cells: dict[str, int]

    @property
    def resources(self) -> Resources:
        """What one instance takes."""
        return resources(self.cells)


def synthesise_parts(files: Sequence[Path], top: str, family: str) -> list[dict[str, Any]]:
    """Synthesise module `top` with its hierarchy kept: Parts as JSON has them, `top` itself first.

    What is constant or unused on a part's ports is not removed from it: the sum is more than the flattened whole.

    Raises:
        YosysError: yosys refuses the Verilog.
    """
    with tempfile.TemporaryDirectory(prefix="synthesis-") as scratch:
        file = Path(scratch) / "parts.json"
        run_yosys(
            [
                *(f"read_verilog {each}" for each in files),
                f"synth_xilinx -family {family} -noiopad -noclkbuf -top {top}",
                "delete =A:blackbox",
                f"write_json {file}",
            ]
        )
        modules = json.loads(file.read_text())["modules"]
    cells = {name: cell_counts(module) for name, module in modules.items()}
    counts: Counter[str] = Counter()

    def count(name: str) -> None:
        counts[name] += 1
        for kind, number in cells[name].items():
            for _ in range(number if kind in cells else 0):
                count(kind)

    count(top)
    return [
        asdict(Part(name, number, {kind: each for kind, each in cells[name].items() if kind not in cells}))
        for name, number in counts.items()
    ]
