"""Text to words and back, labels, and what is said about text that is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isa.assembler import AssemblerError, assemble, disassemble, format_instruction
from isa.encoding import decode_program, encode, encode_program
from isa.instructions import Call, ConfigLoad, Conv, End, Instruction, Pool, Return
from tests.isa.instruction_strategies import instructions


@given(instructions)
def test_a_line_means_its_instruction(instruction: Instruction) -> None:
    assert decode_program(assemble(format_instruction(instruction))) == [instruction]


@given(st.lists(st.one_of(st.binary(min_size=16, max_size=16), st.builds(lambda i: encode_program([i]), instructions))))
def test_every_program_survives_the_round_trip(words: list[bytes]) -> None:
    program = b"".join(words)
    assert assemble(disassemble(program)) == program


def test_the_documented_example() -> None:
    text = """
    # a comment, then an empty line

        CALL address=@frame      # a label ahead
        END barriers=0x10
    frame: CONFIG_LOAD core=1 row_pitch=32
        CONV wait_load drain features=12 first_row=-1
        POOL reduction bank=0
    last: RETURN
        .word 0x3f
    """
    *program, last = (assemble(text)[start : start + 16] for start in range(0, 112, 16))
    assert decode_program(b"".join(program)) == [
        Call(address=2),
        End(barriers=16),
        ConfigLoad(core=1, row_pitch=32),
        Conv(wait_load=1, drain=1, features=12, first_row=-1),
        Pool(reduction=1),
        Return(),
    ]
    assert int.from_bytes(last, "little") == 0x3F


def test_a_program_that_lies_elsewhere() -> None:
    assert decode_program(assemble("a: CALL address=@a", first_word=100)) == [Call(address=100)]


def test_text_of_a_program() -> None:
    program = encode_program([Conv(core=2, drain=1, weights=7), End(barriers=1)]) + (0x3F).to_bytes(16, "little")
    lines = [line.split() for line in disassemble(program, first_word=9).splitlines()]
    assert lines == [
        ["CONV", "core=2", "drain", "weights=7", "#", "9"],
        ["END", "barriers=1", "#", "10"],
        [".word", "0x0000000000000000000000000000003f", "#", "11"],
    ]


def test_a_field_keeps_its_default() -> None:
    assert format_instruction(Conv()) == "CONV"
    assert assemble("CONV") == encode(Conv()).to_bytes(16, "little")
    assert assemble("") == b""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\nCONVOLVE", r"line 2: unknown instruction 'CONVOLVE'; known: END, CALL, .*, \.word"),
        ("END barrier=1", r"line 1: END has no field 'barrier'; known: barriers, in 'END barrier=1'"),
        ("RETURN now", r"RETURN has no field 'now'; known: none"),
        ("END barriers=1 barriers=2", r"line 1: field 'barriers' is given twice"),
        ("END barriers", r"field 'barriers' needs a value: barriers=0\.\.65535"),
        ("END barriers=many", r"barriers = 'many' is not a whole number"),
        ("END barriers=", r"barriers = '' is not a whole number"),
        ("END barriers=65536", r"line 1: End: barriers = 65536 does not fit 0\.\.65535"),
        ("CONV drain=2", r"line 1: Conv: drain = 2 does not fit 0\.\.1"),
        ("END\nCALL address=@x", r"line 2: unknown label 'x'; known: none"),
        ("y: END\nCALL address=@x", r"line 2: unknown label 'x'; known: y"),
        ("y: LOAD address=@y", r"a label names a word of the program, so only CALL address takes one"),
        ("y: END barriers=@y", r"only CALL address takes one"),
        ("y:\ny: END", r"line 2: label 'y' is defined twice"),
        ("1y: END", r"label '1y' is not a name"),
        (".word", r"\.word takes exactly one number"),
        (".word 1 2", r"\.word takes exactly one number"),
        (".word -1", r"\.word -1 does not fit 128 bits"),
        (".word 0x100000000000000000000000000000000", r"does not fit 128 bits"),
    ],
)
def test_errors_say_where_and_what(text: str, message: str) -> None:
    with pytest.raises(AssemblerError, match=message):
        assemble(text)


def test_only_whole_words_can_be_disassembled() -> None:
    with pytest.raises(ValueError, match="multiple of 16 bytes, this one has 3"):
        disassemble(bytes(3))
