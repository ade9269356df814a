"""`tenure bench`: measurements that anybody can repeat, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from isa.configuration import PoolConfig, load_pool
from scripts.commands.reporting import (
    DEFAULT_POOL,
    InputError,
    json_option,
    messages,
    pool_option,
    print_json,
    print_table,
    replacing,
)

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


def _mix(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.mix import measure

    return measure(config, networks)


def _recompile(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.recompile import measure

    return measure(config, networks)


def _isolation(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.isolation import measure

    return measure(config, networks)


def _synthesis(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from formal.yosys import YosysError
    from rtl.export import ExportError
    from scripts.benches.synthesis import measure

    if networks:
        raise InputError(f"--network {networks[0]}: the bench 'synthesis' runs no network")
    try:
        return measure(config)
    except (ExportError, YosysError) as problem:
        raise InputError(str(problem)) from problem


def _place_and_route(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    if networks:
        raise InputError(f"--network {networks[0]}: the bench 'place-and-route' runs no network")
    return _placed_and_routed(config, None)


def _placed_and_routed(config: PoolConfig, seeds: int | None) -> Sequence[Row]:
    from benchmarks.place_and_route import PlaceAndRouteError
    from formal.yosys import YosysError
    from rtl.export import ExportError
    from scripts.benches.place_and_route import DEFAULT_SEEDS, measure

    try:
        return measure(config, seeds or DEFAULT_SEEDS)
    except (ExportError, YosysError, PlaceAndRouteError) as problem:
        raise InputError(f"pool {config.name!r} on an ECP5: {problem}") from problem


def _private(config: PoolConfig, networks: Sequence[str]) -> Sequence[Row]:
    from scripts.benches.private import measure

    return measure(config, networks)


BENCHES: dict[str, Bench] = {
    "simulators": Bench("how many cycles a second each backend simulates, and how long it takes to build", _simulators),
    "networks": Bench("cycles and utilisation of the paper's networks on all cores", _networks, "paper"),
    "pools": Bench("throughput of a network on all cores against one core as large, pool 'single'", _pools, "paper"),
    "accuracy": Bench("classes and logits of a trained network, EfficientNet-Lite0", _accuracy, "paper"),
    "recompile": Bench("time and bytes of a re-compilation for other cores or a later layer", _recompile, "paper"),
    "mix": Bench("mixed networks with deadlines: our policy, partitions, time sharing, and a bound", _mix, "paper"),
    "isolation": Bench("a tenant's cycles beside neighbours, hostile ones too, against alone", _isolation, "paper"),
    "private": Bench(
        "1 to 16 tasks on a shared pool against one core and against one core per task", _private, "paper"
    ),
    "synthesis": Bench(
        "LUT, FF, DSP, block RAM of each module on FPGAs, and the cost of virtualisation", _synthesis, "paper"
    ),
    "place-and-route": Bench(
        "clock of a pool on an ECP5 (LFE5U-85F), seed by seed, and its critical path", _place_and_route, "tiny"
    ),
    "scaling": Bench("throughput of a network against the number of cores", _scaling, "paper"),
}
"""Every bench, by name."""


@click.command(epilog="Benches: " + "; ".join(f"{name}: {bench.meaning}" for name, bench in BENCHES.items()) + ".")
@click.argument("name", type=click.Choice(list(BENCHES)))
@click.option("--network", "networks", multiple=True, metavar="NAME", help="Only this network (may be repeated).")
@click.option("--html", "html_file", type=click.Path(path_type=Path), metavar="FILE", help="Also write one page.")
@click.option("--pools", type=click.IntRange(min=1), help="mix: a fleet of so many pools, one load.")
@click.option("--tasks", type=click.IntRange(min=1), help="mix: tasks of the fleet.  [default: 10000]")
@click.option("--seed", type=click.IntRange(min=0), help="mix: seed of the fleet's tasks.  [default: 0]")
@click.option("--seeds", type=click.IntRange(min=1), help="place-and-route: number of seeds.  [default: 4]")
@click.option("--scheduler", metavar="ADDRESS", help="mix: Dask scheduler of a cluster.  [default: this machine]")
@pool_option(default=None)
@json_option
def bench(
    name: str,
    networks: tuple[str, ...],
    html_file: Path | None,
    pools: int | None,
    tasks: int | None,
    seed: int | None,
    seeds: int | None,
    scheduler: str | None,
    pool: PoolConfig | None,
    as_json: bool,
) -> None:
    """Make the measurement NAME and print its table."""
    pool = pool or load_pool(BENCHES[name].default_pool)
    if networks:
        _check_networks(networks)
    fleet = {"--pools": pools, "--tasks": tasks, "--seed": seed, "--scheduler": scheduler}
    given = [option for option, value in fleet.items() if value is not None]
    if given and name != "mix":
        raise InputError(f"{given[0]}: only the bench 'mix' has a fleet")
    if seeds is not None and name != "place-and-route":
        raise InputError("--seeds: only the bench 'place-and-route' has seeds")
    if given and networks:
        raise InputError(f"--network {networks[0]}: the bench 'mix' has networks of its own")
    if html_file is not None and not html_file.parent.is_dir():
        raise InputError(f"--html {html_file}: there is no directory {html_file.parent}")
    from scripts.benches.page import collecting, page, result

    with collecting() as content:
        if given:
            from scripts.benches.mix import FLEET_POOLS, FLEET_TASKS, measure_fleet

            rows: Sequence[Row] = measure_fleet(pool, tasks or FLEET_TASKS, pools or FLEET_POOLS, scheduler, seed or 0)
        elif seeds is not None and not networks:
            rows = _placed_and_routed(pool, seeds)
        else:
            rows = BENCHES[name].measure(pool, networks)
    if html_file is not None:
        with replacing(html_file) as file:
            file.write(page(name, BENCHES[name].meaning, pool, rows, content).encode())
        messages.print(f"page: {html_file}", highlight=False)
    if as_json:
        print_json(result(name, pool, rows, content))
    else:
        for title, its in ((f"{name}, pool {pool.name}", rows), *content.tables):
            print_table(title, list(its[0]) if its else [], [list(row.values()) for row in its])


def _check_networks(networks: Sequence[str]) -> None:
    from benchmarks.networks import BUILDERS

    for network in networks:
        if network not in BUILDERS:
            raise InputError(f"--network {network}: there is no such network; name one of {', '.join(BUILDERS)}")
