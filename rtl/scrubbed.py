"""Registers that load 0 and memories that are swept while a core is scrubbed: everything in a core is made here.

While `sweeps` is 1 every memory writes at `scrub_address` (modulo its depth) what the registers make of it; that of a
queue, which is short, does so while `active` is 1. While `active` is 1, the same one cycle later, or two cycles later,
every register loads 0; so from the fourth cycle on what is written is 0. A memory that the sweep comes by only once
writes 0 in the first cycles, too; so after a sweep over all addresses nothing is left of the last tenant. `sweeps` is
the `scrub` port, and every cycle from there to the first instruction: a core sleeps at reset until it gets work,
whatever counts in it. Only the queues, which take that instruction, have `sweeps` for `active`: from registers of the
core many others are reached in a cycle, from the shell through a gate they are not. Those registers alone have a reset;
all others are cleared by them. There are several of each, one for each region of the core: `apart` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce

import pyrtl
from pyrtl import Const, MemBlock, Register, WireVector, select

from rtl.hierarchy import OpenPart


def log2(number: int) -> int:
    """The exponent of a power of two."""
    if number < 1 or number & (number - 1):
        raise ValueError(f"{number} is no power of two")
    return number.bit_length() - 1


def resized(value: WireVector, bits: int) -> WireVector:
    """The low `bits` bits of an unsigned value, or the value with zeros above."""
    return value[:bits] if len(value) > bits else value.zero_extended(bits)


def any_of(values: Iterable[WireVector]) -> WireVector:
    """OR of one-bit wires; 0 if there are none."""
    return reduce(lambda left, right: left | right, values, Const(0, 1))


def drive(wire: WireVector, value: WireVector) -> None:
    """wire <<= value, for a wire that is a field of a frozen dataclass."""
    wire <<= value


class Memory:
    """A memory with one write port and one read port into a register (block RAM), swept while scrubbed.

    A word that is read in the cycle of its write reads 0: what a RAM does then is its maker's choice, so nothing may
    depend on it. In block RAM the 0 is the reset of the output register.
    """

    def __init__(self, scrub: Scrub, bits: int, depth: int, name: str, sweeps: WireVector) -> None:
        self.depth = depth
        self.address_bits = max(1, log2(depth))
        self._scrub = scrub
        self._sweeps = sweeps
        self._name = name
        self._bits = bits
        self._part = OpenPart("memory", name, f"{1 << self.address_bits}x{bits}", Memory)
        self._block = MemBlock(bits, self.address_bits, name, max_read_ports=1, max_write_ports=1, asynchronous=True)
        self._part.learn(words=self._block)
        self._written, self._writes = WireVector(self.address_bits), WireVector(1)
        self.collides: WireVector
        """The word that is read is being written; there as soon as the read port is connected."""

    def write(self, address: WireVector, data: WireVector, enable: WireVector) -> None:
        """Connect the write port; the address is taken modulo the depth."""
        sweeps, sweep_address = self._sweeps, self._scrub.address
        with self._part.inside(
            write_address=address, write_data=data, write_enable=enable, scrub=sweeps, scrub_address=sweep_address
        ):
            self._written <<= resized(address, self.address_bits)
            self._writes <<= enable
            place = select(sweeps, resized(sweep_address, self.address_bits), self._written)
            swept_once = self.depth >= self._scrub.cycles
            word = select(sweeps, Const(0, self._bits), data) if swept_once else data
            self._block[place] <<= MemBlock.EnabledWrite(word, sweeps | enable)

    def word(self, address: WireVector, is_written: WireVector | None = None) -> WireVector:
        """Connect the read port without its register: the caller loads the word into a register at once, with `load`.

        It reads 0 at the address of the write port even if nothing is written: for queues, whose word there is none.
        Of a `queue_memory` only: while that is swept, wherever it is, the caller's register loads 0. `is_written` as of
        `read`, whether or not anything is written.
        """
        if self._sweeps is not self._scrub.active:
            raise ValueError(f"{self._name} is swept in cycles in which registers are not cleared")
        inputs = {} if is_written is None else {"read_is_written": is_written}
        with self._part.inside(read_address=address, **inputs):
            word, _ = self._port(address)
            at_write_port = resized(address, self.address_bits) == self._written if is_written is None else is_written
            data = select(at_write_port, Const(0, self._bits), word)
        self._part.learn(read_data=data)
        return data

    def read(
        self, address: WireVector, enable: WireVector | None = None, is_written: WireVector | None = None
    ) -> Register:
        """Connect the read port: the word, one cycle later. Without `enable` it is read in every cycle; with it the
        register keeps its word in the others. `is_written`: whether the address is that of the write port, from a
        caller who knows that sooner (L3 shows that it is so)."""
        register = self._scrub.register(self._bits, f"{self._name}_data")
        inputs = {"read_enable": enable, "read_is_written": is_written}
        with self._part.inside(
            read_address=address, **{name: wire for name, wire in inputs.items() if wire is not None}
        ):
            word, collides = self._port(address, is_written)
            if enable is not None:
                word, collides = select(enable, word, register), enable & collides
            self._scrub.load(register, word, self._sweeps | collides)
        self._part.learn(read_data=register)
        return register

    def _port(self, address: WireVector, is_written: WireVector | None = None) -> tuple[WireVector, WireVector]:
        """The word at an address, and whether it is being written."""
        place = resized(address, self.address_bits)
        self.collides = WireVector(1, f"{self._name}_collides")
        self.collides <<= self._writes & (place == self._written if is_written is None else is_written)
        return self._block[place], self.collides


class Scrub:
    """Makes the registers and memories of one core."""

    def __init__(
        self,
        active: WireVector,
        address: WireVector,
        cycles: int,
        sweeps: WireVector | None = None,
        made_apart: Callable[[str], WireVector] | None = None,
    ) -> None:
        """`cycles` is the length of a sweep, which begins at address 0; `made_apart` makes `active` again."""
        self.active = active
        self.address = address
        self.cycles = cycles
        self.sweeps = active if sweeps is None else sweeps
        self._made_apart = made_apart

    def apart(self, region: str) -> Scrub:
        """The same, from registers of its own that are placed in that region: else a wire to thousands of registers
        crosses the chip."""
        if self._made_apart is None:
            raise ValueError("this scrub cannot be made again")
        return Scrub(self._made_apart(region), self.address, self.cycles, self.sweeps, self._made_apart)

    def register(self, bits: int, name: str) -> Register:
        """A register for state; connect it with `load`."""
        return Register(bits, name)

    def load(self, register: Register, value: WireVector, clear: WireVector | None = None) -> None:
        """Connect a register's next value, which may be narrower but not wider than the register.

        `clear`: what makes it 0, if that is more than scrubbing.
        """
        if len(value) > len(register):
            raise ValueError(f"{register.name} has {len(register)} bits, its next value {len(value)}")
        zero = Const(0, len(register))
        register.next <<= select(self.active if clear is None else clear, zero, value.zero_extended(len(register)))

    def stage(self, value: WireVector, name: str) -> Register:
        """`value`, one cycle later."""
        register = self.register(len(value), name)
        self.load(register, value)
        return register

    def delay(self, value: WireVector, cycles: int, name: str) -> WireVector:
        """`value`, so many cycles later."""
        for cycle in range(1, cycles + 1):
            value = self.stage(value, f"{name}_{cycle}")
        return value

    def kept(self, value: WireVector, enable: WireVector, name: str, clear: WireVector | None = None) -> Register:
        """The value of the last cycle in which `enable` was 1; 0 if `clear` was 1 then or since."""
        register = self.register(len(value), name)
        self.load(register, select(enable, value, register), None if clear is None else self.active | clear)
        return register

    def memory(self, bits: int, depth: int, name: str) -> Memory:
        """A memory of `depth` words, a power of two."""
        return Memory(self, bits, depth, name, self.sweeps)

    def queue_memory(self, bits: int, depth: int, name: str) -> Memory:
        """A memory with fewer words than a sweep has addresses, so that it need not be swept in the first cycle."""
        return Memory(self, bits, depth, name, self.active)


def signed_fit(value: WireVector, bits: int) -> WireVector:
    """A signed value in `bits` bits: sign-extended, or cut."""
    return value[:bits] if len(value) >= bits else value.sign_extended(bits)


def onehot(value: WireVector, count: int) -> WireVector:
    """Bit i is 1 where value == i, for i below count."""
    return pyrtl.concat_list([value == place for place in range(count)])
