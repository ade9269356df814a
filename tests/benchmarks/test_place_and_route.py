"""Place and route on an ECP5: a module becomes a bitstream, and a report is read as it is meant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import place_and_route
from benchmarks.place_and_route import DEVICE, PlaceAndRoute, PlaceAndRouteError, routed, signal_name
from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.project_files import HARNESS, harness
from scripts.benches import place_and_route as bench
from scripts.benches.page import collecting
from scripts.command_line import call

TINY = NAMED_POOLS["tiny"]
SMALL_POOL = """module pool(
  input clk,
  input rst,
  input [3:0] left,
  input right,
  output [4:0] sum
);
  reg [4:0] total;
  always @(posedge clk) if (rst) total <= 0; else total <= left + {4{right}};
  assign sum = total;
endmodule
"""
REPORT = {
    "fmax": {"$glbnet$clk": {"achieved": 101.5, "constraint": 150.0}},
    "critical_paths": [
        {"from": "<async>", "to": "posedge $glbnet$clk", "path": []},
        {
            "from": "posedge $glbnet$clk",
            "to": "posedge $glbnet$clk",
            "path": [
                {"type": "clk-to-q", "delay": 0.4, "from": {"cell": "pool.core0.load_ends_row_TRELLIS_FF_Q"},
                 "to": {"cell": "pool.core0.load_ends_row_TRELLIS_FF_Q"}},
                {"type": "routing", "delay": 1.5, "net": "pool.core0.load_ends_row", "from": {"cell": "a"},
                 "to": {"cell": "pool.core0.load_tmp12_LUT4_Z"}},
                {"type": "logic", "delay": 0.25, "from": {"cell": "pool.core0.load_tmp12_LUT4_Z"},
                 "to": {"cell": "pool.core0.load_tmp12_LUT4_Z"}},
                {"type": "routing", "delay": 0.75, "net": "pool.core0.load_tmp12", "from": {"cell": "b"},
                 "to": {"cell": "pool.core0.load_index_TRELLIS_FF_Q_3"}},
                {"type": "setup", "delay": 0.1, "from": {"cell": "pool.core0.load_index_TRELLIS_FF_Q_3"},
                 "to": {"cell": "pool.core0.load_index_TRELLIS_FF_Q_3"}},
            ],
        },
    ],
    "utilization": {key: {"used": 5, "available": 100} for key in bench.RESOURCES.values()},
}  # fmt: skip


@pytest.fixture
def bitstream(tmp_path: Path) -> Path:
    path = tmp_path / "pool.bit"
    path.write_bytes(b"12345")
    return path


@pytest.mark.parametrize(
    ("synthesised", "signal"),
    [
        ("pool.core0.load_index_TRELLIS_FF_Q_3", "core0.load_index"),
        ("pool.core0.load_index[13]", "core0.load_index"),
        ("pool.shell.tenant0_state_LUT4_A_Z_PFUMX_BLUT_Z", "shell.tenant0_state"),
        ("pool.core1.features.0.1", "core1.features"),
        ("pool.core0.load_tmp1475_LUT4_Z", ""),
        ("$nextpnr_CCU2C_215$CCU2_COMB0", ""),
        ("seen[3]", "seen"),
    ],
)
def test_names_of_the_mapped_netlist_lead_back_to_signals(synthesised: str, signal: str) -> None:
    assert signal_name(synthesised) == signal


def test_a_report_gives_the_clock_and_the_path_between_registers(bitstream: Path) -> None:
    result = routed(3, REPORT, bitstream)
    assert (result.seed, result.fmax, result.bitstream_bytes) == (3, 101.5, 5)
    assert [hop.kind for hop in result.path] == ["clk-to-q", "routing", "logic", "routing", "setup"]
    assert [hop.signal for hop in result.path] == ["core0.load_ends_row"] * 2 + ["", "", "core0.load_index"]


def test_the_bench_names_the_fastest_seed_its_path_and_what_is_in_use(
    monkeypatch: pytest.MonkeyPatch, bitstream: Path
) -> None:
    class Flow:
        def __init__(self, config: PoolConfig, progress: object) -> None:
            pass

        def seed(self, seed: int) -> place_and_route.Routed:
            fmax = {"$glbnet$clk": {"achieved": 100.0 + (seed == 2), "constraint": 150.0}}
            return routed(seed, {**REPORT, "fmax": fmax}, bitstream)

    monkeypatch.setattr(bench, "PlaceAndRoute", Flow)
    with collecting() as content:
        rows = bench.measure(TINY, 3)
    assert [(row["seed"], row["Fmax MHz"]) for row in rows] == [(1, 100.0), (2, 101.0), (3, 100.0)]
    assert (rows[0]["critical path ns"], rows[0]["of this routing ns"], rows[0]["cells"]) == (3.0, 2.25, 1)
    assert (rows[0]["from"], rows[0]["to"]) == ("core0.load_ends_row", "core0.load_index")
    path, use = content.tables
    assert path == (
        "critical path of seed 2",
        [
            {"signal": "core0.load_ends_row", "at ns": 0.4, "cells": 0, "ns": 0.4},
            {"signal": "core0.load_index", "at ns": 3.0, "cells": 1, "ns": 2.6},
        ],
    )
    assert use[0] == f"in use, {DEVICE}" and [row["per cent"] for row in use[1]] == [5.0] * len(bench.RESOURCES)


def test_seeds_are_for_this_bench_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", "pools", "--seeds", "2"]) == 2
    assert "only the bench 'place-and-route' has seeds" in capsys.readouterr().err


@pytest.fixture
def small_flow(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A module of five registers for the pool, and results in a folder of the test; gives the steps that are shown."""
    monkeypatch.setattr(place_and_route, "BENCHES", tmp_path)

    def export(config: PoolConfig, directory: Path) -> None:
        (directory / "pool.v").write_text(SMALL_POOL)
        (directory / f"{HARNESS}.v").write_text(harness(SMALL_POOL))

    monkeypatch.setattr(place_and_route, "export", export)
    return []


def test_a_small_module_becomes_a_bitstream_and_the_second_run_reads_it(small_flow: list[str]) -> None:
    flow = PlaceAndRoute(TINY, lambda fraction, step: small_flow.append(step))
    result = flow.seed(1)
    assert result.fmax > 100 and result.used["TRELLIS_FF"] == 2 + 5 + 5 + 5 + 5
    assert Path(result.bitstream).read_bytes()[:2] == b"\xff\x00" and result.bitstream_bytes > 1000
    assert any(step.startswith("seed 1: Routing") for step in small_flow)
    small_flow.clear()
    assert PlaceAndRoute(TINY, lambda fraction, step: small_flow.append(step)).seed(1) == result
    assert small_flow == ["Verilog"]


def test_what_a_tool_refuses_is_said(small_flow: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place_and_route, "_DEVICE_OPTIONS", ("--85k", "--package", "NONE", "--speed", "8"))
    with pytest.raises(PlaceAndRouteError, match="NONE"):
        PlaceAndRoute(TINY, lambda fraction, step: small_flow.append(step)).seed(1)


@pytest.mark.long
@pytest.mark.skipif(
    not os.environ.get("TENURE_LONG"), reason="TENURE_LONG: a seed of pool tiny takes ten minutes of CPU"
)
def test_tiny_fits_and_is_routed() -> None:
    with collecting():
        (row,) = bench.measure(TINY, 1)
    assert row["Fmax MHz"] > 50 and row["bitstream bytes"] > 100_000
    assert row["from"].startswith(("core", "shell"))
