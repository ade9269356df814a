"""Claims as PyRTL wires: the third logic that they are evaluated over, which the second engine starts from.

Nothing here knows Z3. A claim built over this logic becomes gates of the same netlist that it speaks about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pyrtl


class Word:
    """A wire that claims can compare; unlike a PyRTL wire it does nothing else, so that no claim means two things."""

    __slots__ = ("wire",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, wire: Any) -> None:
        self.wire = wire

    def __eq__(self, other: object) -> Any:
        return equal_words(self, other)

    def __ne__(self, other: object) -> Any:
        return Word(~equal_words(self, other).wire)

    def __bool__(self) -> bool:
        raise TypeError("the value of a wire is not known; use the logic's connectives")


def equal_words(left: object, right: object) -> Word:
    """Equality of numbers, the narrower zero-extended."""
    first, second = _matched(left, right)
    return Word(first == second)


def _wire(value: object) -> Any:
    if isinstance(value, Word):
        return value.wire
    if isinstance(value, bool | int):
        number = int(value)
        return pyrtl.Const(number, max(1, number.bit_length()))
    raise TypeError(f"{value!r} is no value of a claim")


def _matched(left: object, right: object) -> tuple[Any, Any]:
    first, second = _wire(left), _wire(right)
    bits = max(len(first), len(second))
    return first.zero_extended(bits), second.zero_extended(bits)


class WireLogic:
    """Claims as one-bit wires of the working block; see `formal.logic.Logic`."""

    def all(self, claims: Iterable[Any]) -> Word:
        """Conjunction, as a balanced tree."""
        return self._tree([_wire(claim) for claim in claims], 1)

    def any(self, claims: Iterable[Any]) -> Word:
        """Disjunction, as a balanced tree."""
        return self._tree([_wire(claim) for claim in claims], 0)

    def negate(self, claim: Any) -> Word:
        """Negation."""
        return Word(~_wire(claim))

    def implies(self, condition: Any, claim: Any) -> Word:
        """Implication."""
        return Word(~_wire(condition) | _wire(claim))

    def less(self, left: Any, right: Any) -> Word:
        """Unsigned left < right."""
        first, second = _matched(left, right)
        return Word(first < second)

    def at_most(self, left: Any, right: Any) -> Word:
        """Unsigned left <= right."""
        first, second = _matched(left, right)
        return Word(first <= second)

    def equal(self, left: Any, right: Any) -> Word:
        """Equality of numbers; memories compare word by word."""
        if isinstance(left, Sequence):
            return self.all(self.equal(a, b) for a, b in zip(left, right, strict=True))
        return equal_words(left, right)

    def choose(self, condition: Any, accepted: Any, rejected: Any) -> Word:
        """`accepted` where the condition holds, else `rejected`."""
        first, second = _matched(accepted, rejected)
        return Word(pyrtl.select(_wire(condition), first, second))

    def plus(self, left: Any, right: Any, bits: int) -> Word:
        """Sum modulo 2**bits."""
        first, second = (self._sized(value, bits) for value in (left, right))
        return Word((first + second).truncate(bits))

    def minus(self, left: Any, right: Any, bits: int) -> Word:
        """Difference modulo 2**bits."""
        first, second = (self._sized(value, bits) for value in (left, right))
        return Word((first - second).truncate(bits))

    def field(self, value: Any, high: int, low: int) -> Word:
        """Bits `high` down to `low`."""
        return Word(_wire(value)[low : high + 1])

    @staticmethod
    def _sized(value: Any, bits: int) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            value %= 1 << bits
        wire = _wire(value)
        return wire.zero_extended(bits) if len(wire) < bits else wire.truncate(bits)

    @staticmethod
    def _tree(wires: list[Any], conjunction: int) -> Word:
        if not wires:
            return Word(pyrtl.Const(conjunction, 1))
        while len(wires) > 1:
            pairs = zip(wires[::2], wires[1::2], strict=False)
            rest = [wires[-1]] if len(wires) % 2 else []
            wires = [a & b if conjunction else a | b for a, b in pairs] + rest
        return Word(wires[0])


WIRE_LOGIC = WireLogic()
