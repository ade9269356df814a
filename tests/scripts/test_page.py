"""The page of a bench: table, plots and notes in one file that needs nothing else."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.benches.page import Content, add_figure, collecting, note, page
from scripts.command_line import call
from scripts.commands.bench import BENCHES, Bench

ROWS = [
    {"network": "a <b> & c", "cycles": 1234567, "share": 0.25, "bound": None},
    {"network": "d", "cycles": 8, "share": 1.0, "bound": 2},
]


class Elements(HTMLParser):
    """Everything that a browser could load, and the texts of all cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.cells: list[str] = []
        self.opened: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loaded += [
            value or "" for name, value in attributes if name in ("src", "href", "srcset", "data", "action")
        ]
        if tag not in ("meta", "img"):
            self.opened.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.opened and self.opened[-1] in ("td", "th"):
            self.cells[-1] += data


def drawn() -> Content:
    with collecting() as content:
        figure = Figure()
        figure.subplots().plot([0, 1], [1, 0])
        add_figure("a plot", figure)
        note("from the model <only>")
    return content


def test_a_page_needs_nothing_but_itself() -> None:
    text = page("networks", "what it says", NAMED_POOLS["small"], ROWS, drawn())
    elements = Elements(text)
    assert not elements.opened, "every element is closed"
    assert [source[:26] for source in elements.loaded] == ["data:image/svg+xml;base64,"]
    svg = base64.b64decode(elements.loaded[0][26:]).decode()
    for part in (text, svg):
        assert "@import" not in part
        assert not re.findall(r"""(?:url\(|href=|src=)["']?(?:https?:)?//""", part)
    assert "<path" in svg


def test_a_page_has_the_same_table_as_the_terminal_and_the_rows_for_scripts() -> None:
    text = page("networks", "what it says", NAMED_POOLS["small"], ROWS, drawn())
    cells = ["network", "cycles", "share", "bound", "a <b> & c", "1,234,567", "0.250", "-", "d", "8", "1.000", "2"]
    assert Elements(text).cells == cells
    found = re.search(r'<script type="application/json" id="result">(.*?)</script>', text)
    assert found is not None
    assert json.loads(found[1]) == {"name": "networks", "pool": "small", "rows": ROWS}
    assert "from the model &lt;only&gt;" in text


def test_nothing_is_collected_outside() -> None:
    assert drawn().figures
    with collecting() as content:
        pass
    add_figure("late", Figure())
    assert content == Content()


def test_a_bench_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(_config: PoolConfig, _networks: object) -> list[dict[str, object]]:
        note("measured")
        return ROWS

    monkeypatch.setitem(BENCHES, "networks", Bench("what it says", measure))
    file = tmp_path / "page.html"
    assert call(["bench", "networks", "--html", str(file)]) == 0
    assert "1,234,567" in file.read_text()
    assert "<li>measured</li>" in file.read_text()


def test_options_that_a_bench_cannot_use_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", "mix", "--html", str(tmp_path / "nowhere" / "page.html")]) == 2
    assert "no directory" in capsys.readouterr().err
    assert call(["bench", "networks", "--pools", "3"]) == 2
    assert "--pools: only the bench 'mix' has a fleet" in capsys.readouterr().err
    assert call(["bench", "mix", "--pools", "3", "--network", "resnet50"]) == 2
    assert "--network resnet50" in capsys.readouterr().err
