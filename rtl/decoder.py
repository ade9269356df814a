"""Level 1's decoder, derived from the layouts of `isa`: it accepts exactly the words that `isa.encoding` accepts."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import WireVector, concat_list

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
class Opcode:
    """What an opcode alone says of a word, if that is legal; 1 bit each. Known before that is."""

    is_end: WireVector
    is_call: WireVector
    is_return: WireVector
    engine: tuple[WireVector, WireVector, WireVector]
    """A core instruction for load, compute, save."""


@dataclass(frozen=True)
class Decoded:
    """What level 1 needs to know of a word; 1 bit each unless a width is given."""

    is_legal: WireVector
    opcode: Opcode
    virtual_core: WireVector
    """6 bits."""
    barriers: WireVector
    """16 bits, of END."""
    target: WireVector
    """28 bits, of CALL."""


@dataclass(frozen=True)
class Stretch:
    """Bits of a word, `first` to `behind` - 1: 0 in words with these opcodes, whose fields end before."""

    first: int
    behind: int
    opcodes: tuple[int, ...]


def stretches() -> tuple[Stretch, ...]:
    """From the end of the fields of some kind to the next such end: so each bit behind fields is in one of them."""
    ends = sorted({kind.used_bits() for kind in INSTRUCTIONS} - {WORD_BITS})
    return tuple(
        Stretch(first, behind, tuple(kind.opcode for kind in INSTRUCTIONS if kind.used_bits() <= first))
        for first, behind in zip(ends, [*ends[1:], WORD_BITS], strict=True)
    )


MISFIT_BITS = len(stretches())


@hardware()
def misfits(word: WireVector) -> WireVector:
    """What is wrong behind the fields of a word, `MISFIT_BITS` bits: a stretch that should be 0 is not."""
    opcode = word[:OPCODE_BITS]
    return concat_list(
        [
            any_of([opcode == each for each in stretch.opcodes]) & ~(word[stretch.first : stretch.behind] == 0)
            for stretch in stretches()
        ]
    )


@hardware()
def decoder(word: WireVector, misfits: WireVector) -> Decoded:
    """Decode one 128-bit word, whose misfits are known. What `opcode` says of a word holds if that is legal."""
    opcode = word[:OPCODE_BITS]

    def field(kind: type[Instruction], name: str) -> WireVector:
        layout = kind.field_layout(name)
        return word[layout.offset : layout.offset + layout.width]

    of_load, of_compute, of_save = (
        opcode[OPCODE_BITS - 2 :] == int(engine) for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
    )
    of_opcode = Opcode(
        is_end=opcode == End.opcode,
        is_call=opcode == Call.opcode,
        is_return=opcode == Return.opcode,
        engine=(of_load, of_compute, of_save),
    )
    return Decoded(
        is_legal=any_of([opcode == kind.opcode for kind in INSTRUCTIONS]) & (misfits == 0),
        opcode=of_opcode,
        virtual_core=field(CoreInstruction, "core"),
        barriers=field(End, "barriers"),
        target=field(Call, "address"),
    )
