"""A PyRTL block as a transition system that can be evaluated over any `Algebra`.

The system is named by strings only, so that terms, models, simulation and traces share one vocabulary. Nothing is
optimised or abstracted on the way, except what the caller asks for: a cone of influence (`roots`) and wires or
memories made free (`cuts`), which is sound for safety because a free value takes every value the wire could.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyrtl

from formal.algebra import Algebra, IntegerAlgebra, Term, Z3Algebra

State = dict[str, Any]  # register name -> term, memory name -> memory
INTEGERS = IntegerAlgebra()


@dataclass(frozen=True, slots=True)
class Net:
    """One operation of the netlist; `parameter` is the bit list of a select or the memory of a port.

    A memory write has no destination: its `destination` is the empty string.
    """

    operation: str
    parameter: Any
    arguments: tuple[str, ...]
    destination: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Shape of a memory; `contents` is None for one that can be written."""

    address_bits: int
    bits: int
    contents: tuple[int, ...] | None = None


class TransitionSystem:
    """Registers, memories, inputs and nets of one clock domain.

    Attributes:
        registers: name -> (bits, reset value). A register without reset value starts at 0, as in PyRTL.
        memories: name -> shape, ROMs excluded. `roms` holds those.
        inputs: name -> bits; cut wires are inputs too.
        widths: name -> bits of every wire in the system.
        block: the netlist it was made from.
    """

    def __init__(self, block: pyrtl.Block, roots: Iterable[str] | None = None, cuts: Iterable[str] = ()) -> None:
        """Translate `block`.

        Args:
            block: the netlist; it is read, never changed.
            roots: names of wires, registers or memories; only what can influence them is kept. None keeps all.
            cuts: names of wires, registers or memories to make free: a wire takes any value in any cycle, and so
                does whatever is read from a cut memory.

        Raises:
            ValueError: for an unknown name, or one that a wire and a memory share.
        """
        self.block = block
        cut_names = set(cuts)
        self.widths = {wire.name: len(wire) for wire in block.wirevector_set}
        self._constants = {w.name: int(w.val) for w in block.wirevector_subset(pyrtl.Const)}
        memories = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
        shared = set(memories) & set(self.widths)
        if shared:
            raise ValueError(f"a wire and a memory are both called {min(shared)}")
        unknown = (cut_names | set(roots or ())) - set(memories) - set(self.widths)
        if unknown:
            raise ValueError(f"no wire or memory is called {min(unknown)}")
        self._driver: dict[str, Net] = {}
        self._writes: dict[str, list[Net]] = {}
        cut_wires = {name for name in cut_names if name in self.widths}
        for pyrtl_net in block.logic:
            net = _translate(pyrtl_net)
            if net.operation == "@":
                if net.parameter not in cut_names:
                    self._writes.setdefault(net.parameter, []).append(net)
            elif net.operation == "m" and net.parameter in cut_names:
                cut_wires.add(net.destination)
            elif net.destination not in cut_wires:
                self._driver[net.destination] = net
        for name in cut_wires:
            self._driver.pop(name, None)
        for writes in self._writes.values():  # PyRTL leaves the order of colliding writes open; fix one
            writes.sort(key=lambda net: net.arguments)
        registers = {w.name: (len(w), w.reset_value or 0) for w in block.wirevector_subset(pyrtl.Register)}
        inputs = {w.name for w in block.wirevector_subset(pyrtl.Input)} | cut_wires
        wanted = sorted(roots) if roots is not None else sorted({*registers, *self._driver, *self._writes})
        reached = self._reach(wanted)
        self.registers = {
            name: registers[name] for name in sorted(registers) if name in reached and name not in cut_wires
        }
        self.inputs = {name: self.widths[name] for name in sorted(inputs) if name in reached or roots is None}
        self.memories: dict[str, Memory] = {}
        self.roms: dict[str, Memory] = {}
        for name in sorted(memories):
            if name in reached and name not in cut_names:
                memory = memories[name]
                rom = isinstance(memory, pyrtl.RomBlock)
                words = tuple(memory._get_read_data(i) for i in range(1 << memory.addrwidth)) if rom else None
                table = self.roms if rom else self.memories
                table[name] = Memory(memory.addrwidth, memory.bitwidth, words)
        self.nets = tuple(self._ordered(reached))
        self.leaves = (*self.registers, *self.memories, *self.inputs)
        self._bit = {name: 1 << index for index, name in enumerate(self.leaves)}
        self.input_mask = sum(self._bit[name] for name in self.inputs)
        self._supports: dict[str, int] = {}

    def _reach(self, wanted: Sequence[str]) -> set[str]:
        """Names in the cone of influence, through registers and memories."""
        reached: set[str] = set()
        pending = list(wanted)
        while pending:
            name = pending.pop()
            if name in reached:
                continue
            reached.add(name)
            for write in self._writes.get(name, ()):
                pending += write.arguments
            net = self._driver.get(name)
            if net is not None:
                pending += net.arguments
                if net.operation == "m":
                    pending.append(net.parameter)
        return reached

    def _ordered(self, reached: set[str]) -> Iterator[Net]:
        """Combinational nets of `reached`, arguments before results.

        Raises:
            ValueError: when a combinational loop makes that impossible.
        """
        done: set[str] = set()
        for root in sorted(reached):
            pending = [root]
            open_names: set[str] = set()
            while pending:
                name = pending[-1]
                net = self._driver.get(name)
                if name in done or net is None or net.operation == "r":
                    done.add(pending.pop())
                    continue
                missing = [argument for argument in net.arguments if argument not in done]
                if not missing:
                    yield net
                    done.add(pending.pop())
                elif name in open_names:  # met again above itself on the stack: its own ancestor
                    raise ValueError(f"combinational loop through {name}")
                else:
                    open_names.add(name)
                    pending += missing

    def driver(self, name: str) -> Net | None:
        """The net that drives wire or register `name`, or None for an input or constant."""
        return self._driver.get(name)

    def writes(self, memory: str) -> Sequence[Net]:
        """Write ports of `memory` in the order in which they take effect (the last one wins)."""
        return self._writes.get(memory, ())

    def constant(self, name: str) -> int | None:
        """Value of a constant wire, or None for any other."""
        return self._constants.get(name)

    def support(self, name: str) -> int:
        """Bit set over `leaves`: registers, memories and inputs that wire, register or memory `name` depends on.

        Raises:
            KeyError: when the system has no such name.
        """
        if name in self._bit:
            return self._bit[name]
        if not self._supports:
            for net in self.nets:
                total = self._bit.get(net.parameter, 0) if net.operation == "m" else 0
                for argument in net.arguments:
                    total |= self._bit.get(argument) or self._supports.get(argument, 0)
                self._supports[net.destination] = total
        if name in self._constants:
            return 0
        return self._supports[name]

    def next_support(self, name: str) -> int:
        """Like `support`, for the next value of register or memory `name`."""
        if name in self.memories:
            total = self._bit[name]
            for write in self.writes(name):
                for argument in write.arguments:
                    total |= self.support(argument)
            return total
        net = self._driver[name]
        return self.support(net.arguments[0])

    def support_names(self, support: int) -> list[str]:
        """The leaves in a bit set made by `support` or `next_support`."""
        return [name for name in self.leaves if self._bit[name] & support]

    def reset_state(self, algebra: Algebra = INTEGERS, fill: Callable[[str, Memory], Any] | None = None) -> State:
        """State after reset: registers hold their reset values.

        Args:
            algebra: the values to use.
            fill: contents of a memory as a function of its name and shape; None means zero. Block RAM survives
                a reset, so a claim that must hold on a warm device passes free variables here.
        """
        state: State = {name: algebra.constant(reset, bits) for name, (bits, reset) in self.registers.items()}
        for name, memory in self.memories.items():
            zeros = [0] * (1 << memory.address_bits)
            state[name] = algebra.words(zeros, memory.bits) if fill is None else fill(name, memory)
        return state

    def state_variables(self, algebra: Z3Algebra, prefix: str) -> State:
        """A completely free state whose variables are called `prefix` + name."""
        state: State = {n: algebra.variable(prefix + n, bits) for n, (bits, _) in self.registers.items()}
        for name, memory in self.memories.items():
            state[name] = algebra.memory_variable(prefix + name, memory.address_bits, memory.bits)
        return state

    def input_variables(self, algebra: Z3Algebra, prefix: str) -> dict[str, Term]:
        """Free inputs whose variables are called `prefix` + name."""
        return {name: algebra.variable(prefix + name, bits) for name, bits in self.inputs.items()}

    def step(self, algebra: Algebra, state: Mapping[str, Any], inputs: Mapping[str, Term]) -> tuple[Evaluation, State]:
        """One clock cycle: the evaluation (all wires, by name) and the complete next state."""
        cycle = Evaluation(self, algebra, state, inputs)
        return cycle, {name: cycle.next(name) for name in (*self.registers, *self.memories)}


