"""And-inverter graphs in AIGER's binary format, and how ABC makes one of a combinational module.

ABC reads words from Verilog and cuts them into bits (`%read`, `%blast`). Its reader misreads some Verilog without a
word: a number in front of an operator, a name that begins with a keyword. So only lines of the forms in `_FORMS` are
given to it, which tests compare with PyRTL's simulator one by one, and widths of all ports are compared each time.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyrtl

_NAME = r"(?!input|output|wire|assign|reg|module)[A-Za-z]\w*"
_FORMS = re.compile(
    r"module toplevel\(N(?:, N)*\);|endmodule| *//.*| *"
    r"| *(?:input|output|wire)(?:\[\d+:0\])? N;| *wire(?:\[\d+:0\])? N = \d+'h[0-9a-f]+;"
    r"| *assign N = (?:N|\(N\)|~\(N\)|\(N (?:[&|^+<>-]|==) N\)|\(N \? N : N\)|\(N\[\d+(?::\d+)?\]\)|\{N(?:, N)*\});"
    "".replace("N", _NAME)
)
"""The lines of a module that are given to ABC's reader."""


class GraphError(Exception):
    """The module could not be turned into an and-inverter graph."""


class Graph:
    """A combinational and-inverter graph. Literals are AIGER's: twice the node, plus 1 inverted; node 0 is false.

    Attributes:
        nodes: the number of the last node. Inputs come first, then gates, each after what it depends on.
        inputs: "name[bit]" -> node.
        outputs: name -> literals of its bits, the lowest first.
        operands: shape (2, nodes + 1), int32: for each gate two literals; 0 for the other nodes.
    """

    def __init__(self, aiger: bytes) -> None:
        """Raises GraphError when these bytes are no such graph."""
        header, _, rest = aiger.partition(b"\n")
        kind, *numbers = header.split()
        if kind != b"aig" or len(numbers) < 5:
            raise GraphError("no graph in AIGER's binary format")
        self.nodes, self._first, latches, outputs, gates = (int(number) for number in numbers[:5])
        if latches:
            raise GraphError("the certificate is not combinational")
        if self.nodes != self._first + gates:
            raise GraphError("nodes that are neither input nor gate")
        *driven, rest = rest.split(b"\n", outputs)
        self.operands = np.zeros((2, self.nodes + 1), np.int32)
        length = self._read_gates(np.frombuffer(rest, np.uint8), gates)
        self.inputs: dict[str, int] = {}
        bits: dict[str, dict[int, int]] = {}
        for line in rest[length:].decode().split("\nc\n")[0].splitlines():
            match = re.fullmatch(r"([io])(\d+) (\S+)\[(\d+)\]", line)
            if match is None:
                raise GraphError(f"not understood in the graph: {line}")
            if match[1] == "i":
                self.inputs[f"{match[3]}[{match[4]}]"] = int(match[2]) + 1
            else:
                bits.setdefault(match[3], {})[int(match[4])] = int(driven[int(match[2])])
        self.outputs = {name: [found[bit] for bit in range(len(found))] for name, found in bits.items()}

    def _read_gates(self, data: Any, gates: int) -> int:
        """The operands of all gates, which are differences in seven bits a byte; how many bytes that were."""
        if not gates:
            return 0
        ends = np.flatnonzero(data < 128)[: 2 * gates]
        if len(ends) < 2 * gates:
            raise GraphError("gates are missing")
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends + 1 - starts
        values = np.zeros(2 * gates, np.int64)
        for place in range(int(lengths.max())):
            longer = lengths > place
            values[longer] |= (data[starts[longer] + place].astype(np.int64) & 127) << 7 * place
        literal = 2 * np.arange(self._first + 1, self.nodes + 1)
        left = literal - values[::2]
        right = left - values[1::2]
        if (values[::2] < 1).any() or (right < 0).any():
            raise GraphError("a gate that does not come after its operands")
        self.operands[0, self._first + 1 :], self.operands[1, self._first + 1 :] = left, right
        return int(ends[-1]) + 1

    @property
    def gates(self) -> int:
        """How many there are."""
        return self.nodes - self._first

    def is_gate(self, nodes: Any) -> Any:
        """Which of an array of nodes are gates."""
        return nodes > self._first

    def cone(self, literals: Iterable[int]) -> Any:
        """Nodes that the literals depend on, themselves included, ascending."""
        found = np.zeros(self.nodes + 1, np.bool_)
        reached = np.unique(np.fromiter(literals, np.int64) >> 1)
        while len(reached):
            found[reached] = True
            below = (self.operands[:, reached] >> 1).ravel()
            reached = np.unique(below[~found[below]])
        found[0] = False
        return np.flatnonzero(found)


