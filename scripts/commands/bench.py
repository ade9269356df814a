"""`tenure bench`: measurements that anybody can repeat, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click

from isa.configuration import PoolConfig, load_pool
from scripts.commands.reporting import DEFAULT_POOL, InputError, json_option, pool_option, print_json, print_table

Row = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A measurement: what it answers, and the function that makes its rows, all with the same columns.

    The function takes the pool and the networks that the user chose (none: the bench's own choice).
    """

    meaning: str
    measure: Callable[[PoolConfig, Sequence[str]], Sequence[Row]]
    default_pool: str = DEFAULT_POOL


def _simulators(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.simulators import measure

    if networks:
        raise InputError(f"--network {networks[0]}: the bench 'simulators' runs no network")
    return measure(config)


def _networks(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.networks import measure

    return measure(config, networks)


def _scaling(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.scaling import measure

    return measure(config, networks)


def _accuracy(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.accuracy import measure

    return measure(config, networks)


def _pools(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.pools import measure

    return measure(config, networks)


def _recompile(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.recompile import measure

    return measure(config, networks)


BENCHES: dict[str, Bench] = {
    "simulators": Bench("how many cycles a second each backend simulates, and how long it takes to build", _simulators),
    "networks": Bench("cycles and utilisation of the paper's networks on all cores", _networks, "paper"),
    "pools": Bench("throughput of a network on all cores against one core as large, pool 'single'", _pools, "paper"),
    "accuracy": Bench("classes and logits of a trained network, EfficientNet-Lite0", _accuracy, "paper"),
    "recompile": Bench("time and bytes of a re-compilation for other cores or a later layer", _recompile, "paper"),
    "scaling": Bench("throughput of a network against the number of cores", _scaling, "paper"),
}
"""Every bench, by name."""


@click.command(epilog="Benches: " + "; ".join(f"{name}: {bench.meaning}" for name, bench in BENCHES.items()) + ".")
@click.argument("name", type=click.Choice(list(BENCHES)))
@click.option("--network", "networks", multiple=True, metavar="NAME", help="Only this network (may be repeated).")
@pool_option(default=None)
@json_option
def bench(name: str, networks: tuple[str, ...], pool: PoolConfig | None, as_json: bool) -> None:
    """Make the measurement NAME and print its table."""
    pool = pool or load_pool(BENCHES[name].default_pool)
    if networks:
        _check_networks(networks)
    rows = BENCHES[name].measure(pool, networks)
    if as_json:
        print_json({"name": name, "pool": pool.name, "rows": list(rows)})
    else:
        columns = list(rows[0]) if rows else []
        print_table(f"{name}, pool {pool.name}", columns, [list(row.values()) for row in rows])


def _check_networks(networks: Sequence[str]) -> None:
    from benchmarks.networks import BUILDERS

    for network in networks:
        if network not in BUILDERS:
            raise InputError(f"--network {network}: there is no such network; name one of {', '.join(BUILDERS)}")
