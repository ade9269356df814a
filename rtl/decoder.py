"""Level 1's decoder, derived from the layouts of `isa`: it accepts exactly the words that `isa.encoding` accepts."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector, concat_list, rtl_any

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
    is_jump: WireVector
    """CALL or RETURN."""
    engine: tuple[WireVector, WireVector, WireVector]
    """A core instruction for load, compute, save."""


@dataclass(frozen=True)
class Decoded:
    """What level 1 needs to know of a word; 1 bit each unless a width is given."""

    is_legal: WireVector
    opcode: Opcode
    barriers: WireVector
    """16 bits, of END."""
    target: WireVector
    """28 bits, of CALL."""


@dataclass(frozen=True)
class Trait:
    """A bit that is found in a word before it is decoded: whether its opcode is one of these, or a stretch is not 0."""

    opcodes: tuple[int, ...] = ()
    stretch: tuple[int, int] | None = None
    """First bit, and the one behind the last."""


def _stretches() -> list[tuple[Trait, Trait]]:
    """For each stretch of bits, from the end of the fields of some kind to the next such end, whether the opcode, if
    there is such a one, is of a kind whose fields end before it, so that it has to be 0; and whether it is not."""
    ends = sorted({kind.used_bits() for kind in INSTRUCTIONS} - {WORD_BITS})
    found = []
    for first, behind in zip(ends, [*ends[1:], WORD_BITS], strict=True):
        shorter = {kind.opcode for kind in INSTRUCTIONS if kind.used_bits() <= first}
        longer = {kind.opcode for kind in INSTRUCTIONS} - shorter
        # What is said of an opcode that there is not is free, so it is of the side that has more to be compared with.
        opcodes = shorter if len(shorter) <= len(longer) else set(range(1, 1 << OPCODE_BITS)) - longer
        found.append((Trait(opcodes=tuple(sorted(opcodes))), Trait(stretch=(first, behind))))
    return found


_KNOWN = Trait(opcodes=tuple(kind.opcode for kind in INSTRUCTIONS))
_ALONE = {kind: Trait(opcodes=(kind.opcode,)) for kind in (End, Call, Return)}
_JUMPS = Trait(opcodes=(Call.opcode, Return.opcode))
TRAITS: tuple[Trait, ...] = (_KNOWN, _JUMPS, *_ALONE.values(), *(trait for pair in _stretches() for trait in pair))


def traits_of(word: WireVector) -> WireVector:
    """The traits of a word, a bit each in the order of `TRAITS`."""
    opcode = word[:OPCODE_BITS]
    every = range(1 << OPCODE_BITS)

    def is_one_of(opcodes: tuple[int, ...]) -> WireVector:
        if 2 * len(opcodes) > len(every):
            return ~is_one_of(tuple(each for each in every if each not in opcodes))
        return rtl_any(*[opcode == each for each in opcodes]) if opcodes else Const(0, 1)

    return concat_list(
        [~(word[slice(*trait.stretch)] == 0) if trait.stretch else is_one_of(trait.opcodes) for trait in TRAITS]
    )


def virtual_core_of(word: WireVector) -> WireVector:
    """The virtual core that a core instruction names, 6 bits."""
    layout = CoreInstruction.field_layout("core")
    return word[layout.offset : layout.offset + layout.width]


@hardware()
def decoder(word: WireVector, traits: WireVector) -> Decoded:
    """Decode one 128-bit word, whose traits are known. What `opcode` says of a word holds if that is legal."""
    opcode = word[:OPCODE_BITS]

    def has(trait: Trait) -> WireVector:
        return traits[TRAITS.index(trait)]

    def field(kind: type[Instruction], name: str) -> WireVector:
        layout = kind.field_layout(name)
        return word[layout.offset : layout.offset + layout.width]

    of_load, of_compute, of_save = (
        opcode[OPCODE_BITS - 2 :] == int(engine) for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
    )
    of_opcode = Opcode(
        is_end=has(_ALONE[End]),
        is_call=has(_ALONE[Call]),
        is_return=has(_ALONE[Return]),
        is_jump=has(_JUMPS),
        engine=(of_load, of_compute, of_save),
    )
    return Decoded(
        is_legal=has(_KNOWN) & ~any_of([has(reserved) & has(not_zero) for reserved, not_zero in _stretches()]),
        opcode=of_opcode,
        barriers=field(End, "barriers"),
        target=field(Call, "address"),
    )
