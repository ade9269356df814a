"""Search for a concrete run that violates a property, or that reaches a cover: at random, then exhaustively."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import z3

from formal.algebra import Term, Z3Algebra
from formal.logic import SYMBOLIC_LOGIC, BatchLogic, batch
from formal.problem import Claim, Frame, Inputs, Problem, View
from formal.simulator import Simulator
from formal.trace import Trace
from formal.transition import Evaluation, NextState, State, TransitionSystem
from formal.verdict import Refuted, Unknown


@dataclass
class Exploration:
    """What random simulation saw: sampled (states, symbols), covers reached, and a violating run if any."""

    samples: list[tuple[tuple[State, ...], dict[str, int]]] = field(default_factory=list)
    covered: set[str] = field(default_factory=set)
    violation: Trace | None = None
    cycles: int = 0


class _RunFrame:
    """One copy of the system over many cycles of a run: every value is a numpy array with one element per cycle."""

    def __init__(self, system: TransitionSystem, rows: Sequence[Row]) -> None:
        self._system, self._rows = system, rows
        self._columns: dict[tuple[str, bool], Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._column(name, False)

    def next(self, name: str) -> Any:
        """Values of a register or memory after the clock edges."""
        return self._column(name, True)

    def _column(self, name: str, after: bool) -> Any:
        key = (name, after)
        if key not in self._columns:
            constant, memory = self._system.constant(name), self._system.memories.get(name)
            values = [row.value(name, after) if constant is None else constant for row in self._rows]
            if memory is None:
                self._columns[key] = batch(values, self._system.widths[name])
            else:
                self._columns[key] = [batch(word, memory.bits) for word in zip(*values, strict=True)]
        return self._columns[key]


@dataclass(frozen=True)
class Row:
    """What one copy of the system showed in one cycle."""

    state: State
    inputs: Inputs
    wires: Mapping[str, int]
    after: State

    def value(self, name: str, after: bool) -> Any:
        if after:
            return self.after[name]
        for table in (self.state, self.wires, self.inputs):
            if name in table:
                return table[name]
        raise KeyError(name)


def explore(
    problem: Problem,
    runs: int = 4,
    cycles: int = 300,
    seed: int = 1,
    keep_samples: bool = True,
    until_covered: bool = False,
) -> Exploration:
    """Simulate `runs` random runs of up to `cycles` cycles from reset; stops at the first violated property.

    A run ends early when no inputs satisfying the assumptions are found, and with `until_covered` all end as soon as
    every cover was reached. Claims are evaluated over some hundred cycles at a time, which takes a fraction of the
    time.
    """
    found = Exploration()
    simulator = Simulator(problem.system)
    for run in range(runs):
        generator = random.Random(f"{seed}/{run}")
        symbols = _draw_symbols(problem, generator)
        if symbols is None:
            continue
        states = initial = problem.initial_states(generator)
        history: list[tuple[Inputs, ...]] = []
        rows: list[tuple[Row, ...]] = []
        for cycle in range(cycles):
            if keep_samples:
                found.samples.append((states, symbols))
            inputs = problem.draw_inputs(generator, states, symbols)
            if inputs is not None:
                history.append(inputs)
                stepped = [simulator.cycle(s, i) for s, i in zip(states, inputs, strict=True)]
                after = tuple(after for _, after in stepped)
                wires = [wires for wires, _ in stepped]
                rows.append(tuple(map(Row, states, inputs, wires, after)))
                states = after
            if rows and (inputs is None or len(rows) == CHUNK or cycle == cycles - 1):
                failure = first_violation(problem, rows, symbols, found)
                if failure is not None:
                    name, place = failure
                    length = len(history) - len(rows) + place + 1
                    found.violation = Trace(name, initial, tuple(history[:length]), symbols)
                    found.cycles += place + 1
                    return found
                found.cycles += len(rows)
                rows = []
                if until_covered and len(found.covered) == len(problem.covers):
                    return found
            if inputs is None:
                break
    return found


CHUNK = 200
"""Cycles over which claims are evaluated together."""


def first_violation(
    problem: Problem, rows: Sequence[tuple[Row, ...]], symbols: Mapping[str, int], found: Exploration | None = None
) -> tuple[str, int] | None:
    """The first violated property of these cycles, and its cycle; the covers that they reach are noted in `found`."""
    logic = BatchLogic(len(rows))
    frames = [_RunFrame(problem.system, [row[copy] for row in rows]) for copy in range(problem.copies)]
    view = View(frames, symbols)
    first: tuple[str, int] | None = None
    for claim in problem.properties:
        holds = logic.all([claim.formula(logic, view)])
        if not holds.all():
            place = int(holds.argmin())
            if first is None or place < first[1]:
                first = (claim.name, place)
    for cover in problem.covers if found is not None else ():
        if found is not None and cover.name not in found.covered:
            reached = logic.all([cover.formula(logic, view)])
            if (reached if first is None else reached[: first[1] + 1]).any():
                found.covered.add(cover.name)
    return first


def _draw_symbols(problem: Problem, generator: random.Random) -> dict[str, int] | None:
    """Values for the symbolic constants under which some inputs are admissible after reset."""
    for _ in range(100):
        symbols = {name: generator.getrandbits(bits) for name, bits in problem.symbols.items()}
        if problem.draw_inputs(generator, problem.initial_states(generator), symbols) is not None:
            return symbols
    return None


class Unrolling:
    """The system unrolled from reset, cycle by cycle, in one incremental solver."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._algebra = Z3Algebra()
        has_arrays = any(1 << m.address_bits > self._algebra.list_words for m in problem.system.memories.values())
        self.solver = z3.SolverFor("QF_AUFBV" if has_arrays else "QF_BV")
        self._symbols = {name: z3.BitVec(name, bits) for name, bits in problem.symbols.items()}
        self._initial = tuple(self._initial_state(copy) for copy in range(problem.copies))
        self._inputs: list[tuple[dict[str, Term], ...]] = []
        self._states: tuple[Mapping[str, Any], ...] = self._initial

    def _initial_state(self, copy: int) -> State:
        algebra = self._algebra
        return self.problem.reset_state(
            algebra, lambda name, m: algebra.memory_variable(f"{copy}@{name}", m.address_bits, m.bits)
        )

    def extend(self) -> View:
        """Add one cycle, whose assumptions are asserted, and return its view."""
        system = self.problem.system
        prefix = f"{len(self._inputs)}@"
        shared = system.input_variables(self._algebra, f"{prefix}0@")
        inputs = tuple(
            {
                name: shared[name] if name in self.problem.shared else variable
                for name, variable in system.input_variables(self._algebra, f"{prefix}{copy}@").items()
            }
            for copy in range(self.problem.copies)
        )
        cycles = [
            Evaluation(system, self._algebra, state, given) for state, given in zip(self._states, inputs, strict=True)
        ]
        view = View([Frame(cycle) for cycle in cycles], self._symbols)
        for assumption in self.problem.assumptions:
            self.solver.add(assumption.formula(SYMBOLIC_LOGIC, view))
        self._inputs.append(inputs)
        self._states = tuple(NextState(cycle) for cycle in cycles)
        return view

    def trace(self, claim: str) -> Trace:
        """The solver's current model as a run that ends in the last cycle added."""
        model = self.solver.model()

        def number(term: Term) -> int:
            value: int = model.eval(term, model_completion=True).as_long()
            return value

        initial = []
        for state in self._initial:
            concrete: State = {}
            for name, value in state.items():
                memory = self.problem.system.memories.get(name)
                if memory is None:
                    concrete[name] = number(value)
                else:
                    words = range(1 << memory.address_bits)
                    listed = value if isinstance(value, list) else [z3.Select(value, i) for i in words]
                    concrete[name] = [number(word) for word in listed]
            initial.append(concrete)
        inputs = tuple(
            tuple({name: number(term) for name, term in given.items()} for given in cycle) for cycle in self._inputs
        )
        symbols = {name: number(term) for name, term in self._symbols.items()}
        return Trace(claim, tuple(initial), inputs, symbols)


