"""The values a netlist can be evaluated over: plain integers (the reference) and Z3 bit-vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import z3

Term = Any  # int or z3 expression; a memory is a list of words or, in Z3, an array


class Algebra(Protocol):
    """Meaning of PyRTL's operations over one kind of value."""

    def constant(self, value: int, bits: int) -> Term:
        """The unsigned number `value` in `bits` bits."""

    def words(self, values: Sequence[int], bits: int) -> Term:
        """A memory with the given contents, one word of `bits` bits per address."""

    def read(self, memory: Term, address: Term) -> Term:
        """The word at `address`."""

    def write(self, memory: Term, address: Term, data: Term, enable: Term) -> Term:
        """`memory` after a write that takes place only when the one-bit `enable` is 1."""

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Term], widths: Sequence[int], bits: int
    ) -> Term:
        """Result, `bits` wide, of a combinational net; `widths` are those of the arguments.

        Raises:
            ValueError: for an operation letter that PyRTL does not define.
        """


class IntegerAlgebra:
    """Reference semantics: unsigned Python integers, memories as lists that are never modified in place."""

    def constant(self, value: int, bits: int) -> int:
        """`value` itself."""
        return value

    def words(self, values: Sequence[int], bits: int) -> list[int]:
        """A list of the values."""
        return list(values)

    def read(self, memory: Sequence[int], address: int) -> int:
        """Element of the list."""
        return memory[address]

    def write(self, memory: list[int], address: int, data: int, enable: int) -> list[int]:
        """A changed copy, or the same list when the write is disabled."""
        if not enable:
            return memory
        changed = list(memory)
        changed[address] = data
        return changed

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[int], widths: Sequence[int], bits: int
    ) -> int:
        """See `Algebra.operate`."""
        mask = (1 << bits) - 1
        first = arguments[0]
        match operation:
            case "w":
                return first
            case "~":
                return ~first & mask
            case "x":
                return arguments[2] if first else arguments[1]
            case "c":
                joined = 0
                for part, width in zip(arguments, widths, strict=True):
                    joined = (joined << width) | part
                return joined
            case "s":
                return sum(((first >> source) & 1) << place for place, source in enumerate(parameter))
        second = arguments[1]
        match operation:
            case "&":
                return first & second
            case "|":
                return first | second
            case "^":
                return first ^ second
            case "n":
                return ~(first & second) & mask
            case "+":
                return (first + second) & mask
            case "-":
                return (first - second) & mask
            case "*":
                return (first * second) & mask
            case "=":
                return int(first == second)
            case "<":
                return int(first < second)
            case ">":
                return int(first > second)
        raise ValueError(f"operation {operation!r} is not one of PyRTL's")


def contiguous_runs(places: Sequence[int]) -> list[tuple[int, int]]:
    """Group the bit numbers of a select into (low, high) runs, so that a slice becomes one extraction."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], place)
        else:
            runs.append((place, place))
    return runs


class Z3Algebra:
    """Z3 bit-vectors. A memory of up to `list_words` words is a list of words, a larger one a Z3 array.

    Lists keep queries in the logic of bit-vectors, which Z3 decides far faster than arrays; beyond some hundred
    words their multiplexers dominate.
    """

    def __init__(self, list_words: int = 256) -> None:
        self.list_words = list_words

    def constant(self, value: int, bits: int) -> Term:
        """A bit-vector numeral."""
        return z3.BitVecVal(value, bits)

    def variable(self, name: str, bits: int) -> Term:
        """A free bit-vector."""
        return z3.BitVec(name, bits)

    def memory_variable(self, name: str, address_bits: int, bits: int) -> Term:
        """A memory of free contents; words of a list are called `name[0]`, `name[1]`, ..."""
        if 1 << address_bits <= self.list_words:
            return [z3.BitVec(f"{name}[{index}]", bits) for index in range(1 << address_bits)]
        return z3.Array(name, z3.BitVecSort(address_bits), z3.BitVecSort(bits))

    def words(self, values: Sequence[int], bits: int) -> Term:
        """A memory of constants, in the same representation as a variable of that size."""
        if len(values) <= self.list_words:
            return [z3.BitVecVal(value, bits) for value in values]
        address_bits = (len(values) - 1).bit_length()
        array = z3.K(z3.BitVecSort(address_bits), z3.BitVecVal(0, bits))
        for index, value in enumerate(values):
            if value:
                array = z3.Store(array, z3.BitVecVal(index, address_bits), z3.BitVecVal(value, bits))
        return array

    def read(self, memory: Term, address: Term) -> Term:
        """A tree of multiplexers over a list, or an array select."""
        if not isinstance(memory, list):
            return z3.Select(memory, address)
        if z3.is_bv_value(address):
            return memory[address.as_long()]
        for place in range(address.size()):
            bit = z3.Extract(place, place, address) == 1
            memory = [
                odd if odd.eq(even) else z3.If(bit, odd, even)
                for even, odd in zip(memory[::2], memory[1::2], strict=True)
            ]
        return memory[0]

    def write(self, memory: Term, address: Term, data: Term, enable: Term) -> Term:
        """Every word guarded by its address, or a guarded array store."""
        if not isinstance(memory, list):
            return z3.If(enable == 1, z3.Store(memory, address, data), memory)
        return [z3.If(z3.And(enable == 1, address == index), data, word) for index, word in enumerate(memory)]

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Term], widths: Sequence[int], bits: int
    ) -> Term:
        """See `Algebra.operate`."""
        first = arguments[0]
        match operation:
            case "w":
                return first
            case "~":
                return ~first
            case "x":
                return z3.If(first == 1, arguments[2], arguments[1])
            case "c":
                return z3.Concat(*arguments) if len(arguments) > 1 else first
            case "s":
                parts = [z3.Extract(high, low, first) for low, high in reversed(contiguous_runs(parameter))]
                return z3.Concat(*parts) if len(parts) > 1 else parts[0]
        second = arguments[1]
        match operation:
            case "&":
                return first & second
            case "|":
                return first | second
            case "^":
                return first ^ second
            case "n":
                return ~(first & second)
            case "+":
                return resize(first, bits) + resize(second, bits)
            case "-":
                return resize(first, bits) - resize(second, bits)
            case "*":
                return resize(first, bits) * resize(second, bits)
            case "=":
                return _bit(first == second)
            case "<":
                return _bit(z3.ULT(first, second))
            case ">":
                return _bit(z3.UGT(first, second))
        raise ValueError(f"operation {operation!r} is not one of PyRTL's")


def resize(term: Term, bits: int) -> Term:
    """`term` zero-extended or truncated to `bits` bits."""
    if term.size() == bits:
        return term
    if term.size() > bits:
        return z3.Extract(bits - 1, 0, term)
    return z3.ZeroExt(bits - term.size(), term)


def _bit(condition: Term) -> Term:
    return z3.If(condition, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1))
