"""Writes the invariant of a theorem out as Verilog, to be checked again by an engine that shares no code with Z3's.

A certificate is one combinational module. It has, for each copy of the system, an input `now{copy}_X` for every
register or memory word X that matters and, where the invariant reads X, an output `next{copy}_X`, or outputs
`next{copy}_X__bitN` for the bits from N upwards that the invariant reads; besides the inputs of the system, and
symbolic constants as `rigid_*`. A bit without a next value may have any in the next cycle. Its verdicts are outputs:

- `start`: the state is one after reset;
- `invariant`: one bit per conjunct, first conjunct in the lowest bit;
- `assumed`: the assumptions hold in this cycle;
- `good`: one bit per property;
- `cover`: one bit per cover;
- `kept`: one bit per register that is the same in both copies: it is so after the step, too. (Such a register has one
  input, `now0_X`; that it cannot come to differ is part of the induction.)

What `formal.second_engine` then asks are four plain questions about that module.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path
from typing import Any

import pyrtl

from formal.and_inverter_graph import port_widths, verilog
from formal.problem import Problem, View
from formal.wire_logic import WIRE_LOGIC, Word


class _Copy:
    """One copy of the netlist, of which only what is asked for is built."""

    def __init__(self, block: pyrtl.Block, index: int, port: Callable[[str, int, str, str, int], Any]) -> None:
        self.index = index
        self._port = port  # (kind, copy, name, suffix of a memory word, bits) -> input
        self._wires: dict[Any, Any] = {}
        self._named = block.wirevector_by_name
        self._driver = {dest: net for net in block.logic for dest in net.dests}
        self._memories = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
        self._writes: dict[str, list[Any]] = {}
        for net in sorted((net for net in block.logic if net.op == "@"), key=lambda net: [a.name for a in net.args]):
            self._writes.setdefault(net.op_param[1].name, []).append(net)
        self.states: dict[str, Any] = {}  # register name -> wire, memory name -> words

    # ---- what claims see

    def __getitem__(self, name: str) -> Any:
        if name in self._memories:
            return [Word(word) for word in self.words(name)]
        return Word(self.built(self._named[name]))

    def next(self, name: str) -> Any:
        """A register, or the words of a memory, after the clock edge."""
        after = self.after(name)
        return [Word(word) for word in after] if isinstance(after, list) else Word(after)

    # ---- state

    def words(self, name: str) -> list[Any]:
        """The words of a memory now. One that nothing writes keeps its contents, so they are rigid."""
        if name not in self.states:
            memory = self._memories[name]
            places = range(1 << memory.addrwidth)
            if isinstance(memory, pyrtl.RomBlock):
                return [pyrtl.Const(memory._get_read_data(i), memory.bitwidth) for i in places]
            start = "now" if name in self._writes else "rigid"
            self.states[name] = [self._port(start, self.index, name, f"__{i}", memory.bitwidth) for i in places]
        words: list[Any] = self.states[name]
        return words

    def is_rigid(self, name: str) -> bool:
        """A memory that nothing writes."""
        return name in self._memories and name not in self._writes

    def is_memory(self, name: str) -> bool:
        """The name is a memory's."""
        return name in self._memories

    def after(self, name: str) -> Any:
        """A register after the clock edge, or the list of a memory's words."""
        if name not in self._memories:
            return self.built(self._driver[self._named[name]].args[0])
        words = self.words(name)
        for net in self._writes.get(name, ()):
            address, data, enable = (self.built(argument) for argument in net.args)
            words = [pyrtl.select(enable & (address == i), data, word) for i, word in enumerate(words)]
        return words

    def at_reset(self, name: str) -> Any:
        """The register has its reset value, or every word of the memory is zero; one bit."""
        state = self.states[name]
        if isinstance(state, list):
            return WIRE_LOGIC.all(Word(word) == 0 for word in state).wire
        return state == pyrtl.Const(self._named[name].reset_value or 0, len(state))

    # ---- nets

    def built(self, wanted: Any) -> Any:
        """The wire of this copy that stands for a wire of the netlist."""
        pending = [wanted]
        while pending:
            wire = pending[-1]
            if wire in self._wires:
                pending.pop()
                continue
            net = self._driver.get(wire)
            if net is None or net.op == "r":
                self._wires[wire] = self._leaf(wire, net)
                continue
            missing = [argument for argument in net.args if argument not in self._wires]
            if missing:
                pending += missing
                continue
            self._wires[wire] = self._operation(net, [self._wires[argument] for argument in net.args])
        return self._wires[wanted]

    def _leaf(self, wire: Any, net: Any) -> Any:
        if isinstance(wire, pyrtl.Const):
            return pyrtl.Const(wire.val, len(wire))
        if net is None:
            return self._port("given", self.index, wire.name, "", len(wire))
        self.states[wire.name] = self._port("now", self.index, wire.name, "", len(wire))
        return self.states[wire.name]

    def _operation(self, net: Any, arguments: Sequence[Any]) -> Any:
        if net.op == "m":
            return _chosen(arguments[0], self.words(net.op_param[1].name))
        result = pyrtl.WireVector(len(net.dests[0]))
        pyrtl.working_block().add_net(pyrtl.LogicNet(net.op, net.op_param, tuple(arguments), (result,)))
        return result


