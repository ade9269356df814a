"""Measurements: bounds below the cycles, layers that add up, results that are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

import benchmarks.cache
import benchmarks.measurement
from benchmarks.measurement import NetworkBench
from benchmarks.networks import BuiltNetwork
from isa.configuration import NAMED_POOLS

NETWORK = Path(__file__).parents[1] / "networks" / "resnet8.int8.onnx"


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkBench:
    monkeypatch.setattr(benchmarks.cache, "BENCHES", tmp_path)
    network = BuiltNetwork("resnet8", NETWORK, 20.0, 1.0)
    return NetworkBench(network, NAMED_POOLS["small"], [1, 4], lambda fraction, what: None)


@pytest.mark.parametrize("cores", [1, 4])
def test_no_layer_beats_its_bounds_and_layers_add_up(bench: NetworkBench, cores: int) -> None:
    result = bench.measure(cores)
    assert 0.3 < result.utilisation < 1
    for layer in result.layers:
        assert max(layer.compute, layer.channel * 0.95) <= layer.cycles, layer
    assert sum(layer.cycles for layer in result.layers) == pytest.approx(result.cycles, rel=0.05)
    assert sum(layer.macs for layer in result.layers) == result.macs


def test_a_result_is_not_measured_twice(bench: NetworkBench, monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench.measure(4)
    monkeypatch.setattr(benchmarks.measurement, "time_stage", None)
    assert bench.measure(4) == result
