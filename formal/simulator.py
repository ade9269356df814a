"""Fast integer simulation: the netlist compiled to one straight-line Python function.

Houdini and random search run hundreds of thousands of nets per second here, where the reference `Evaluation` over
integers interprets each one. Both are co-simulated against `pyrtl.Simulation` in the tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from formal.algebra import contiguous_runs
from formal.transition import Net, State, TransitionSystem

_TEMPORARY = ("tmp", "const_")


class Simulator:
    """One compiled clock cycle of `system`.

    `cycle` returns the observed wires and the next state; `observed` defaults to every wire with a name of its own.
    """

    def __init__(self, system: TransitionSystem, observed: Iterable[str] | None = None) -> None:
        self.system = system
        if observed is None:
            observed = [net.destination for net in system.nets if not net.destination.startswith(_TEMPORARY)]
        self._observed = tuple(observed)
        self._locals: dict[str, str] = {}
        namespace: dict[str, Any] = {
            f"rom{index}": memory.contents for index, memory in enumerate(system.roms.values())
        }
        exec(compile(self._source(), "<netlist>", "exec"), namespace)
        self._function = namespace["cycle"]

    def cycle(self, state: Mapping[str, Any], inputs: Mapping[str, int]) -> tuple[dict[str, int], State]:
        """Wires during the cycle, and the state after it. Arguments are not modified."""
        wires, after = self._function(state, inputs)
        return wires, after

    def _name(self, wire: str) -> str:
        value = self.system.constant(wire)
        if value is not None:
            return str(value)
        return self._locals.setdefault(wire, f"v{len(self._locals)}")

    def _source(self) -> str:
        system = self.system
        lines = ["def cycle(state, inputs):"]
        lines += [f"    {self._name(name)} = state[{name!r}]" for name in (*system.registers, *system.memories)]
        lines += [f"    {self._name(name)} = inputs[{name!r}]" for name in system.inputs]
        lines += [f"    {self._name(net.destination)} = {self._expression(net)}" for net in system.nets]
        after = []
        for name in system.registers:
            net = system.driver(name)
            assert net is not None
            after.append(f"{name!r}: {self._name(net.arguments[0])}")
        for name in system.memories:
            variable = self._name(name)
            written = f"{variable}_next"
            lines.append(f"    {written} = {variable}")
            for write in system.writes(name):
                address, data, enable = map(self._name, write.arguments)
                lines.append(f"    if {enable}:")
                lines.append(f"        {written} = list({written})")
                lines.append(f"        {written}[{address}] = {data}")
            after.append(f"{name!r}: {written}")
        wires = ", ".join(f"{name!r}: {self._name(name)}" for name in self._observed)
        lines.append(f"    return {{{wires}}}, {{{', '.join(after)}}}")
        return "\n".join(lines)

    def _expression(self, net: Net) -> str:
        system = self.system
        names = [self._name(argument) for argument in net.arguments]
        widths = [system.widths[argument] for argument in net.arguments]
        mask = (1 << system.widths[net.destination]) - 1
        match net.operation:
            case "w":
                return names[0]
            case "~":
                return f"{names[0]} ^ {mask}"
            case "&" | "|" | "^":
                return f"{names[0]} {net.operation} {names[1]}"
            case "n":
                return f"({names[0]} & {names[1]}) ^ {mask}"
            case "+" | "-" | "*":
                return f"({names[0]} {net.operation} {names[1]}) & {mask}"
            case "=":
                return f"1 if {names[0]} == {names[1]} else 0"
            case "<" | ">":
                return f"1 if {names[0]} {net.operation} {names[1]} else 0"
            case "x":
                return f"{names[2]} if {names[0]} else {names[1]}"
            case "c":
                place, parts = 0, []
                for name, width in zip(reversed(names), reversed(widths), strict=True):
                    parts.append(f"{name} << {place}" if place else name)
                    place += width
                return " | ".join(parts)
            case "s":
                place, parts = 0, []
                for low, high in contiguous_runs(net.parameter):
                    width = high - low + 1
                    part = f"({names[0]} >> {low} & {(1 << width) - 1})"
                    parts.append(f"{part} << {place}" if place else part)
                    place += width
                return " | ".join(parts)
            case "m":
                if net.parameter in system.roms:
                    return f"rom{list(system.roms).index(net.parameter)}[{names[0]}]"
                return f"{self._name(net.parameter)}[{names[0]}]"
        raise ValueError(f"operation {net.operation!r} is not one of PyRTL's")
