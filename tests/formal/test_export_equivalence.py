"""The exported Verilog is the netlist that the theorems are about; any other Verilog is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pyrtl
import pytest

from formal import export_equivalence
from formal.export_equivalence import check_composition, check_export, check_module, check_top
from formal.netlist_json import NotEquivalentError
from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core import core
from rtl.export import block_of, core_module, verilog, write_files
from rtl.pool import core_stub, pool, real_cores


def check(config: PoolConfig, directory: Path) -> dict[str, int]:
    return check_export(config, directory, lambda _, inputs: core(config, inputs), real_cores(config))


@pytest.fixture(scope="module")
def blocks() -> dict[str, pyrtl.Block]:
    config = NAMED_POOLS["tiny"]
    return {
        "flat": block_of(lambda: pool(config, real_cores(config))),
        "shell": block_of(lambda: pool(config, core_stub(config))),
        "core": block_of(lambda: core_module(config, lambda _, inputs: core(config, inputs))),
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
    "a second driver": (
        "shell.v",
        r"(\n *assign tmp\d+ = )(\([^;]* & [^;]*;)",
        r"\1(control_write + control_write);\1\2",
    ),
    "a second driver, with an input of the pool in it": (
        "shell.v",
        r"(\n *assign tmp\d+ = )(\([^;]* & [^;]*;)",
        r"\1(control_write + core0_fault_valid_i);\1\2",
    ),
    "a second driver of a pin": ("pool.v", r"endmodule", "  assign core0_scrub_o = 1'b0;\nendmodule"),
    "a pin that another one drives, too": (
        "pool.v",
        r"endmodule",
        "  assign core0_scrub_o = core1_scrub_o;\nendmodule",
    ),
}


def check_changed(what: str, tiny: Path, directory: Path, blocks: dict[str, pyrtl.Block]) -> None:
    file, pattern, replacement = MUTATIONS[what]
    for name in ("shell.v", "core.v", "pool.v"):
        shutil.copy(tiny / name, directory / name)
    text = (tiny / file).read_text()
    changed, count = re.subn(pattern, replacement, text, count=1)
    assert count == 1 and changed != text
    (directory / file).write_text(changed)
    if file == "pool.v":
        check_top(NAMED_POOLS["tiny"], directory, blocks["shell"])
    else:
        module = file.removesuffix(".v")
        check_module(module, blocks[module], directory / file)


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_changed_export_is_refused(what: str, tiny: Path, tmp_path: Path, blocks: dict[str, pyrtl.Block]) -> None:
    with pytest.raises(NotEquivalentError, match=MUTATIONS[what][0].replace(".", r"\.")):
        check_changed(what, tiny, tmp_path, blocks)


@pytest.mark.parametrize("what", [what for what in MUTATIONS if what.startswith("a second driver")])
def test_a_second_driver_is_refused_by_more_than_yosys(
    what: str, tiny: Path, tmp_path: Path, blocks: dict[str, pyrtl.Block], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = export_equivalence._yosys

    def without_its_check(commands: list[str], what: Path) -> None:
        assert "check -assert" in commands
        run([command for command in commands if command != "check -assert"], what)

    monkeypatch.setattr(export_equivalence, "_yosys", without_its_check)
    with pytest.raises(NotEquivalentError, match="a second driver"):
        check_changed(what, tiny, tmp_path, blocks)


def observed(block: pyrtl.Block) -> list[pyrtl.LogicNet]:
    """The nets that a register, a memory or an output depends on, one step or many back."""
    drivers, _ = block.net_connections()
    waiting = [net for net in block.logic if net.op in "r@"]
    waiting += [drivers[wire] for wire in block.wirevector_subset(pyrtl.Output)]
    found = {net: None for net in waiting}
    while waiting:
        for wire in waiting.pop().args:
            if (net := drivers.get(wire)) is not None and net not in found:
                found[net] = None
                waiting.append(net)
    return list(found)


def test_a_flat_netlist_that_is_not_its_parts_is_refused(blocks: dict[str, pyrtl.Block]) -> None:
    config = NAMED_POOLS["tiny"]
    flat, shell, one = blocks["flat"], blocks["shell"], blocks["core"]
    assert check_composition(config, flat, shell, one) > 1000
    # An adder that something depends on: the core has three whose sum nobody uses, and changing those changes nothing.
    changed = next(net for net in observed(flat) if net.op == "+" and net.dests[0].name.startswith("core1/"))
    flat.logic.remove(changed)
    flat.add_net(changed._replace(op="-"))
    with pytest.raises(NotEquivalentError, match="core1/"):
        check_composition(config, flat, shell, one)
