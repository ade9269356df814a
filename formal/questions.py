"""Asks solvers whether a goal can be violated under hypotheses, one after another until one has an answer.

Three ways, for no solver is good at everything (docs/decisions/0017): Z3 with a literal for each hypothesis, which
keeps what it learned while hypotheses are added and names those that a proof used; Z3 afresh, which may simplify as it
likes; and clauses for another solver.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import z3

from formal.algebra import Term
from formal.clauses import Clauses

_QUICK_SECONDS = 0.3
"""After this time a question is asked afresh."""
_AFRESH_SECONDS = 20.0
"""After this time, as clauses; there are none for arrays, which have all the time instead."""


class Way(Enum):
    """How a question is asked."""

    LITERALS = "Z3, with a literal for each hypothesis"
    AFRESH = "Z3, afresh each time"
    CLAUSES = "another solver, on clauses"


@dataclass(frozen=True)
class Reply:
    """`satisfiable` is None when nobody knew in time.

    Then a model, Z3's or as the values of variables; or the numbers of the hypotheses that a proof used, or may have.
    """

    satisfiable: bool | None
    model: Any = None
    values: Mapping[str, int] = field(default_factory=dict)
    used: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Means:
    """What questions of one problem have in common.

    Attributes:
        seconds: time limit of a call of a solver.
        has_arrays: terms speak of arrays.
        exact: know which hypotheses a proof used; else, of a question that takes long, all count as used.
        clauses: names of bits, kept from one question to the next.
    """

    seconds: float
    has_arrays: bool
    exact: bool
    clauses: Clauses = field(default_factory=Clauses)


class Question:
    """Whether `violated` can be true; `way` is where asking begins, and then where it has come to."""

    def __init__(self, means: Means, violated: Term, way: Way = Way.LITERALS) -> None:
        self.way = way
        self._means, self._violated = means, violated
        self._solver: Any = None
        self._asserted: set[int] = set()

    def ask(self, hypotheses: Mapping[int, Term], variables: Callable[[], Sequence[Any]]) -> Reply:
        """Ask under these hypotheses, by number; `variables` are those whose values matter in a model.

        After a time-out Z3's answers could not be trusted (seen with 5.4: models that break assertions), so a solver
        that gave up is thrown away.
        """
        means, reply = self._means, Reply(None)
        if self.way is Way.LITERALS:
            reply = self._ask_literals(hypotheses)
            if reply.satisfiable is None:
                self.way = Way.CLAUSES if means.exact else Way.AFRESH
        if self.way is Way.AFRESH:
            reply = self._ask_afresh(hypotheses)
            if reply.satisfiable is None:
                self.way = Way.CLAUSES
        if self.way is Way.CLAUSES and not means.has_arrays:
            reply = self._ask_clauses(hypotheses, variables())
        return reply

    def _ask_literals(self, hypotheses: Mapping[int, Term]) -> Reply:
        means = self._means
        if self._solver is None:
            self._solver = self._new_solver(means.seconds if means.has_arrays and means.exact else _QUICK_SECONDS)
            self._solver.add(z3.Implies(_GOAL, self._violated))  # asserted outright, it makes Z3 several times slower
        for index, term in hypotheses.items():
            if index not in self._asserted:
                self._asserted.add(index)
                self._solver.add(z3.Implies(_literal(index), term))
        answer = self._solver.check(_GOAL, *map(_literal, hypotheses))
        if answer == z3.unsat:
            used = {str(literal) for literal in self._solver.unsat_core()}
            return Reply(False, used=frozenset(index for index in hypotheses if str(_literal(index)) in used))
        if answer == z3.sat:
            return Reply(True, self._solver.model())
        self._solver = None
        return Reply(None)

    def _ask_afresh(self, hypotheses: Mapping[int, Term]) -> Reply:
        solver = self._new_solver(self._means.seconds if self._means.has_arrays else _AFRESH_SECONDS)
        solver.add(self._violated, *hypotheses.values())
        answer = solver.check()
        if answer == z3.sat:
            return Reply(True, solver.model())
        return Reply(False if answer == z3.unsat else None, used=frozenset(hypotheses))

    def _ask_clauses(self, hypotheses: Mapping[int, Term], variables: Sequence[Any]) -> Reply:
        means = self._means
        if means.exact:
            found = means.clauses.decide([self._violated], hypotheses, variables, means.seconds)
            return Reply(found.satisfiable, values=found.values, used=found.used)
        claims = [self._violated, *hypotheses.values()]
        found = means.clauses.decide(claims, {}, variables, means.seconds)
        return Reply(found.satisfiable, values=found.values, used=frozenset(hypotheses))

    def _new_solver(self, seconds: float) -> Any:
        solver = z3.SolverFor("QF_AUFBV" if self._means.has_arrays else "QF_BV")
        solver.set("timeout", max(1, int(min(seconds, self._means.seconds) * 1000)))
        return solver


_GOAL = z3.Bool("goal")


def _literal(index: int) -> Any:
    return z3.Bool(f"hypothesis{index}")
