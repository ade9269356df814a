"""Words and instructions: one to one, and everything else is illegal."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.encoding import IllegalInstruction, decode, decode_program, encode, encode_program
from isa.fields import layout_of
from isa.instructions import (
    INSTRUCTIONS,
    OPCODE_BITS,
    WORD_BITS,
    Call,
    ConfigWindow,
    Conv,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Load,
)
from tests.isa.instruction_strategies import instructions

words = st.integers(0, 2**WORD_BITS - 1)


@given(instructions)
def test_decode_inverts_encode(instruction: Instruction) -> None:
    word = encode(instruction)
    assert 0 <= word < 2**WORD_BITS
    assert decode(word) == instruction


@given(st.one_of(words, st.builds(lambda word, kind: word & ~63 | kind.opcode, words, st.sampled_from(INSTRUCTIONS)),
                 st.builds(lambda word, kind: word % 2 ** kind.used_bits() & ~63 | kind.opcode,
                           words, st.sampled_from(INSTRUCTIONS))))  # fmt: skip
def test_a_word_is_illegal_or_encodes_to_itself(word: int) -> None:
    try:
        instruction = decode(word)
    except IllegalInstruction:
        return
    assert encode(instruction) == word


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_every_pattern_of_the_fields_is_legal(kind: type[Instruction]) -> None:
    ones = (1 << kind.used_bits()) - 1
    word = ones >> OPCODE_BITS << OPCODE_BITS | kind.opcode
    assert encode(decode(word)) == word


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_each_reserved_bit_makes_a_word_illegal(kind: type[Instruction]) -> None:
    for bit in range(kind.used_bits(), WORD_BITS):
        with pytest.raises(IllegalInstruction, match=f"reserved bits.*{kind.__name__}"):
            decode(kind.opcode | 1 << bit)


def test_every_other_opcode_is_illegal() -> None:
    known = {kind.opcode for kind in INSTRUCTIONS}
    assert len(known) == len(INSTRUCTIONS)
    for opcode in set(range(1 << OPCODE_BITS)) - known:
        with pytest.raises(IllegalInstruction, match=f"opcode {opcode:#04x} .* is unknown"):
            decode(opcode)


@pytest.mark.parametrize("word", [-1, 1 << WORD_BITS, (1 << WORD_BITS) | End.opcode])
def test_numbers_beyond_128_bits_are_no_words(word: int) -> None:
    with pytest.raises(IllegalInstruction):
        decode(word)


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_fields_lie_one_after_another_behind_the_opcode(kind: type[Instruction]) -> None:
    offset = OPCODE_BITS
    for field in kind.layout():
        assert field.offset == offset
        offset += field.width
    assert kind.used_bits() == offset <= WORD_BITS


@pytest.mark.parametrize("kind", [kind for kind in INSTRUCTIONS if issubclass(kind, CoreInstruction)])
def test_the_core_lies_in_the_same_place_everywhere(kind: type[Instruction]) -> None:
    assert kind.layout()[0] == CoreInstruction.layout()[0]
    assert kind.engine() is not Engine.LEVEL_1


@pytest.mark.parametrize("kind", INSTRUCTIONS)
def test_a_value_out_of_range_is_refused_by_name(kind: type[Instruction]) -> None:
    for field in kind.layout():
        for value in (field.lowest - 1, field.highest + 1):
            with pytest.raises(ValueError, match=f"^{kind.__name__}: {field.name} = {value} does not fit"):
                encode(dataclasses.replace(kind(), **{field.name: value}))


def test_known_words() -> None:
    """Spot checks by hand, so that a change of the layout cannot pass unseen."""
    assert encode(End(barriers=3)) == 0x01 | 3 << 6
    assert encode(Call(address=0x123)) == 0x02 | 0x123 << 6
    assert encode(Load(core=1, columns=1)) == 0x10 | 1 << 6
    assert encode(ConfigWindow(kernel_rows=3, pad_value=-1)) == 0x20 | 2 << 12 | 0xFF << 56
    assert encode(Conv(first_row=-1)) == 0x28 | 0x3FF << 36


@given(st.lists(instructions, max_size=5))
def test_programs(program: list[Instruction]) -> None:
    raw = encode_program(program)
    assert len(raw) == 16 * len(program)
    assert decode_program(raw) == program
    assert decode_program(np.frombuffer(raw, np.uint8)) == program


def test_a_program_has_whole_words() -> None:
    with pytest.raises(ValueError, match="multiple of 16 bytes, this one has 17"):
        decode_program(bytes(17))


def test_a_layout_must_fit_its_word() -> None:
    with pytest.raises(ValueError, match=r"Conv needs \d+ bits, a word has 64"):
        layout_of(Conv, OPCODE_BITS, 64)


def test_mnemonics_are_unique() -> None:
    assert ConfigWindow.mnemonic() == "CONFIG_WINDOW"
    assert len({kind.mnemonic() for kind in INSTRUCTIONS}) == len(INSTRUCTIONS)
