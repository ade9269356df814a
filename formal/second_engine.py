"""Checks certificates without Z3 and without the translator: yosys makes and-inverter graphs of the Verilog, CaDiCaL
decides four questions about them.

- *initiation*: no state after reset violates a conjunct;
- *consecution*: no step from a state with all conjuncts and assumptions violates a conjunct;
- *property*: no cycle with all conjuncts and assumptions violates a property;
- *cover*: some cycle with all conjuncts and assumptions reaches each cover, and some state is one after reset: nothing
  above is true merely because nothing is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pysat.solvers import Solver

_YOSYS = """
import pyosys.libyosys as yosys
design = yosys.Design()
yosys.run_pass("tee -q read_verilog {source}", design)
for command in {commands!r}:
    yosys.run_pass("tee -q " + command, design)
"""
_COMMANDS = (
    "prep -flatten -top toplevel",
    "opt -full",
    "techmap",
    "opt -fast",
    "aigmap",
    "opt_clean",
)
_AT_ONCE = 64
"""Conjuncts whose consecution is one question."""


class SecondEngineError(Exception):
    """The certificate could not be turned into an and-inverter graph."""


@dataclass(frozen=True)
class SecondOpinion:
    """What the second engine says of a certificate: the names of conjuncts, properties, covers that fail."""

    initiation: tuple[str, ...]
    consecution: tuple[str, ...]
    properties: tuple[str, ...]
    vacuous: tuple[str, ...]
    conjuncts: int
    gates: int
    seconds: float

    @property
    def fails(self) -> list[str]:
        """What does not hold, in words."""
        return [
            *(f"does not hold after reset: {name}" for name in self.initiation),
            *(f"is not kept: {name}" for name in self.consecution),
            *(f"does not follow: {name}" for name in self.properties),
            *(f"is never reached: {name}" for name in self.vacuous),
        ]

    @property
    def agrees(self) -> bool:
        """Every answer is as the prover says."""
        return not (self.initiation or self.consecution or self.properties or self.vacuous)


class Graph:
    """An and-inverter graph in ASCII AIGER, without latches. Literals are AIGER's: twice the node, plus 1 inverted."""

    def __init__(self, text: str) -> None:
        lines = text.splitlines()
        _, nodes, inputs, latches, outputs, gates = lines[0].split()[:6]
        if latches != "0":
            raise SecondEngineError("the certificate is not combinational")
        self.nodes = int(nodes)
        first = 1
        literals = [int(line) for line in lines[first : first + int(inputs)]]
        first += int(inputs)
        driven = [int(line) for line in lines[first : first + int(outputs)]]
        first += int(outputs)
        rows = (line.split() for line in lines[first : first + int(gates)])
        self.gates = {int(out) // 2: (int(a), int(b)) for out, a, b in rows}
        self.inputs: dict[str, int] = {}
        self.outputs: dict[str, list[int]] = {}
        bits: dict[str, dict[int, int]] = {}
        for line in lines[first + int(gates) :]:
            match = re.fullmatch(r"([io])(\d+) (\S+?)(?:\[(\d+)\])?", line)
            if line == "c":
                break
            if match is None:
                raise SecondEngineError(f"not understood in the graph: {line}")
            place, name, bit = int(match[2]), match[3], int(match[4] or 0)
            if match[1] == "i":
                self.inputs[f"{name}[{bit}]"] = literals[place] // 2
            else:
                bits.setdefault(name, {})[bit] = driven[place]
        self.outputs = {name: [found[bit] for bit in range(len(found))] for name, found in bits.items()}

    def cone(self, literals: Iterable[int]) -> set[int]:
        """Nodes that the literals depend on."""
        found: set[int] = set()
        pending = [literal // 2 for literal in literals]
        while pending:
            node = pending.pop()
            if node not in found:
                found.add(node)
                if node in self.gates:
                    pending += [literal // 2 for literal in self.gates[node]]
        return found


class _Frame:
    """Clauses of a part of the graph; `given` maps nodes to solver literals that exist already."""

    def __init__(self, graph: Graph, solver: Any, first: int, nodes: set[int], given: Mapping[int, int]) -> None:
        self._given, self._first = given, first
        solver.add_clause([-self.literal(0)])
        for node in sorted(nodes):
            if node in graph.gates and node not in given:
                a, b = (self.literal(literal) for literal in graph.gates[node])
                out = self.literal(2 * node)
                solver.add_clause([-out, a])
                solver.add_clause([-out, b])
                solver.add_clause([out, -a, -b])

    def literal(self, literal: int) -> int:
        """The solver's literal."""
        node = literal // 2
        positive = self._given[node] if node in self._given else self._first + node
        return -positive if literal & 1 else positive


def and_inverter_graph(verilog: Path) -> Graph:
    """Let yosys, in a process of its own (an error of yosys ends it), translate a certificate.

    Raises:
        SecondEngineError: with the end of what yosys said.
    """
    target = verilog.with_suffix(".aag")
    commands = [*_COMMANDS, f"write_aiger -ascii -symbols {target}"]
    script = _YOSYS.format(source=verilog, commands=commands)
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    if ran.returncode or not target.exists():
        raise SecondEngineError(f"yosys failed on {verilog}: {(ran.stdout + ran.stderr)[-500:]}")
    return Graph(target.read_text())


def check_certificate(verilog: Path) -> SecondOpinion:
    """Check a certificate that `write_certificate` wrote.

    Args:
        verilog: the file; the one beside it, in JSON, names the bits of its outputs.
    """
    started = time.monotonic()
    meaning: Mapping[str, Sequence[str]] = json.loads(verilog.with_suffix(".json").read_text())
    graph = and_inverter_graph(verilog)
    output = graph.outputs
    for name, names in meaning.items():
        if names and len(output[name]) != len(names):
            raise SecondEngineError(f"{len(names)} names for {len(output[name])} bits of {name}")
    invariant, names = output["invariant"], meaning["invariant"]
    return SecondOpinion(
        initiation=_initiation(graph, invariant, names),
        consecution=(
            *_consecution(graph, invariant, names),
            *_failing(graph, output["kept"], meaning["kept"], wanted=False),
        ),
        properties=_failing(graph, output["good"], meaning["good"], wanted=False),
        vacuous=_vacuous(graph, output["cover"], meaning["cover"]),
        conjuncts=len(names),
        gates=len(graph.gates),
        seconds=time.monotonic() - started,
    )


def never_differ(verilog: Path) -> bool:
    """Whether the output of a module that `write_differences` wrote is 1, whatever its inputs."""
    graph = and_inverter_graph(verilog)
    (same,) = graph.outputs["same"]
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([same]), {})
        return not solver.solve(assumptions=[-frame.literal(same)])


def _assumed(graph: Graph) -> list[int]:
    return [*graph.outputs["invariant"], *graph.outputs["assumed"]]


def _initiation(graph: Graph, invariant: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    start = graph.outputs["start"]
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([*invariant, *start]), {})
        solver.add_clause([frame.literal(start[0])])
        return _violated(solver, [frame.literal(literal) for literal in invariant], names, graph.nodes + 2)


def _consecution(graph: Graph, invariant: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    after = {name: literals for name, literals in graph.outputs.items() if name.startswith("next")}
    flat = [literal for literals in after.values() for literal in literals]
    with Solver("cadical153") as solver:
        known = _assumed(graph)
        now = _Frame(graph, solver, 1, graph.cone([*known, *flat]), {})
        for literal in known:
            solver.add_clause([now.literal(literal)])
        given: dict[int, int] = {}
        for name, literals in after.items():
            for bit, literal in enumerate(literals):
                node = graph.inputs.get(f"now{name.removeprefix('next')}[{bit}]")
                if node is not None:
                    given[node] = now.literal(literal)
        for name, node in graph.inputs.items():
            if name.startswith("rigid"):
                given[node] = now.literal(2 * node)
        later = _Frame(graph, solver, graph.nodes + 2, graph.cone(invariant), given)
        return _violated(solver, [later.literal(literal) for literal in invariant], names, 2 * graph.nodes + 4)


def _failing(graph: Graph, claims: Sequence[int], names: Sequence[str], wanted: bool) -> tuple[str, ...]:
    """Names of the claims that can be false in a cycle with the invariant and the assumptions."""
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([*_assumed(graph), *claims]), {})
        for literal in _assumed(graph):
            solver.add_clause([frame.literal(literal)])
        return tuple(
            name
            for name, claim in zip(names, claims, strict=False)
            if solver.solve(assumptions=[frame.literal(claim) * (1 if wanted else -1)])
        )


def _vacuous(graph: Graph, covers: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    reached = _failing(graph, covers, names, wanted=True)
    missing = tuple(name for name in names if name not in reached)
    start = graph.outputs["start"][0]
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([start]), {})
        begins = solver.solve(assumptions=[frame.literal(start)])
    return missing if begins else (*missing, "a state after reset")


def _violated(solver: Any, claims: Sequence[int], names: Sequence[str], free: int) -> tuple[str, ...]:
    """Names of the claims that can be false, asked for some dozens at a time and one by one where one fails."""
    failing: list[str] = []
    for place in range(0, len(claims), _AT_ONCE):
        chunk = range(place, min(place + _AT_ONCE, len(claims)))
        chosen = free + place // _AT_ONCE
        solver.add_clause([-chosen, *(-claims[index] for index in chunk)])
        if solver.solve(assumptions=[chosen]):
            failing += [names[index] for index in chunk if solver.solve(assumptions=[-claims[index]])]
    return tuple(failing)
