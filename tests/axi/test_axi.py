"""The exported AXI top, driven by cocotbext-axi's masters and memories; see `scenarios.py`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.axi.simulation import run

pytestmark = pytest.mark.xdist_group("axi")
SIMULATORS = [
    "verilator",
    pytest.param(
        "icarus",
        marks=pytest.mark.skipif(
            shutil.which("iverilog") is None, reason="needs iverilog (Debian: iverilog), 1 minute"
        ),
    ),
]
SCENARIOS = (
    "registers_answer_and_refuse",
    "a_program_takes_the_cycles_of_the_model",
    "stalls_change_neither_bytes_nor_the_pools_cycles",
    "an_end_interrupts",
    "a_failed_read_puts_the_core_into_quarantine",
    "a_failed_write_puts_the_core_into_quarantine",
    "errors_of_the_host_go_to_the_host",
    "a_failed_sweep_halts_the_pool_until_reset",
    "memory_that_answers_too_late_halts_the_pool_until_reset",
    "a_reset_in_the_middle_of_a_run_leaves_nothing",
)


@pytest.mark.parametrize("simulator", SIMULATORS)
def test_tiny_behind_axi(simulator: str, tmp_path: Path) -> None:
    run("tiny", "tests.axi.scenarios", SCENARIOS, simulator, tmp_path)


def test_two_tenants_infer_through_axi_alone(tmp_path: Path) -> None:
    run("small", "tests.axi.mnist_scenarios", ["two_tenants_classify_digits"], "verilator", tmp_path)


@pytest.mark.skipif("TENURE_PAPER" not in os.environ, reason="TENURE_PAPER=1 runs it: 2 minutes")
def test_a_hundred_thousand_beats_with_random_stalls_break_no_rule(tmp_path: Path) -> None:
    run("tiny", "tests.axi.scenarios", ["many_beats_with_random_stalls"], "verilator", tmp_path, rounds=160)
