"""`tenure bench`: measurements that anybody can repeat, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from isa.configuration import PoolConfig
from scripts.commands.reporting import json_option, pool_option, print_json, print_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A measurement: what it answers, and the function that makes its rows, all with the same columns."""

    meaning: str
    measure: Callable[[PoolConfig], Sequence[Row]]


def _simulators(config: PoolConfig) -> Sequence[Row]:
    from scripts.benches.simulators import measure

    return measure(config)


BENCHES: dict[str, Bench] = {
    "simulators": Bench("how many cycles a second each backend simulates, and how long it takes to build", _simulators),
}
"""Every bench, by name."""


@click.command(epilog="Benches: " + "; ".join(f"{name}: {bench.meaning}" for name, bench in BENCHES.items()) + ".")
@click.argument("name", type=click.Choice(list(BENCHES)))
@pool_option()
@json_option
def bench(name: str, pool: PoolConfig, as_json: bool) -> None:
    """Make the measurement NAME and print its table."""
    rows = BENCHES[name].measure(pool)
    if as_json:
        print_json({"name": name, "pool": pool.name, "rows": list(rows)})
    else:
        columns = list(rows[0]) if rows else []
        print_table(f"{name}, pool {pool.name}", columns, [list(row.values()) for row in rows])
