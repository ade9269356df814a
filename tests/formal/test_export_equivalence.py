"""The exported Verilog is the netlist that the theorems are about; any other Verilog is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyrtl
import pytest

from formal.export_equivalence import check_composition, check_export, check_module, check_top
from formal.netlist_json import NotEquivalentError
from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core import core
from rtl.core_ports import core_ports
from rtl.export import verilog, write_files
from rtl.pool import core_stub, pool, real_cores
from rtl.sizes import output


def check(config: PoolConfig, directory: Path) -> dict[str, int]:
    return check_export(config, directory, lambda _, inputs: core(config, inputs), real_cores(config))


def block_of(build: Callable[[], None]) -> pyrtl.Block:
    with pyrtl.temp_working_block():
        build()
        return pyrtl.working_block()


@pytest.fixture(scope="module")
def blocks() -> dict[str, pyrtl.Block]:
    config = NAMED_POOLS["tiny"]
    return {
        "flat": block_of(lambda: pool(config, real_cores(config))),
        "shell": block_of(lambda: pool(config, core_stub(config))),
        "core": block_of(lambda: one_core(config)),
    }


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = NAMED_POOLS["tiny"]
    directory = tmp_path_factory.mktemp("tiny")
    write_files(directory, verilog(config, lambda _, inputs: core(config, inputs)))
    return directory


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_the_verilog_is_the_netlist_that_is_proved(name: str, tmp_path: Path) -> None:
    config = NAMED_POOLS[name]
    write_files(tmp_path, verilog(config, lambda _, inputs: core(config, inputs)))
    counts = check(config, tmp_path)
    assert counts["shell_bits"] > 1000 and counts["core_bits"] > 1000 and counts["nodes"] > 1000


MUTATIONS = {
    "an operator of the shell": ("shell.v", r"(\(tmp\d+) & (\(control_address == 5'd10)", r"\1 | \2"),
    "an operator of the core": ("core.v", r"(assign compute_accumulators_tmp\d+ = \(\w+) \+ ", r"\1 - "),
    "a reset value": ("shell.v", r"(tenant0_attachment <= )2'd3", r"\g<1>2'd0"),
    "the enable of a memory": ("core.v", r"if \(.*\) begin(\s+features\[)", r"if (sleeps) begin\1"),
    "what a register loads": ("shell.v", r"(core0_scrub <= )tmp\d+;", r"\1host_taken;"),
    "a pin of another core": ("pool.v", r"\.scrub\(core1_scrub_o\)", ".scrub(core0_scrub_o)"),
    "a pin that is left open": ("pool.v", r"\.instruction_valid\(core0_instruction_valid_o\)", ".instruction_valid()"),
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_changed_export_is_refused(what: str, tiny: Path, tmp_path: Path, blocks: dict[str, pyrtl.Block]) -> None:
    file, pattern, replacement = MUTATIONS[what]
    for name in ("shell.v", "core.v", "pool.v"):
        shutil.copy(tiny / name, tmp_path / name)
    text = (tiny / file).read_text()
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1 and changed != text
    (tmp_path / file).write_text(changed)
    with pytest.raises(NotEquivalentError, match=file.replace(".", r"\.")):
        if file == "pool.v":
            check_top(NAMED_POOLS["tiny"], tmp_path, blocks["shell"])
        else:
            module = file.removesuffix(".v")
            check_module(module, blocks[module], tmp_path / file)


def test_a_flat_netlist_that_is_not_its_parts_is_refused(blocks: dict[str, pyrtl.Block]) -> None:
    config = NAMED_POOLS["tiny"]
    flat, shell, one = blocks["flat"], blocks["shell"], blocks["core"]
    assert check_composition(config, flat, shell, one) > 1000
    changed = next(net for net in flat if net.op == "+" and net.dests[0].name.startswith("core1/"))
    flat.logic.remove(changed)
    flat.add_net(changed._replace(op="-"))
    with pytest.raises(NotEquivalentError, match="core1/"):
        check_composition(config, flat, shell, one)


def one_core(config: PoolConfig) -> None:
    inputs = {port: pyrtl.Input(bits, port) for port, bits in core_ports(config).inputs.items()}
    for port, wire in core(config, inputs).items():
        output(f"{port}_o", wire)