def _chosen(address: Any, words: Sequence[Any]) -> Any:
    for place in range(len(address)):
        words = [pyrtl.select(address[place], odd, even) for even, odd in zip(words[::2], words[1::2], strict=True)]
    return words[0]


def write_certificate(problem: Problem, directory: Path) -> Path:
    """Write `{problem.name}.v`, and a JSON file beside it that says what its bits mean.

    Args:
        problem: the theorem; all its candidates together are the invariant.
        directory: where the files go; made if missing.

    Returns:
        The Verilog file.
    """
    previous = pyrtl.working_block()
    pyrtl.set_working_block(pyrtl.Block())
    try:
        certificate = _build(problem, directory)
    finally:
        pyrtl.set_working_block(previous)
    return certificate


def _build(problem: Problem, directory: Path) -> Path:
    ports: dict[str, Any] = {}

    def port(kind: str, copy: int, name: str, suffix: str, bits: int) -> Any:
        owner = 0 if name in problem.shared else copy
        full = f"{kind}{owner}_{name}{suffix}"
        if full not in ports:
            ports[full] = pyrtl.Input(bits, full)
        return ports[full]

    copies = [_Copy(problem.system.block, index, port) for index in range(problem.copies)]
    symbols = {name: Word(pyrtl.Input(bits, f"rigid_{name}")) for name, bits in problem.symbols.items()}
    view = View(copies, symbols)
    names = [f"{candidate.schema} ({candidate.group})" for candidate in problem.candidates]
    invariant = [candidate.formula(WIRE_LOGIC, view) for candidate in problem.candidates]
    start = [
        Word(copy.at_reset(name))
        for copy in copies
        for name in copy.states
        if not copy.is_memory(name) or not problem.starts_free(name)
    ]
    after = _next_values(copies, bits_read(claim.wire for claim in invariant))
    good = [claim.formula(WIRE_LOGIC, view) for claim in problem.properties]
    assumed = WIRE_LOGIC.all(claim.formula(WIRE_LOGIC, view) for claim in problem.assumptions)
    covers = [claim.formula(WIRE_LOGIC, view) for claim in problem.covers]
    kept = _kept(problem, copies)
    _outputs({"start": [WIRE_LOGIC.all(start)], "assumed": [assumed], "invariant": invariant})
    _outputs({"good": good, "cover": covers, "kept": list(kept.values())})
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{problem.name}.v"
    path.write_text(verilog())
    meaning = {
        "ports": port_widths(),
        "invariant": names,
        "good": [claim.name for claim in problem.properties],
        "cover": [claim.name for claim in problem.covers],
        "kept": list(kept),
        "next": after,
        "near": {
            "invariant": [sorted(candidate.near or ()) for candidate in problem.candidates],
            "good": [sorted(claim.near or ()) for claim in problem.properties],
        },
    }
    path.with_suffix(".json").write_text(json.dumps(meaning, indent=1) + "\n")
    return path


