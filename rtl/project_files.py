"""What tools need beside the Verilog of a pool: a FuseSoC core file, constraints, and scripts for two tool chains."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from isa.configuration import PoolConfig
from rtl.verilog import bit_range, instance

PART = "xcu200-fsgd2104-2-e"
"""The FPGA of an Alveo U200; the Vivado script takes another one as its argument."""
CLOCK_NANOSECONDS = 5
HARNESS = "ecp5_harness"
ECP5_PINS = "ecp5.lpf"
"""The file with the pins of the harness; it leaves all but the clock to the placer."""
_PORT = re.compile(r"^\s*(input|output) (?:\[(\d+):0\] )?(\w+)", re.MULTILINE)


def project_files(config: PoolConfig, texts: Mapping[str, str], header: str) -> dict[str, str]:
    """The files as text by their names.

    Args:
        texts: the exported files, by name.
        header: a comment line that says where a file is from, as Verilog writes it.
    """
    sources = [name for name in texts if name.endswith(".v")]
    top, clock = ("axi_pool", "aclk") if "axi_pool.v" in texts else ("pool", "clk")
    comment = header.replace("//", "#")
    return {
        f"{HARNESS}.v": header + harness(texts["pool.v"]),
        "tenure.core": _fusesoc_core(config, sources, top, comment),
        "tenure.xdc": comment + _constraints(clock),
        "vivado.tcl": comment + _vivado_script(sources, top),
        ECP5_PINS: comment + ecp5_pins(),
        "ecp5.sh": "#!/bin/sh\n" + comment + _ecp5_script(sources),
    }


def harness(pool: str) -> str:
    """The module that wraps `pool`, given its text, with four pins, for devices with fewer pins than it has ports.

    Its inputs are a shift register, its outputs are registered and folded into another one, so that everything stays
    alive and no path of the harness has more than one look-up table. It is for measuring, not for using.
    """
    head = pool[pool.index("module pool(") : pool.index(");")]
    ports = [(way, int(top or 0) + 1, name) for way, top, name in _PORT.findall(head) if name not in ("clk", "rst")]
    bits = {way: sum(width for each, width, _ in ports if each == way) for way in ("input", "output")}
    wires, place = {}, {"input": 0, "output": 0}
    for way, width, name in ports:
        source = "given" if way == "input" else "made"
        wires[name] = f"{source}[{place[way] + width - 1}:{place[way]}]"
        place[way] += width
    given, made = bit_range(bits["input"]), bit_range(bits["output"])
    return "\n".join([
        "// Four pins around `pool`, for place and route on a device with fewer pins than it has ports.",
        f"module {HARNESS}(input clk, input reset_n, input serial_in, output serial_out);",
        "  reg [1:0] reset;",
        f"  reg {given}given;",
        f"  wire {made}made;",
        f"  reg {made}seen;",
        f"  reg {made}folded;",
        "  always @(posedge clk) begin",
        "    reset <= {reset[0], !reset_n};",
        f"    given <= {{given[{bits['input'] - 2}:0], serial_in}};",
        "    seen <= made;",
        f"    folded <= {{folded[{bits['output'] - 2}:0], 1'b0}} ^ seen;",
        "  end",
        f"  assign serial_out = folded[{bits['output'] - 1}];",
        *instance("pool", "pool", wires, reset="reset[1]"),
        "endmodule",
        "",
    ])  # fmt: skip


def _fusesoc_core(config: PoolConfig, sources: Iterable[str], top: str, comment: str) -> str:
    name = re.sub(r"[^A-Za-z0-9_]", "_", config.name)
    listed = "\n".join(f"      - {source}" for source in sources)
    return f"""CAPI=2:
{comment}name: tenure:tenure:{name}
description: Multi-tenant DNN accelerator, {config.cores} cores of {config.array} x {config.array} multipliers

filesets:
  rtl:
    files:
{listed}
    file_type: verilogSource
  constraints:
    files:
      - tenure.xdc: {{file_type: xdc}}

parameters:
  TENURE_XILINX:
    datatype: bool
    default: true
    paramtype: vlogdefine
    description: The clock gate is a BUFGCE of 7-series and UltraScale devices

targets:
  default:
    description: The sources alone, for a design that instantiates {top}
    filesets: [rtl]
    toplevel: {top}
  lint:
    description: Verilator's warnings, of which there are none
    filesets: [rtl]
    toplevel: {top}
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall, -Wno-UNUSEDSIGNAL]
  synth:
    description: Synthesis by Vivado, out of context
    filesets: [rtl, constraints]
    toplevel: {top}
    parameters: [TENURE_XILINX]
    flow: vivado
    flow_options:
      part: {PART}
      pnr: none
"""


def _constraints(clock: str) -> str:
    return f"""\
