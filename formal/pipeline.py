"""A pipeline unrolled: what leaves it as a term of what entered it, for all inputs and any state before.

In cycle 0 the inputs are variables of their own names. In every other cycle they are others, called `3@name` in
cycle 3, and so is the state before (`before/name`): a result that depended on anything but what entered in cycle 0
could not be proved. Inputs that are *held* are the same variables in every cycle. A register that is *cut* is free in
every cycle: lemmas on both sides of a cut compose by what the one proves and the other assumes of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import pyrtl
import z3

from formal.algebra import Term, Z3Algebra
from formal.engine import UndecidedError
from formal.transition import Evaluation, NextState, TransitionSystem

QUERY_SECONDS = 600
"""Far more than any query takes: a busy machine must not make a proof fail."""


def netlist(inputs: dict[str, int], build: Callable[[dict[str, Any]], Any]) -> pyrtl.Block:
    """The block of a module of one output: `build` gets an Input of each name and width; the output is `result`."""
    previous = pyrtl.working_block()
    block = pyrtl.Block()
    pyrtl.set_working_block(block)
    try:
        wire = build({name: pyrtl.Input(bits, name) for name, bits in inputs.items()})
        result = pyrtl.Output(len(wire), "result")
        result <<= wire
    finally:
        pyrtl.set_working_block(previous)
    return block


class Pipeline:
    """A pipeline over Z3 terms. `zeros` are inputs and cuts that are 0 in every cycle."""

    def __init__(
        self,
        block: pyrtl.Block,
        held: Collection[str] = (),
        cuts: Iterable[str] = (),
        zeros: Collection[str] = ("clear",),
        algebra: Z3Algebra | None = None,
    ) -> None:
        self._system = TransitionSystem(block, cuts=cuts)
        self._algebra = algebra or Z3Algebra()
        self._held, self._zeros = frozenset(held), frozenset(zeros)
        self._cycles: list[Evaluation] = []

    def at(self, cycle: int, name: str) -> Term:
        """Wire or register `name` in this cycle."""
        algebra = self._algebra
        while len(self._cycles) <= cycle:
            number = len(self._cycles)
            state: Any = self._system.state_variables(algebra, "before/")
            if self._cycles:
                state = NextState(self._cycles[-1])
            given = {each: self._input(number, each, bits) for each, bits in self._system.inputs.items()}
            self._cycles.append(Evaluation(self._system, algebra, state, given))
        return self._cycles[cycle][name]

    def _input(self, cycle: int, name: str, bits: int) -> Term:
        if name in self._zeros:
            return z3.BitVecVal(0, bits)
        return z3.BitVec(name if cycle == 0 or name in self._held else f"{cycle}@{name}", bits)


def counterexample(claim: Term, *assumed: Term, seconds: int = QUERY_SECONDS) -> str:
    """Values of the variables for which the claim is false, in words; nothing if there are none.

    Raises:
        UndecidedError: when the solver gives up.
    """
    solver = z3.Solver()
    solver.set("timeout", seconds * 1000)
    solver.add(*assumed, z3.Not(claim))
    answer = solver.check()
    if answer == z3.unknown:
        raise UndecidedError(solver.reason_unknown())
    if answer == z3.unsat:
        return ""
    model = solver.model()
    values = sorted((str(variable), model[variable]) for variable in model.decls())
    return ", ".join(f"{name} = {value}" for name, value in values if z3.is_bv_value(value)) or "always"


def holds(what: str, claim: Term, *assumed: Term) -> list[str]:
    """What contradicts a claim: its name and an example, or nothing."""
    example = counterexample(claim, *assumed)
    return [f"{what} is wrong for {example}"] if example else []


def satisfiable(what: str, *assumed: Term) -> list[str]:
    """What contradicts that assumptions can hold at all."""
    solver = z3.Solver()
    solver.add(*assumed)
    return [] if solver.check() == z3.sat else [f"{what} can never hold, so what is shown under it is empty"]


def differences(pattern: pyrtl.Block, block: pyrtl.Block, renamed: Callable[[str], str]) -> list[str]:
    """Where a netlist does not contain `pattern`: its registers, called `renamed(name)` there, and all between them.

    Inputs of the pattern stand for any wire of the netlist, each for one.
    """
    small, large = TransitionSystem(pattern), TransitionSystem(block)
    bound: dict[str, str] = {}
    found = []
    for register in small.registers:
        if renamed(register) not in large.registers:
            found.append(f"there is no register {renamed(register)}")
            continue
        pending = [(_data(small, register), _data(large, renamed(register)))]
        while pending:
            mine, other = pending.pop()
            if mine in small.inputs or mine in small.registers:
                wanted = renamed(mine) if mine in small.registers else bound.setdefault(mine, other)
                if wanted != other:
                    found.append(f"{renamed(register)} depends on {other} instead of {wanted}")
                continue
            left, right = small.driver(mine), large.driver(other)
            if left is None or right is None:
                if small.constant(mine) is None or small.constant(mine) != large.constant(other):
                    found.append(f"{renamed(register)} depends on {other} instead of {mine}")
            elif (left.operation, left.parameter) != (right.operation, right.parameter):
                found.append(f"{renamed(register)} is computed by {right.operation} instead of {left.operation}")
            else:
                pending += zip(left.arguments, right.arguments, strict=True)
    return found


def _data(system: TransitionSystem, register: str) -> str:
    net = system.driver(register)
    assert net is not None
    return net.arguments[0]


def extended(term: Term, bits: int) -> Term:
    """An unsigned term with zeros above."""
    return z3.ZeroExt(bits - term.size(), term)


def signed(term: Term, bits: int) -> Term:
    """A signed term, sign-extended."""
    return z3.SignExt(bits - term.size(), term)


def parts_of(term: Term, bits: int) -> Sequence[Term]:
    """A term's parts of so many bits, the least significant first."""
    return [z3.Extract(low + bits - 1, low, term) for low in range(0, term.size(), bits)]
