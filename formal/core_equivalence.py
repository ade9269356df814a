"""Whether a bug of a core's control makes a difference, ever: in any state, or in those that can be reached."""

from __future__ import annotations

from typing import Any

import pyrtl
import z3

from formal.algebra import Z3Algebra
from formal.bounds import bound_lemmas
from formal.influence import does_the_same, is_same
from formal.logic import SYMBOLIC_LOGIC
from formal.problem import Candidate
from formal.structure import clearing_registers
from formal.transition import Evaluation, NextState, State, TransitionSystem

_SECONDS = 5.0
_RESOURCES = 5_000_000
_FROM_RESET = 2
"""Cycles in which the last register that clears others falls: the first instruction comes in the one before."""


def is_equivalent_core(original: pyrtl.Block, changed: pyrtl.Block, wire: str) -> bool:
    """Whether `changed`, the core `original` with another net for `wire`, shows the same as it at every port for ever.

    L4 has to hold for both, and the shell to keep its side: `scrub` lasts for three cycles or more, and no instruction
    comes meanwhile (theorem hand-over says so). Either they are the same functions of state and inputs, in every state
    in which registers are within their bounds (formal/bounds.py). Or they are while no register is being cleared, and
    that they are cleared makes no difference:

    - from reset, where a core stays until an instruction comes, they are the same functions for two more cycles, in
      which the last of the registers that clear others falls, or until a scrub begins;
    - when a scrub begins their states are equal. Behind its first cycle each `asleep` is 1, `awake` 0; the second one
      brings the same to all registers that are outputs, whatever the state; behind the third one all registers are at
      reset (L4). What is different between shows nowhere. Memories hold zeros behind the scrub (L4), and no output
      depends on one in the same cycle (L0).
    """
    bounds = bound_lemmas(original)
    if does_the_same(original, changed, wire, bounds, _SECONDS):
        return True
    clears = clearing_registers(original)
    awake = [*bounds, *(_is(name, 1 - value) for name, value in clears.items())]
    asleep = [_is(name, value) for name, value in clears.items() if "asleep_behind" not in name]
    outputs = {_register_behind(original, output.name) for output in original.wirevector_subset(pyrtl.Output)}
    return (
        bool(does_the_same(original, changed, wire, awake, _SECONDS))
        and _same_from_reset(original, changed)
        and bool(does_the_same(original, changed, wire, asleep, _SECONDS, outputs))
    )


def _is(register: str, value: int) -> Candidate:
    return Candidate(register, lambda logic, view: logic.equal(view[register], value))


def _register_behind(block: pyrtl.Block, output: str) -> str:
    """The register that an output shows (L0)."""
    drivers = {net.dests[0].name: net for net in block.logic if net.dests}
    while drivers[output].op in "ws":
        output = drivers[output].args[0].name
    return output


def _same_from_reset(original: pyrtl.Block, changed: pyrtl.Block) -> bool:
    """Whether they do the same from reset, in that cycle and in `_FROM_RESET` more, until a scrub begins."""
    systems = [TransitionSystem(block) for block in (original, changed)]
    algebra = Z3Algebra()
    reset = systems[0].reset_state()
    start: State = {name: algebra.constant(reset[name], bits) for name, (bits, _) in systems[0].registers.items()} | {
        name: algebra.words(reset[name], memory.bits) for name, memory in systems[0].memories.items()
    }
    states: list[State | NextState] = [start, start]
    different: list[Any] = []
    quiet: list[Any] = []
    for cycle in range(_FROM_RESET + 1):
        inputs = systems[0].input_variables(algebra, f"{cycle} ")
        first, second = (
            Evaluation(system, algebra, state, inputs) for system, state in zip(systems, states, strict=True)
        )
        for name in (*systems[0].registers, *systems[0].memories):
            left, right = first.next(name), second.next(name)
            if not is_same(left, right):
                differ = SYMBOLIC_LOGIC.negate(SYMBOLIC_LOGIC.equal(left, right))
                different.append(z3.And(*quiet, differ))
        quiet.append(inputs["scrub"] == 0)
        states = [NextState(first), NextState(second)]
    solver = z3.Solver()
    solver.set("rlimit", _RESOURCES)
    solver.add(z3.Or(different))
    return bool(solver.check() == z3.unsat)
