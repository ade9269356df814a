"""Verilog of a pool: `shell.v`, `core.v`, and `pool.v`, the top that instantiates the shell and M times the core.

Clock `clk`; synchronous reset `rst`, which brings every register to its reset value; memories start as they are,
which the scrub and the sweep after reset make irrelevant. Hold `rst` for one cycle: the first cycle without it is
cycle 0 of PyRTL's simulation of the flat netlist.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pyrtl
from pyrtl import Input, Output

from isa.configuration import PoolConfig
from rtl.core_ports import core_ports
from rtl.pool import CoreBuilder, core_stub, pool
from rtl.sizes import output

FILES = ("shell.v", "core.v", "pool.v")
"""What a pool itself consists of, in the order in which a reader wants it; the AXI top comes beside it."""
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*")
HEADER = "// Tenure, pool {name}: written by rtl/export.py. Do not edit.\n"


class ExportError(RuntimeError):
    """A design that cannot become the Verilog that it should be, with the name that is in the way."""


def export(config: PoolConfig, directory: Path) -> None:
    """Write the Verilog of `config` into `directory`, made if need be; the same bytes every time.

    Elaborates in a process of its own, because PyRTL numbers its wires per process. Every file appears complete or
    not at all. Raises ExportError when elaboration fails.
    """
    root = Path(__file__).resolve().parent.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    finished = subprocess.run(
        [sys.executable, "-m", "rtl.export"],
        input=json.dumps(dataclasses.asdict(config)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"},
    )
    if finished.returncode:
        reason = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(f"pool {config.name!r} could not be exported: {reason[0]}")
    write_files(directory, json.loads(finished.stdout))


def write_files(directory: Path, texts: dict[str, str]) -> None:
    """Write all files into a temporary directory on the same disk, then move them into place."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".verilog-", dir=directory) as partial:
        for name, text in texts.items():
            (Path(partial) / name).write_text(text, encoding="ascii")
        for name in texts:
            os.replace(Path(partial) / name, directory / name)


def verilog(config: PoolConfig, core_builder: CoreBuilder) -> dict[str, str]:
    """The three files as text, from whichever core builder; wires are numbered on from this process's last one."""
    header = HEADER.format(name=json.dumps(config.name))
    shell_ports: list[tuple[str, str, int]] = []

    def shell_module() -> None:
        pool(config, core_stub(config))
        shell_ports.extend(_ports())

    return {
        "shell.v": header + module_text("shell", shell_module),
        "core.v": header + module_text("core", lambda: core_module(config, core_builder)),
        "pool.v": header + _top(config, shell_ports),
    }


def core_module(config: PoolConfig, core_builder: CoreBuilder) -> None:
    """One core in the working block with its ports at the top: inputs by their names, outputs as `{port}_o`."""
    inputs = {port: Input(bits, port) for port, bits in core_ports(config).inputs.items()}
    for port, wire in core_builder(0, inputs).items():
        output(f"{port}_o", wire)


def block_of(build: Callable[[], None]) -> pyrtl.Block:
    """A block of its own with what `build` puts into the working block."""
    with pyrtl.temp_working_block():
        build()
        return pyrtl.working_block()


def module_text(name: str, build: Callable[[], None]) -> str:
    """Verilog of what `build` puts into a block of its own."""
    block = block_of(build)
    block.sanity_check()
    _check_names(block)
    text = io.StringIO()
    pyrtl.output_to_verilog(text, add_reset=True, initialize_registers=False, module_name=name, block=block)
    body = text.getvalue()
    return body[body.index(f"module {name}(") :]


def _check_names(block: pyrtl.Block) -> None:
    """PyRTL renames what is no Verilog identifier, and silently: refuse names that would then collide."""
    memories = {net.op_param[1].name for net in block.logic if net.op in "m@"}
    names = [wire.name for wire in block.wirevector_set] + sorted(memories)
    check_identifiers(name for name in names if not name.startswith(("tmp", "const_")))


def check_identifiers(names: Iterable[str]) -> None:
    """Raise ExportError unless the names, with underscores for what Verilog forbids, are distinct identifiers."""
    owners: dict[str, str] = {}
    for name in sorted(names):
        identifier = re.sub(r"\W", "_", name)
        if not _IDENTIFIER.fullmatch(identifier):
            raise ExportError(f"{name!r} cannot become a Verilog identifier")
        if identifier in owners:
            raise ExportError(f"{owners[identifier]!r} and {name!r} would both be called {identifier} in Verilog")
        owners[identifier] = name


def _ports() -> list[tuple[str, str, int]]:
    """Ports of the working block as (direction, name, bits), inputs first, by name."""
    block = pyrtl.working_block()
    return [
        (direction, wire.name, len(wire))
        for direction, kind in (("input", Input), ("output", Output))
        for wire in sorted(block.wirevector_subset(kind), key=lambda wire: wire.name)
    ]


def bit_range(bits: int) -> str:
    """The range in a declaration of so many bits; empty for one bit."""
    return "" if bits == 1 else f"[{bits - 1}:0] "


def _top(config: PoolConfig, shell_ports: list[tuple[str, str, int]]) -> str:
    """The module `pool`: the shell's ports, without those of its cores, which are wired to instances of `core`."""
    inner = {f"core{core}_{port}_o" for core in range(config.cores) for port in core_ports(config).inputs}
    inner |= {f"core{core}_{port}_i" for core in range(config.cores) for port in core_ports(config).outputs}
    outer = [port for port in shell_ports if port[1] not in inner]
    lines = ["module pool("]
    declarations = ["  input clk", "  input rst"] + [f"  {way} {bit_range(bits)}{name}" for way, name, bits in outer]
    lines += [",\n".join(declarations), ");"]
    lines += [f"  wire {bit_range(bits)}{name};" for _, name, bits in shell_ports if name in inner]
    lines += instance("shell", "shell", {name: name for _, name, _ in shell_ports})
    ports = core_ports(config)
    for core in range(config.cores):
        wires = {port: f"core{core}_{port}_o" for port in ports.inputs}
        wires |= {f"{port}_o": f"core{core}_{port}_i" for port in ports.outputs}
        lines += instance("core", f"core{core}", wires)
    return "\n".join([*lines, "endmodule", ""])


def instance(
    module: str, name: str, connections: Mapping[str, str], clock: str = "clk", reset: str = "rst"
) -> list[str]:
    """Lines that instantiate a module of ours; `connections` are wires by the names of pins."""
    pins = {"clk": clock, "rst": reset, **connections}
    return [f"  {module} {name} (", ",\n".join(f"    .{pin}({wire})" for pin, wire in pins.items()), "  );"]


def _main() -> None:
    """Read a pool's sizes from standard input, write its files to standard output, both as JSON."""
    from rtl.axi_export import axi_verilog
    from rtl.core import core

    config = PoolConfig(**json.load(sys.stdin))
    json.dump(verilog(config, lambda _, inputs: core(config, inputs)) | axi_verilog(config), sys.stdout)


if __name__ == "__main__":
    _main()
