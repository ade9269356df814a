"""Runs Python functions on symbolic integers: every path, each with the condition under which it is taken.

What is run is the code itself, not a model of it. A comparison of symbolic integers that may go either way makes two
paths: the function is run again for each, until no path is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import z3

from formal.algebra import Term

_BITS = 160
"""Two's complement width of a symbolic integer: more than any value that the functions under proof make."""


@dataclass(frozen=True)
class Outcome:
    """What a function did on one path: its `result`, or the exception that it `raised`."""

    condition: tuple[Term, ...]
    result: Any = None
    raised: Exception | None = None


class _Path:
    def __init__(self, assumed: tuple[Term, ...], decisions: list[bool]) -> None:
        self.condition = list(assumed)
        self.decisions, self._position = decisions, 0

    def decide(self, condition: Term) -> bool:
        """Whether a condition holds on this path; the first time that both are possible, it does."""
        taken = z3.simplify(condition)
        if z3.is_true(taken) or z3.is_false(taken):
            return bool(z3.is_true(taken))
        if self._position == len(self.decisions):
            possible = [
                choice for choice in (True, False) if self._possible(condition if choice else z3.Not(condition))
            ]
            self.decisions.append(possible[0])
            self.open.append(len(possible) == 2)
        choice = self.decisions[self._position]
        self._position += 1
        self.condition.append(condition if choice else z3.Not(condition))
        return choice

    open: list[bool]

    def _possible(self, condition: Term) -> bool:
        solver = z3.Solver()
        solver.add(*self.condition, condition)
        return bool(solver.check() == z3.sat)


def explore_paths(function: Callable[[Callable[[Term], SymbolicInteger]], Any], *assumed: Term) -> Iterator[Outcome]:
    """All outcomes of a function, which makes its symbolic integers with what it is given, under assumptions."""
    decisions: list[bool] = []
    undecided: list[bool] = []
    while True:
        path = _Path(assumed, decisions)
        path.open = undecided

        def symbolic(term: Term, path: _Path = path) -> SymbolicInteger:
            return SymbolicInteger(term, path)

        try:
            outcome = Outcome((), result=function(symbolic))
        except ValueError as problem:
            outcome = Outcome((), raised=problem)
        yield Outcome(tuple(path.condition), outcome.result, outcome.raised)
        while undecided and not undecided[-1]:
            undecided.pop()
            decisions.pop()
        if not undecided:
            return
        undecided[-1] = False
        decisions[-1] = False


class SymbolicInteger:
    """An integer whose value is a term; operations on it are terms again, or numbers where they must be."""

    def __init__(self, term: Term, path: _Path) -> None:
        missing = _BITS - term.size()
        self.term = z3.ZeroExt(missing, term) if missing else term
        self._path = path

    def _of(self, term: Term) -> Any:
        value = z3.simplify(term)
        return value.as_signed_long() if z3.is_bv_value(value) else SymbolicInteger(value, self._path)

    def _operand(self, other: Any) -> Term:
        return other.term if isinstance(other, SymbolicInteger) else z3.BitVecVal(other, _BITS)

    def __and__(self, other: Any) -> Any:
        return self._of(self.term & self._operand(other))

    def __or__(self, other: Any) -> Any:
        return self._of(self.term | self._operand(other))

    __rand__, __ror__ = __and__, __or__

    def __add__(self, other: Any) -> Any:
        return self._of(self.term + self._operand(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._of(self.term - self._operand(other))

    def __rshift__(self, places: int) -> Any:
        return self._of(self.term >> places)

    def __lshift__(self, places: int) -> Any:
        return self._of(self.term << places)

    def __bool__(self) -> bool:
        return self._path.decide(self.term != 0)

    def __lt__(self, other: Any) -> bool:
        return self._path.decide(self.term < self._operand(other))

    def __le__(self, other: Any) -> bool:
        return self._path.decide(self.term <= self._operand(other))

    def __gt__(self, other: Any) -> bool:
        return self._path.decide(self.term > self._operand(other))

    def __ge__(self, other: Any) -> bool:
        return self._path.decide(self.term >= self._operand(other))

    def __format__(self, specification: str) -> str:
        return "symbolic"


def number(value: Any) -> Term:
    """A symbolic or plain integer as a term."""
    return value.term if isinstance(value, SymbolicInteger) else z3.BitVecVal(value, _BITS)
