"""The exported Verilog is the netlist that the theorems are about; any other Verilog is refused."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyrtl
import pytest

from formal import export_equivalence
from formal.export_equivalence import check_composition, check_export, check_module, check_reset, check_top
from formal.mutation import drop_operand, mutated
from formal.netlist_json import NotEquivalentError
from formal.structure import core_block
from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core import core
from rtl.export import block_of, core_design, shell_design, verilog, write_files
from rtl.modules import Design
from rtl.pool import pool, real_cores


def check(config: PoolConfig, directory: Path) -> dict[str, int]:
    return check_export(config, directory, lambda _, inputs: core(config, inputs), real_cores(config))


@pytest.fixture(scope="module")
def designs() -> dict[str, Design]:
    config = NAMED_POOLS["tiny"]
    return {"shell": shell_design(config), "core": core_design(config, lambda _, inputs: core(config, inputs))}


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
    "an operator of the shell": ("control_port.v", r" & (\(address == 5'd10)", r" | \1"),
    "an operator of the core": ("accumulators.v", r"(assign \w+ = \w+ )\+ ", r"\1- "),
    "a comparison": ("fetch_wish.v", r" != ", " == "),
    "a reset value": ("windows.v", r"(tenant0_attachment <= )2'd3", r"\g<1>2'd0"),
    "a reset of the core": ("core.v", r"(asleep_core <= )1'd1", r"\g<1>1'd0"),
    "the enable of a memory": ("memory_1024x32.v", r"if \(scrub \| write_enable\)", "if (scrub)"),
    "what a register loads": ("context_switch.v", r"(ports_scrub <= )sweeps;", r"\1grant;"),
    "a pin of another core": ("pool.v", r"\.scrub\(core1_scrub_o\)", ".scrub(core0_scrub_o)"),
    "a pin that is left open": (
        "pool.v",
        r"\.instruction_valid\(core0_instruction_valid_o\)",
        ".instruction_valid()",
    ),
    "a second driver": (
        "dispatcher.v",
        r"(\n *assign has_credit = )",
        r"\n  assign has_credit = starts_0 + stops_0;\1",
    ),
    "a second driver, an input": (
        "dispatcher.v",
        r"(\n *assign has_credit = )",
        r"\n  assign has_credit = starts_0;\1",
    ),
    "a second driver of an input of a module": (
        "control_port.v",
        r"\nendmodule",
        "\n  assign data = ~data;\nendmodule",
    ),
    "a second driver of a pin": ("pool.v", r"endmodule", "  assign core0_scrub_o = 1'b0;\nendmodule"),
    "a pin that another one drives, too": (
        "pool.v",
        r"endmodule",
        "  assign core0_scrub_o = core1_scrub_o;\nendmodule",
    ),
    "a pin of a module": ("shell.v", r"\.grant\((\w+)_core0\)", r".grant(\1_core1)"),
    "a pin of a module that is left open": ("shell.v", r"\.virtual_\(\w+\)", ".virtual_()"),
    "a pin that is cut": ("shell.v", r"\.start_address\((\w+)\)", r".start_address(\1[3:0])"),
    "another module": ("core.v", r"  memory_256x32 residual", "  memory_64x32 residual"),
    "a memory with contents": ("prefetch_write.v", r"endmodule", "  initial channel0_prefetch[0] = 5;\nendmodule"),
    "a module of another name": ("decoder.v", r"module decoder", "module decoder_2"),
    "a module that is not there": ("decoder.v", r"(?s).*", ""),
}


Check = Callable[[str, Path], None]


@pytest.fixture
def check_changed(tiny: Path, designs: dict[str, Design]) -> Check:
    """Applies a mutation, and checks what it may have changed."""
    owner = {f"{module.name}.v": design for design in designs.values() for module in design.modules}

    def check_it(what: str, directory: Path) -> None:
        file, pattern, replacement = MUTATIONS[what]
        shutil.copytree(tiny, directory, dirs_exist_ok=True)
        text = (tiny / file).read_text()
        changed, count = re.subn(pattern, replacement, text, count=1)
        assert count == 1 and changed != text
        (directory / file).write_text(changed)
        if file == "pool.v":
            check_top(NAMED_POOLS["tiny"], directory, designs["shell"].block)
        else:
            check_module(owner[file], directory)

    return check_it


@pytest.mark.parametrize("what", MUTATIONS)
def test_a_changed_export_is_refused(what: str, tmp_path: Path, check_changed: Check) -> None:
    with pytest.raises(NotEquivalentError):
        check_changed(what, tmp_path)


@pytest.mark.parametrize("what", [what for what in MUTATIONS if what.startswith("a second driver")])
def test_a_second_driver_is_refused_by_more_than_yosys(
    what: str, tmp_path: Path, check_changed: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = export_equivalence._yosys

    def without_its_check(commands: list[str], what: Path) -> None:
        assert "check -assert" in commands
        run([command for command in commands if command != "check -assert"], what)

    monkeypatch.setattr(export_equivalence, "_yosys", without_its_check)
    with pytest.raises(NotEquivalentError, match="a second driver"):
        check_changed(what, tmp_path)


def test_registers_that_are_paired_wrongly_prove_nothing(
    tiny: Path, designs: dict[str, Design], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = designs["shell"].state_names()
    first, second = "tenant0_cycles", "tenant1_cycles"
    wrong = {**names, first: names[second], second: names[first]}
    monkeypatch.setattr(designs["shell"], "state_names", lambda: wrong)
    with pytest.raises(NotEquivalentError, match="not shown equal"):
        check_module(designs["shell"], tiny)


def test_two_cycles_of_reset_clear_a_core(designs: dict[str, Design]) -> None:
    block, shell = designs["core"].block, designs["shell"].block
    regions = len(["array", "banks", "common"]) + NAMED_POOLS["tiny"].lanes * len(["requantiser", "adder"])
    with_reset = len(["awake", "asleep_core", "asleep_engine"]) + regions * len(["asleep", "asleep_behind"])
    assert check_reset(block, shell) == len(block.wirevector_subset(pyrtl.Register)) - with_reset
    with pytest.raises(NotEquivalentError, match="two cycles of reset"):
        check_reset(block, core_design(NAMED_POOLS["tiny"], lambda _, inputs: core(NAMED_POOLS["tiny"], inputs)).block)


@pytest.mark.parametrize(("clear", "name"), [("clears_core", "fault_valid"), ("sleeps", "load_queue/head_valid")])
def test_a_register_that_reset_forgets_is_found(clear: str, name: str, designs: dict[str, Design]) -> None:
    block = mutated(core_block(NAMED_POOLS["tiny"]), drop_operand(clear, name, "x", 2))
    with pytest.raises(NotEquivalentError, match=f"two cycles of reset need not clear register {name}"):
        check_reset(block, designs["shell"].block)


def test_a_core_without_any_reset_is_refused(designs: dict[str, Design]) -> None:
    block = core_block(NAMED_POOLS["tiny"])
    block.get_wirevector_by_name("asleep_core").reset_value = None
    with pytest.raises(NotEquivalentError, match="two cycles of reset"):
        check_reset(block, designs["shell"].block)


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


def test_a_flat_netlist_that_is_not_its_parts_is_refused(designs: dict[str, Design]) -> None:
    config = NAMED_POOLS["tiny"]
    flat = block_of(lambda: pool(config, real_cores(config)))
    shell, one = designs["shell"].block, designs["core"].block
    assert check_composition(config, flat, shell, one) > 1000
    # An adder that something depends on: the core has three whose sum nobody uses, and changing those changes nothing.
    changed = next(net for net in observed(flat) if net.op == "+" and net.dests[0].name.startswith("core1/"))
    flat.logic.remove(changed)
    flat.add_net(changed._replace(op="-"))
    with pytest.raises(NotEquivalentError, match="core1/"):
        check_composition(config, flat, shell, one)
