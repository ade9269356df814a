"""Exact latencies predict layers, whatever cores a tenant holds and wherever its program begins."""

from itertools import pairwise
from pathlib import Path

import pytest

from compiler.compile import compile_model
from compiler.latencies import time_stage, with_exact_latencies
from compiler.package import Package
from isa.configuration import NAMED_POOLS

CONFIG = NAMED_POOLS["small"]
NETWORK = Path(__file__).parent.parent / "networks" / "resnet8.int8.onnx"


@pytest.fixture(scope="module")
def package() -> Package:
    return with_exact_latencies(compile_model(NETWORK, CONFIG, [1, 3]), CONFIG)


@pytest.mark.parametrize(("cores", "first_layer"), [((2,), 0), ((3, 0, 2), 0), ((1, 2, 3), 4)])
def test_latencies_predict_each_layer_within_one_per_cent(
    package: Package, cores: tuple[int, ...], first_layer: int
) -> None:
    barriers = time_stage(package, first_layer, cores, CONFIG, package.window()).barriers
    predicted = [layer.frames[len(cores)].cycles for layer in package.layers[first_layer:]]
    spent = [after - before for before, after in pairwise(barriers)]
    for number, (expected, cycles) in enumerate(zip(predicted, spent, strict=False)):
        if first_layer and not number:
            continue  # nobody has prefetched for the first layer
        assert abs(expected - cycles) <= max(0.01 * cycles, CONFIG.period_cycles), package.layers[first_layer + number]


def test_estimates_are_replaced(package: Package) -> None:
    estimated = compile_model(NETWORK, CONFIG, [3])
    assert [layer.frames[3].cycles for layer in package.layers] != [
        layer.frames[3].cycles for layer in estimated.layers
    ]
    assert estimated.image() == compile_model(NETWORK, CONFIG, [3]).image()
