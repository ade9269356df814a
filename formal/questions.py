"""Asks SAT solvers whether goals can be reached under hypotheses, on the clauses of the gates that these depend on.

A solver knows only what its questions are about; goals and hypotheses can be added to it. Glucose is quick on most
questions; CaDiCaL takes longer to begin and decides those on which Glucose gets nowhere (docs/decisions/0040).
"""

from __future__ import annotations

import math
import os
import pickle
import resource
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pysat.solvers import Solver

from formal.gates import TRUE, Gates

_FEW, _MANY = 4000, 40000
"""So many conflicts Glucose may have: before a question is cut up, and before CaDiCaL is asked."""
_PATIENCE = 20
"""So many seconds a second of processor time may take."""


@dataclass(frozen=True)
class Reply:
    """`satisfiable` is None when time ran out; then the variables by node, or the hypotheses that a refutation used."""

    satisfiable: bool | None
    values: dict[int, bool] = field(default_factory=dict)
    used: frozenset[int] = frozenset()


class Encoding:
    """Gates as clauses, as far as literals that were asked for depend on them.

    `clauses` are those not taken yet, `numbers` the solver's variables by node, `variables` the nodes that are no gate.
    """

    def __init__(self, graph: Gates) -> None:
        self.clauses: list[list[int]] = [[1]]
        self.numbers: dict[int, int] = {TRUE: 1}
        self.variables: list[int] = []
        self._gates, self._free = graph.gates, 1

    def take(self) -> list[list[int]]:
        """The clauses that were not taken yet."""
        taken, self.clauses = self.clauses, []
        return taken

    def defined(self, literal: int) -> int:
        """The solver's literal; clauses of the gates behind it are added as far as they are not there yet."""
        node = abs(literal)
        if node not in self.numbers:
            self._define(node)
        return self.numbers[node] if literal > 0 else -self.numbers[node]

    def _define(self, root: int) -> None:
        numbers, gates, variables, free = self.numbers, self._gates, self.variables, self._free + 1
        numbers[root] = free
        pending, found = [root], []
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
        clauses = self.clauses
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


class Question:
    """Which literals of a graph can be true under hypotheses, which can be added at any time."""

    def __init__(self, graph: Gates, seconds: float, exact: bool) -> None:
        """Prepare.

        Args:
            graph: what literals mean.
            seconds: processor time that one call of CaDiCaL may take.
            exact: know which hypotheses a refutation used; else all that were offered count as used.
        """
        self._graph, self._seconds, self._exact = graph, seconds, exact
        self._encoding = Encoding(graph)
        self._solver = Solver("glucose4")
        self._literals: dict[int, int] = {}
        self._tags: dict[int, int] = {}

    def close(self) -> None:
        """Give the memory of the solver back."""
        self._solver.delete()

    def ask(self, goal: int, hypotheses: Mapping[int, int], thorough: bool = True) -> Reply:
        """Ask whether a literal can be true under these hypotheses and, unless `exact`, all that were given before.

        Args:
            goal: the literal.
            hypotheses: literals by number.
            thorough: ask CaDiCaL where Glucose gets nowhere.
        """
        encoding, tags = self._encoding, self._tags
        for index, literal in hypotheses.items():
            if index not in tags:
                self._literals[index], tags[index] = literal, encoding.defined(literal)
                if not self._exact:
                    encoding.clauses.append([tags[index]])
        assumed = [encoding.defined(goal), *((tags[index] for index in hypotheses) if self._exact else ())]
        answer, literals = self._quickly(encoding.take(), assumed, _MANY if thorough else _FEW)
        if answer is None and thorough:
            encoding = Encoding(self._graph)
            known = hypotheses if self._exact else self._literals
            tags = {index: encoding.defined(literal) for index, literal in known.items()}
            goals = [encoding.defined(goal), *(() if self._exact else tags.values())]
            clauses = [*encoding.take(), *([literal] for literal in goals)]
            answer, literals = _in_a_child(clauses, list(tags.values()) if self._exact else [], self._seconds)
        if answer is None:
            return Reply(None)
        if not answer:
            core = set(literals)
            return Reply(False, used=frozenset(i for i in hypotheses if not self._exact or tags[i] in core))
        return Reply(True, {node: literals[encoding.numbers[node] - 1] > 0 for node in encoding.variables})

    def _quickly(self, clauses: list[list[int]], assumptions: list[int], conflicts: int) -> _Answer:
        self._solver.append_formula(clauses, no_return=True)
        self._solver.conf_budget(conflicts)
        answer = self._solver.solve_limited(assumptions=assumptions)
        return (None, []) if answer is None else _answer(self._solver, answer)


_Answer = tuple[bool | None, Sequence[int]]
"""None when nobody knew in time; with a model, or with the assumptions that a refutation used."""


def _answer(solver: Solver, answer: bool) -> _Answer:
    return answer, (solver.get_model() if answer else solver.get_core()) or []


def _in_a_child(clauses: list[list[int]], assumptions: list[int], seconds: float) -> _Answer:
    """Ask CaDiCaL in a process of its own, which can be ended: in python-sat it cannot be interrupted.

    The limit is one of processor time, so that a busy machine decides the same questions as an idle one.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            limit = math.ceil(seconds)
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit))
            solver = Solver("cadical195", bootstrap_with=clauses)
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
