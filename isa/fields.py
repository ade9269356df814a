"""How an instruction or a register declares its fields: one typed line each, read only through a layout.

A field's *value* is what a program means; its *stored* bits are `value - minimum` (so that a count of 1..4096
takes 12 bits and every bit pattern is legal), or two's complement where the field is signed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FieldLayout:
    """Where one field lives in a word and how its bits become a value.

    `offset` and `width` are bits, offset 0 being the least significant bit of the word.
    """

    name: str
    offset: int
    width: int
    minimum: int
    signed: bool
    meaning: str

    @property
    def lowest(self) -> int:
        """Smallest value that the field can hold."""
        return -(1 << (self.width - 1)) if self.signed else self.minimum

    @property
    def highest(self) -> int:
        """Largest value that the field can hold."""
        return (1 << (self.width - 1)) - 1 if self.signed else self.minimum + (1 << self.width) - 1

    def store(self, value: int) -> int:
        """Value to bits, in place in the word. Raises ValueError, naming the field, when it does not fit."""
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"{self.name} = {value} does not fit {self.lowest}..{self.highest}")
        return ((value - self.minimum) & ((1 << self.width) - 1)) << self.offset

    def load(self, word: int) -> int:
        """Bits of a word to the field's value."""
        raw = (word >> self.offset) & ((1 << self.width) - 1)
        if self.signed and raw >> (self.width - 1):
            raw -= 1 << self.width
        return raw + self.minimum


def unsigned(width: int, meaning: str) -> Any:
    """Declare an unsigned field of `width` bits; its default is 0."""
    return _declare(width, meaning, minimum=0, signed=False)


def count(width: int, meaning: str) -> Any:
    """Declare a field for the counts 1..2**width; its default is 1."""
    return _declare(width, meaning, minimum=1, signed=False)


def signed(width: int, meaning: str) -> Any:
    """Declare a two's complement field of `width` bits; its default is 0."""
    return _declare(width, meaning, minimum=0, signed=True)


def flag(meaning: str) -> Any:
    """Declare a one-bit field; its default is 0."""
    return _declare(1, meaning, minimum=0, signed=False)


def _declare(width: int, meaning: str, *, minimum: int, signed: bool) -> Any:
    metadata = {"width": width, "meaning": meaning, "minimum": minimum, "signed": signed}
    return dataclasses.field(default=minimum, metadata=metadata)


def layout_of(declaring: type, first_offset: int, word_bits: int) -> tuple[FieldLayout, ...]:
    """Place the declared fields of a dataclass one after another, from bit `first_offset` upwards.

    Raises ValueError when they do not fit a word of `word_bits` bits.
    """
    placed: list[FieldLayout] = []
    offset = first_offset
    for declared in dataclasses.fields(declaring):
        width = declared.metadata["width"]
        placed.append(
            FieldLayout(
                declared.name,
                offset,
                width,
                declared.metadata["minimum"],
                declared.metadata["signed"],
                declared.metadata["meaning"],
            )
        )
        offset += width
    if offset > word_bits:
        raise ValueError(f"{declaring.__name__} needs {offset} bits, a word has {word_bits}")
    return tuple(placed)
