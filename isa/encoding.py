"""Instructions to 128-bit words and back; the only place that knows what makes a word illegal."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isa.instructions import INSTRUCTIONS, OPCODE_BITS, WORD_BITS, WORD_BYTES, Instruction

_BY_OPCODE: dict[int, type[Instruction]] = {instruction.opcode: instruction for instruction in INSTRUCTIONS}

_TABLES = {
    kind: tuple(
        (field.name, field.lowest, field.highest, field.minimum, (1 << field.width) - 1, field.offset)
        for field in kind.layout()
    )
    for kind in INSTRUCTIONS
}
"""What FieldLayout.store computes with, for all fields of an instruction: millions of words are encoded."""


class IllegalInstruction(ValueError):
    """A word that is no instruction: unknown opcode or reserved bits that are not zero."""


def encode(instruction: Instruction) -> int:
    """Instruction to word. Raises ValueError, naming instruction and field, for a value that does not fit."""
    values = instruction.__dict__
    word = instruction.opcode
    for name, lowest, highest, minimum, mask, offset in _TABLES[type(instruction)]:
        value = values[name]
        if not lowest <= value <= highest:
            raise ValueError(f"{type(instruction).__name__}: {name} = {value} does not fit {lowest}..{highest}")
        word |= ((value - minimum) & mask) << offset
    return word


def decode(word: int) -> Instruction:
    """Word to instruction. Raises IllegalInstruction for every word that `encode` cannot produce."""
    opcode = word & ((1 << OPCODE_BITS) - 1)
    kind = _BY_OPCODE.get(opcode)
    if kind is None:
        raise IllegalInstruction(f"opcode {opcode:#04x} of word {word:#034x} is unknown")
    if not 0 <= word < 1 << WORD_BITS or word >> kind.used_bits():
        raise IllegalInstruction(f"reserved bits of word {word:#034x} ({kind.__name__}) are not zero")
    return kind(**{field.name: field.load(word) for field in kind.layout()})


def encode_program(instructions: Iterable[Instruction]) -> bytes:
    """Instructions to the bytes that lie in memory, 16 bytes each, least significant byte first."""
    return b"".join(encode(instruction).to_bytes(WORD_BYTES, "little") for instruction in instructions)


def decode_program(program: bytes | NDArray[np.uint8]) -> list[Instruction]:
    """Bytes to instructions. Raises ValueError unless the length is a multiple of 16."""
    raw = bytes(program)
    if len(raw) % WORD_BYTES:
        raise ValueError(f"a program is a multiple of {WORD_BYTES} bytes, this one has {len(raw)}")
    words = (raw[start : start + WORD_BYTES] for start in range(0, len(raw), WORD_BYTES))
    return [decode(int.from_bytes(word, "little")) for word in words]
