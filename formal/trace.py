"""A concrete run that violates a claim: checked again on PyRTL's simulator, and printed for people to read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyrtl
from rich.table import Table

from formal.problem import Claim, Inputs, Problem, View
from formal.transition import State, TransitionSystem

_UNNAMED = re.compile(r"(tmp|const_)\d+|const_.*")


class ReplayError(Exception):
    """A trace did not show on the simulated netlist what it was supposed to show."""


@dataclass(frozen=True)
class Trace:
    """A run from reset. `inputs[cycle][copy]` are the inputs; the last cycle violates (or covers) `claim`.

    `initial` holds one state per copy, `symbols` the values of the symbolic constants.
    """

    claim: str
    initial: tuple[State, ...]
    inputs: tuple[tuple[Inputs, ...], ...]
    symbols: Mapping[str, int]

    @property
    def cycles(self) -> int:
        """Length of the run in clock cycles."""
        return len(self.inputs)


class SimulatedFrame:
    """One cycle of `pyrtl.Simulation`, with the interface of `formal.problem.Frame`."""

    def __init__(self, wires: Mapping[str, int], before: State, after: State) -> None:
        self._wires, self._before, self._after = wires, before, after

    def __getitem__(self, name: str) -> Any:
        return self._before[name] if name in self._before else self._wires[name]

    def next(self, name: str) -> Any:
        """Value of a register or memory after the clock edge."""
        return self._after[name]


def simulate(
    block: pyrtl.Block, trace: Trace, copy: int = 0, names: Iterable[str] | None = None
) -> list[SimulatedFrame]:
    """Run one copy of the trace on a simulator of PyRTL's; one frame per cycle.

    `names` are the wires, registers and memories to record; None records all, which takes far longer.
    """
    memories = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
    memories = {name: memory for name, memory in memories.items() if not isinstance(memory, pyrtl.RomBlock)}
    initial = trace.initial[copy]
    contents = {m: dict(enumerate(initial[name])) for name, m in memories.items() if name in initial}
    wanted = {wire.name for wire in block.wirevector_set} | set(memories) if names is None else set(names)
    inputs = {wire.name for wire in block.wirevector_subset(pyrtl.Input)}
    wires = sorted(wire.name for wire in block.wirevector_set if wire.name in wanted)
    registers = sorted(wire.name for wire in block.wirevector_subset(pyrtl.Register) if wire.name in wanted)
    simulation: Any
    if names is None:
        simulation = pyrtl.Simulation(tracer=None, memory_value_map=contents, block=block)
    else:  # a few wires: PyRTL's faster simulator, which keeps nothing but what is traced
        tracer = pyrtl.SimulationTrace([block.wirevector_by_name[name] for name in wires], block)
        simulation = pyrtl.FastSimulation(tracer=tracer, memory_value_map=contents, block=block)
    rows: list[tuple[dict[str, int], dict[str, list[int]]]] = []
    # One more step than the trace shows the registers after its last cycle.
    for given in (*(cycle[copy] for cycle in trace.inputs), trace.inputs[-1][copy]):
        stored = {}
        for name, memory in memories.items():
            if name in wanted:
                known = simulation.inspect_mem(memory)
                stored[name] = [known.get(index, 0) for index in range(1 << memory.addrwidth)]
        simulation.step({name: given.get(name, 0) for name in inputs})
        rows.append(({name: int(simulation.inspect(name)) for name in wires}, stored))
    states = [{**{name: values[name] for name in registers}, **stored} for values, stored in rows]
    return [
        SimulatedFrame(values, before, after)
        for (values, _), before, after in zip(rows, states, states[1:], strict=False)
    ]


def replay(block: pyrtl.Block, problem: Problem, trace: Trace) -> None:
    """Confirm on `pyrtl.Simulation` of `block` that the trace keeps the assumptions and ends in a violation.

    The simulator shares no code with the translator, so an error in either one shows here.

    Raises:
        ReplayError: when an assumption fails on the way or the claim holds after all.
    """
    claim = _claim_named(problem.properties, trace.claim)
    names = {name for each in (*problem.assumptions, claim) for name in _read_by(each, problem, trace)}
    names |= problem.shared & set(problem.system.inputs)
    runs = [simulate(block, trace, copy, names) for copy in range(len(trace.initial))]
    views = [View(frames, trace.symbols) for frames in zip(*runs, strict=True)]
    for cycle, view in enumerate(views):
        for assumption in problem.assumptions:
            if not assumption.holds(view):
                raise ReplayError(f"{trace.claim}: assumption {assumption.name} fails in cycle {cycle}")
        for name in problem.shared & set(problem.system.inputs):
            if view.left[name] != view.right[name]:
                raise ReplayError(f"{trace.claim}: input {name} is not shared in cycle {cycle}")
    if claim.holds(views[-1]):
        raise ReplayError(f"{trace.claim}: holds in the last cycle on the simulated netlist")


def _claim_named(claims: Iterable[Claim], name: str) -> Claim:
    for claim in claims:
        if claim.name == name:
            return claim
    raise ReplayError(f"the problem has no property called {name}")


def table(
    block: pyrtl.Block,
    problem: Problem,
    trace: Trace,
    signals: str | Sequence[str] | None = None,
    last: int = 24,
) -> Table:
    """The trace with one row per signal and one column per cycle, values in hexadecimal.

    Args:
        block: the netlist the trace was found on.
        problem: where the violated claim is looked up.
        trace: the run; where two copies differ a cell shows `left|right`.
        signals: a regular expression or list of names; None shows the signals that the violated claim depends on.
        last: at most this many final cycles are shown.

    Rows that never change (and are equal in both copies) are left out, except those the claim itself reads, which
    come first.
    """
    read = read_by(problem, trace)
    system = problem.system
    names = sorted(system.widths) if signals is None or isinstance(signals, str) else list(signals)
    if isinstance(signals, str):
        pattern = re.compile(signals)
        names = [name for name in names if pattern.search(name)]
    elif signals is None:
        relevant = set(cone(system, read))
        names = [name for name in names if name in relevant]
    names = [name for name in names if is_named(name) and name not in read]
    shown = Table(title=title(trace), title_justify="left", row_styles=["", "dim"])
    shown.add_column("signal", no_wrap=True)
    for cycle in range(max(0, trace.cycles - last), trace.cycles):
        shown.add_column(str(cycle), justify="right", no_wrap=True)
    for section in (read, names):
        for name, cells in rows(block, trace, section, last):
            if section is read or len(set(cells)) > 1 or "|" in cells[0]:
                shown.add_row(name, *cells)
        shown.add_section()
    return shown


def cone(system: TransitionSystem, read: Iterable[str]) -> list[str]:
    """Registers, memories and inputs that these wires depend on within two clock edges."""
    support = 0
    for name in read:
        support |= system.support(name)
    for name in system.support_names(support):
        if name not in system.inputs:
            support |= system.next_support(name)
    return list(system.support_names(support))


def title(trace: Trace) -> str:
    """What is violated, when, and for which value of the symbolic constants."""
    symbols = ", ".join(f"{name} = {value}" for name, value in trace.symbols.items())
    return f"{trace.claim} is violated in cycle {trace.cycles - 1}" + (f" ({symbols})" if symbols else "")


def rows(block: pyrtl.Block, trace: Trace, names: Sequence[str], last: int) -> list[tuple[str, list[str]]]:
    """Values of some signals in the last cycles, in hexadecimal, `left|right` where two runs differ."""
    runs = [simulate(block, trace, copy, names) for copy in range(len(trace.initial))]
    cycles = range(max(0, trace.cycles - last), trace.cycles)
    return [(name, [_cell([run[cycle][name] for run in runs]) for cycle in cycles]) for name in names]


def is_named(name: str) -> bool:
    """A wire that somebody named, and not PyRTL."""
    return not _UNNAMED.fullmatch(name)


def read_by(problem: Problem, trace: Trace) -> list[str]:
    """Names that the violated claim reads, in alphabetical order."""
    return _read_by(_claim_named(problem.properties, trace.claim), problem, trace)


def _cell(values: Sequence[Any]) -> str:
    texts = [" ".join(map(_hexadecimal, value)) if isinstance(value, list) else _hexadecimal(value) for value in values]
    return texts[0] if len(set(texts)) == 1 else "|".join(texts)


def _hexadecimal(value: int) -> str:
    """Hexadecimal digits; of long numbers the last eight."""
    digits = f"{value:x}"
    return digits if len(digits) <= 10 else f"..{digits[-8:]}"


def _read_by(claim: Claim, problem: Problem, trace: Trace) -> list[str]:
    """Names that a claim reads, in alphabetical order."""
    view = problem.concrete_view(trace.initial, trace.inputs[0], trace.symbols)
    claim.holds(view)
    return sorted({name for frame in view.frames for name, _ in frame.touched})
