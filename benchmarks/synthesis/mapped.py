"""Reads a netlist that `synth_xilinx` has mapped: its cells, what its memories became, its longest path."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Bit = int | str
"""A net's number, or a constant as text, in yosys' JSON."""

_LEVELS = ("LUT", "INV", "CARRY", "MUXF", "RAM", "SRL", "DSP48")
"""Beginnings of the types through which a signal can pass within a cycle; RAMB (block RAM) is none of them."""


@dataclass(frozen=True)
class LongestPath:
    """Levels: cells from a register, memory or input to a register, memory or output, inverters left out: they
    vanish in what comes behind them. Each CARRY4 of a chain counts as one."""

    levels: int
    start: str
    end: str
    through: dict[str, int] = field(default_factory=dict)
    """Cells on the path by type."""


def cell_counts(module: Mapping[str, Any]) -> dict[str, int]:
    """How many cells there are of each type, without those in which yosys notes what it has flattened."""
    kinds = Counter(cell["type"] for cell in module["cells"].values())
    return {kind: count for kind, count in sorted(kinds.items()) if kind != "$scopeinfo"}


def memory_cells(module: Mapping[str, Any], memory: str) -> dict[str, int]:
    """The cells that hold a memory, by type; none if it became flip-flops."""
    found: Counter[str] = Counter()
    for name, cell in module["cells"].items():
        if cell["type"].startswith(("RAM", "URAM")) and _memory_of(name) == memory:
            found[cell["type"]] += 1
    return dict(sorted(found.items()))


def _memory_of(cell: str) -> str:
    """The memory that a cell holds: yosys calls it by the memory's name, two numbers, and a part if it has any."""
    return re.sub(r"\.\d+\.\d+(\.[^.]*)*$", "", cell)


def longest_path(module: Mapping[str, Any]) -> LongestPath:
    """The longest combinational path. Raises ValueError if there is a combinational loop."""
    arcs: dict[Bit, tuple[str, list[Bit]]] = {}
    for cell in module["cells"].values():
        for output, inputs in _arcs(cell):
            arcs[output] = (cell["type"], [bit for bit in inputs if not isinstance(bit, str)])
    levels: dict[Bit, int] = {}
    before: dict[Bit, Bit] = {}
    for end in arcs:
        stack = [end]
        open_: set[Bit] = set()
        while stack:
            bit = stack[-1]
            if bit in levels:
                stack.pop()
                continue
            kind, inputs = arcs[bit]
            missing = [each for each in inputs if each in arcs and each not in levels]
            if missing:
                if bit in open_:
                    raise ValueError("the netlist has a combinational loop")
                open_.add(bit)
                stack += missing
                continue
            deepest = max(inputs, key=lambda each: levels.get(each, 0), default=None)
            levels[bit] = (kind != "INV") + (levels.get(deepest, 0) if deepest is not None else 0)
            if deepest is not None:
                before[bit] = deepest
            stack.pop()
    if not levels:
        return LongestPath(0, "", "")
    last = max(levels, key=lambda each: levels[each])
    through: Counter[str] = Counter()
    first = last
    while first in arcs:
        through[arcs[first][0]] += 1
        if first not in before:
            break
        first = before[first]
    return LongestPath(levels[last], _start(module, first), _end(module, last), dict(sorted(through.items())))


def _arcs(cell: Mapping[str, Any]) -> Iterator[tuple[Bit, list[Bit]]]:
    """Each output bit of a cell that depends on inputs within a cycle, and these inputs."""
    kind, pins = cell["type"], cell["connections"]
    if kind.startswith("CARRY"):
        carry_in = [*pins["CI"], *pins.get("CYINIT", []), *pins.get("CI_TOP", [])]
        for place, (carry, total) in enumerate(zip(pins.get("CO", []), pins.get("O", []), strict=False)):
            lower = [*carry_in, *pins["DI"][:place], *pins["S"][:place]]
            yield total, [*lower, pins["S"][place]]
            yield carry, [*lower, pins["DI"][place], pins["S"][place]]
        return
    if kind.startswith("RAMB") or not kind.startswith(_LEVELS):
        return
    inputs = [pin for pin in pins if cell["port_directions"][pin] == "input"]
    if kind.startswith("RAM"):
        inputs = [pin for pin in inputs if pin.startswith(("ADDR", "A", "DPRA"))]
    elif kind.startswith("SRL"):
        inputs = [pin for pin in inputs if pin.startswith("A")]
    elif kind.startswith("DSP48"):
        inputs = _unregistered(cell["parameters"])
    for pin, bits in pins.items():
        if cell["port_directions"][pin] != "output":
            continue
        read = inputs
        if kind.startswith("RAM") and f"ADDR{pin[2:]}" in inputs:  # DOA is read at ADDRA
            read = [f"ADDR{pin[2:]}"]
        sources = [bit for each in read for bit in pins.get(each, [])]
        if sources:
            for bit in bits:
                yield bit, sources


def _unregistered(parameters: Mapping[str, str]) -> list[str]:
    """Data pins of a DSP48 that reach P within a cycle."""

    def has(register: str) -> bool:
        return int(parameters.get(register, "1"), 2) != 0

    if has("PREG"):
        return []
    product = [] if has("MREG") else [pin for pin in "ABD" if not has(f"{pin}REG")]
    return product + ([] if has("CREG") else ["C"])


def _name(module: Mapping[str, Any], bit: Bit) -> str:
    """A name of a net, one that a person gave if there is one."""
    best = ""
    for name, net in module["netnames"].items():
        if bit in net["bits"] and (not best or best.startswith("$") or len(name) < len(best)):
            if name.startswith("$") and best:
                continue
            best = f"{name}[{net['bits'].index(bit)}]" if len(net["bits"]) > 1 else name
    return best


def _start(module: Mapping[str, Any], bit: Bit) -> str:
    """Where a path begins: the register or memory that drives it, or an input."""
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if bit in bits and cell["port_directions"][pin] == "output":
                return _memory_of(name) if cell["type"].startswith("RAM") else _name(module, bit)
    return _name(module, bit)


def _end(module: Mapping[str, Any], bit: Bit) -> str:
    """Where a path ends: the register that takes it (by what shows it), the memory, or an output."""
    for name, cell in module["cells"].items():
        for pin, bits in cell["connections"].items():
            if bit in bits and cell["port_directions"][pin] == "input":
                if "Q" in cell["connections"]:
                    return f"{_name(module, cell['connections']['Q'][0])} ({pin})"
                owner = _memory_of(name) if cell["type"].startswith("RAM") else cell["type"]
                return f"{owner} ({pin})"
    return _name(module, bit)
