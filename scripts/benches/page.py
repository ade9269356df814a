"""One self-contained page of a bench: its table, its plots and its notes. Nothing in it comes from a network.

Benches do not know of the page: plots that they save and notes that they make while `collecting` is active are in it.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from isa.configuration import PoolConfig
from scripts.commands.reporting import messages, shown

STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
.meaning { margin-top: .2rem; }
figure { margin: 2rem 0; }
figure img { background: white; border-radius: 6px; display: block; max-width: 100%; padding: .5rem; }
figcaption { font-size: .9rem; opacity: .8; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: .25rem .7rem; }
th { position: sticky; top: 0; background: Canvas; vertical-align: bottom; }
td { text-align: right; white-space: nowrap; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
td.text { white-space: normal; min-width: 8rem; }
tbody tr:hover { background: color-mix(in srgb, currentColor 8%, transparent); }
"""


@dataclass
class Content:
    """What a bench has shown beside its rows: (caption, SVG) of its plots, its notes, (title, rows) of more tables."""

    figures: list[tuple[str, bytes]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[tuple[str, Sequence[Mapping[str, Any]]]] = field(default_factory=list)


_present: ContextVar[Content | None] = ContextVar("present", default=None)


@contextmanager
def collecting() -> Iterator[Content]:
    """Collects what benches show in the block."""
    content = Content()
    token = _present.set(content)
    try:
        yield content
    finally:
        _present.reset(token)


def add_figure(caption: str, figure: Figure) -> None:
    """A plot for the page, if one is being collected."""
    content = _present.get()
    if content is not None:
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
        content.figures.append((caption, file.getvalue()))


def note(text: str) -> None:
    """Something to know about the figures: on standard error, and on the page if one is being collected."""
    messages.print(text, highlight=False)
    content = _present.get()
    if content is not None:
        content.notes.append(text)


def add_table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """A table beside the bench's own, all rows with the same columns: printed, on the page and in the JSON."""
    content = _present.get()
    if content is not None and rows:
        content.tables.append((title, rows))


def page(name: str, meaning: str, pool: PoolConfig, rows: Sequence[Mapping[str, Any]], content: Content) -> str:
    """The page as HTML."""
    title = f"tenure bench {name}"
    plots = "".join(_figure(caption, svg) for caption, svg in content.figures)
    notes = "".join(f"<li>{html.escape(text)}</li>" for text in content.notes)
    more = "".join(
        f"<h2>{html.escape(title)}</h2><div class=scroll>{_table(its)}</div>" for title, its in content.tables
    )
    data = json.dumps(result(name, pool, rows, content)).replace("<", "\\u003c")
    sizes = (
        f"Pool <b>{html.escape(pool.name)}</b>: {pool.cores} cores of {pool.array} × {pool.array} multipliers, "
        f"{pool.channels} memory channels of {pool.beat_bytes} bytes."
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="meaning">{html.escape(meaning[:1].upper() + meaning[1:])}. {sizes}</p>
{plots}
{f"<h2>Notes</h2><ul>{notes}</ul>" if notes else ""}
<h2>Figures</h2>
<div class="scroll">{_table(rows)}</div>
{more}
<script type="application/json" id="result">{data}</script>
</body>
</html>
"""


def result(name: str, pool: PoolConfig, rows: Sequence[Mapping[str, Any]], content: Content) -> dict[str, Any]:
    """The bench's result for scripts; `tables` only where there are any."""
    tables = {"tables": {title: list(its) for title, its in content.tables}} if content.tables else {}
    return {"name": name, "pool": pool.name, "rows": list(rows), **tables}


def _figure(caption: str, svg: bytes) -> str:
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
    text = html.escape(caption, quote=True)
    return f'<figure><img alt="{text}" src="{source}"><figcaption>{text}</figcaption></figure>\n'


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(rows[0]) if rows else []
    is_text = {column: any(isinstance(row[column], str) and row[column] for row in rows) for column in columns}

    def cell(tag: str, column: str, value: str) -> str:
        return f"<{tag}{' class=text' if is_text[column] else ''}>{html.escape(value)}</{tag}>"

    heads = "".join(cell("th", column, column.replace("_", " ")) for column in columns)
    lines = ["".join(cell("td", column, shown(row[column])) for column in columns) for row in rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
