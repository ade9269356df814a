"""The variables of one cycle of a problem, in one run or two, and what a solver's model of them is in numbers."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from formal.definitions import Definitions
from formal.gates import GateAlgebra, GateLogic, Word
from formal.logic import INTEGER_LOGIC
from formal.problem import Frame, Problem, View
from formal.transition import Evaluation, State


@dataclass(frozen=True)
class Situation:
    """A concrete cycle: one state and one set of inputs per copy, and the symbolic constants."""

    states: tuple[State, ...]
    inputs: tuple[dict[str, int], ...]
    symbols: dict[str, int]


class Variables:
    """`symbols` are the symbolic constants, `cycles` what each copy does with its state and inputs."""

    def __init__(self, problem: Problem, algebra: GateAlgebra, logic: GateLogic, definitions: Definitions) -> None:
        """Make the variables; what is defined is made of them."""
        self._problem, self._algebra, self._definitions = problem, algebra, definitions
        self._reset = [problem.system.reset_state() for _ in range(problem.copies)]
        self._places: list[tuple[tuple[int, ...], str, int | None]] = []
        self._firsts: list[int] = []  # of each place its first node, ascending
        self.symbols = {name: self._variable((), name, None, bits) for name, bits in problem.symbols.items()}
        self.cycles: list[Evaluation] = []
        shared: dict[str, Any] = {}
        runs: list[tuple[State, dict[str, Word]]] = []
        for copy in range(problem.copies):
            state = self._state(copy, shared)
            inputs = {name: self._leaf(copy, name, bits, shared) for name, bits in problem.system.inputs.items()}
            runs.append((state, inputs))
            definitions.apply(copy, logic, runs[copy], partial(self._now, runs))
            self.cycles.append(Evaluation(problem.system, algebra, state, inputs))

    def _now(self, runs: Sequence[tuple[State, dict[str, Word]]], copy: int) -> View:
        return View([Frame(Evaluation(self._problem.system, self._algebra, *runs[copy]))], self.symbols)

    def _state(self, copy: int, shared: dict[str, Any]) -> State:
        system = self._problem.system
        state: State = {name: self._leaf(copy, name, bits, shared) for name, (bits, _) in system.registers.items()}
        for name, memory in system.memories.items():
            if name not in shared:
                owners = self._owners(copy, name)
                words = [self._variable(owners, name, i, memory.bits) for i in range(1 << memory.address_bits)]
                state[name] = words
                if name in self._problem.shared:
                    shared[name] = words
            else:
                state[name] = shared[name]
        return state

    def _leaf(self, copy: int, name: str, bits: int, shared: dict[str, Any]) -> Word:
        """The variable of a register or input; what is shared has one for all copies."""
        if name in shared:
            known: Word = shared[name]
            return known
        word = self._variable(self._owners(copy, name), name, None, bits)
        if name in self._problem.shared:
            shared[name] = word
        return word

    def _owners(self, copy: int, name: str) -> tuple[int, ...]:
        return tuple(range(self._problem.copies)) if name in self._problem.shared else (copy,)

    def _variable(self, copies: tuple[int, ...], name: str, index: int | None, bits: int) -> Word:
        """A variable for a register, an input, a word of a memory or (with no copies) a symbolic constant."""
        word = self._algebra.variable(bits)
        if bits:
            self._firsts.append(word.bits[0])
            self._places.append((copies, name, index))
        return word

    def situation(self, values: Mapping[int, bool]) -> Situation:
        """A model, values of nodes, as numbers; variables it leaves open take reset values, inputs 0."""
        system = self._problem.system
        states: tuple[State, ...] = tuple(
            {name: list(value) if isinstance(value, list) else value for name, value in state.items()}
            for state in self._reset
        )
        inputs = tuple(dict.fromkeys(system.inputs, 0) for _ in states)
        symbols = dict.fromkeys(self.symbols, 0)
        for node, value in values.items():
            place = bisect(self._firsts, node) - 1
            copies, name, index = self._places[place]
            bit = 1 << (node - self._firsts[place])
            tables: list[Any] = [symbols] if not copies else []
            for copy in copies:
                table: Any = inputs[copy] if name in system.inputs else states[copy]
                tables.append(table if index is None else table[name])
            key: Any = name if index is None else index
            for table in tables:
                table[key] = table[key] | bit if value else table[key] & ~bit
        for copy in range(len(states)):
            view_of = partial(self._then, states, inputs, symbols)
            self._definitions.apply(copy, INTEGER_LOGIC, (states[copy], inputs[copy]), view_of)
        return Situation(states, inputs, symbols)

    def _then(
        self, states: Sequence[State], inputs: Sequence[dict[str, int]], symbols: Mapping[str, int], copy: int
    ) -> View:
        return self._problem.concrete_view(states, inputs, symbols).of(copy)
