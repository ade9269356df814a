"""Checks certificates without Z3 and without the translator: ABC makes and-inverter graphs of the Verilog, CaDiCaL
decides four questions about them.

- *initiation*: no state after reset violates a conjunct;
- *consecution*: no step from a state with all conjuncts and assumptions violates a conjunct;
- *property*: no cycle with all conjuncts and assumptions violates a property;
- *cover*: some cycle with all conjuncts and assumptions reaches each cover, and some state is one after reset: nothing
  above is true merely because nothing is.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pysat.solvers import Solver

from formal.and_inverter_graph import Evaluator, Graph, GraphError, and_inverter_graph
from formal.campaign import processors

_AT_ONCE = 64
"""Claims that are one question at most."""
_EACH = 40
"""Questions for which another process is worth its start."""
_FALSE = 1
"""The solver's variable that is false."""


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


@dataclass(frozen=True)
class _Question:
    """Which of some claims can be false; `about` is "initiation", "cover", or the name of outputs of the module."""

    about: str
    claims: tuple[int, ...]
    near: frozenset[str] = frozenset()
    """Groups and schemas of conjuncts that are worth to be assumed first; it is only a matter of time."""


def check_certificate(verilog: Path, progress: Callable[[float], None] | None = None) -> SecondOpinion:
    """Check a certificate that `write_certificate` wrote, on all processors.

    Args:
        verilog: the file; the one beside it, in JSON, names the bits of its outputs.
        progress: called with the fraction of the questions that is answered.

    Raises:
        GraphError: when ABC does not understand it, or the file beside it names other bits.
    """
    started = time.monotonic()
    meaning: dict[str, Any] = json.loads(verilog.with_suffix(".json").read_text())
    graph = and_inverter_graph(verilog, meaning["ports"])
    for name in ("invariant", "good", "cover", "kept"):
        if meaning[name] and len(graph.outputs[name]) != len(meaning[name]):
            raise GraphError(f"{len(meaning[name])} names for {len(graph.outputs[name])} bits of {name}")
    questions = list(_questions(graph, meaning))
    failing: dict[str, set[int]] = {question.about: set() for question in questions}
    for done, (question, found) in enumerate(_answers(verilog, questions), 1):
        failing[question.about].update(found)
        if progress is not None:
            progress(done / len(questions))
    names = {"initiation": meaning["invariant"], **meaning, "cover": [*meaning["cover"], "a state after reset"]}

    def named(about: str) -> tuple[str, ...]:
        return tuple(names[about][index] for index in sorted(failing.get(about, ())))

    return SecondOpinion(
        initiation=named("initiation"),
        consecution=(*named("invariant"), *named("kept")),
        properties=named("good"),
        vacuous=named("cover"),
        conjuncts=len(meaning["invariant"]),
        gates=graph.gates,
        seconds=time.monotonic() - started,
    )


def _questions(graph: Graph, meaning: dict[str, Any]) -> Iterator[_Question]:
    """All that is asked; conjuncts of one group, and groups that are about the same words, together."""
    yield _Question("cover", tuple(range(len(meaning["cover"]))))
    yield _Question("initiation", tuple(range(len(meaning["invariant"]))))
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(meaning["invariant"]):
        groups.setdefault(name.rpartition("(")[2], []).append(index)
    supports = _supports(graph, graph.outputs["invariant"], _words(graph))
    alike: dict[int, list[int]] = {}
    for indices in groups.values():
        alike.setdefault(functools.reduce(int.__or__, (supports[index] for index in indices)), []).extend(indices)
    parted: dict[str, Iterable[Sequence[int]]] = {
        "invariant": alike.values(),
        "good": [range(len(meaning["good"]))],
        "kept": [range(len(meaning["kept"]))],
    }
    for about, parts in parted.items():
        hints = meaning["near"].get(about)
        for all_of_them in parts:
            for place in range(0, len(all_of_them), _AT_ONCE):
                claims = tuple(all_of_them[place : place + _AT_ONCE])
                near = frozenset(name for claim in claims for name in hints[claim]) if hints else frozenset()
                yield _Question(about, claims, near)


