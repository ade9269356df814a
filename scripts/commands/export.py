"""`tenure export`: the pool as Verilog."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from isa.configuration import PoolConfig
from scripts.commands.reporting import InputError, json_option, messages, pool_option, print_json, print_table


@click.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The directory to write to.")
@click.option("--verify", is_flag=True, help="Show that the Verilog is the netlist that the theorems are about.")
@pool_option()
@json_option
def export(output: Path, verify: bool, pool: PoolConfig, as_json: bool) -> None:
    """Write the pool as Verilog: the module pool, axi_pool with AXI ports around it, and a C header (docs/fpga.md)."""
    if output.exists() and not output.is_dir():
        raise InputError(f"--output {output}: it is a file; name a directory")
    from rtl.export import ExportError
    from rtl.export import export as export_pool

    output.mkdir(parents=True, exist_ok=True)
    files = {}
    with (
        messages.status(f"elaborating pool {pool.name}"),
        tempfile.TemporaryDirectory(prefix=".export-", dir=output) as unfinished,
    ):
        try:
            export_pool(pool, Path(unfinished))
        except ExportError as problem:
            raise InputError(str(problem)) from problem
        pairs = _verified(pool, Path(unfinished)) if verify else None
        for written in sorted(Path(unfinished).iterdir()):
            os.replace(written, output / written.name)
            files[str(output / written.name)] = (output / written.name).stat().st_size
    if as_json:
        print_json({"pool": pool.name, "files": files} | ({"verified": pairs} if pairs else {}))
    else:
        print_table(f"pool {pool.name}", ("file", "bytes"), list(files.items()))
        if pairs:
            print_table("the Verilog is the netlist that is proved", ("compared", "number"), list(pairs.items()))


def _verified(pool: PoolConfig, directory: Path) -> dict[str, int]:
    """What was compared. Raises InputError where the pool's files differ from the netlist."""
    from formal.export_equivalence import check_export
    from formal.netlist_json import NotEquivalentError
    from rtl.core import core
    from rtl.pool import real_cores

    messages.print(f"comparing pool {pool.name} with its netlist", highlight=False)
    try:
        return check_export(pool, directory, lambda _, inputs: core(pool, inputs), real_cores(pool))
    except NotEquivalentError as problem:
        raise InputError(f"the Verilog is not the netlist: {problem}") from problem
