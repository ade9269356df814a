"""Decides a query by a SAT solver of its own: Z3 turns terms into clauses, Glucose (python-sat) answers.

Z3's own solver gives up on queries about sixteen tenants and cores that Glucose decides in tenths of a second, on the
clauses that Z3 itself made of them (docs/decisions/0017). Bits of variables get names, so that a model can be read.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3
from pysat.solvers import Solver


@dataclass(frozen=True)
class Answer:
    """`satisfiable` is None when time ran out; then come the values of variables, or the tags a refutation used."""

    satisfiable: bool | None
    values: dict[str, int] = field(default_factory=dict)
    used: frozenset[int] = frozenset()


class Clauses:
    """Answers questions about Booleans and bit-vectors; keeps the names of bits from one question to the next."""

    def __init__(self) -> None:
        self._bits: list[tuple[str, int]] = []
        self._definitions: dict[str, list[Any]] = {}

    def _named_bits(self, variable: Any) -> list[Any]:
        """Definitions of one Boolean per bit of the variable."""
        name = str(variable)
        if name not in self._definitions:
            definitions = []
            for place in range(variable.size()):
                bit = z3.Bool(f"#{len(self._bits)}")
                self._bits.append((name, place))
                definitions.append(bit == (z3.Extract(place, place, variable) == 1))
            self._definitions[name] = definitions
        return self._definitions[name]

    def decide(
        self, claims: Sequence[Any], tagged: Mapping[int, Any], variables: Iterable[Any], seconds: float
    ) -> Answer:
        """Whether all claims, and all tagged claims, can be true together.

        Args:
            claims, tagged: Boolean terms over bit-vectors; a refutation says which of the tagged ones it used.
            variables: the bit-vectors whose values in a model are wanted; others are not reported.
            seconds: time limit.
        """
        goal = z3.Goal()
        goal.add(*claims)
        for tag, claim in tagged.items():
            goal.add(z3.Implies(z3.Bool(f"?{tag}"), claim))
        for variable in variables:
            goal.add(*self._named_bits(variable))
        (result,) = z3.Then(z3.With("simplify", elim_and=False), "bit-blast", "tseitin-cnf")(goal)
        if result.inconsistent():
            return Answer(False)
        clauses, named, tags = _parsed(result.dimacs(True))
        with Solver("glucose4", bootstrap_with=clauses) as solver:
            timer = threading.Timer(seconds, solver.interrupt)
            timer.start()
            try:
                answer = solver.solve_limited(assumptions=list(tags.values()), expect_interrupt=True)
            finally:
                timer.cancel()
            if answer is None:
                return Answer(None)
            if not answer:
                literals = set(solver.get_core() or ())
                return Answer(False, used=frozenset(tag for tag, literal in tags.items() if literal in literals))
            model = solver.get_model() or []
        values: dict[str, int] = {}
        for bit, number in named.items():
            name, place = self._bits[bit]
            is_set = number <= len(model) and model[number - 1] > 0
            values[name] = values.get(name, 0) | is_set << place
        return Answer(True, values)


def _parsed(dimacs: str) -> tuple[list[list[int]], dict[int, int], dict[int, int]]:
    """Clauses, and the numbers that named bits and tags have in them."""
    clauses: list[list[int]] = []
    bits: dict[int, int] = {}
    tags: dict[int, int] = {}
    for line in dimacs.splitlines():
        if line.startswith("c "):
            _, number, name = line.split(" ", 2)
            if name[0] in "#?":
                (bits if name[0] == "#" else tags)[int(name[1:])] = int(number)
        elif line and line[0] != "p":
            clauses.append([int(literal) for literal in line.split()[:-1]])
    return clauses, bits, tags