def _answers(verilog: Path, questions: Sequence[_Question]) -> Iterator[tuple[_Question, list[int]]]:
    workers = min(processors(), len(questions) // _EACH)
    if workers < 2:
        yield from (_answer(verilog, question) for question in questions)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as executor:
        futures = [executor.submit(_answer, verilog, question) for question in questions]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _answer(verilog: Path, question: _Question) -> tuple[_Question, list[int]]:
    """The claims that fail, in whatever process."""
    made = verilog.with_suffix(".aig").stat().st_mtime_ns
    return question, _cycle(verilog, made).failing(question)


@functools.lru_cache(maxsize=1)
def _cycle(verilog: Path, made: int) -> _Cycle:
    """What this process knows of the certificate that it works on; `made` tells it from older ones in that file."""
    meaning: dict[str, Any] = json.loads(verilog.with_suffix(".json").read_text())
    return _Cycle(Graph(verilog.with_suffix(".aig").read_bytes()), meaning)


class _Frame:
    """Clauses of a part of the graph, for one cycle; variables are numbered as they come."""

    def __init__(self, graph: Graph, solver: Any, first: int) -> None:
        self._graph, self._solver, self.free = graph, solver, first
        self.numbers = np.zeros(graph.nodes + 1, np.int32)
        """For each node the solver's literal; 0 if it has none."""
        self.numbers[0] = _FALSE

    def define(self, nodes: Any) -> None:
        """Add the clauses of these nodes, which come with all that they depend on, as far as they are not there."""
        nodes = nodes[self.numbers[nodes] == 0]
        self.numbers[nodes] = np.arange(self.free, self.free + len(nodes))
        self.free += len(nodes)
        gates = nodes[self._graph.is_gate(nodes)]
        outs = self.numbers[gates]
        left, right = (self._literals(operand) for operand in self._graph.operands[:, gates])
        for parts in ((-outs, left), (-outs, right), (outs, -left, -right)):
            self._solver.append_formula(np.stack(parts, axis=1).tolist())

    def _literals(self, literals: Any) -> Any:
        positive = self.numbers[literals >> 1]
        return np.where(literals & 1, -positive, positive)

    def literal(self, literal: int) -> int:
        """The solver's literal of one that is defined."""
        positive = int(self.numbers[literal >> 1])
        return -positive if literal & 1 else positive

    def inputs(self) -> Any:
        """The inputs that have a variable here."""
        nodes = np.flatnonzero(self.numbers)[1:]
        return nodes[~self._graph.is_gate(nodes)]


class _Cycle:
    """Questions about one cycle in which everything `known` holds, and about the state after it.

    Each question has a solver of its own, with nothing but the gates that its claims depend on, and of what is known
    what is about the same words or near. Where that does not suffice, what else the counterexample violates is added:
    so an answer "violated" is about cycles in which all that is known holds, and leaving things out assumes nothing.
    """

    def __init__(self, graph: Graph, meaning: dict[str, Any]) -> None:
        self._graph = graph
        self._near: dict[str, set[int]] = {}  # group or schema -> conjuncts
        for name, literal in zip(meaning["invariant"], graph.outputs["invariant"], strict=True):
            schema, _, group = name.removesuffix(")").rpartition(" (")
            self._near.setdefault(schema, set()).add(literal)
            self._near.setdefault(group, set()).add(literal)
        known = {*graph.outputs["invariant"], *graph.outputs["assumed"]}
        self._known = sorted(known)
        self._words = _words(graph)
        self._supports = dict(zip(self._known, _supports(graph, self._known, self._words), strict=True))
        self._evaluate = Evaluator(graph, self._known)
        self._after = np.full(graph.nodes + 1, -1, np.int64)  # literal after the cycle; an input without may have any
        for name, (state, first) in meaning["next"].items():
            for bit, literal in enumerate(graph.outputs[name], first):
                node = graph.inputs.get(f"{state}[{bit}]")
                if node is not None:
                    self._after[node] = literal
        for name, node in graph.inputs.items():
            if name.startswith("rigid"):
                self._after[node] = 2 * node

    def failing(self, question: _Question) -> list[int]:
        """The claims that fail."""
        if question.about == "initiation":
            return self._initiation()
        if question.about == "cover":
            return self._vacuous(question.claims)
        claims = [self._graph.outputs[question.about][index] for index in question.claims]
        near = {literal for name in question.near for literal in self._near.get(name, ())}
        violated = self._violated(claims, question.about == "invariant", near)
        return [question.claims[place] for place in violated]

    def _violated(self, claims: Sequence[int], after: bool, near: set[int]) -> list[int]:
        """Places of the claims that can be false in the cycle, or after it."""
        graph = self._graph
        with Solver("cadical153") as solver:
            solver.add_clause([-_FALSE])
            now = _Frame(graph, solver, _FALSE + 1)
            frame = now
            if after:
                nodes = graph.cone(claims)
                leaves = nodes[self._after[nodes] >= 0]
                roots = graph.cone(self._after[leaves])
                now.define(roots)
                frame = _Frame(graph, solver, now.free)
                frame.numbers[leaves] = now._literals(self._after[leaves])
                frame.define(nodes)
                now.free = frame.free
                read = np.concatenate([roots, leaves])
            else:
                read = graph.cone(claims)
                now.define(read)
            words = _set(self._words[read])
            goals = [-frame.literal(claim) for claim in claims]
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

            assume([each for each in self._known if each in near or self._supports[each] & ~words == 0])
            any_of_them = now.free
            now.free += 1
            solver.add_clause([-any_of_them, *goals])
            if not possible(any_of_them):
                return []
            return [place for place, goal in enumerate(goals) if possible(goal)]

    def _broken(self, now: _Frame, model: Sequence[int]) -> list[int]:
        """What is known and yet does not hold in the state and inputs of a model."""
        inputs = now.inputs()
        given = np.array(model, np.int64)[now.numbers[inputs] - 1] > 0
        values = self._evaluate(inputs, given)
        return [self._known[place] for place in np.flatnonzero(values == 0)]

    def _initiation(self) -> list[int]:
        """The conjuncts that do not hold after reset."""
        graph = self._graph
        claims, start = graph.outputs["invariant"], graph.outputs["start"]
        with Solver("cadical153") as solver:
            solver.add_clause([-_FALSE])
            frame = _Frame(graph, solver, _FALSE + 1)
            frame.define(graph.cone([*claims, *start]))
            solver.add_clause([frame.literal(start[0])])
            goals = [-frame.literal(claim) for claim in claims]
            failing: list[int] = []
            for place in range(0, len(goals), _AT_ONCE):
                chunk, chosen = goals[place : place + _AT_ONCE], frame.free
                frame.free += 1
                solver.add_clause([-chosen, *chunk])
                if solver.solve(assumptions=[chosen]):
                    failing += [index for index, goal in enumerate(chunk, place) if solver.solve(assumptions=[goal])]
            return failing

    def _vacuous(self, indices: Sequence[int]) -> list[int]:
        """The covers that no cycle with all that is known reaches; one more if no state is one after reset."""
        graph = self._graph
        covers, start = [graph.outputs["cover"][index] for index in indices], graph.outputs["start"][0]
        with Solver("cadical153") as solver:
            solver.add_clause([-_FALSE])
            frame = _Frame(graph, solver, _FALSE + 1)
            frame.define(graph.cone([*self._known, *covers]))
            for literal in self._known:
                solver.add_clause([frame.literal(literal)])
            missing = [
                index
                for index, claim in zip(indices, covers, strict=True)
                if not solver.solve(assumptions=[frame.literal(claim)])
            ]
        with Solver("cadical153") as solver:
            solver.add_clause([-_FALSE])
            frame = _Frame(graph, solver, _FALSE + 1)
            frame.define(graph.cone([start]))
            begins = solver.solve(assumptions=[frame.literal(start)])
        return missing if begins else [*missing, len(indices)]


def _words(graph: Graph) -> Any:
    """For each node the number of the word that it is an input bit of; -1 for gates."""
    numbers: dict[str, int] = {}
    words = np.full(graph.nodes + 1, -1, np.int32)
    for name, node in graph.inputs.items():
        words[node] = numbers.setdefault(name.rpartition("[")[0], len(numbers))
    return words


def _set(words: Any) -> int:
    """A bit for each word that occurs."""
    return sum(1 << int(word) for word in np.unique(words) if word >= 0)


def _supports(graph: Graph, literals: Sequence[int], words: Any) -> list[int]:
    """For each literal the words that it depends on, as a set of bits."""
    nodes = graph.cone(literals)
    found: dict[int, int] = {0: 0}
    for node, word, a, b in zip(
        nodes.tolist(), words[nodes].tolist(), *(graph.operands[:, nodes] >> 1).tolist(), strict=True
    ):
        found[node] = 1 << word if word >= 0 else found[a] | found[b]
    return [found[literal >> 1] for literal in literals]
