"""The generated pages are what the descriptions say."""

from __future__ import annotations

from pathlib import Path

import pytest

from isa.instructions import INSTRUCTIONS
from isa.reference import PAGES, instruction_page, main, register_page, stale_pages
from isa.registers import AXI_REGISTERS, MEANINGS, REGISTERS


def test_the_pages_of_the_repository_are_fresh() -> None:
    assert stale_pages() == [], "run python -m isa.reference"


def test_pages_are_written_and_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--directory", str(tmp_path)]
    assert main([*where, "--check"]) == 1
    assert "isa.md and registers.md" in capsys.readouterr().err
    assert main(where) == 0
    assert main([*where, "--check"]) == 0
    (tmp_path / "isa.md").write_text("old", encoding="utf-8")
    assert main([*where, "--check"]) == 1
    message = capsys.readouterr().err
    assert "isa.md in" in message and "registers.md" not in message and "run python -m isa.reference" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(PAGES)


def test_everything_is_on_the_pages() -> None:
    page = instruction_page()
    for kind in INSTRUCTIONS:
        section = page.partition(f"### {kind.mnemonic()}\n")[2].partition("\n#")[0]
        assert f"`{kind.opcode:#04x}`" in section
        for field in kind.layout():
            assert f"| `{field.name}` | {field.lowest}..{field.highest} |" in section
    assert "| 127..22 | reserved | 0 |" in page.partition("### END\n")[2].partition("\n#")[0]
    page = register_page()
    described = [entry.meaning for entry in (*REGISTERS, *AXI_REGISTERS)]
    for text in (*described, *(text for meanings in MEANINGS.values() for text in meanings.values())):
        assert text in page
