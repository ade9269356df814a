"""Cost on an FPGA: the baseline without virtualisation works, and what is read off a mapped netlist is right."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import cache
from benchmarks.synthesis import report
from benchmarks.synthesis.dedicated import dedicated_pool
from benchmarks.synthesis.devices import ALVEO, FAMILIES, Resources, resources
from benchmarks.synthesis.mapped import LongestPath, longest_path
from benchmarks.synthesis.memories import MEANT_FOR_LUT_RAM, NOT_MEANT, in_block_ram, judged
from benchmarks.synthesis.parts import synthesise_parts
from benchmarks.synthesis.synthesise import Memory, Synthesis, synthesise
from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.hypervisor import Hypervisor
from hypervisor.machines import open_port
from hypervisor.pool_port import Bytes, Read, Write
from isa.encoding import encode_program
from isa.instructions import End, Instruction, Load, Save
from isa.registers import Command, TenantState
from isa.registers import Register as Address
from rtl.axi_export import axi_modules
from rtl.core import core
from rtl.export import core_design, recorded, shell_design
from tests.backends.small_programs import CONFIG, INPUT, WINDOW_BYTES, core_program, window

pytestmark = pytest.mark.xdist_group("tiny_rtl")
TASKS = range(CONFIG.tenants)
DATA = INPUT * CONFIG.array
"""Byte of a window behind the program."""
LEVELS = 20
"""Bound on the longest path of a module."""


def content(task: int) -> Bytes:
    """The memory of a task on the baseline: program and data as of a window, but addresses are physical."""

    def physical(instruction: Instruction) -> Instruction:
        if isinstance(instruction, Load | Save):
            return replace(instruction, address=instruction.address + task * WINDOW_BYTES // CONFIG.array)
        return instruction

    result = window(1, seed=task)
    program = encode_program([*map(physical, core_program(0)), End(barriers=2)])
    result[: len(program)] = np.frombuffer(program, np.uint8)
    return result


@pytest.fixture(scope="module")
def baseline() -> Iterator[PyrtlPort]:
    port = PyrtlPort(CONFIG, elaborate=dedicated_pool, description="the baseline without virtualisation")
    yield port
    port.close()


def test_the_baseline_runs_a_task_on_every_core_as_the_pool_does(baseline: PyrtlPort) -> None:
    shared = open_port("pyrtl", CONFIG)
    hypervisor = Hypervisor(shared)
    tenants = [hypervisor.attach(WINDOW_BYTES) for _ in TASKS]
    for task, tenant in enumerate(tenants):
        hypervisor.grant(tenant, [task])
        hypervisor.write(tenant, 0, window(1, seed=task))
        baseline.write_memory(task * WINDOW_BYTES, content(task))
        start = task * WINDOW_BYTES // 16
        orders = ((Address.ARGUMENT_TENANT, task), (Address.ARGUMENT_START, start), (Address.COMMAND, Command.START))
        baseline.transfer([Write(address, value) for address, value in orders])
        baseline.step(8)
    hypervisor.start([(tenant, 0) for tenant in tenants])
    hypervisor.wait(tenants, 20_000)
    baseline.step(20_000)
    for task, tenant in enumerate(tenants):
        first = task * WINDOW_BYTES
        assert hypervisor.status(tenant).state is TenantState.DONE
        ours, theirs = baseline.read_memory(first, WINDOW_BYTES), hypervisor.read(tenant, 0, WINDOW_BYTES)
        assert (ours[DATA:] == theirs[DATA:]).all()
        assert (ours[DATA:] != content(task)[DATA:]).any()
        baseline.transfer([Write(Address.ARGUMENT_TENANT, task)])
        state, cycles = baseline.transfer([Read(Address.TENANT_STATE), Read(Address.TENANT_CYCLES)])
        assert (state, cycles) == (TenantState.DONE, hypervisor.status(tenant).cycles)
    shared.close()


EVERY_KIND = """
module every_kind(
  input clk, input write, input [9:0] address, input [17:0] data, input [7:0] left, input [7:0] right,
  output reg [17:0] deep_word, output reg [17:0] shallow_word, output reg [17:0] double_word, output reg [15:0] product
);
  reg [17:0] deep [1023:0];
  reg [17:0] shallow [63:0];
  reg [17:0] double [3:0];
  always @(posedge clk) begin
    deep_word <= deep[address];
    shallow_word <= shallow[address[5:0]];
    double_word <= double[address[1:0]];
    product <= left * right;
    if (write) begin
      deep[address] <= data;
      shallow[address[5:0]] <= data;
      double[address[1:0]] <= data;
      double[address[3:2]] <= ~data;
    end
  end
