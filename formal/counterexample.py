"""A refutation as people want it: what happened, why, and the whole run as waveforms.

Of two runs that ought to look the same to tenant A, nearly everything differs: that is what the theorem allows. What
matters is found backwards from the violated claim. A register or input that differs is a *cause* of a difference one
cycle later if giving it the value of the other run, and nothing else, takes that difference away or changes it. Only
causes are shown. Of a single run, what the claim depends on within two clock edges is shown.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyrtl
from rich.table import Table

from formal.problem import Problem
from formal.simulator import Simulator
from formal.trace import Trace, cone, is_named, read_by, replay, rows, table, title
from formal.transition import INTEGERS, Evaluation, State

SHOWN_CYCLES = 12
"""Last cycles of the run that are looked at and shown."""


@dataclass(frozen=True)
class Counterexample:
    """A run, or a pair of runs, from reset that violates a claim of a theorem, replayed on PyRTL's simulator.

    `signals` are the rows to show, the claim's own first.
    """

    problem: Problem
    trace: Trace
    signals: tuple[str, ...]

    @property
    def runs(self) -> int:
        """1, or 2 of a theorem that compares two runs."""
        return len(self.trace.initial)

    def first_difference(self) -> str:
        """What tenant A sees first that is not the same in both runs, with both values; "" of a single run."""
        if self.runs == 1:
            return ""
        read = read_by(self.problem, self.trace)
        last = {name: cells[-1] for name, cells in rows(self.problem.system.block, self.trace, read, 1)}
        differing = [f"{name} = {cell}" for name, cell in last.items() if "|" in cell]
        return f"First that differs for A, in cycle {self.trace.cycles - 1}: {', '.join(differing) or self.trace.claim}"

    def table(self) -> Table:
        """Rows of signals, columns of cycles, `left|right` where the two runs differ."""
        shown = table(self.problem.system.block, self.problem, self.trace, signals=self.signals, last=SHOWN_CYCLES)
        shown.caption, shown.caption_justify = self.first_difference() or None, "left"
        return shown

    def as_json(self) -> dict[str, Any]:
        """The same for scripts: values in hexadecimal, one list a signal."""
        first = max(0, self.trace.cycles - SHOWN_CYCLES)
        values = rows(self.problem.system.block, self.trace, self.signals, SHOWN_CYCLES)
        return {
            "claim": self.trace.claim,
            "title": title(self.trace),
            "first_difference": self.first_difference(),
            "symbols": dict(self.trace.symbols),
            "cycle": self.trace.cycles - 1,
            "first_cycle": first,
            "signals": dict(values),
        }

    def waveforms(self) -> Mapping[str, str]:
        """The whole of each run as a VCD file, every wire that has a name: contents by name of the run."""
        names = ["run"] if self.runs == 1 else ["run1", "run2"]
        return {name: _waveform(self.problem.system.block, self.trace, copy) for copy, name in enumerate(names)}


def counterexample(problem: Problem, trace: Trace) -> Counterexample:
    """Replay the trace on PyRTL's simulator, and find out what is worth showing.

    Raises:
        ReplayError: when the simulator does not show the violation.
    """
    replay(problem.system.block, problem, trace)
    read = read_by(problem, trace)
    others = _causes(problem, trace, read) if len(trace.initial) == 2 else cone(problem.system, read)
    signals = [name for name in others if is_named(name) and name not in read and name not in problem.system.memories]
    return Counterexample(problem, trace, (*read, *signals))


def _causes(problem: Problem, trace: Trace, read: Iterable[str]) -> list[str]:
    """Registers, memories and inputs whose difference leads to that of the wires read, those nearest to it first."""
    system, simulator = problem.system, Simulator(problem.system, observed=())
    states: list[tuple[State, ...]] = [trace.initial]
    for inputs in trace.inputs:
        pairs = zip(states[-1], inputs, strict=True)
        states.append(tuple(simulator.cycle(state, given)[1] for state, given in pairs))
    found: dict[str, None] = {}
    last = trace.cycles - 1
    wanted: set[str] = set()
    for name in read:
        wanted |= _responsible(problem, trace, states, last, system.support(name), _during(name))
        if name in system.registers:
            support = system.next_support(name)
            wanted |= _responsible(problem, trace, states, last, support, _after(name))
    for cycle in range(last - 1, max(-1, last - SHOWN_CYCLES), -1):
        found.update(dict.fromkeys(sorted(wanted)))
        before: set[str] = set()
        for name in wanted - set(system.inputs):
            support = system.next_support(name)
            before |= _responsible(problem, trace, states, cycle, support, _after(name))
        wanted = before
    found.update(dict.fromkeys(sorted(wanted)))
    return list(found)


def _during(name: str) -> Callable[[Evaluation], Any]:
    return lambda cycle: cycle[name]


def _after(name: str) -> Callable[[Evaluation], Any]:
    return lambda cycle: cycle.next(name)


def _responsible(
    problem: Problem,
    trace: Trace,
    states: list[tuple[State, ...]],
    cycle: int,
    support: int,
    value: Callable[[Evaluation], Any],
) -> set[str]:
    """Leaves of a wire that differ in this cycle, and change it when one of them is as in the other run.

    Where no single one does, all that differ are responsible together.
    """
    system = problem.system
    (left, right), (left_inputs, right_inputs) = states[cycle], trace.inputs[cycle]
    here = value(Evaluation(system, INTEGERS, left, left_inputs))
    if here == value(Evaluation(system, INTEGERS, right, right_inputs)):
        return set()
    differing, alone = set(), set()
    for leaf in system.support_names(support):
        is_input = leaf in system.inputs
        mine, other = (left_inputs, right_inputs) if is_input else (left, right)
        if mine[leaf] != other[leaf]:
            differing.add(leaf)
            swapped: Mapping[str, Any] = {**mine, leaf: other[leaf]}
            pair = (left, swapped) if is_input else (swapped, left_inputs)
            if value(Evaluation(system, INTEGERS, *pair)) != here:
                alone.add(leaf)
    return alone or differing


def _waveform(block: pyrtl.Block, trace: Trace, copy: int) -> str:
    """One run on `pyrtl.Simulation`, as VCD."""
    memories = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
    contents = {
        memory: dict(enumerate(trace.initial[copy][name]))
        for name, memory in memories.items()
        if name in trace.initial[copy]
    }
    inputs = {wire.name for wire in block.wirevector_subset(pyrtl.Input)}
    named = [wire for wire in block.wirevector_set if is_named(wire.name)]
    tracer = pyrtl.SimulationTrace(wires_to_track=named, block=block)
    simulation = pyrtl.Simulation(tracer=tracer, memory_value_map=contents, block=block)
    for cycle in trace.inputs:
        simulation.step({name: cycle[copy].get(name, 0) for name in inputs})
    text = io.StringIO()
    tracer.print_vcd(text, include_clock=True)
    return text.getvalue()
