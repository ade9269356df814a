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
@pool_option()
@json_option
def export(output: Path, pool: PoolConfig, as_json: bool) -> None:
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
        for written in sorted(Path(unfinished).iterdir()):
            os.replace(written, output / written.name)
            files[str(output / written.name)] = (output / written.name).stat().st_size
    if as_json:
        print_json({"pool": pool.name, "files": files})
    else:
        print_table(f"pool {pool.name}", ("file", "bytes"), list(files.items()))
