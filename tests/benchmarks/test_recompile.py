"""The bench of re-compilation: what it counts is what a switch writes."""

from __future__ import annotations

from pathlib import Path

from compiler.compile import compile_model
from isa.configuration import NAMED_POOLS
from isa.instructions import WORD_BYTES
from scripts.benches.recompile import REQUESTS, row

NETWORK = Path(__file__).parents[1] / "networks" / "lenet.int8.onnx"


def test_a_switch_writes_a_call_for_each_layer_and_three_words_more() -> None:
    package = compile_model(NETWORK, NAMED_POOLS["small"])
    figures = row(package, 1.0)
    assert figures["switch_bytes"] == (len(package.layers) + 3) * WORD_BYTES
    assert figures["core counts"] == 4
    assert figures["requests"] == REQUESTS
    assert 0 < figures["dynamic_median_microseconds"] <= figures["dynamic_p99_microseconds"]