def search(problem: Problem, targets: Sequence[Claim], depth: int, seconds: float, violate: bool) -> Trace | str | None:
    """Bounded model checking from reset.

    Args:
        problem: supplies system and assumptions.
        targets: the claims to violate (or, with `violate` false, to reach).
        depth: number of cycles to unroll.
        seconds: time limit.
        violate: look for a cycle where a target fails, rather than where it holds.

    Returns:
        The shortest run, or None when there is none within `depth` cycles, or a string saying why the search gave up.
    """
    started = time.monotonic()
    unrolling = Unrolling(problem)
    for cycle in range(depth):
        view = unrolling.extend()
        goals = []
        for target in targets:
            goal = target.formula(SYMBOLIC_LOGIC, view)
            goals.append(SYMBOLIC_LOGIC.negate(goal) if violate else SYMBOLIC_LOGIC.all([goal]))
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            return f"no answer within {seconds:.0f} s at depth {cycle}"
        literal = z3.Bool(f"goal@{cycle}")
        unrolling.solver.add(z3.Implies(literal, z3.Or(goals)))
        unrolling.solver.set("timeout", max(1, int(left * 1000)))
        answer = unrolling.solver.check(literal)
        if answer == z3.unknown:
            return f"the solver gave up at depth {cycle}: {unrolling.solver.reason_unknown()}"
        if answer == z3.sat:
            model = unrolling.solver.model()
            hit = next(
                t for t, g in zip(targets, goals, strict=True) if z3.is_true(model.eval(g, model_completion=True))
            )
            return unrolling.trace(hit.name)
    return None


def refute(
    problem: Problem, depth: int = 30, seconds: float = 60.0, runs: int = 8, cycles: int = 300, seed: int = 1
) -> Refuted | Unknown:
    """Look for a run that violates a property: random simulation first, then bounded model checking.

    Returns:
        `Refuted` with the run (a random one is not the shortest), else `Unknown` saying how far the search went.
    """
    started = time.monotonic()
    trace = explore(problem, runs, cycles, seed).violation
    outcome: Trace | str | None = trace
    if trace is None or trace.cycles > depth:  # a shorter one reads better
        outcome = search(problem, problem.properties, depth, seconds, violate=True)
        if not isinstance(outcome, Trace):
            outcome = trace or outcome
    elapsed = time.monotonic() - started
    if isinstance(outcome, Trace):
        return Refuted(problem.name, elapsed, outcome)
    return Unknown(problem.name, elapsed, outcome or f"no violation within {depth} cycles from reset")


def unreached_covers(problem: Problem, exploration: Exploration, depth: int, seconds: float) -> list[str]:
    """Names of the covers that neither the exploration nor bounded search reached under the assumptions."""
    missing = []
    for cover in problem.covers:
        if cover.name not in exploration.covered:
            answer = search(problem, [cover], depth, seconds, violate=False)
            if not isinstance(answer, Trace):
                missing.append(cover.name)
    return missing
