"""Instructions as text: one line each, and back without loss.

    # comment
    frame:                                            a label: the word address of the next instruction
    CONFIG_LOAD core=1 row_pitch=32                   fields by name; those that keep their default are left out
    CONV wait_load drain features=12 first_row=-1     a field of one bit that is 1 is its bare name
    CALL address=@frame                               a label where a word address is wanted
    .word 0x3f                                        any 128-bit word, instruction or not

Numbers are decimal, or hexadecimal with 0x. `assemble(disassemble(program)) == program` for every program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from isa.encoding import IllegalInstruction, decode, encode
from isa.fields import FieldLayout
from isa.instructions import INSTRUCTIONS, WORD_BITS, WORD_BYTES, Instruction

_BY_MNEMONIC = {instruction.mnemonic(): instruction for instruction in INSTRUCTIONS}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LABELLED_FIELD = "address"
"""The field of CALL that may name a label."""


class AssemblerError(ValueError):
    """Text that is no program: the line, what is wrong with it, and what would be known there."""


@dataclass(frozen=True)
class _Line:
    number: int
    text: str

    def error(self, problem: str) -> AssemblerError:
        return AssemblerError(f"line {self.number}: {problem}, in {self.text.strip()!r}")


def assemble(text: str, first_word: int = 0) -> bytes:
    """Text to the bytes of a program that will lie at word address `first_word` of the window.

    Raises AssemblerError with the number of the line.
    """
    labels, statements = _statements(text, first_word)
    words = []
    for line, tokens in statements:
        if tokens[0] == ".word":
            words.append(_raw_word(line, tokens))
            continue
        try:
            words.append(encode(_instruction(line, tokens, labels)))
        except AssemblerError:
            raise
        except ValueError as error:
            raise line.error(str(error)) from None
    return b"".join(word.to_bytes(WORD_BYTES, "little") for word in words)


def format_instruction(instruction: Instruction) -> str:
    """One instruction as a line of assembly text."""
    words = [instruction.mnemonic()]
    for field in instruction.layout():
        value = getattr(instruction, field.name)
        if _is_flag(field) and value == 1:
            words.append(field.name)
        elif value != field.minimum:
            words.append(f"{field.name}={value}")
    return " ".join(words)


def disassemble(program: bytes, first_word: int = 0) -> str:
    """The bytes of a program as text that assembles to the same bytes; each line ends with its word address.

    Raises ValueError unless the length is a multiple of 16.
    """
    if len(program) % WORD_BYTES:
        raise ValueError(f"a program is a multiple of {WORD_BYTES} bytes, this one has {len(program)}")
    lines = []
    for number, start in enumerate(range(0, len(program), WORD_BYTES), first_word):
        word = int.from_bytes(program[start : start + WORD_BYTES], "little")
        try:
            line = format_instruction(decode(word))
        except IllegalInstruction:
            line = f".word {word:#034x}"
        lines.append(f"{line:<72}  # {number}\n")
    return "".join(lines)


def _statements(text: str, first_word: int) -> tuple[dict[str, int], list[tuple[_Line, list[str]]]]:
    """Labels with their word addresses, and the lines that become words, split at spaces."""
    labels: dict[str, int] = {}
    statements: list[tuple[_Line, list[str]]] = []
    for number, content in enumerate(text.split("\n"), 1):
        line = _Line(number, content)
        tokens = content.partition("#")[0].split()
        while tokens and tokens[0].endswith(":"):
            label = tokens.pop(0)[:-1]
            if not _NAME.fullmatch(label):
                raise line.error(f"label {label!r} is not a name of letters, digits and underscores")
            if label in labels:
                raise line.error(f"label {label!r} is defined twice")
            labels[label] = first_word + len(statements)
        if tokens:
            statements.append((line, tokens))
    return labels, statements


def _raw_word(line: _Line, tokens: list[str]) -> int:
    if len(tokens) != 2:
        raise line.error(".word takes exactly one number")
    word = _number(line, ".word", tokens[1])
    if not 0 <= word < 1 << WORD_BITS:
        raise line.error(f".word {tokens[1]} does not fit {WORD_BITS} bits")
    return word


def _instruction(line: _Line, tokens: list[str], labels: dict[str, int]) -> Instruction:
    kind = _BY_MNEMONIC.get(tokens[0])
    if kind is None:
        raise line.error(f"unknown instruction {tokens[0]!r}; known: {_listed(_BY_MNEMONIC)}, .word")
    fields = {field.name: field for field in kind.layout()}
    values: dict[str, int] = {}
    for token in tokens[1:]:
        name, equals, value = token.partition("=")
        if name not in fields:
            known = _listed(fields) if fields else "none"
            raise line.error(f"{tokens[0]} has no field {name!r}; known: {known}")
        if name in values:
            raise line.error(f"field {name!r} is given twice")
        if equals:
            values[name] = _value(line, kind, name, value, labels)
        elif _is_flag(fields[name]):
            values[name] = 1
        else:
            raise line.error(f"field {name!r} needs a value: {name}={fields[name].lowest}..{fields[name].highest}")
    return kind(**values)


def _value(line: _Line, kind: type[Instruction], name: str, text: str, labels: dict[str, int]) -> int:
    if not text.startswith("@"):
        return _number(line, name, text)
    if name != _LABELLED_FIELD or kind.mnemonic() != "CALL":
        raise line.error(f"a label names a word of the program, so only CALL {_LABELLED_FIELD} takes one")
    label = text[1:]
    if label not in labels:
        known = _listed(labels) if labels else "none"
        raise line.error(f"unknown label {label!r}; known: {known}")
    return labels[label]


def _number(line: _Line, name: str, text: str) -> int:
    if not re.fullmatch(r"-?(0[xX][0-9a-fA-F]+|[0-9]+)", text):
        raise line.error(f"{name} = {text!r} is not a whole number")
    return int(text, 16 if "x" in text.lower() else 10)


def _is_flag(field: FieldLayout) -> bool:
    """Whether a field is written as a bare name."""
    return field.width == 1 and field.minimum == 0 and not field.signed


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)
