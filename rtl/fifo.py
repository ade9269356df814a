"""First in, first out: a queue in a memory, and addresses in flight that can be searched."""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import MemBlock, Register, WireVector, select

from rtl.sizes import any_of, named, register


def power_of_two(count: int) -> int:
    """The smallest power of two that is at least `count`, and at least 2."""
    return max(2, 1 << (count - 1).bit_length())


@dataclass(frozen=True)
class Queue:
    """The oldest entry, in registers; `head` means something while `valid` is 1."""

    valid: Register
    head: Register
    is_empty: WireVector
    """Nothing at the head, nor on its way there."""


def queue(name: str, bits: int, least_depth: int, push: WireVector, data: WireVector, pop: WireVector) -> Queue:
    """A queue of at least `least_depth` entries of `bits` bits; whoever pushes knows that there is room.

    An entry pushed at t is at the head at t + 2 at the earliest. The memory is read into a register, so it can be
    block RAM; it is never read at a word that is being written.
    """
    depth = power_of_two(least_depth)
    pointer_bits = depth.bit_length()  # one more than an address has: equal pointers mean empty
    memory = MemBlock(bits, pointer_bits - 1, f"{name}_memory", max_read_ports=1, max_write_ports=1, asynchronous=True)
    valid, head = register(f"{name}_valid", 1), register(f"{name}_head", bits)
    first, end = register(f"{name}_first", pointer_bits), register(f"{name}_end", pointer_bits)
    pops = named(f"{name}_pops", pop)
    loads = (first != end) & (~valid | pops)
    memory[end[:-1]] <<= MemBlock.EnabledWrite(data, push)
    end.next <<= (end + push)[:pointer_bits]
    first.next <<= (first + loads)[:pointer_bits]
    head.next <<= select(loads, memory[first[:-1]], head)
    valid.next <<= loads | (valid & ~pops)
    return Queue(valid, head, ~valid & (first == end))


@dataclass(frozen=True)
class InFlight:
    """Addresses that have been sent and not yet been answered."""

    is_any: WireVector
    matches: WireVector
    """One of them equals the address that was asked for."""


def in_flight(
    name: str, depth: int, address: WireVector, insert: WireVector, retire: WireVector, asked: WireVector
) -> InFlight:
    """At most `depth` (a power of two) addresses, which retire in the order of their insertion."""
    index_bits = depth.bit_length() - 1
    youngest, oldest = register(f"{name}_youngest", index_bits), register(f"{name}_oldest", index_bits)
    youngest.next <<= (youngest + insert)[:index_bits]
    oldest.next <<= (oldest + retire)[:index_bits]
    used, matching = [], []
    for index in range(depth):
        here, is_used = register(f"{name}{index}_address", len(address)), register(f"{name}{index}_used", 1)
        inserts, retires = insert & (youngest == index), retire & (oldest == index)
        here.next <<= select(inserts, address, here)
        is_used.next <<= inserts | (is_used & ~retires)
        used.append(is_used)
        matching.append(is_used & (here == asked))
    return InFlight(any_of(used), named(f"{name}_matches", any_of(matching)))


def shifted(name: str, length: int, value: WireVector, enable: WireVector) -> WireVector:
    """The bit `value` as it was `length` cycles of `enable` ago."""
    line = register(name, length)
    line.next <<= select(enable, pyrtl.concat(line[:-1], value) if length > 1 else value, line)
    return line[-1]
