"""Lemmas that are read off the netlist, by search and constant propagation, at every size: L0, L1, L3 and L4.

Each function returns what contradicts the lemma, in words; nothing means that it holds.

L0  No combinational path leads through a core: every output of the core is a register.
L1  The control plane depends on itself, the host's inputs and reset, and on nothing else.
L3  A core is a function of its state and its inputs. Each memory has one write port and one read port; and when they
    meet at a word, nothing depends on what is read, so that no memory, however it is made, can answer with a choice of
    its own. (Combinational loops and undriven wires are refused when the netlist is read.)
L4  While `scrub` is 1 a core, in whatever state and whatever else its inputs are, loads 0 into every register, pipeline
    and memory output registers included, from the second such cycle on. In each cycle of `scrub` in which all registers
    are 0, so in all but the first two of a sweep, it writes 0 at `scrub_address` (modulo the depth) of every memory; of
    memories with as many words as the sweep has addresses in these two, too. No memory has more; the others have half
    as many or less, two at least; and the addresses are 0, 1, 2, ...: so each word is written with 0, and after its
    last write that is not of 0. A sweep leaves nothing but zeros. From there a core stays: as long as no instruction
    comes, whatever else comes, every register stays 0, and every word of memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyrtl
import z3

from formal.algebra import Z3Algebra
from formal.host_automaton import HOST_INPUTS
from formal.problem import closed_under_dependence
from formal.relations import CONTROL_PLANE
from formal.transition import INTEGERS, Evaluation, Net, TransitionSystem
from isa.configuration import PoolConfig
from rtl.core import core
from rtl.core_ports import core_ports


def core_block(config: PoolConfig, block: pyrtl.Block | None = None) -> pyrtl.Block:
    """The netlist of one real core, with Inputs and Outputs named like its ports; built in `block`, if one is given."""
    previous = pyrtl.working_block()
    block = pyrtl.Block() if block is None else block
    pyrtl.set_working_block(block)
    try:
        outputs = core(config, {port: pyrtl.Input(bits, port) for port, bits in core_ports(config).inputs.items()})
        for port, wire in outputs.items():
            shown = pyrtl.Output(len(wire), f"{port}_o")
            shown <<= wire
    finally:
        pyrtl.set_working_block(previous)
    return block


def clearing_registers(block: pyrtl.Block) -> dict[str, int]:
    """The registers of a core's netlist that clear all others, and their reset values: those that have one."""
    resets = {str(each.name): each.reset_value for each in block.wirevector_subset(pyrtl.Register)}
    return {name: int(value) for name, value in sorted(resets.items()) if value is not None}


