"""Verilog of a pool: `pool.v`, the top; `shell.v` and `core.v`, which it instantiates; a file for each of their parts.

Clock `clk`; synchronous reset `rst`, which brings every register to its reset value; memories start as they are,
which the scrub and the sweep after reset make irrelevant. Hold `rst` for two cycles: in the second one a core clears
the registers that have no reset of their own. The first cycle without it is cycle 0 of PyRTL's simulation of the flat
netlist.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyrtl
from pyrtl import Input

from isa.configuration import PoolConfig
from rtl.core_ports import core_ports
from rtl.hierarchy import RecordingBlock
from rtl.modules import Design, ExportError
from rtl.pool import CoreBuilder, core_stub, pool
from rtl.sizes import output
from rtl.verilog import bit_range, design_texts, instance

__all__ = ["Design", "ExportError", "export", "verilog"]

HEADER = "// Tenure, pool {name}: written by rtl/export.py. Do not edit.\n"


def export(config: PoolConfig, directory: Path) -> None:
    """Write the Verilog of `config`, and what tools need beside it, into `directory`, made if need be.

    The same bytes every time.

    Elaborates in a process of its own. Every file appears complete or not at all. Raises ExportError when elaboration
    fails.
    """
    write_files(directory, elaborated("rtl.export", config))


def elaborated(module: str, config: PoolConfig, **environment: str) -> dict[str, str]:
    """What `python -m module` prints, files by name as JSON, given the pool on its input and more environment.

    Raises ExportError when it fails.
    """
    root = Path(__file__).resolve().parent.parent
    paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
    finished = subprocess.run(
        [sys.executable, "-m", module],
        input=json.dumps(dataclasses.asdict(config)),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
    )
    if finished.returncode:
        reason = finished.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ExportError(f"pool {config.name!r} could not be exported by {module}: {reason[0]}")
    texts: dict[str, str] = json.loads(finished.stdout)
    return texts


def write_files(directory: Path, texts: dict[str, str]) -> None:
    """Write all files into a temporary directory on the same disk, then move them into place."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".verilog-", dir=directory) as partial:
        for name, text in texts.items():
            (Path(partial) / name).write_text(text, encoding="ascii")
        for name in texts:
            os.replace(Path(partial) / name, directory / name)


def verilog(config: PoolConfig, core_builder: CoreBuilder) -> dict[str, str]:
    """The files as text by their names, from whichever core builder; the top first, parts behind what they are of."""
    header = HEADER.format(name=json.dumps(config.name))
    shell, core = shell_design(config), core_design(config, core_builder)
    modules = {"pool": _top(config, shell)}
    for design in (shell, core):
        for name, text in design_texts(design).items():
            if name in modules:
                raise ExportError(f"two modules would be called {name}")
            modules[name] = text
    return {f"{name}.v": header + text for name, text in modules.items()}


def shell_design(config: PoolConfig) -> Design:
    """The module `shell` and its parts."""
    return recorded("shell", lambda: pool(config, core_stub(config)))


def core_design(config: PoolConfig, core_builder: CoreBuilder) -> Design:
    """The module `core` and its parts."""
    return recorded("core", lambda: core_module(config, core_builder))


def core_module(config: PoolConfig, core_builder: CoreBuilder) -> None:
    """One core in the working block with its ports at the top: inputs by their names, outputs as `{port}_o`."""
    inputs = {port: Input(bits, port) for port, bits in core_ports(config).inputs.items()}
    for port, wire in core_builder(0, inputs).items():
        output(f"{port}_o", wire)


def recorded(name: str, build: Callable[[], None]) -> Design:
    """The module `name`, with what `build` puts into the working block, and its parts."""
    block = RecordingBlock(name)
    with pyrtl.set_working_block(block, no_sanity_check=True):
        build()
    block.sanity_check()
    return Design(block)


def block_of(build: Callable[[], None]) -> pyrtl.Block:
    """A block of its own with what `build` puts into the working block."""
    with pyrtl.temp_working_block():
        build()
        return pyrtl.working_block()


def module_files(file: Path) -> list[Path]:
    """The files of an exported module and of all that it instantiates, the module's own first."""
    found = [file]
    for each in found:
        instantiated = re.findall(r"^  (\w+) \w+ \($", each.read_text(encoding="ascii"), re.MULTILINE)
        found += [part for name in dict.fromkeys(instantiated) if (part := file.parent / f"{name}.v") not in found]
    return found


def _top(config: PoolConfig, shell: Design) -> str:
    """The module `pool`: the shell's ports, without those of its cores, which are wired to instances of `core`."""
    ports = core_ports(config)
    inner = {f"core{core}_{port}_o" for core in range(config.cores) for port in ports.inputs}
    inner |= {f"core{core}_{port}_i" for core in range(config.cores) for port in ports.outputs}
    shell_ports = [("input", str(wire.name), len(wire)) for wire in shell.top.inputs]
    shell_ports += [("output", name, len(wire)) for name, wire in shell.top.shown.items()]
    outer = [port for port in shell_ports if port[1] not in inner]
    lines = ["// The pool: the shell, which is the trusted part, around its cores.", "module pool("]
    declarations = ["  input clk", "  input rst"] + [f"  {way} {bit_range(bits)}{name}" for way, name, bits in outer]
    lines += [",\n".join(declarations), ");"]
    lines += [f"  wire {bit_range(bits)}{name};" for _, name, bits in shell_ports if name in inner]
    lines += instance("shell", "shell", {name: name for _, name, _ in shell_ports})
    for core in range(config.cores):
        wires = {port: f"core{core}_{port}_o" for port in ports.inputs}
        wires |= {f"{port}_o": f"core{core}_{port}_i" for port in ports.outputs}
        lines += instance("core", f"core{core}", wires)
    return "\n".join([*lines, "endmodule", ""])


def _main() -> None:
    """Read a pool's sizes from standard input, write its files to standard output, both as JSON."""
    from rtl.axi_export import axi_verilog
    from rtl.core import core
    from rtl.project_files import project_files

    config = PoolConfig(**json.load(sys.stdin))
    texts = verilog(config, lambda _, inputs: core(config, inputs)) | axi_verilog(config)
    json.dump(texts | project_files(config, texts, HEADER.format(name=json.dumps(config.name))), sys.stdout)


if __name__ == "__main__":
    _main()
