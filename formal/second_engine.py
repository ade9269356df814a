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
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pysat.solvers import Solver

from formal.yosys import YosysError, run_yosys

_COMMANDS = (
    "prep -flatten -top toplevel",
    "opt -full",
    "techmap",
    "opt -fast",
    "aigmap",
    "opt_clean",
)
_AT_ONCE = 64
"""Claims that are one question at most."""


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
    """An and-inverter graph in ASCII AIGER, without latches. Literals are AIGER's: twice the node, plus 1 inverted.

    Gates come after what they depend on, and after all inputs, as in the files of yosys.
    """

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
        self.gates: dict[int, tuple[int, int]] = {}
        last = max(literals, default=0) // 2
        for line in lines[first : first + int(gates)]:
            out, a, b = (int(literal) for literal in line.split())
            if out & 1 or out // 2 <= last or max(a, b) >= out:
                raise SecondEngineError(f"a gate that does not come after its operands: {line}")
            last = out // 2
            self.gates[last] = (a, b)
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

    def supports(self) -> dict[int, int]:
        """For each node a bit set of the words among the inputs that it depends on."""
        words: dict[str, int] = {}
        found: dict[int, int] = {}
        for name, node in self.inputs.items():
            found[node] = 1 << words.setdefault(name.rpartition("[")[0], len(words))
        for node, (a, b) in self.gates.items():
            found[node] = found.get(a // 2, 0) | found.get(b // 2, 0)
        return found

    def evaluated(self, inputs: Mapping[int, bool]) -> dict[int, bool]:
        """The value of every gate; inputs that are not given are 0."""
        values = {0: False, **inputs}
        for node, (a, b) in self.gates.items():
            values[node] = values.get(a // 2, False) != bool(a & 1) and values.get(b // 2, False) != bool(b & 1)
        return values

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
        self._graph, self._solver = graph, solver
        self._given, self._first = given, first
        self._defined: set[int] = set()
        solver.add_clause([-self.literal(0)])
        self.define(nodes)

    def define(self, nodes: set[int]) -> None:
        """Add the clauses of these nodes, as far as they are not there yet."""
        for node in sorted(nodes - self._defined):
            if node in self._graph.gates and node not in self._given:
                a, b = (self.literal(literal) for literal in self._graph.gates[node])
                out = self.literal(2 * node)
                self._solver.add_clause([-out, a])
                self._solver.add_clause([-out, b])
                self._solver.add_clause([out, -a, -b])
        self._defined |= nodes

    def literal(self, literal: int) -> int:
        """The solver's literal."""
        node = literal // 2
        positive = self._given[node] if node in self._given else self._first + node
        return -positive if literal & 1 else positive


def and_inverter_graph(verilog: Path) -> Graph:
    """Let yosys translate a certificate.

    Raises:
        SecondEngineError: with the end of what yosys said.
    """
    target = verilog.with_suffix(".aag")
    try:
        run_yosys([f"read_verilog {verilog}", *_COMMANDS, f"write_aiger -ascii -symbols {target}"])
    except YosysError as problem:
        raise SecondEngineError(f"yosys failed on {verilog}: {problem}") from problem
    return Graph(target.read_text())


def check_certificate(verilog: Path) -> SecondOpinion:
    """Check a certificate that `write_certificate` wrote.

    Args:
        verilog: the file; the one beside it, in JSON, names the bits of its outputs.
    """
    started = time.monotonic()
    meaning: dict[str, Any] = json.loads(verilog.with_suffix(".json").read_text())
    following: Mapping[str, tuple[str, int]] = meaning.pop("next")
    graph = and_inverter_graph(verilog)
    output = graph.outputs
    for name, names in meaning.items():
        if names and len(output[name]) != len(names):
            raise SecondEngineError(f"{len(names)} names for {len(output[name])} bits of {name}")
    invariant, names = output["invariant"], meaning["invariant"]
    cycle = _Cycle(graph, following)
    return SecondOpinion(
        initiation=_initiation(graph, invariant, names),
        consecution=(
            *cycle.failing(invariant, names, after=True),
            *cycle.failing(output["kept"], meaning["kept"], after=False),
        ),
        properties=cycle.failing(output["good"], meaning["good"], after=False),
        vacuous=_vacuous(graph, output["cover"], meaning["cover"]),
        conjuncts=len(names),
        gates=len(graph.gates),
        seconds=time.monotonic() - started,
    )


def _assumed(graph: Graph) -> list[int]:
    return [*graph.outputs["invariant"], *graph.outputs["assumed"]]


def _initiation(graph: Graph, invariant: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    start = graph.outputs["start"]
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([*invariant, *start]), {})
        solver.add_clause([frame.literal(start[0])])
        return _violated(solver, [frame.literal(literal) for literal in invariant], names, graph.nodes + 2)


class _Cycle:
    """Questions about one cycle in which everything `known` holds, and about the state after it.

    Each question has a solver of its own, with nothing but the gates that its claims depend on and what is known
    about the same words. Where that does not suffice, what else the counterexample violates is added: so an answer
    "violated" is about cycles in which all that is known holds, and leaving things out assumes nothing.
    """

    def __init__(self, graph: Graph, following: Mapping[str, tuple[str, int]]) -> None:
        self._graph, self._known = graph, _assumed(graph)
        self._supports = graph.supports()
        self._after: dict[int, int] = {}  # node of an input -> literal of its next value; one without may have any
        for name, (state, first) in following.items():
            for bit, literal in enumerate(graph.outputs[name], first):
                node = graph.inputs.get(f"{state}[{bit}]")
                if node is not None:
                    self._after[node] = literal
        self._rigid = {node for name, node in graph.inputs.items() if name.startswith("rigid")}

    def failing(self, claims: Sequence[int], names: Sequence[str], after: bool) -> tuple[str, ...]:
        """Names of the claims that can be false in the cycle, or after it; those of one group are one question."""
        groups: dict[str, list[int]] = {}
        for index, name in enumerate(names):
            groups.setdefault(name.rpartition("(")[2] if after else "", []).append(index)
        chunks = [all_[at : at + _AT_ONCE] for all_ in groups.values() for at in range(0, len(all_), _AT_ONCE)]
        failing = {index for chunk in chunks for index in self._violated(claims, chunk, after)}
        return tuple(names[index] for index in sorted(failing))

    def _violated(self, claims: Sequence[int], chosen: Sequence[int], after: bool) -> list[int]:
        graph = self._graph
        later_nodes = graph.cone(claims[index] for index in chosen) if after else set()
        leaves = later_nodes & (self._after.keys() | self._rigid)
        roots = [self._after.get(node, 2 * node) for node in leaves] if after else [claims[index] for index in chosen]
        words = 0
        for node in (*(root // 2 for root in roots), *leaves):
            words |= self._supports.get(node, 0)
        with Solver("cadical153") as solver:
            now = _Frame(graph, solver, 1, graph.cone(roots), {})
            given = {node: now.literal(self._after.get(node, 2 * node)) for node in leaves}
            later = _Frame(graph, solver, graph.nodes + 2, later_nodes, given)
            goals = [-(later if after else now).literal(claims[index]) for index in chosen]
            asserted: set[int] = set()

            def assume(literals: Sequence[int]) -> None:
                now.define(graph.cone(literals))
                for literal in literals:
                    solver.add_clause([now.literal(literal)])
                asserted.update(literals)

            def possible(goal: int) -> bool:
                while solver.solve(assumptions=[goal]):
                    broken = [literal for literal in self._broken(now, solver.get_model()) if literal not in asserted]
                    if not broken:
                        return True
                    assume(broken)
                return False

            assume([literal for literal in self._known if self._supports.get(literal // 2, 0) & ~words == 0])
            any_of_them = 2 * graph.nodes + 4
            solver.add_clause([-any_of_them, *goals])
            if not possible(any_of_them):
                return []
            return [index for index, goal in zip(chosen, goals, strict=True) if possible(goal)]

    def _broken(self, now: _Frame, model: Sequence[int]) -> list[int]:
        """What is known and yet does not hold in the state and inputs of a model."""
        inputs = {}
        for node in self._graph.inputs.values():
            number = now.literal(2 * node)
            inputs[node] = number <= len(model) and model[number - 1] > 0
        values = self._graph.evaluated(inputs)
        return [literal for literal in self._known if values.get(literal // 2, False) == bool(literal & 1)]


def _reached(graph: Graph, claims: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    """Names of the claims that can be true in a cycle with the invariant and the assumptions."""
    with Solver("cadical153") as solver:
        frame = _Frame(graph, solver, 1, graph.cone([*_assumed(graph), *claims]), {})
        for literal in _assumed(graph):
            solver.add_clause([frame.literal(literal)])
        return tuple(
            name for name, claim in zip(names, claims, strict=False) if solver.solve(assumptions=[frame.literal(claim)])
        )


def _vacuous(graph: Graph, covers: Sequence[int], names: Sequence[str]) -> tuple[str, ...]:
    reached = _reached(graph, covers, names)
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
