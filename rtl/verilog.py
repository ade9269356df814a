"""Writes modules as Verilog-2001.

What is computed once and has no name is written where it is used, as long as the expression stays short. Verilog
would cut the carry of `a + b` inside an expression, and widen what is inside a sum, so sums, products and their terms
have wires of their own.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate, groupby
from textwrap import wrap

from pyrtl import Const, LogicNet, MemBlock, WireVector

from rtl.modules import Design, ExportError, Module

LONGEST_EXPRESSION = 110
"""Characters; what is longer is cut into named pieces."""
_OPPOSITE = {"=": "!=", "<": ">=", ">": "<="}
"""Comparisons of PyRTL, and how Verilog writes their negation."""
_CONSTANT = re.compile(r"(\d+)'d(\d+)")
_ATOM = re.compile(r"~?[\w\[\]:']+")
"""What needs no brackets within an expression."""


def bit_range(bits: int) -> str:
    """The range in a declaration of so many bits; empty for one bit."""
    return "" if bits == 1 else f"[{bits - 1}:0] "


def instance(
    module: str, name: str, connections: Mapping[str, str], clock: str = "clk", reset: str = "rst"
) -> list[str]:
    """Lines that instantiate a module of ours; `connections` are wires by the names of pins."""
    pins = {"clk": clock, "rst": reset, **connections}
    return [f"  {module} {name} (", ",\n".join(f"    .{pin}({wire})" for pin, wire in pins.items()), "  );"]


class ModuleText:
    """The text of one module."""

    def __init__(self, design: Design, module: Module) -> None:
        self._design, self._module = design, module
        self._driver = {net.dests[0]: net for net in module.nets if net.dests}
        self._declared = {wire for wire in module.names if isinstance(wire, WireVector)}
        uses = [(net.op == "s", design.source(wire)) for net in module.nets for wire in net.args]
        sliced = {wire for is_slice, wire in uses if is_slice and len(wire) > 1}
        terms = {design.source(wire) for net in module.nets if net.op in "+-*" for wire in net.args}
        often = Counter(wire for _, wire in uses)
        self._declared |= {
            wire for wire, net in self._driver.items()
            if net.op in "+-*m" or wire in sliced or (net.op not in "sc" and (often[wire] > 1 or wire in terms))
        }  # fmt: skip
        self._wires: dict[WireVector, str] = {}
        """Declarations of wires, and what they are assigned, in the order in which they were needed."""
        self._expressions: dict[WireVector, str] = {}

    def text(self) -> str:
        module = self._module
        registers = [net for net in module.nets if net.op == "r"]
        writes = [net for net in module.nets if net.op == "@"]
        reads = [net for net in module.nets if net.op == "m"]
        state = [f"{self._name(net.dests[0])} <= {self._value(net.args[0])};" for net in registers]
        resets = [net.dests[0].reset_value for net in registers]
        clocked = [f"    {line}" for line, reset in zip(state, resets, strict=True) if reset is None]
        if any(reset is not None for reset in resets):
            clocked += ["    if (rst) begin"]
            clocked += [f"      {self._name(net.dests[0])} <= {_constant(reset, len(net.dests[0]))};"
                        for net, reset in zip(registers, resets, strict=True) if reset is not None]  # fmt: skip
            clocked += ["    end else begin"]
            clocked += [f"      {line}" for line, reset in zip(state, resets, strict=True) if reset is not None]
            clocked += ["    end"]
        memory = [line for net in writes for line in self._write(net)]
        memory += [f"  assign {self._name(net.dests[0])} = {module.names[net.op_param[1]]}[{self._value(net.args[0])}];"
                   for net in reads]  # fmt: skip
        for wire in (*module.outputs, *module.shown.values()):
            self._value(wire)
        for wire in self._driver:
            if wire in module.names:
                self._value(wire)
        shown = [f"  assign {name} = {self._value(wire)};" for name, wire in module.shown.items()
                 if module.names.get(wire) != name]  # fmt: skip
        children = [line for child in module.children for line in self._instance(*child)]
        assigned = [f"  assign {self._name(wire)} = {self._expressions[wire]};" for wire in self._wires
                    if wire in self._expressions]  # fmt: skip
        lines = [*self._header(), *self._declarations(registers, children), *assigned, *shown]
        if registers:
            lines += ["", "  always @(posedge clk) begin", *clocked, "  end"]
        if memory:
            lines += ["", *memory]
        return "\n".join([*lines, *([""] if children else []), *children, "endmodule", ""])

    def _header(self) -> list[str]:
        module, part = self._module, self._module.part
        origin = f"Made by {part.origin}." if part.origin else ""
        comment = "".join(f"// {line}\n" for text in (origin, part.summary) for line in wrap(text, 116))
        states = {net.dests[0] for net in module.nets if net.op == "r"}
        ports = [f"input {pin}" for pin in self._clocking(module)]
        ports += [f"input {bit_range(len(wire))}{module.names[wire]}" for wire in module.inputs]
        for name, wire in [*((module.names[wire], wire) for wire in module.outputs), *module.shown.items()]:
            is_register = wire in states and module.names[wire] == name
            ports.append(f"output {'reg ' if is_register else ''}{bit_range(len(wire))}{name}")
        return [f"{comment}module {module.name}(", ",\n".join(f"  {port}" for port in ports), ");"]

    @staticmethod
    def _clocking(module: Module) -> list[str]:
        """Those of `clk` and `rst` that a module needs."""
        inner = {pin for _, child, _ in module.children for pin in ModuleText._clocking(child)}
        if any(net.op in "r@" for net in module.nets):
            inner.add("clk")
        if any(net.op == "r" and net.dests[0].reset_value is not None for net in module.nets):
            inner.add("rst")
        return sorted(inner)

    def _declarations(self, registers: list[LogicNet], children: list[str]) -> list[str]:
        module = self._module
        ports = {*module.inputs, *module.outputs}
        ports |= {wire for name, wire in module.shown.items() if module.names.get(wire) == name}
        lines = [
            f"  reg {bit_range(memory.bitwidth)}{name} [0:{(1 << memory.addrwidth) - 1}];"
            for memory, name in module.names.items() if isinstance(memory, MemBlock)
        ]  # fmt: skip
        lines += [f"  reg {bit_range(len(net.dests[0]))}{self._name(net.dests[0])};" for net in registers
                  if net.dests[0] not in ports]  # fmt: skip
        inner = {wire: None for _, _, pins in module.children for wire in pins.values() if wire is not None}
        states = {net.dests[0] for net in registers}
        reads = {net.dests[0]: None for net in module.nets if net.op == "m"}
        lines += [f"  wire {bit_range(len(wire))}{self._name(wire)};" for wire in {**inner, **reads, **self._wires}
                  if wire not in ports and wire not in states]  # fmt: skip
        return lines

    def _instance(self, name: str, of: Module, pins: dict[WireVector, WireVector | None]) -> list[str]:
        wires = {pin: pin for pin in self._clocking(of)}
        for port, wire in pins.items():
            wires[of.names[port]] = "" if wire is None else self._name(wire)
        return [f"  {of.name} {name} (", ",\n".join(f"    .{pin}({wire})" for pin, wire in wires.items()), "  );"]

    def _write(self, net: LogicNet) -> list[str]:
        address, data, enable = (self._value(wire) for wire in net.args)
        return ["  always @(posedge clk)",
                f"    if ({enable}) {self._module.names[net.op_param[1]]}[{address}] <= {data};"]  # fmt: skip

    def _name(self, wire: WireVector) -> str:
        if wire not in self._module.names:
            self._module.name_of(wire, f"n{len(self._wires)}")
        return self._module.names[wire]

    def _value(self, wire: WireVector) -> str:
        """The name of a signal that has a wire, or what to write in its place."""
        wire = self._design.source(wire)
        if isinstance(wire, Const):
            return _constant(wire.val, len(wire))
        if not self._is_computed(wire):
            return self._name(wire)
        pending = [wire]
        while pending:  # without recursion, which deep expressions would exhaust
            here = pending[-1]
            sources = map(self._design.source, self._driver[here].args)
            missing = [each for each in sources if self._is_computed(each) and each not in self._expressions]
            if here in self._expressions or not missing:
                pending.pop()
                if here not in self._expressions:
                    self._expressions[here] = self._short_expression(self._driver[here])
                    if here in self._declared:
                        self._wires[here] = self._name(here)
            else:
                pending += missing
        return self._wires.get(wire) or self._expressions[wire]

    def _term(self, wire: WireVector) -> str:
        """A value as an operand."""
        value = self._value(wire)
        return value if _ATOM.fullmatch(value) or _is_closed(value) else f"({value})"

    def _is_inline(self, wire: WireVector) -> bool:
        return self._is_computed(wire) and wire not in self._wires

    def _is_computed(self, wire: WireVector) -> bool:
        return wire in self._driver and self._driver[wire].op not in "rm"

    def _short_expression(self, net: LogicNet) -> str:
        """The expression of a net; where that is long, its longest parts become wires."""
        inner = (
            [] if net.op == "c" else [each for each in map(self._design.source, net.args) if self._is_computed(each)]
        )
        parts = {wire for wire in inner if wire not in self._wires and self._driver[wire].op != "s"}
        while len(text := self._expression(net)) > LONGEST_EXPRESSION and parts:
            longest = max(parts, key=lambda wire: len(self._expressions[wire]))
            parts.remove(longest)
            self._wires[longest] = self._name(longest)
        return text

    def _expression(self, net: LogicNet) -> str:
        wires = [self._design.source(wire) for wire in net.args]
        if net.op == "s":
            return self._selection(wires[0], net.op_param)
        if net.op == "c":
            return _joined([(value, len(list(same))) for value, same in groupby(map(self._value, wires))])
        terms = [self._term(wire) for wire in wires]
        if net.op == "~":
            inner = self._driver.get(wires[0])
            if inner is not None and inner.op in _OPPOSITE and self._is_inline(wires[0]):
                left, right = map(self._term, inner.args)
                return f"{left} {_OPPOSITE[inner.op]} {right}"
            return f"~{terms[0]}"
        if net.op == "n":
            return f"~({terms[0]} & {terms[1]})"
        if net.op == "x":
            return f"{terms[0]} ? {terms[2]} : {terms[1]}"
        if net.op in "&|^+-*<>":
            return f"{terms[0]} {net.op} {terms[1]}"
        if net.op == "=":
            return f"{terms[0]} == {terms[1]}"
        raise ExportError(f"operation {net.op} of {net.dests[0].name}")

    def _selection(self, wire: WireVector, places: tuple[int, ...]) -> str:
        if isinstance(wire, Const):
            bits = sum((wire.val >> place & 1) << index for index, place in enumerate(places))
            return _constant(bits, len(places))
        name = self._value(wire)
        if len(wire) == 1:
            return _joined([(name, len(places))])
        runs: list[tuple[int, int, int]] = []  # lowest place, highest, how often
        for place in places:
            if runs and runs[-1][2] == 1 and place == runs[-1][1] + 1:
                runs[-1] = (runs[-1][0], place, 1)
            elif runs and runs[-1][:2] == (place, place):
                runs[-1] = (place, place, runs[-1][2] + 1)
            else:
                runs.append((place, place, 1))

        def part(low: int, high: int) -> str:
            if low == high:
                return f"{name}[{low}]"
            return name if high - low + 1 == len(wire) else f"{name}[{high}:{low}]"

        return _joined([(part(low, high), often) for low, high, often in reversed(runs)])


def _constant(value: int, bits: int) -> str:
    return f"{bits}'d{value}"


def _joined(parts: Iterable[tuple[str, int]]) -> str:
    """Concatenation of texts, each so many times; constants side by side become one."""
    texts: list[str] = []
    constant: tuple[int, int] | None = None  # value and bits of the last text
    for text, often in parts:
        found = _CONSTANT.fullmatch(text)
        if found is None:
            texts.append(text if often == 1 else f"{{{often}{{{text}}}}}")
            constant = None
            continue
        for _ in range(often):
            value, bits = (0, 0) if constant is None else constant
            if constant is not None:
                texts.pop()
            constant = (value << int(found[1])) + int(found[2]), bits + int(found[1])
            texts.append(_constant(*constant))
    return texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}"


def _is_closed(text: str) -> bool:
    """Whether a concatenation ends where the text ends."""
    depths = accumulate((char == "{") - (char == "}") for char in text)
    return text.startswith("{") and 0 not in list(depths)[:-1]


def design_texts(design: Design) -> dict[str, str]:
    """The text of each module, by its name."""
    return {module.name: ModuleText(design, module).text() for module in design.modules}