class Evaluation:
    """One clock cycle, evaluated on demand: only what is asked for is ever built.

    `evaluation[name]` is a wire, register, input or memory during the cycle, `next(name)` a register or memory
    after it. A `state` that is itself lazy gives a lazy chain of cycles.
    """

    def __init__(
        self, system: TransitionSystem, algebra: Algebra, state: Mapping[str, Any], inputs: Mapping[str, Term]
    ) -> None:
        self.system, self.algebra, self.state, self.inputs = system, algebra, state, inputs
        self._values: dict[str, Any] = {}
        self._after: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        """Value during the cycle.

        Raises:
            KeyError: when the system has no such name or its cone was not kept.
        """
        pending = [name]
        values = self._values
        while pending:
            wanted = pending[-1]
            if wanted in values:
                pending.pop()
                continue
            net = self.system.driver(wanted)
            if net is None or net.operation == "r":
                values[wanted] = self._leaf(wanted)
                continue
            missing = [argument for argument in net.arguments if argument not in values]
            if missing:
                pending += missing
            else:
                values[wanted] = self._apply(net)
        return values[name]

    def _leaf(self, name: str) -> Any:
        system = self.system
        if name in system.inputs:
            return self.inputs[name]
        value = system.constant(name)
        if value is not None:
            return self.algebra.constant(value, system.widths[name])
        return self.state[name]

    def _apply(self, net: Net) -> Any:
        values, system = self._values, self.system
        if net.operation == "m":
            rom = system.roms.get(net.parameter)
            if rom is not None and rom.contents is not None:
                if net.parameter not in values:
                    values[net.parameter] = self.algebra.words(rom.contents, rom.bits)
                memory = values[net.parameter]
            else:
                memory = self.state[net.parameter]
            return self.algebra.read(memory, values[net.arguments[0]])
        widths = [system.widths[argument] for argument in net.arguments]
        arguments = [values[argument] for argument in net.arguments]
        bits = system.widths[net.destination]
        return self.algebra.operate(net.operation, net.parameter, arguments, widths, bits)

    def next(self, name: str) -> Any:
        """Value of a register or memory after the clock edge."""
        if name not in self._after:
            if name in self.system.memories:
                memory = self.state[name]
                for write in self.system.writes(name):
                    memory = self.algebra.write(memory, *(self[argument] for argument in write.arguments))
                self._after[name] = memory
            else:
                net = self.system.driver(name)
                if net is None or net.operation != "r":
                    raise KeyError(f"{name} is neither register nor memory")
                self._after[name] = self[net.arguments[0]]
        return self._after[name]


class NextState(Mapping[str, Any]):
    """The state after a cycle, evaluated on demand."""

    def __init__(self, cycle: Evaluation) -> None:
        self._cycle = cycle

    def __getitem__(self, name: str) -> Any:
        return self._cycle.next(name)

    def __iter__(self) -> Iterator[str]:
        return iter((*self._cycle.system.registers, *self._cycle.system.memories))

    def __len__(self) -> int:
        return len(self._cycle.system.registers) + len(self._cycle.system.memories)


def _translate(net: pyrtl.LogicNet) -> Net:
    parameter: Any = net.op_param
    if net.op in "m@":
        parameter = net.op_param[1].name
    elif net.op == "s":
        parameter = tuple(net.op_param)
    destination = net.dests[0].name if net.dests else ""
    return Net(net.op, parameter, tuple(wire.name for wire in net.args), destination)
