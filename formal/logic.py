"""Claims are written once and evaluated over integers, over Z3 terms, or over numpy arrays of many states at once.

A claim is a function of (logic, view). It reads values from the view and combines them with `==`, `!=` and the
logic's functions. `<` must not be used on values (Z3 reads it as signed): `logic.less` and `logic.at_most` exist
for that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import z3

from formal.algebra import Term, resize


class Logic(Protocol):
    """Connectives and unsigned comparisons over one kind of value."""

    def all(self, claims: Iterable[Term]) -> Term:
        """Conjunction; true when empty."""

    def any(self, claims: Iterable[Term]) -> Term:
        """Disjunction; false when empty."""

    def negate(self, claim: Term) -> Term:
        """Negation."""

    def implies(self, condition: Term, claim: Term) -> Term:
        """Implication."""

    def less(self, left: Term, right: Term) -> Term:
        """Unsigned left < right; operands of different widths are zero-extended."""

    def at_most(self, left: Term, right: Term) -> Term:
        """Unsigned left <= right; operands of different widths are zero-extended."""

    def equal(self, left: Term, right: Term) -> Term:
        """Equality of numbers; operands of different widths are zero-extended. Memories compare word by word."""

    def choose(self, condition: Term, accepted: Term, rejected: Term) -> Term:
        """`accepted` where the condition holds, else `rejected`."""

    def plus(self, left: Term, right: Term, bits: int) -> Term:
        """Sum modulo 2**bits."""

    def minus(self, left: Term, right: Term, bits: int) -> Term:
        """Difference modulo 2**bits."""

    def field(self, value: Term, high: int, low: int) -> Term:
        """Bits `high` down to `low` of a value as a number."""


class IntegerLogic:
    """Claims over one concrete state; results are `bool`."""

    def all(self, claims: Iterable[Term]) -> bool:
        """See `Logic`. Every claim is evaluated, so that a recording view sees all that is read."""
        return all(list(claims))

    def any(self, claims: Iterable[Term]) -> bool:
        """See `Logic`. Every claim is evaluated, as in `all`."""
        return any(list(claims))

    def negate(self, claim: Term) -> bool:
        """See `Logic`."""
        return not claim

    def implies(self, condition: Term, claim: Term) -> bool:
        """See `Logic`."""
        return bool(not condition or claim)

    def less(self, left: Term, right: Term) -> bool:
        """See `Logic`."""
        return bool(left < right)

    def at_most(self, left: Term, right: Term) -> bool:
        """See `Logic`."""
        return bool(left <= right)

    def equal(self, left: Term, right: Term) -> bool:
        """See `Logic`."""
        return bool(left == right)

    def choose(self, condition: Term, accepted: Term, rejected: Term) -> Term:
        """See `Logic`."""
        return accepted if condition else rejected

    def plus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return (left + right) & ((1 << bits) - 1)

    def minus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return (left - right) & ((1 << bits) - 1)

    def field(self, value: Term, high: int, low: int) -> Term:
        """See `Logic`."""
        return (value >> low) & ((1 << (high - low + 1)) - 1)


class SymbolicLogic:
    """Claims as Z3 Booleans."""

    def all(self, claims: Iterable[Term]) -> Term:
        """See `Logic`."""
        listed = [self._boolean(claim) for claim in claims]
        return listed[0] if len(listed) == 1 else z3.And(listed)

    def any(self, claims: Iterable[Term]) -> Term:
        """See `Logic`."""
        listed = [self._boolean(claim) for claim in claims]
        return listed[0] if len(listed) == 1 else z3.Or(listed)

    def negate(self, claim: Term) -> Term:
        """See `Logic`."""
        return z3.Not(self._boolean(claim))

    def implies(self, condition: Term, claim: Term) -> Term:
        """See `Logic`."""
        return z3.Implies(self._boolean(condition), self._boolean(claim))

    def less(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        first, second = self._matched(left, right)
        return z3.ULT(first, second)

    def at_most(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        first, second = self._matched(left, right)
        return z3.ULE(first, second)

    def equal(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        if isinstance(left, list):
            return self.all(self.equal(a, b) for a, b in zip(left, right, strict=True))
        if z3.is_array(left):
            return left == right
        first, second = self._matched(left, right)
        return first == second

    def choose(self, condition: Term, accepted: Term, rejected: Term) -> Term:
        """See `Logic`."""
        first, second = self._matched(accepted, rejected)
        return z3.If(self._boolean(condition), first, second)

    def plus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return self._sized(left, bits) + self._sized(right, bits)

    def minus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return self._sized(left, bits) - self._sized(right, bits)

    def field(self, value: Term, high: int, low: int) -> Term:
        """See `Logic`."""
        return z3.Extract(high, low, value)

    @staticmethod
    def _boolean(claim: Term) -> Term:
        return z3.BoolVal(claim) if isinstance(claim, bool) else claim

    @staticmethod
    def _sized(value: Term, bits: int) -> Term:
        return z3.BitVecVal(value, bits) if isinstance(value, int) else resize(value, bits)

    def _matched(self, left: Term, right: Term) -> tuple[Term, Term]:
        bits = max(1, *(v.bit_length() if isinstance(v, int) else v.size() for v in (left, right)))
        return self._sized(left, bits), self._sized(right, bits)


class BatchLogic:
    """Claims over numpy arrays with one element per sampled state; results are Boolean arrays."""

    def __init__(self, count: int) -> None:
        self._true = np.ones(count, dtype=bool)

    def all(self, claims: Iterable[Term]) -> Term:
        """See `Logic`."""
        result = self._true
        for claim in claims:
            result = result & claim
        return result

    def any(self, claims: Iterable[Term]) -> Term:
        """See `Logic`."""
        result = ~self._true
        for claim in claims:
            result = result | claim
        return result

    def negate(self, claim: Term) -> Term:
        """See `Logic`."""
        return ~(self._true & claim)

    def implies(self, condition: Term, claim: Term) -> Term:
        """See `Logic`."""
        return ~(self._true & condition) | claim

    def less(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        return (left < right) & self._true

    def at_most(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        return (left <= right) & self._true

    def equal(self, left: Term, right: Term) -> Term:
        """See `Logic`."""
        if isinstance(left, Sequence):
            return self.all(a == b for a, b in zip(left, right, strict=True))
        return (left == right) & self._true

    def choose(self, condition: Term, accepted: Term, rejected: Term) -> Term:
        """See `Logic`."""
        return np.where(condition & self._true, accepted, rejected)

    def plus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return (left + right) & ((1 << bits) - 1)

    def minus(self, left: Term, right: Term, bits: int) -> Term:
        """See `Logic`."""
        return (left - right) & ((1 << bits) - 1)

    def field(self, value: Term, high: int, low: int) -> Term:
        """See `Logic`."""
        return (value >> low) & ((1 << (high - low + 1)) - 1)


INTEGER_LOGIC = IntegerLogic()
SYMBOLIC_LOGIC = SymbolicLogic()


def batch(values: Sequence[Any], bits: int) -> Any:
    """Column of one register over many samples; numbers too wide for a machine word stay Python integers."""
    return np.array(values, dtype=np.int64 if bits < 62 else object)
