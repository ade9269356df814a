"""What tools need beside the Verilog: it names the files that are there, and the tools' languages take it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from isa.configuration import NAMED_POOLS
from rtl.export import export
from rtl.project_files import HARNESS, PART, harness, project_files

STUBS = """
set said {}
foreach command {read_verilog read_xdc synth_design write_checkpoint report_utilization report_timing_summary opt_design
                 place_design phys_opt_design route_design report_methodology create_clock set_property set_input_delay
                 set_output_delay} {
    proc $command args "lappend ::said \\[linsert \\$args 0 $command]"
}
proc get_ports args { return $args }
proc get_property args { return 0.1 }
proc get_timing_paths args { return path }
proc puts args {}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    export(NAMED_POOLS["tiny"], directory)
    return directory


def verilog_files(directory: Path) -> set[str]:
    return {file.name for file in directory.glob("*.v")} - {f"{HARNESS}.v"}


def test_the_core_file_lists_the_sources(tiny: Path) -> None:
    first, text = (tiny / "tenure.core").read_text().split("\n", 1)
    assert first == "CAPI=2:"
    core = yaml.safe_load(text)
    assert core["name"] == "tenure:tenure:tiny"
    assert set(core["filesets"]["rtl"]["files"]) == verilog_files(tiny)
    assert {target["toplevel"] for target in core["targets"].values()} == {"axi_pool"}
    assert core["targets"]["synth"]["filesets"] == ["rtl", "constraints"]


def test_tcl_takes_the_vivado_script_and_the_constraints(tiny: Path, tmp_path: Path) -> None:
    tkinter = pytest.importorskip("tkinter", reason="needs Python's tkinter (Debian: python3-tk), 1 second")
    tcl = tkinter.Tcl()
    tcl.eval(STUBS)
    tcl.eval(f"set argc 2; set argv {{a_part {{{tmp_path / 'results'}}}}}")
    tcl.eval(f"source {{{tiny / 'vivado.tcl'}}}; source {{{tiny / 'tenure.xdc'}}}")
    said = [tcl.splitlist(command) for command in tcl.splitlist(tcl.eval("set said"))]
    (read,) = [command for command in said if command[0] == "read_verilog"]
    assert set(tcl.splitlist(read[1])) == verilog_files(tiny)
    (synthesis,) = [command for command in said if command[0] == "synth_design"]
    assert synthesis[1:5] == ("-top", "axi_pool", "-part", "a_part") and "TENURE_XILINX" in synthesis
    steps = [command[0] for command in said if command[0].endswith("_design")]
    assert steps == ["synth_design", "opt_design", "place_design", "phys_opt_design", "route_design"]
    (clock,) = [command for command in said if command[0] == "create_clock"]
    assert clock[-1] == "aclk"
    assert (tmp_path / "results").is_dir()


def test_the_shell_takes_the_script_for_ecp5(tiny: Path) -> None:
    subprocess.run(["sh", "-n", str(tiny / "ecp5.sh")], check=True)
    (read, _) = [line for line in (tiny / "ecp5.sh").read_text().splitlines() if line.startswith("read_verilog")]
    files = set(read.split()[1:])
    assert files <= verilog_files(tiny) | {f"{HARNESS}.v"}
    assert {"pool.v", "shell.v", "core.v", "mac_array.v", f"{HARNESS}.v"} <= files and "axi_pool.v" not in files


POOL = "module pool(\n  input clk,\n  input rst,\n  input a,\n  input [6:0] b,\n  output [2:0] c,\n  output d\n);"


def test_a_pool_without_axi_is_its_own_top() -> None:
    files = project_files(NAMED_POOLS["single"], {"pool.v": POOL}, "// header\n")
    assert "toplevel: pool\n" in files["tenure.core"]
    assert "create_clock -name clk " in files["tenure.xdc"]
    assert "synth_design -top pool -part $part" in files["vivado.tcl"]
    assert PART in files["vivado.tcl"]


def test_the_harness_wires_every_port_once() -> None:
    text = harness(POOL)
    assert all(pin in text for pin in (".a(given[0:0])", ".b(given[7:1])", ".c(made[2:0])", ".d(made[3:3])"))
    assert "reg [7:0] given;" in text and "wire [3:0] made;" in text and "serial_out = folded[3]" in text
