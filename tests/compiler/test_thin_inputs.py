"""A pooling picks the pixels that a strided 1 x 1 convolution reads, where a core would load more than it keeps."""

from __future__ import annotations

import numpy as np
import pytest

from isa.configuration import NAMED_POOLS
from tests.compiler.builder import NetworkBuilder, random_int8
from tests.compiler.execution import assert_exact


@pytest.mark.parametrize(
    ("channels", "size", "added", "layers"),
    [(1024, 4, False, 3), (1024, 4, True, 3), (200, 4, False, 2), (1024, 5, False, 2)],
    ids=["short rows of a large map", "with a residual", "a map that a core keeps", "rows longer than a beat"],
)
def test_a_strided_convolution_reads_picked_pixels(channels: int, size: int, added: bool, layers: int) -> None:
    generator = np.random.default_rng(channels + size)
    network = NetworkBuilder()
    shapes = {"x": (1, channels, size, size)}
    x = network.node("MaxPool", [network.input(shapes["x"])], kernel_shape=[1, 1])
    weights = random_int8(generator, (20, channels, 1, 1))
    own, other, total = (0.7, 5), (0.9, -3), (1.2, 11)
    y = network.conv(x, (0.05, 7), weights, np.full(20, 0.01, np.float32), own, None, strides=[2, 2])
    if added:
        shapes["residual"] = (1, 20, (size + 1) // 2, (size + 1) // 2)
        y = network.add(network.input(shapes["residual"], name="residual"), other, y, own, total)
    inputs = {name: random_int8(generator, shape) for name, shape in shapes.items()}
    package = assert_exact(network.model(y), NAMED_POOLS["small"], inputs, 3)
    assert len(package.layers) == layers