class Evaluator:
    """The values of some literals of a graph as a function of its inputs."""

    def __init__(self, graph: Graph, literals: Iterable[int]) -> None:
        self._literals = np.array(list(literals), np.int64)
        nodes = graph.cone(self._literals)
        nodes = nodes[graph.is_gate(nodes)]
        left, right = (operand.tolist() for operand in graph.operands[:, nodes] >> 1)
        level: dict[int, int] = {}
        for node, a, b in zip(nodes.tolist(), left, right, strict=True):
            level[node] = 1 + max(level.get(a, 0), level.get(b, 0))
        levels = np.array([level[node] for node in nodes.tolist()], np.int64)
        order = np.argsort(levels, kind="stable")
        cuts = np.flatnonzero(np.diff(levels[order])) + 1
        self._steps = [(each, graph.operands[:, each]) for each in np.split(nodes[order], cuts)]
        self._values = np.zeros(graph.nodes + 1, np.int8)

    def __call__(self, inputs: Any, given: Any) -> Any:
        """Values of the literals, 0 or 1, where nodes `inputs` have the values `given` and other inputs are 0."""
        values = self._values
        values[:] = 0
        values[inputs] = given
        for nodes, operands in self._steps:
            both = values[operands >> 1] ^ (operands & 1)
            values[nodes] = both[0] & both[1]
        return values[self._literals >> 1] ^ (self._literals & 1)


def port_widths() -> dict[str, int]:
    """The bits of each input and output of the working block."""
    return {wire.name: len(wire) for wire in pyrtl.working_block().wirevector_subset((pyrtl.Input, pyrtl.Output))}


def verilog() -> str:
    """The working block, combinational, as PyRTL writes it, in lines of `_FORMS`; its inner wires get other names."""
    inner = pyrtl.working_block().wirevector_subset(exclude=(pyrtl.Input, pyrtl.Output))
    for place, wire in enumerate(sorted(inner, key=lambda wire: str(wire.name))):
        wire.name = f"net{place}"  # what has a name, numbers too, gets a line of its own
    text = io.StringIO()
    pyrtl.output_to_verilog(text, add_reset=False)
    lines = re.sub(r"\b(\d+)'d(\d+)", lambda number: f"{number[1]}'h{int(number[2]):x}", text.getvalue())
    return re.sub(r"\{(\d+) \{(\w+)\}\}", lambda repeated: ", ".join([repeated[2]] * int(repeated[1])), lines)


def and_inverter_graph(module: Path, widths: Mapping[str, int]) -> Graph:
    """Let ABC translate a module; the graph stays beside it, in a file ending in `.aig`.

    Args:
        module: the file, which is written for ABC's reader.
        widths: the bits of each input and output; the clock is not among them.

    Raises:
        GraphError: with the end of what ABC said, or the port that it misread.
    """
    for line in module.read_text().splitlines():
        if not _FORMS.fullmatch(line):
            raise GraphError(f"{module} has a line that ABC may misread: {line.strip()[:80]}")
    target = module.with_suffix(".aig")
    target.unlink(missing_ok=True)
    package = find_spec("pyosys")
    if package is None or package.origin is None:
        raise GraphError("pyosys is missing: pip install pyosys")
    program = Path(package.origin).resolve().with_name("yosys-abc")
    commands = f"%read {module.name}; %blast -z; &write -n {target.name}"
    ran = subprocess.run(
        [program, "-s", "-q", commands], cwd=module.parent, capture_output=True, text=True, check=False
    )
    if ran.returncode or not target.exists():
        raise GraphError(f"ABC failed on {module}: {(ran.stdout + ran.stderr).strip()[-500:]}")
    graph = Graph(target.read_bytes())
    found = {name: len(literals) for name, literals in graph.outputs.items()}
    for bit in graph.inputs:
        name = bit.rpartition("[")[0]
        if name != "clk":
            found[name] = found.get(name, 0) + 1
    if found != widths:
        wrong = sorted(found.items() ^ widths.items())[0][0]
        raise GraphError(f"ABC misread {module}: port {wrong} has {found.get(wrong, 0)} bits")
    return graph
