"""`tenure prove`: the theorems and lemmas about a pool."""

from __future__ import annotations

import click
from rich.console import Console

from isa.configuration import PoolConfig
from scripts.commands.reporting import (
    InputError,
    fraction_progress,
    json_option,
    messages,
    pool_option,
    print_json,
    print_table,
)


@click.command()
@click.argument("theorems", nargs=-1, metavar="[THEOREM]...")
@click.option("--explain", is_flag=True, help="Statement, scope and assumptions of each theorem, in words.")
@pool_option()
@json_option
def prove(theorems: tuple[str, ...], explain: bool, pool: PoolConfig, as_json: bool) -> int:
    """Prove theorems about the pool, and what they rest on; all of them unless some are named.

    Exit code 1 unless all are proved.
    """
    from formal.theorems import UnknownTheorem
    from formal.theorems import prove as prove_theorems

    try:
        with fraction_progress(f"proving on pool {pool.name}") as progress:
            results = prove_theorems(theorems or None, pool, progress)
    except UnknownTheorem as problem:
        raise InputError(str(problem)) from None
    if as_json:
        entries = [
            {
                "name": result.name,
                "verdict": result.verdict,
                "seconds": round(result.seconds, 1),
                "assumptions": list(result.assumptions),
            }
            for result in results
        ]
        print_json({"pool": pool.name, "theorems": entries})
    else:
        rows = [[result.name, result.verdict, round(result.seconds, 1)] for result in results]
        print_table(f"pool {pool.name}", ("theorem", "verdict", "seconds"), rows)
        if explain:
            for result in results:
                click.echo(f"\n{result.name}\n\n{result.statement}")
                for assumption in result.assumptions:
                    click.echo(f"assumes: {assumption}")
    for result in results:
        if result.reason:
            messages.print(f"{result.name} is {result.verdict}: {result.reason}", style="red", markup=False)
        if result.table is not None:
            (Console() if not as_json else messages).print(result.table)
    return int(any(result.verdict != "proved" for result in results))