endmodule
"""


@pytest.mark.parametrize(("family", "dsp"), [("xcup", "DSP48E2"), ("xc7", "DSP48E1")])
def test_what_became_of_memories_and_multipliers_is_read_off_the_netlist(family: str, dsp: str, tmp_path: Path) -> None:
    file = tmp_path / "every_kind.v"
    file.write_text(EVERY_KIND)
    found = Synthesis.from_json(json.loads(json.dumps(synthesise([file], "every_kind", family))))
    assert {memory.name: (memory.words, memory.bits, memory.place) for memory in found.memories} == {
        "deep": (1024, 18, "block RAM"), "shallow": (64, 18, "LUT RAM"), "double": (4, 18, "flip-flops"),
    }  # fmt: skip
    total = found.resources
    assert (total.dsp, total.bram, found.cells[dsp]) == (1, 0.5, 1)
    assert total.ff >= 4 * 18  # the words of `double`
    assert total.lut > total.lut_ram > 0


def test_parts_are_counted_as_often_as_they_are_there_and_without_their_own_parts(tmp_path: Path) -> None:
    file = tmp_path / "tree.v"
    file.write_text("""
module leaf(input a, input b, output y); assign y = a & b; endmodule
module twig(input a, input b, input c, output y, output z);
  leaf first (.a(a), .b(b), .y(y));
  leaf second (.a(b), .b(c), .y(z));
endmodule
module tree(input clk, input [5:0] a, output [3:0] y, output reg q);
  twig first (.a(a[0]), .b(a[1]), .c(a[2]), .y(y[0]), .z(y[1]));
  twig second (.a(a[3]), .b(a[4]), .c(a[5]), .y(y[2]), .z(y[3]));
  always @(posedge clk) q <= a[0];