def combinational_paths(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """L0 of a core's netlist: its outputs that are not registers."""
    system = TransitionSystem(block)
    found = []
    for port in core_ports(config).outputs:
        name = _origin(system, f"{port}_o")
        if name not in system.registers:
            found.append(f"output {port} is not a register but depends on {name} in the same cycle")
    return found


def control_plane_leaks(block: pyrtl.Block) -> list[str]:
    """L1 of the shell's netlist: control plane registers that something else can influence."""
    system = TransitionSystem(block)
    members = frozenset(name for name in system.registers if CONTROL_PLANE.fullmatch(name))
    closed = closed_under_dependence(system, members | set(HOST_INPUTS))
    found = []
    for name in sorted(members - closed):
        causes = sorted(set(system.support_names(system.next_support(name))) - closed - {name})
        found.append(f"{name} depends on {', '.join(causes[:5])}")
    return found


def collisions(block: pyrtl.Block) -> list[str]:
    """L3 of a core's netlist: memories whose answer is left to how they are made."""
    reads: dict[str, list[Net]] = {}
    for net in TransitionSystem(block).nets:
        if net.operation == "m":
            reads.setdefault(net.parameter, []).append(net)
    system = TransitionSystem(block, cuts=[net.destination for nets in reads.values() for net in nets])
    algebra = Z3Algebra()
    state, inputs = system.state_variables(algebra, "state/"), system.input_variables(algebra, "")
    cycle = Evaluation(system, algebra, state, inputs)
    found = []
    for name in sorted(system.memories):
        ports = len(system.writes(name)), len(reads.get(name, ()))
        if ports != (1, 1):
            found.append(f"memory {name} has {ports[0]} write ports and {ports[1]} read ports")
            continue
        (read,), (write,) = reads[name], system.writes(name)
        word = read.destination
        other = Evaluation(system, algebra, state, {**inputs, word: algebra.variable(f"{word}'", system.widths[word])})
        place, _, enable = (cycle[argument] for argument in write.arguments)
        solver = z3.SolverFor("QF_AUFBV")
        solver.add(enable == 1, place == cycle[read.arguments[0]])
        solver.add(z3.Or([cycle.next(reader) != other.next(reader) for reader in _readers(system, word)]))
        if solver.check() != z3.unsat:
            found.append(f"memory {name} can be read where it is being written, and the word is used")
    return found


def _readers(system: TransitionSystem, wire: str) -> list[str]:
    """Registers and memories whose next value depends on an input."""
    bit = system.support(wire)
    return [name for name in (*system.registers, *system.memories) if system.next_support(name) & bit]


def left_by_scrub(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """L4 of a core's netlist, the sweep: registers and memories that it may leave dirty."""
    system = TransitionSystem(block)
    values = _reset_values(system)
    first = _Constants(system, {"scrub": 1})
    second = _Constants(system, {"scrub": 1, **_at_reset(system, first)})
    third = _Constants(system, {"scrub": 1, **_at_reset(system, second)})
    later = _Constants(system, {"scrub": 1, **values})
    return [
        *(f"register {name} need not become {value}" for name, value in values.items() if third.next(name) != value),
        *_words_left(config, system, first, later),
    ]


def left_by_reset(block: pyrtl.Block, inputs: Mapping[str, int]) -> list[str]:
    """Registers of a core's netlist that two cycles of reset may leave dirty, though most of them have none.

    In the first cycle those that have one load their reset values; `inputs` are ports that the shell then holds at its
    own. In the second one those make all others 0.
    """
    system = TransitionSystem(block)
    own = {str(each.name) for each in block.wirevector_subset(pyrtl.Register) if each.reset_value is not None}
    values = _reset_values(system)
    second = _Constants(system, {**inputs, **{name: values[name] for name in own}})
    return [
        f"two cycles of reset need not clear register {name}"
        for name, value in values.items()
        if name not in own and second.next(name) != value
    ]


def leaves_reset(block: pyrtl.Block) -> list[str]:
    """L4 of a core's netlist, the time behind it: registers and memories that leave reset without an instruction."""
    system = TransitionSystem(block)
    values = _reset_values(system)
    known = _Constants(system, {"instruction_valid": 0, **values}, memories_are_zero=True)
    after = "can leave reset before an instruction comes"
    found = [f"register {name} {after}" for name, value in values.items() if known.next(name) != value]
    for name in system.memories:
        for port in system.writes(name):
            _, data, enable = port.arguments
            if known[enable] != 0 and known[data] != 0:
                found.append(f"memory {name} {after}")
    return found


def _reset_values(system: TransitionSystem) -> dict[str, int]:
    return {name: reset for name, (_, reset) in system.registers.items()}


def _at_reset(system: TransitionSystem, cycle: _Constants) -> dict[str, int]:
    """Registers that are at reset behind a cycle, and their values."""
    return {name: value for name, value in _reset_values(system).items() if cycle.next(name) == value}


def _words_left(config: PoolConfig, system: TransitionSystem, first: _Constants, later: _Constants) -> Iterator[str]:
    """Memories that a sweep may leave dirty, given what holds in its first cycle and in all later ones."""
    for name, memory in system.memories.items():
        ports = system.writes(name)
        if len(ports) != 1:
            yield f"memory {name} has {len(ports)} write ports"
            continue
        address, data, enable = ports[0].arguments
        words = 1 << memory.address_bits
        for known in (first, later) if words >= config.scrub_cycles else (later,):
            if known[enable] != 1 or known[data] != 0:
                yield f"memory {name} need not write 0 while scrubbed"
            if known.follow(address) != ("scrub_address", tuple(range(memory.address_bits))):
                yield f"memory {name} need not write at scrub_address"
        if words > config.scrub_cycles:
            yield f"memory {name} is deeper than the sweep is long"


def _origin(system: TransitionSystem, name: str) -> str:
    """Where a wire gets its value from, stepping back over plain copies."""
    net = system.driver(name)
    while net is not None and net.operation == "w":
        name = net.arguments[0]
        net = system.driver(name)
    return name


class _Constants:
    """Values of wires that follow from those of some inputs and registers, whatever all others hold."""

    def __init__(self, system: TransitionSystem, inputs: Mapping[str, int], memories_are_zero: bool = False) -> None:
        self._system = system
        self._word = 0 if memories_are_zero else None
        self._values: dict[str, int | None] = dict(inputs)
        for net in system.nets:
            self._values[net.destination] = self._value(net)

    def __getitem__(self, name: str) -> int | None:
        """The value of a wire, or None when it is not determined."""
        value = self._system.constant(name)
        return self._values.get(name) if value is None else value

    def next(self, register: str) -> int | None:
        """The next value of a register, or None when it is not determined."""
        net = self._system.driver(register)
        assert net is not None
        return self[net.arguments[0]]

    def follow(self, name: str) -> tuple[str, tuple[int, ...]]:
        """The wire that `name` is a copy of, and which of its bits: back over copies, selections and known choices."""
        bits = tuple(range(self._system.widths[name]))
        while True:
            net = self._system.driver(name)
            if net is None or net.operation not in "wsx":
                return name, bits
            if net.operation == "x":
                chosen = self[net.arguments[0]]
                if chosen is None:
                    return name, bits
                name = net.arguments[2 if chosen else 1]
            else:
                if net.operation == "s":
                    bits = tuple(net.parameter[bit] for bit in bits)
                name = net.arguments[0]

    def _value(self, net: Net) -> int | None:
        system = self._system
        mask = (1 << system.widths[net.destination]) - 1
        values = [self[argument] for argument in net.arguments]
        if net.operation == "x":
            if values[0] is not None:
                return values[2] if values[0] else values[1]
            return values[1] if values[1] == values[2] else None
        if net.operation == "&" and 0 in values:
            return 0
        if net.operation == "|" and mask in values:
            return mask
        known = [value for value in values if value is not None]
        if net.operation == "m":
            return self._word
        if len(known) < len(values):
            return None
        widths = [system.widths[argument] for argument in net.arguments]
        result: int = INTEGERS.operate(net.operation, net.parameter, known, widths, system.widths[net.destination])
        return result