def _kept(problem: Problem, copies: Sequence[_Copy]) -> dict[str, Any]:
    """That state which is shared stays so, for all of it that there is an input for; by name."""
    kept: dict[str, Any] = {}
    while True:
        touched = {name for copy in copies for name in copy.states if name in problem.shared} - kept.keys()
        if not touched:
            return kept
        for name in sorted(touched):
            kept[name] = WIRE_LOGIC.equal(copies[0].next(name), copies[-1].next(name))


def _next_values(copies: Sequence[_Copy], read: Mapping[Any, int]) -> dict[str, tuple[str, int]]:
    """Outputs with the next values of the bits that are read: name -> (input, its lowest bit)."""
    found: dict[str, tuple[str, int]] = {}
    for copy in copies:
        for name in sorted(copy.states):
            if copy.is_rigid(name):
                continue
            state = copy.states[name]
            now = state if isinstance(state, list) else [state]
            if not any(read.get(word) for word in now):
                continue
            after = copy.after(name)
            for word, value in zip(now, after if isinstance(after, list) else [after], strict=True):
                for first, bits in _runs(read.get(word, 0)):
                    suffix = word.name.removeprefix("now")
                    output = f"next{suffix}" if bits == len(word) else f"next{suffix}__bit{first}"
                    if output not in found:
                        following = pyrtl.Output(bits, output)
                        following <<= value[first : first + bits]
                        found[output] = (word.name, first)
    return found


def _runs(mask: int) -> Iterator[tuple[int, int]]:
    """Of the bits of a mask those that stand together: the lowest and how many."""
    first = 0
    while mask >> first:
        first += _trailing(mask >> first, 0)
        bits = _trailing(mask >> first, 1)
        yield first, bits
        first += bits


def _trailing(mask: int, bit: int) -> int:
    """How many of the lowest bits have that value; the mask has the other one, too."""
    inverted = ~mask if bit else mask
    return (inverted & -inverted).bit_length() - 1


def bits_read(wires: Iterable[Any]) -> dict[Any, int]:
    """For every wire of the working block that these depend on a mask of its bits that do so, none left out."""
    order: dict[Any, int] = {}
    block = pyrtl.working_block()
    for place, net in enumerate(block):
        order.update((dest, place) for dest in net.dests)
    driver = {dest: net for net in block.logic for dest in net.dests}
    read = {wire: wire.bitmask for wire in wires}
    places = {place: wire for wire, place in order.items()}
    pending = [-order[wire] for wire in read if wire in order]
    heapify(pending)
    while pending:
        wire = places[-heappop(pending)]
        for argument, mask in _operand_bits(driver[wire], read[wire]):
            if argument in order and argument not in read:
                heappush(pending, -order[argument])
            read[argument] = read.get(argument, 0) | mask
    return read


def _operand_bits(net: Any, mask: int) -> Iterator[tuple[Any, int]]:
    """The bits of a net's operands that the bits of its result in a mask depend on."""
    if net.op == "s":
        yield net.args[0], sum({1 << bit for place, bit in enumerate(net.op_param) if mask >> place & 1})
    elif net.op == "c":
        for argument in reversed(net.args):
            yield argument, mask & argument.bitmask
            mask >>= len(argument)
    elif net.op == "x":
        yield net.args[0], 1
        yield from ((argument, mask) for argument in net.args[1:])
    else:
        for argument in net.args:
            yield argument, mask if net.op in "w~&|^n" else argument.bitmask


def _outputs(verdicts: Mapping[str, Sequence[Any]]) -> None:
    for name, claims in verdicts.items():
        wires = [WIRE_LOGIC.all([claim]).wire for claim in claims] or [pyrtl.Const(1, 1)]
        output = pyrtl.Output(len(wires), name)
        output <<= pyrtl.concat_list(wires)
