"""Fields of an instruction word as wires. Positions come from `Instruction.layout()` only."""

from __future__ import annotations

from collections.abc import Sequence

from pyrtl import Register, WireVector

from isa.fields import FieldLayout
from isa.instructions import INSTRUCTIONS as ALL_INSTRUCTIONS
from isa.instructions import OPCODE_BITS, Engine, Instruction
from rtl.scrubbed import Scrub

Kind = type[Instruction]


def layout_of_field(kinds: Kind | Sequence[Kind], name: str) -> FieldLayout:
    """Where field `name` lies. Several kinds must place it alike; ValueError otherwise."""
    listed = [kinds] if isinstance(kinds, type) else list(kinds)
    layouts = [kind.field_layout(name) for kind in listed]
    if len({(layout.offset, layout.width, layout.minimum, layout.signed) for layout in layouts}) != 1:
        raise ValueError(f"{', '.join(kind.__name__ for kind in listed)} place {name} differently")
    return layouts[0]


def field(word: WireVector, kinds: Kind | Sequence[Kind], name: str) -> WireVector:
    """The stored bits of a field (a count is stored less its minimum)."""
    layout = layout_of_field(kinds, name)
    return word[layout.offset : layout.offset + layout.width]


def value_of(stored: WireVector, kind: Kind, name: str) -> WireVector:
    """The value that the stored bits of a count mean: one bit wider where the minimum is not 0."""
    layout = layout_of_field(kind, name)
    return (stored + layout.minimum)[: layout.highest.bit_length()] if layout.minimum else stored


def is_kind(word: WireVector, kind: Kind) -> WireVector:
    """Whether a word that is legal for its engine is this instruction (the engine's bits are not looked at)."""
    bits = OPCODE_BITS - 2
    return word[:bits] == kind.opcode % (1 << bits)


def word_bits(engine: Engine) -> int:
    """Low bits of a word that the engine's instructions use."""
    return max(kind.used_bits() for kind in ALL_INSTRUCTIONS if kind.engine() == engine)


def settings(scrub: Scrub, word: WireVector, kind: Kind, issues: WireVector) -> dict[str, Register]:
    """Registers with the stored fields of the last instruction of this kind, by name."""
    return {
        layout.name: scrub.kept(field(word, kind, layout.name), issues, f"{kind.__name__}_{layout.name}")
        for layout in kind.layout()
        if layout.name != "core"
    }
