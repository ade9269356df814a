"""Asks SAT solvers whether a goal can be reached under hypotheses, on the clauses of the gates that these depend on.

Every question has a solver of its own, which knows only what the question is about; hypotheses can be added to it.
Glucose is quick on most questions; CaDiCaL takes longer to begin and decides those on which Glucose gets nowhere
(docs/decisions/0040).
"""

from __future__ import annotations

import math
import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pysat.solvers import Solver

from formal.gates import TRUE, Gates

_CONFLICTS = 4000
"""So many Glucose may have before CaDiCaL is asked."""
_PATIENCE = 20
"""So many seconds a second of processor time may take."""


@dataclass(frozen=True)
class Reply:
    """`satisfiable` is None when time ran out; then the variables by node, or the hypotheses that a refutation used."""

    satisfiable: bool | None
    values: dict[int, bool] = field(default_factory=dict)
    used: frozenset[int] = frozenset()


class Question:
    """Whether the literal `goal` of a graph can be true."""

    def __init__(self, graph: Gates, goal: int, seconds: float, exact: bool) -> None:
        """Prepare.

        Args:
            graph: what literals mean.
            goal: a literal.
            seconds: processor time that one call of CaDiCaL may take.
            exact: know which hypotheses a refutation used; else all that were offered count as used.
        """
        self._graph, self._goal, self._seconds, self._exact = graph, goal, seconds, exact
        self._quick = Solver("glucose4")
        self._thorough: Solver | None = None
        self._clauses: list[list[int]] = []
        self._numbers: dict[int, int] = {TRUE: 1}
        self._free = 1
        self._variables: list[int] = []
        self._tags: dict[int, int] = {}
        self._add([[1]])
        self._add([[self._defined(goal)]])

    def close(self) -> None:
        """Give the memory of the solvers back."""
        for solver in (self._quick, self._thorough):
            if solver is not None:
                solver.delete()

    def _add(self, clauses: list[list[int]]) -> None:
        self._clauses += clauses
        self._quick.append_formula(clauses, no_return=True)

    def ask(self, hypotheses: Mapping[int, int]) -> Reply:
        """Ask under these hypotheses, literals by number, and all that were given before."""
        for index, literal in hypotheses.items():
            if index not in self._tags:
                self._tags[index] = self._defined(literal)
                if not self._exact:
                    self._add([[self._tags[index]]])
        tags = {index: self._tags[index] for index in hypotheses} if self._exact else {}
        assumptions = list(tags.values())
        answer, literals = self._quickly(assumptions)
        if answer is None:
            answer, literals = self._thoroughly(assumptions)
        if answer is None:
            return Reply(None)
        if not answer:
            core = set(literals)
            return Reply(False, used=frozenset(i for i in hypotheses if not self._exact or tags[i] in core))
        numbers = self._numbers
        return Reply(True, {node: literals[numbers[node] - 1] > 0 for node in self._variables})

    def _quickly(self, assumptions: list[int]) -> _Answer:
        self._quick.conf_budget(_CONFLICTS)
        answer = self._quick.solve_limited(assumptions=assumptions)
        return (None, []) if answer is None else _answer(self._quick, answer)

    def _thoroughly(self, assumptions: list[int]) -> _Answer:
        if self._thorough is None:
            self._thorough = Solver("cadical195")
        self._thorough.append_formula(self._clauses, no_return=True)
        self._clauses.clear()
        return _in_a_child(self._thorough, assumptions, self._seconds)

    def _defined(self, literal: int) -> int:
        """The solver's literal; clauses of the gates behind it are added as far as they are not there yet."""
        self._define([abs(literal)])
        number = self._numbers[abs(literal)]
        return number if literal > 0 else -number

    def _define(self, roots: Iterable[int]) -> None:
        numbers, gates, variables, free = self._numbers, self._graph.gates, self._variables, self._free
        pending, found = [], []
        for node in roots:
            if node not in numbers:
                free += 1
                numbers[node] = free
                pending.append(node)
        while pending:
            node = pending.pop()
            gate = gates.get(node)
            if gate is None:
                variables.append(node)
                continue
            found.append((numbers[node], gate))
            for operand in gate:
                below = operand if operand > 0 else -operand
                if below and below not in numbers:
                    free += 1
                    numbers[below] = free
                    pending.append(below)
        self._free = free
        clauses: list[list[int]] = []
        for out, gate in found:
            a = numbers[gate[0]] if gate[0] > 0 else -numbers[-gate[0]]
            b = numbers[gate[1]] if gate[1] > 0 else -numbers[-gate[1]]
            if len(gate) == 2:
                clauses += ([-out, a], [-out, b], [out, -a, -b])
            elif gate[2] == 0:
                clauses += ([-out, a, b], [-out, -a, -b], [out, -a, b], [out, a, -b])
            else:
                c = numbers[gate[2]] if gate[2] > 0 else -numbers[-gate[2]]
                clauses += ([-out, -a, b], [out, -a, -b], [-out, a, c], [out, a, -c], [-out, b, c], [out, -b, -c])
        self._add(clauses)


_Answer = tuple[bool | None, Sequence[int]]
"""None when nobody knew in time; with a model, or with the assumptions that a refutation used."""


def _answer(solver: Solver, answer: bool) -> _Answer:
    return answer, (solver.get_model() if answer else solver.get_core()) or []


def _in_a_child(solver: Solver, assumptions: list[int], seconds: float) -> _Answer:
    """Ask in a process of its own, which can be ended: CaDiCaL in python-sat cannot be interrupted.

    The limit is one of processor time, so that a busy machine decides the same questions as an idle one.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            limit = math.ceil(seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            with open(write, "wb") as pipe:
                pickle.dump(_answer(solver, solver.solve(assumptions)), pipe)
        finally:
            os._exit(0)
    os.close(write)
    parts, until = [], time.monotonic() + _PATIENCE * seconds
    with open(read, "rb", buffering=0) as pipe:
        try:
            while select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                part = pipe.read(1 << 20)
                if not part:
                    break
                parts.append(part)
            else:
                parts = []
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if not parts:
        return None, []
    found: _Answer = pickle.loads(b"".join(parts))
    return found