# For builds out of context (vivado.tcl). In a block design leave it out: there the clock comes with its constraints.
#
# Everything is synchronous to {clock}, its reset and all ports too: there is no asynchronous path and no false one.
# The pool's own clock is {clock} behind a clock gate; paths between the two are real, and Vivado times them. On
# UltraScale give both nets the same CLOCK_DELAY_GROUP if their skew costs more than you like.
create_clock -name {clock} -period {CLOCK_NANOSECONDS}.000 [get_ports {clock}]
set_input_delay -clock {clock} 1.000 [get_ports -filter "DIRECTION == IN && NAME != {clock}"]
set_output_delay -clock {clock} 1.000 [get_ports -filter "DIRECTION == OUT"]
"""


def _vivado_script(sources: Iterable[str], top: str) -> str:
    listed = " \\\n".join(f"  {source}" for source in sources)
    return f"""\
# vivado -mode batch -source vivado.tcl [-tclargs PART [DIRECTORY]]
#
# {top} out of context, without a project, to a routed checkpoint; utilisation by module and timing are reports in
# DIRECTORY (default: vivado, beside this file). Written without a Vivado at hand: nobody has run it yet.
set part [expr {{$argc > 0 ? [lindex $argv 0] : "{PART}"}}]
set results [file normalize [expr {{$argc > 1 ? [lindex $argv 1] : "vivado"}}]]
cd [file dirname [file normalize [info script]]]
file mkdir $results

read_verilog [list \\
{listed} \\
]
read_xdc -mode out_of_context tenure.xdc
synth_design -top {top} -part $part -mode out_of_context -verilog_define TENURE_XILINX -flatten_hierarchy rebuilt
write_checkpoint -force $results/synthesised.dcp
report_utilization -hierarchical -file $results/utilisation_synthesised.txt
report_timing_summary -file $results/timing_synthesised.txt

opt_design
place_design
phys_opt_design
route_design
write_checkpoint -force $results/routed.dcp
report_utilization -hierarchical -file $results/utilisation.txt
report_timing_summary -max_paths 10 -report_unconstrained -file $results/timing.txt
report_methodology -file $results/methodology.txt
puts "worst slack: [get_property SLACK [get_timing_paths]] ns; reports are in $results"
"""


def ecp5_pins() -> str:
    """Constraints for nextpnr: the pin of the clock."""
    return """\
# Not every pin that the placer may choose reaches the network of clocks; this one does.
LOCATE COMP "clk" SITE "B29";
"""


def ecp5_synthesis(sources: Iterable[str], netlist: str) -> list[str]:
    """The commands of yosys that map the pool and its harness, in these files, to an ECP5.

    A product of two int8 is two multipliers of 18 x 18 bits and a sum there, whose upper part is one of 8 x 8: that is
    made of logic (Booth's), for a column has few multipliers, and they are far from what they feed. So what
    `synth_ecp5` does with products is done before it, but for small ones. Then the mapping that yosys calls `flow`
    tries several structures and keeps the fastest: paths have a sixth fewer levels.
    """
    largest = " ".join(f"-D DSP_{operand}_MAXWIDTH=18" for operand in "AB")
    return [
        f"read_verilog {' '.join(sources)}",
        f"hierarchy -check -top {HARNESS}",
        "proc",
        "wreduce t:$mul",
        f"techmap -map +/mul2dsp.v {largest} -D DSP_A_MINWIDTH=11 -D DSP_B_MINWIDTH=2 -D DSP_NAME=$__MUL18X18",
        "read_verilog -lib -specify +/ecp5/cells_sim.v +/ecp5/cells_bb.v",
        "techmap -map +/lattice/dsp_map_18x18.v",
        "chtype -set $mul t:$__soft_mul",
        "booth",
        "scratchpad -copy abc9.script.flow abc9.script",
        f"synth_ecp5 -nodsp -top {HARNESS} -json {netlist}",
    ]


def _ecp5_script(sources: Iterable[str]) -> str:
    pool = [source for source in sources if not source.startswith(("axi_", "clock_gate"))]
    synthesis = "\n".join(ecp5_synthesis([*pool, f"{HARNESS}.v"], "ecp5/netlist.json"))
    return f"""\
# sh ecp5.sh [SEED]: the pool (without its AXI ports) behind four pins, on the largest ECP5, to a bitstream in ecp5/.
# Needs yosys (one with lattice/dsp_map_18x18.v), nextpnr-ecp5 and ecppack. Pool `tiny` fits.
set -eu
cd "$(dirname "$0")"
mkdir -p ecp5
cat > ecp5/synthesis.ys <<'END'
{synthesis}
END
yosys -q ecp5/synthesis.ys
nextpnr-ecp5 --85k --package CABGA756 --speed 8 --json ecp5/netlist.json --top {HARNESS} --seed "${{1:-1}}" \\
  --lpf {ECP5_PINS} --lpf-allow-unconstrained --placer static --router router2 --freq 150 --timing-allow-fail \\
  --report ecp5/report.json --textcfg ecp5/pool.config
ecppack --compress ecp5/pool.config ecp5/pool.bit
"""
