"""Frames that are moved equal those that are built."""

import numpy as np
import onnx
import pytest

import compiler.compile
from compiler.compile import compile_model
from compiler.frame_cache import FrameCache
from compiler.frames import LayerFrame, build_frame
from compiler.machine import MachineLayer
from isa.configuration import NAMED_POOLS
from tests.compiler.builder import NetworkBuilder, random_int8
from tests.compiler.execution import assert_exact

SHAPE = (1, 24, 9, 7)


def repeated() -> onnx.ModelProto:
    """Blocks of one shape, with weights, scales, zero points and bounds of their own: convolution, residual, table."""
    generator = np.random.default_rng(5)
    network = NetworkBuilder()
    x, numbers = network.node("MaxPool", [network.input(SHAPE)], kernel_shape=[1, 1]), (0.05, 3)
    for block in range(6):
        own, total = (0.04 + 0.003 * block, 2 * block - 5), (0.07 - 0.004 * block, 9 - 3 * block)
        weights = random_int8(generator, (24, 24, 3, 3))
        bias = generator.integers(-5000, 5000, 24).astype(np.int32)
        scales = generator.uniform(0.002, 0.004, 24).astype(np.float32)
        y = network.conv(x, numbers, weights, scales, own, bias, pads=[1] * 4)
        pair = [(x, numbers), (y, own)]
        x, numbers = network.add(*pair[block // 2 % 2], *pair[1 - block // 2 % 2], total), total
        x = network.node("Relu", [x]) if block % 3 else x
    return network.model(x)


class Builder(FrameCache):
    """Builds every frame."""

    def frame(self, layer: MachineLayer, number: int, cores: int) -> LayerFrame:
        return build_frame(layer, number, cores, self._config)


@pytest.mark.parametrize("pool", ["small", "tiny"])
def test_a_package_of_moved_frames_equals_one_of_built_frames(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = repeated(), NAMED_POOLS[pool]
    moved = compile_model(model, config).image()
    monkeypatch.setattr(compiler.compile, "FrameCache", Builder)
    assert compile_model(model, config).image() == moved


def test_layers_of_one_shape_share_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    built = []

    def counted(layer: MachineLayer, *rest: object) -> LayerFrame:
        built.append(layer)
        return build_frame(layer, *rest)

    monkeypatch.setattr("compiler.frame_cache.build_frame", counted)
    package = compile_model(repeated(), NAMED_POOLS["small"], [1])
    assert len(built) <= len(package.layers) - 2


def test_moved_frames_are_exact() -> None:
    inputs = {"x": random_int8(np.random.default_rng(1), SHAPE)}
    assert_exact(repeated(), NAMED_POOLS["small"], inputs, 3)
