"""Writes the reference pages from the descriptions: docs/isa.md and docs/registers.md.

`python -m isa.reference` writes them; with --check it only compares, and exits with 1 when a page is stale.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from pathlib import Path

from isa import instructions, registers
from isa.fields import FieldLayout
from isa.instructions import INSTRUCTIONS, OPCODE_BITS, WORD_BITS, Engine, Instruction

DOCUMENTS = Path(__file__).resolve().parent.parent / "docs"

_GENERATED = "<!-- Written by `python -m isa.reference`; edit the descriptions in isa/, not this page. -->"
_ENGINE_TITLES = {
    Engine.LEVEL_1: "Level 1: the dispatcher",
    Engine.LOAD: "Load engine",
    Engine.COMPUTE: "Compute engine",
    Engine.SAVE: "Save engine",
}


def instruction_page() -> str:
    """The instruction set as a page of Markdown."""
    summary = markdown_table(
        ("opcode", "instruction", "engine", "meaning"),
        (
            (
                f"`{kind.opcode:#04x}`",
                f"[{kind.mnemonic()}](#{kind.mnemonic().lower()})",
                kind.engine().name.lower(),
                paragraphs(kind)[0],
            )
            for kind in INSTRUCTIONS
        ),
    )
    parts = [_GENERATED, "# Instruction set", *paragraphs(instructions), summary]
    for engine in Engine:
        parts.append(f"## {_ENGINE_TITLES[engine]}")
        for kind in INSTRUCTIONS:
            if kind.engine() is engine:
                parts += _instruction_section(kind)
    return "\n\n".join(parts) + "\n"


def register_page() -> str:
    """The control port as a page of Markdown."""
    access = {
        registers.Access.READ: "read",
        registers.Access.WRITE: "write",
        registers.Access.READ_WRITE: "read, write",
    }

    def table(described: Iterable[registers.RegisterDescription]) -> str:
        rows = (
            (str(int(entry.register)), f"`{entry.register.name}`", access[entry.access], entry.meaning)
            for entry in described
        )
        return markdown_table(("address", "register", "host may", "meaning"), rows)

    def values(enumeration: type[IntEnum], kind: str) -> str:
        meanings = registers.MEANINGS[enumeration]
        members = ((str(int(member)), f"`{member.name}`", meanings[member]) for member in enumeration)
        return markdown_table(("value", kind, "meaning"), members)

    parts = [
        _GENERATED,
        "# Control registers",
        *paragraphs(registers),
        f"An address has {registers.CONTROL_ADDRESS_BITS} bits, a register has {registers.CONTROL_DATA_BITS}. "
        f"IDENTIFICATION reads {registers.IDENTIFICATION:#010x}. "
        f"COMMAND_CYCLES is {registers.COMMAND_CYCLES}.",
        table(registers.REGISTERS),
    ]
    chapters: dict[str, type[IntEnum]] = {
        "Commands": registers.Command, "Results": registers.Result, "States of a tenant": registers.TenantState,
        "States of a core": registers.CoreState, "Faults": registers.Fault,
    }  # fmt: skip
    for title, enumeration in chapters.items():
        parts += [f"## {title}", *paragraphs(enumeration), values(enumeration, "name")]
    parts += [
        "## Behind AXI",
        *paragraphs(registers.AxiRegister),
        f"On the AXI4-Lite port an address is a byte address: four times the number here. PATIENCE is "
        f"{registers.AXI_PATIENCE} after reset. COMMAND_RESULT reads {registers.AXI_CORE_IN_QUARANTINE} when a core in "
        "quarantine was to be granted.",
        table(registers.AXI_REGISTERS),
    ]
    bits: dict[str, type[IntEnum]] = {"STATUS": registers.AxiStatus, "INTERRUPTS": registers.AxiInterrupt}
    for title, enumeration in bits.items():
        parts += [f"### {title}", values(enumeration, "bit")]
    return "\n\n".join(parts) + "\n"


PAGES: dict[str, Callable[[], str]] = {"isa.md": instruction_page, "registers.md": register_page}
"""The generated pages by their file names in docs/."""


def stale_pages(directory: Path = DOCUMENTS) -> list[str]:
    """Names of the pages in `directory` that are missing or differ from the descriptions."""
    stale = []
    for name, page in PAGES.items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != page():
            stale.append(name)
    return stale


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the pages; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m isa.reference", description="Write docs/isa.md and registers.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is stale")
    parser.add_argument("--directory", type=Path, default=DOCUMENTS, help="where the pages lie (default: docs/)")
    options = parser.parse_args(arguments)
    if options.check:
        stale = stale_pages(options.directory)
        if stale:
            names = " and ".join(stale)
            print(f"{names} in {options.directory}: not what isa/ says; run python -m isa.reference", file=sys.stderr)
        return 1 if stale else 0
    for name, page in PAGES.items():
        (options.directory / name).write_text(page(), encoding="utf-8")
    return 0


def _instruction_section(kind: type[Instruction]) -> list[str]:
    opcode = ("0" if OPCODE_BITS == 1 else f"{OPCODE_BITS - 1}..0", "opcode", f"`{kind.opcode:#04x}`", "", "")
    rows = [opcode, *(_field_row(field) for field in kind.layout())]
    if kind.used_bits() < WORD_BITS:
        rows.append((f"{WORD_BITS - 1}..{kind.used_bits()}", "reserved", "0", "", "illegal if not zero"))
    return [
        f"### {kind.mnemonic()}",
        *paragraphs(kind),
        markdown_table(("bits", "field", "values", "stored as", "meaning"), rows),
    ]


def _field_row(field: FieldLayout) -> tuple[str, ...]:
    last = field.offset + field.width - 1
    bits = f"value - {field.minimum}" if field.minimum else "value"
    return (
        str(last) if field.width == 1 else f"{last}..{field.offset}",
        f"`{field.name}`",
        f"{field.lowest}..{field.highest}",
        "two's complement" if field.signed else bits,
        field.meaning,
    )


def paragraphs(described: object) -> list[str]:
    """The paragraphs of a docstring, each on one line."""
    text = inspect.getdoc(described)
    if not text:
        raise ValueError(f"{described} has no docstring to print")
    return [_escaped(" ".join(paragraph.split())) for paragraph in text.split("\n\n")]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of Markdown."""
    lines = [head, ["---"] * len(head), *([_escaped(cell).replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(text: str) -> str:
    """Text in which powers (2**32) stay what they are; single asterisks are emphasis, or stand between spaces."""
    return text.replace("**", "\\*\\*")


if __name__ == "__main__":
    raise SystemExit(main())
