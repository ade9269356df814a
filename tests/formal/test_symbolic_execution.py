"""Every path of a function is found, once, with its condition."""

from __future__ import annotations

from collections.abc import Callable

import z3

from formal.algebra import Term
from formal.symbolic_execution import SymbolicInteger, explore_paths, number


def test_each_path_comes_with_its_condition_and_its_result() -> None:
    x = z3.BitVec("x", 4)

    def function(symbolic: Callable[[Term], SymbolicInteger]) -> object:
        value = symbolic(x)
        if value > 9:
            raise ValueError("too large")
        return value + 1 if value & 1 else value

    outcomes = list(explore_paths(function))
    assert len(outcomes) == 3
    for concrete in range(16):
        taken = [each for each in outcomes if _holds(each.condition, x, concrete)]
        assert len(taken) == 1
        if concrete > 9:
            assert str(taken[0].raised) == "too large"
        else:
            result = z3.simplify(z3.substitute(number(taken[0].result), (x, z3.BitVecVal(concrete, 4))))
            assert result.as_long() == concrete + concrete % 2


def _holds(condition: tuple[Term, ...], variable: Term, value: int) -> bool:
    term = z3.substitute(z3.And(condition), (variable, z3.BitVecVal(value, variable.size())))
    return z3.is_true(z3.simplify(term))
