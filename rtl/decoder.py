"""Level 1's decoder, derived from the layouts of `isa`: it accepts exactly the words that `isa.encoding` accepts."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector

from isa.instructions import (
    INSTRUCTIONS,
    OPCODE_BITS,
    WORD_BITS,
    Call,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Return,
)
from rtl.hierarchy import hardware
from rtl.sizes import any_of


@dataclass(frozen=True)
class Decoded:
    """What level 1 needs to know of a word; 1 bit each unless a width is given."""

    is_legal: WireVector
    is_end: WireVector
    is_call: WireVector
    is_return: WireVector
    engine: tuple[WireVector, WireVector, WireVector]
    """A core instruction for load, compute, save."""
    virtual_core: WireVector
    """6 bits."""
    barriers: WireVector
    """16 bits, of END."""
    target: WireVector
    """28 bits, of CALL."""


@hardware()
def decoder(word: WireVector) -> Decoded:
    """Decode one 128-bit word. Illegal words are legal in no class: all other bits but the fields are 0 then."""
    opcode = word[:OPCODE_BITS]

    def matches(kind: type[Instruction]) -> WireVector:
        is_opcode = opcode == kind.opcode
        used = kind.used_bits()
        return is_opcode & (word[used:] == 0) if used < WORD_BITS else is_opcode

    legal = {kind: matches(kind) for kind in INSTRUCTIONS}

    def field(kind: type[Instruction], name: str) -> WireVector:
        layout = kind.field_layout(name)
        return word[layout.offset : layout.offset + layout.width]

    def engine(which: Engine) -> WireVector:
        members = [wire for kind, wire in legal.items() if kind.engine() == which]
        return any_of(members) if members else Const(0, 1)

    return Decoded(
        is_legal=any_of(list(legal.values())),
        is_end=legal[End],
        is_call=legal[Call],
        is_return=legal[Return],
        engine=(engine(Engine.LOAD), engine(Engine.COMPUTE), engine(Engine.SAVE)),
        virtual_core=field(CoreInstruction, "core"),
        barriers=field(End, "barriers"),
        target=field(Call, "address"),
    )
