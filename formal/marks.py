"""Marks that travel with data: a shadow of the data path, derived from the netlist under proof itself.

Every wire that data take gets one ghost bit. A register or memory keeps the mark of what was written to it, a
multiplexer passes the mark of the arm that it selects, and any other operation marks its result when any of its
operands is marked. Since the shadow is built from the nets as they are, a wrong multiplexer or a wrong address moves
the mark exactly as it moves the data. Selecting, addressing and enabling carry no mark: a mark says where data come
from, not what decided to send them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyrtl
from pyrtl import Const, LogicNet, MemBlock, Register, WireVector, select


def follow_marks(sinks: Sequence[WireVector], sources: Mapping[WireVector, WireVector]) -> dict[WireVector, WireVector]:
    """Build the shadow in the working block, backwards from `sinks`; returns the mark of every wire on the way.

    Args:
        sinks: where marks are wanted.
        sources: wires whose mark is given (1 bit each). Constants are not marked; any other wire that no net drives
            is marked, so that data of unknown origin never pass for clean.

    A register `r` gets the ghost `r_mark` (0 after reset: reset values are constants), a memory `m` the ghost memory
    `m_mark`.
    """
    shadow = _Shadow(pyrtl.working_block(), sources)
    for sink in sinks:
        shadow.build(sink)
    return shadow.marks


class _Shadow:
    def __init__(self, block: pyrtl.Block, sources: Mapping[WireVector, WireVector]) -> None:
        nets = list(block.logic)
        self.marks: dict[WireVector, WireVector] = dict(sources)
        self._drivers: dict[WireVector, LogicNet] = {dest: net for net in nets for dest in net.dests}
        self._writes: dict[str, list[LogicNet]] = {}
        for net in nets:
            if net.op == "@":
                self._writes.setdefault(net.op_param[1].name, []).append(net)
        self._memories: dict[str, MemBlock] = {}
        self._later: list[tuple[Register, WireVector]] = []

    def build(self, sink: WireVector) -> None:
        """Marks of everything that `sink` gets data from, registers closing the loops."""
        self._mark(sink)
        while self._later:
            register, data = self._later.pop()
            register.next <<= self._mark(data)

    def _mark(self, wanted: WireVector) -> WireVector:
        pending = [wanted]
        while pending:
            wire = pending[-1]
            if wire in self.marks:
                pending.pop()
                continue
            net = self._drivers.get(wire)
            if net is None:
                self.marks[wire] = Const(0 if isinstance(wire, Const) else 1, 1)
            elif net.op == "r":
                register = Register(1, f"{wire.name}_mark", reset_value=0)
                self.marks[wire] = register
                self._later.append((register, net.args[0]))
            elif net.op == "m":
                self.marks[wire] = self._memory(net.op_param[1])[net.args[0]]
            else:
                data = net.args[1:] if net.op == "x" else net.args
                missing = [argument for argument in data if argument not in self.marks]
                if missing:
                    pending += missing
                    continue
                self.marks[wire] = self._combined(net, data)
        return self.marks[wanted]

    def _combined(self, net: LogicNet, data: Sequence[WireVector]) -> WireVector:
        marks = [self.marks[argument] for argument in data]
        if net.op == "x":
            return select(net.args[0], marks[1], marks[0])
        result = marks[0]
        for mark in marks[1:]:
            result = result | mark
        return result

    def _memory(self, memory: MemBlock) -> MemBlock:
        if memory.name not in self._memories:
            shadow = MemBlock(1, memory.addrwidth, f"{memory.name}_mark", asynchronous=True, max_read_ports=None)
            self._memories[memory.name] = shadow
            for net in self._writes.get(memory.name, ()):
                address, data, enable = net.args
                shadow[address] <<= MemBlock.EnabledWrite(self._mark(data), enable)
        return self._memories[memory.name]