endmodule
""")
    found = {part["name"]: (part["instances"], part["cells"]) for part in synthesise_parts([file], "tree", "xcup")}
    assert found == {"tree": (1, {"FDRE": 1}), "twig": (2, {}), "leaf": (4, {"LUT2": 1})}
    assert synthesise([file], "tree", "xcup")["cells"] == {"FDRE": 1, "LUT2": 4}


def cell(kind: str, inputs: dict[str, list[int]], outputs: dict[str, list[int]], **parameters: str) -> dict[str, Any]:
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    return {
        "type": kind, "parameters": parameters, "port_directions": directions, "connections": inputs | outputs,
    }  # fmt: skip


def module(*cells: dict[str, Any], **names: int) -> dict[str, Any]:
    nets = {name: {"bits": [bit]} for name, bit in names.items()}
    return {"cells": {f"cell{number}.0.0": each for number, each in enumerate(cells)}, "netnames": nets}


def test_a_path_is_counted_from_register_to_register_without_inverters() -> None:
    found = longest_path(
        module(
            cell("FDRE", {"C": [1], "D": [90]}, {"Q": [2]}),
            cell("INV", {"I": [2]}, {"O": [3]}),
            cell("LUT1", {"I0": [3]}, {"O": [4]}),
            cell("LUT2", {"I0": [4], "I1": [70]}, {"O": [5]}),
            cell("LUT1", {"I0": [71]}, {"O": [6]}),
            cell("FDRE", {"C": [1], "D": [5]}, {"Q": [30]}),
            cell("FDRE", {"C": [1], "D": [6]}, {"Q": [31]}),
            first=2, last=30, other=31,
        )
    )  # fmt: skip
    assert found == LongestPath(2, "first", "last (D)", {"INV": 1, "LUT1": 1, "LUT2": 1})


def test_a_carry_goes_upwards_only() -> None:
    def levels(sum_bit: int, operand_bit: int) -> int:
        operands = [3 if place == operand_bit else 50 + place for place in range(4)]
        carry = cell("CARRY4", {"CI": [40], "CYINIT": [41], "DI": [60, 61, 62, 63], "S": operands},
                     {"O": [10, 11, 12, 13], "CO": [14, 15, 16, 17]})  # fmt: skip
        front = cell("LUT1", {"I0": [2]}, {"O": [3]})
        return longest_path(module(front, carry, cell("LUT1", {"I0": [10 + sum_bit]}, {"O": [20]}))).levels

    assert [levels(3, 3), levels(3, 0), levels(0, 0)] == [3, 3, 3]
    assert levels(0, 3) == 2


def test_block_ram_and_registered_multipliers_end_a_path_lut_ram_and_plain_multipliers_do_not() -> None:
    def levels(middle: dict[str, Any]) -> int:
        return longest_path(
            module(cell("LUT1", {"I0": [2]}, {"O": [3]}), middle, cell("LUT1", {"I0": [4]}, {"O": [5]}))
        ).levels

    assert levels(cell("RAMB18E2", {"ADDRARDADDR": [3]}, {"DOUTADOUT": [4]})) == 1
    assert levels(cell("RAM64M8", {"ADDRA": [3], "DIA": [9]}, {"DOA": [4]})) == 3
    assert levels(cell("RAM64M8", {"ADDRA": [9], "DIA": [3]}, {"DOA": [4]})) == 2
    plain = {"AREG": "0", "BREG": "0", "CREG": "1", "DREG": "1", "MREG": "0", "PREG": "0"}
    assert levels(cell("DSP48E2", {"A": [3], "B": [9]}, {"P": [4]}, **plain)) == 3
    for register in ("AREG", "MREG", "PREG"):
        assert levels(cell("DSP48E2", {"A": [3], "B": [9]}, {"P": [4]}, **plain | {register: "1"})) <= 2
    assert levels(cell("DSP48E2", {"A": [3], "B": [9]}, {"P": [4]}, **plain | {"PREG": "1"})) == 1


def test_a_loop_is_refused() -> None:
    with pytest.raises(ValueError, match="loop"):
        longest_path(module(cell("LUT1", {"I0": [2]}, {"O": [3]}), cell("LUT1", {"I0": [3]}, {"O": [2]})))


def test_a_memory_that_nobody_meant_for_lut_ram_stands_out() -> None:
    found = [
        Memory("features", 64, 64, {"RAM64M8": 10}), Memory("weights", 64, 64, {}), Memory("deep", 1024, 1, {}),
        Memory("load.outstanding.words", 64, 64, {"RAM64M8": 10}), Memory("output", 512, 64, {"RAMB36E2": 1}),
    ]  # fmt: skip
    rows = judged("core", Synthesis({}, found, LongestPath(0, "", "")), ALVEO["Alveo U200"])
    assert {row["memory"]: (row["place"], row["meant"] == NOT_MEANT) for row in rows} == {
        "core.features": ("LUT RAM", True),
        "core.weights": ("flip-flops", True),
        "core.load.outstanding.words": ("LUT RAM", False),
        "core.output": ("block RAM", False),
    }


@pytest.mark.skipif("TENURE_PAPER" not in os.environ, reason="TENURE_PAPER=1 runs it: 2 minutes of yosys")
def test_tiny_has_its_memories_where_they_are_meant_to_be_and_short_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "BENCHES", tmp_path)
    monkeypatch.setattr(report, "FAMILIES", {"xcup": FAMILIES["xcup"]})
    monkeypatch.setattr(report, "PARTED", ())
    for name, each in report.MODULES.items():
        monkeypatch.setitem(report.MODULES, name, replace(each, families=("xcup",)))
    cost = report.measure_cost(CONFIG, lambda fraction, step: None)
    modules = {name: found for name, found in cost.modules["xcup"].items() if not name.startswith("dedicated")}
    rows = [row for name, found in modules.items() for row in judged(name, found, ALVEO["Alveo U200"])]
    assert [row for row in rows if row["meant"] == NOT_MEANT] == []
    assert max(found.path.levels for found in modules.values()) <= LEVELS
    extra, scrub = cost.virtualisation("xcup"), cost.scrub()
    assert 0 < extra.lut < cost.modules["xcup"]["dedicated shell"].resources.lut
    assert extra.ff > 0 and 0 < scrub.lut < cost.modules["xcup"]["core"].resources.lut / 20


def test_every_reason_for_lut_ram_is_needed() -> None:
    names = memory_names()
    for pattern in MEANT_FOR_LUT_RAM:
        assert any(re.fullmatch(pattern, name) for name in names), f"no memory is called {pattern}"


def memory_names() -> set[str]:
    """Memories of the modules of `tiny`, as `module.memory` in the flattened Verilog."""
    designs = [
        shell_design(CONFIG),
        core_design(CONFIG, lambda _, inputs: core(CONFIG, inputs)),
        *(recorded(name, build) for name, build in axi_modules(CONFIG).items()),
    ]
    return {
        f"{design.top.name}.{design.state_names()[net.op_param[1].name]}"
        for design in designs
        for net in design.block.logic_subset("m")
    }


def test_block_ram_is_counted_in_halves() -> None:
    assert in_block_ram(Memory("", 64, 512, {})) == 7.5
    assert in_block_ram(Memory("", 4096, 128, {})) == 15
    assert in_block_ram(Memory("", 256, 8, {})) == 0.5


def test_resources_are_sums_and_unknown_cells_are_refused() -> None:
    found = resources({"LUT6": 3, "RAM64M8": 1, "FDRE": 2, "RAMB18E2": 1, "RAMB36E2": 2, "DSP48E2": 4, "CARRY4": 9})
    assert found == Resources(lut=11, lut_ram=8, ff=2, dsp=4, bram=2.5)
    assert found + found == found * 2
    assert found - found == Resources()
    with pytest.raises(KeyError):
        resources({"MYSTERY": 1})
