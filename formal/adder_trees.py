"""Adder trees over Z3 terms, followed net by net: which addends a sum has, instead of what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import z3

from formal.algebra import Term, Z3Algebra


class AdderTrees(Z3Algebra):
    """Follows adder trees: a sum is a variable, and known by its addends, those of `leaves` that entered in cycle 0.

    A sum is one only where its adder is wider than its operands.
    """

    def __init__(self, leaves: Iterable[str]) -> None:
        super().__init__()
        self._addends = {name: Counter([name]) for name in leaves}

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Term], widths: Sequence[int], bits: int
    ) -> Term:
        """See `Algebra.operate`."""
        if operation == "x" and z3.is_bv_value(arguments[0]):
            return arguments[2 if arguments[0].as_long() else 1]
        addends = [self._addends.get(str(each)) if z3.is_const(each) else None for each in arguments]
        if operation == "+" and bits > max(widths) and addends[0] and addends[1]:
            return self._sum(addends[0] + addends[1], bits)
        return super().operate(operation, parameter, arguments, widths, bits)

    def _sum(self, addends: Counter[str], bits: int) -> Term:
        name = f"{bits} bits: {' + '.join(sorted(addends.elements()))}"
        self._addends[name] = addends
        return z3.BitVec(name, bits)

    def sums_in(self, term: Term) -> list[tuple[Term, Counter[str]]]:
        """The sums that a term is made of."""
        found: dict[str, Term] = {}
        pending = [term]
        while pending:
            each = pending.pop()
            if z3.is_const(each) and str(each) in self._addends:
                found[str(each)] = each
            pending += each.children()
        return [(each, self._addends[name]) for name, each in found.items()]
