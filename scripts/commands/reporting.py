"""What the commands share: options, results as a table or one JSON object, progress on standard error, safe files."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from hypervisor.machines import BACKENDS
from isa.configuration import NAMED_POOLS, PoolConfig, load_pool

DEFAULT_POOL = "small"
LARGEST_PYRTL_POOL = 1024
"""Multipliers up to which a C compiler takes PyRTL's one large function in well under a minute."""

REFRESH_SECONDS = 0.1
"""Time between two updates of a bar."""
FIRST_COLUMN_WIDTH = 22
"""Columns that the first column of a table keeps at least, if it needs them."""
PLAIN_WIDTH = 180
"""Columns of a table that does not go to a terminal."""

messages = Console(stderr=True, soft_wrap=True)
"""For people: progress and notes."""


class InputError(ValueError):
    """An argument that cannot be used; the message names it and says what to give instead."""


class PoolType(click.ParamType[PoolConfig]):
    """A pool by name or TOML file. An unusable one raises ConfigurationError, which explains itself."""

    name = "NAME|FILE.toml"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> PoolConfig:
        """Text to PoolConfig."""
        return value if isinstance(value, PoolConfig) else load_pool(value)


def pool_option(default: str | None = DEFAULT_POOL) -> Callable[[Any], Any]:
    """--pool; `default` None leaves the choice to the command."""
    known = ", ".join(NAMED_POOLS)
    shown = f"  [default: {default}]" if default else ""
    return click.option("--pool", type=PoolType(), default=default, help=f"Pool: {known}, or a TOML file.{shown}")


backend_option = click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    help="; ".join(f"{name}: {meaning}" for name, meaning in BACKENDS.items())
    + f".  [default: pyrtl; verilator for pools of more than {LARGEST_PYRTL_POOL} multipliers]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


def chosen_backend(backend: str | None, pool: PoolConfig) -> str:
    """The backend of --backend, or the RTL simulator that suits the size of the pool."""
    if backend is not None:
        return backend
    return "pyrtl" if pool.cores * pool.macs_per_cycle <= LARGEST_PYRTL_POOL else "verilator"


def print_json(result: Mapping[str, Any]) -> None:
    """The command's result for scripts."""
    click.echo(json.dumps(result))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """The command's result for people, on standard output."""
    table = Table(title=title, title_justify="left")
    for index, column in enumerate(columns):
        heading = column.replace("_", " ")
        if index == 0:
            longest = max((len(shown(row[0])) for row in rows), default=0)
            table.add_column(heading, justify="left", overflow="ellipsis", min_width=min(longest, FIRST_COLUMN_WIDTH))
        else:
            table.add_column(heading, justify="right", overflow="fold")
    for row in rows:
        table.add_row(*[shown(value) for value in row])
    console = Console()
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
    console.print(table)


def shown(value: object) -> str:
    """A value of a result as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def fraction_progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """A bar for work that knows its fraction: call with (0..1, step)."""
    with _progress(BarColumn(), TextColumn("{task.percentage:>3.0f} %")) as bar:
        task = bar.add_task(what, total=1.0)

        def advance(fraction: float, step: str = "") -> None:
            bar.update(task, completed=fraction, description=f"{what}: {step}" if step else what)

        yield advance


@contextlib.contextmanager
def cycle_progress(preparing: str, running: str, expected_cycles: int = 0) -> Iterator[Callable[[int], None]]:
    """A bar for simulated time, first `preparing`, then `running`: call with the cycle reached."""
    with _progress(BarColumn(), TextColumn("{task.fields[cycles]}")) as bar:
        task = bar.add_task(preparing, total=None, cycles="")
        began: float | None = None
        shown = 0.0

        def advance(cycle: int) -> None:
            nonlocal began, shown
            now = time.monotonic()
            began = began or now
            if now - shown < REFRESH_SECONDS:
                return
            shown = now
            text = f"cycle {cycle:,}, {cycle / max(now - began, 1e-3):,.0f} cycles/s"
            bar.update(task, description=running, total=expected_cycles or None, completed=cycle, cycles=text)

        yield advance


def _progress(*columns: Any) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *columns,
        TimeElapsedColumn(),
        console=messages,
        transient=True,
        disable=not messages.is_terminal,
    )


@contextlib.contextmanager
def replacing_path(path: Path) -> Iterator[Path]:
    """A place for a file that appears at `path` when the block has ended well, and not at all otherwise."""
    if not path.parent.is_dir():
        raise InputError(f"cannot write {path}: there is no directory {path.parent}")
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """`replacing_path`, opened for writing."""
    with replacing_path(path) as unfinished, unfinished.open("wb") as file:
        yield file


def existing_file(path: str, argument: str) -> Path:
    """The path of an argument that must be a readable file. Raises InputError."""
    found = Path(path)
    if not found.is_file():
        raise InputError(f"{argument} {path}: there is no such file")
    return found
