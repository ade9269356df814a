"""The bench of re-compilation: what it counts is what a switch writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.compile import compile_model
from isa.configuration import NAMED_POOLS
from isa.instructions import WORD_BYTES
from scripts.benches import plots, switches
from scripts.benches.recompile import REQUESTS, row

SMALL = NAMED_POOLS["small"]
NETWORK = Path(__file__).parents[1] / "networks" / "lenet.int8.onnx"


def test_a_switch_writes_a_call_for_each_layer_and_three_words_more() -> None:
    package = compile_model(NETWORK, SMALL)
    figures = row(package, SMALL, 1.0)
    assert figures["switch_bytes"] == (len(package.layers) + 3) * WORD_BYTES
    assert figures["core counts"] == 4
    assert figures["requests"] == REQUESTS
    assert 0 < figures["dynamic_median_microseconds"] <= figures["dynamic_p99_microseconds"]


def test_a_real_switch_loses_what_the_table_says() -> None:
    package = compile_model(NETWORK, SMALL)
    found = switches.measure(package, SMALL, lambda fraction, what: None)
    assert len(found["pairs"]) == SMALL.cores**2
    name, before, after, layer = switches.VALIDATED[0]
    measured, predicted = switches.switch_on_rtl(name, before, after, layer, backend="model")
    assert measured == predicted
    (pair,) = (each for each in found["pairs"] if (each["from"], each["to"]) == (len(before), len(after)))
    assert layer in found["layers"]
    assert pair["lost_least"] <= measured <= pair["lost_most"]
    assert sum(found["parts"].values()) == pytest.approx(pair["lost_mean"], abs=0.1)
    assert switches.columns(found)["switch_mean"] == pair["lost_mean"]
    assert set(switches.columns(None)) == set(switches.columns(found))


def test_switches_are_drawn(tmp_path: Path) -> None:
    package = compile_model(NETWORK, SMALL)
    found = switches.measure(package, SMALL, lambda fraction, what: None)
    plots.switches(found, SMALL, tmp_path / "switches.png")
    assert (tmp_path / "switches.png").stat().st_size > 1000
