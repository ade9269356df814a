"""How large the registers of a netlist can get: the simplest invariants there are, found without a solver.

Bounds of wires follow from those of registers, one net at a time, and those of registers from what they load: from
reset on, until nothing changes any more. A register that grows again and again gets the largest value that it can hold.
PyRTL multiplies as if both factors were as wide as the wider one, so that much of a product is 0.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyrtl

from formal.algebra import contiguous_runs
from formal.problem import Candidate
from formal.transition import Net, TransitionSystem

_ROUNDS = 6
"""Rounds in which a register may grow, before it is given up."""


def bound_lemmas(block: pyrtl.Block) -> list[Candidate]:
    """That registers are not larger than their bounds, where these are not the largest values that they can hold."""
    system = TransitionSystem(block)
    bounds = upper_bounds(system)
    return [
        Candidate(name, lambda logic, view, name=name, bound=bounds[name]: logic.at_most(view[name], bound))  # type: ignore[misc]
        for name, (bits, _) in system.registers.items()
        if bounds[name] < (1 << bits) - 1
    ]


def upper_bounds(system: TransitionSystem) -> dict[str, int]:
    """A value for each register that it never exceeds in a run from reset."""
    bounds = {name: reset for name, (_, reset) in system.registers.items()}
    for turn in range(2 * _ROUNDS + len(bounds)):
        wires = _wires(system, bounds)
        grown = {}
        for name, (bits, _) in system.registers.items():
            net = system.driver(name)
            assert net is not None
            loaded = _bound(system, wires, net.arguments[0])
            if loaded > bounds[name]:
                grown[name] = loaded if turn < _ROUNDS else (1 << bits) - 1
        if not grown:
            break
        bounds |= grown
    return bounds


def _wires(system: TransitionSystem, bounds: Mapping[str, int]) -> dict[str, int]:
    wires = {**bounds, **{name: (1 << bits) - 1 for name, bits in system.inputs.items()}}
    for net in system.nets:
        wires[net.destination] = min(_result(system, wires, net), (1 << system.widths[net.destination]) - 1)
    return wires


def _bound(system: TransitionSystem, wires: Mapping[str, int], name: str) -> int:
    value = system.constant(name)
    return wires[name] if value is None else value


def _result(system: TransitionSystem, wires: Mapping[str, int], net: Net) -> int:
    """The largest value that a net can compute; more than its destination can hold means anything."""
    anything = (1 << system.widths[net.destination]) - 1
    if net.operation == "m":
        return anything
    values = [_bound(system, wires, argument) for argument in net.arguments]
    match net.operation:
        case "w":
            return values[0]
        case "&":
            return min(values)
        case "|" | "^":
            return (1 << max(values).bit_length()) - 1
        case "+":
            return sum(values)
        case "*":
            return values[0] * values[1]
        case "=" | "<" | ">":
            return 1
        case "x":
            return max(values[1:])
        case "c":
            found = 0
            for value, argument in zip(values, net.arguments, strict=True):
                found = found << system.widths[argument] | value
            return found
        case "s":
            found = place = 0
            for low, high in contiguous_runs(net.parameter):
                found |= min(values[0] >> low, (1 << high - low + 1) - 1) << place
                place += high - low + 1
            return found
    return anything
