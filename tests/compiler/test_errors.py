"""What is refused, what goes to the host, and how the messages name it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from compiler.compile import compile_model
from compiler.errors import CompileError
from isa.configuration import NAMED_POOLS
from tests.compiler.builder import NetworkBuilder, random_int8
from tests.compiler.execution import assert_exact

SMALL = NAMED_POOLS["small"]
GENERATOR = np.random.default_rng(5)
ONE = np.array([0.01], np.float32)


def conv_weights(outputs: int = 4, inputs: int = 4, kernel: int = 3) -> np.ndarray:
    return random_int8(GENERATOR, (outputs, inputs, kernel, kernel))


def refusal(model: onnx.ModelProto | Path, **arguments: object) -> str:
    with pytest.raises(CompileError) as caught:
        compile_model(model, SMALL, [1], **arguments)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_float_network_is_told_to_be_quantised() -> None:
    network = NetworkBuilder()
    x = network.input((1, 4, 8, 8), TensorProto.FLOAT)
    y = network.node("Conv", [x, network.constant(np.ones((4, 4, 3, 3), np.float32))])
    assert "--calibrate" in refusal(network.model(y))


def test_uint8_activations_are_refused_by_name() -> None:
    network = NetworkBuilder()
    x = network.input((1, 4, 8, 8), TensorProto.UINT8)
    numbers = network.numbers((0.1, 3), np.uint8)
    weights = [network.constant(conv_weights()), network.constant(ONE), network.constant(np.zeros(1, np.int8))]
    message = refusal(network.model(network.node("QLinearConv", [x, *numbers, *weights, *numbers])))
    assert "'nt0'" in message and "uint8" in message and "QInt8" in message


def test_weights_with_a_zero_point_are_refused() -> None:
    network = NetworkBuilder()
    x = network.input((1, 4, 8, 8))
    numbers = network.numbers((0.1, 3))
    weights = [network.constant(conv_weights()), network.constant(ONE[0]), network.constant(np.array(1, np.int8))]
    message = refusal(network.model(network.node("QLinearConv", [x, *numbers, *weights, *numbers])))
    assert "WeightSymmetric" in message


def dynamic_model() -> onnx.ModelProto:
    network = NetworkBuilder()
    x = network.input(("batch", 4, "height", 8))  # type: ignore[arg-type]
    y = network.conv(x, (0.1, 0), conv_weights(), ONE, (0.2, 0))
    return network.model(y)


def test_a_dynamic_shape_names_the_option_that_fixes_it() -> None:
    message = refusal(dynamic_model())
    assert "'x'" in message and "--shape x=" in message


def test_a_given_shape_makes_a_dynamic_network_static() -> None:
    assert compile_model(dynamic_model(), SMALL, [1], shapes={"x": (1, 4, 6, 8)}).inputs[0].shape == (1, 4, 6, 8)
    assert "no input" in refusal(dynamic_model(), shapes={"x": (1, 4, 6, 8), "z": (1,)})
    assert "dimensions" in refusal(dynamic_model(), shapes={"x": (1, 4)})


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    assert "missing.onnx" in refusal(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("this is no network")
    assert "text.onnx" in refusal(tmp_path / "text.onnx")


def test_a_network_that_onnx_runtime_refuses_keeps_its_words() -> None:
    network = NetworkBuilder()
    y = network.node("NoSuchOperator", [network.input((1, 4, 8, 8))])
    assert "NoSuchOperator" in refusal(network.model(y))


def test_a_window_larger_than_the_memory_is_refused() -> None:
    network = NetworkBuilder()
    y = network.conv(network.input((1, 4, 64, 64)), (0.1, 0), conv_weights(), ONE, (0.2, 0))
    pool = dataclasses.replace(SMALL, memory_beats=512)
    with pytest.raises(CompileError, match="memory_beats"):
        compile_model(network.model(y), pool, [1])


def test_core_counts_beyond_the_pool_are_refused() -> None:
    with pytest.raises(CompileError, match=r"1\.\.4"):
        compile_model(dynamic_model(), SMALL, [5], shapes={"x": (1, 4, 6, 8)})


def test_a_host_layer_between_core_layers_is_explained_and_exact() -> None:
    network = NetworkBuilder()
    x = network.input((1, 12, 9, 9))
    first = network.conv(x, (0.1, 3), conv_weights(12, 12), ONE, (2.0, 5), pads=[1] * 4)
    numbers = network.numbers((2.0, 5))
    halved = network.contributed("QLinearMul", [first, *numbers, first, *numbers, *network.numbers((100.0, -100))])
    second = network.conv(halved, (100.0, -100), conv_weights(6, 12), ONE, (900.0, 0))
    third = network.add(second, (900.0, 0), second, (900.0, 0), (1500.0, 1))
    inputs = {"x": random_int8(GENERATOR, (1, 12, 9, 9))}
    package = assert_exact(network.model(third, first), SMALL, inputs, 3, on_host=1)
    assert len(package.stages) == 2
    assert "QLinearMul" in package.explain()[0] and "between layers of the cores" in package.explain()[0]


def test_an_average_that_is_not_provably_exact_goes_to_the_host() -> None:
    network = NetworkBuilder()
    x = network.input((1, 8, 8, 8))
    first = network.node("MaxPool", [x], kernel_shape=[1, 1])
    y = network.unary("QLinearAveragePool", first, (0.3, 1), (0.3, 1), kernel_shape=[2, 2], strides=[2, 2])
    package = assert_exact(network.model(y), SMALL, {"x": random_int8(GENERATOR, (1, 8, 8, 8))}, 2, on_host=1)
    assert "cannot be proved" in package.explain()[0]


def test_softmax_behind_the_last_layer_runs_on_the_host() -> None:
    network = NetworkBuilder()
    x = network.input((1, 24))
    y = network.gemm(x, (0.1, 0), random_int8(GENERATOR, (10, 24)), ONE, (0.5, 0), transB=1)
    floats = network.node("DequantizeLinear", [y, *network.numbers((0.5, 0))])
    package = assert_exact(
        network.model(network.node("Softmax", [floats], axis=-1)),
        SMALL,
        {"x": random_int8(GENERATOR, (1, 24))},
        2,
        on_host=2,
    )
    assert all("after the cores" in line for line in package.explain())


def test_reshapes_and_transpositions_of_single_pixels_cost_nothing() -> None:
    network = NetworkBuilder()
    x = network.input((1, 24, 5, 3))
    pooled = network.unary("QLinearGlobalAveragePool", x, (0.1, 3), (0.05, 1), channels_last=0)
    moved = network.node("Transpose", [pooled], perm=[0, 2, 3, 1])
    flat = network.node("Reshape", [moved, network.constant(np.array([1, -1], np.int64))])
    y = network.gemm(flat, (0.05, 1), random_int8(GENERATOR, (24, 7)), ONE, (0.5, 0))
    package = assert_exact(network.model(y), SMALL, {"x": random_int8(GENERATOR, (1, 24, 5, 3))}, 2)
    assert len(package.layers) == 2


def test_one_dimensional_convolutions_and_matrix_products() -> None:
    network = NetworkBuilder()
    x = network.input((1, 12, 50))
    weights = random_int8(GENERATOR, (9, 12, 5))
    y = network.conv(x, (0.1, 3), weights, ONE, (2.0, 5), pads=[2, 2], strides=[2], dilations=[1])
    flat = network.node("Flatten", [y])
    matrix = [network.constant(random_int8(GENERATOR, (225, 11))), *network.numbers((0.01, 0))]
    z = network.node("QLinearMatMul", [flat, *network.numbers((2.0, 5)), *matrix, *network.numbers((20.0, -3))])
    assert_exact(network.model(z), SMALL, {"x": random_int8(GENERATOR, (1, 12, 50))}, 4)


@pytest.mark.parametrize("operator", ["Relu", "Clip"])
def test_relu_and_clip_become_bounds_of_the_layer_before(operator: str) -> None:
    network = NetworkBuilder()
    x = network.input((1, 12, 9, 9))
    y = network.conv(x, (0.1, 3), conv_weights(12, 12), ONE, (2.0, 5))
    bounds = [network.constant(np.array(bound, np.int8)) for bound in (-20, 90)] if operator == "Clip" else []
    model = network.model(network.node(operator, [y, *bounds]))
    inputs = {"x": random_int8(GENERATOR, (1, 12, 9, 9))}
    assert len(assert_exact(model, SMALL, inputs, 2).layers) == 1
    assert len(assert_exact(model, SMALL, inputs, 2, fuse=False).layers) == 2


def test_wide_maps_and_large_kernels_are_cut_into_columns_rows_and_taps() -> None:
    network = NetworkBuilder()
    x = network.node("MaxPool", [network.input((1, 3, 4, 1500))], kernel_shape=[1, 1])
    y = network.conv(x, (0.1, 3), random_int8(GENERATOR, (5, 3, 3, 3)), ONE, (2.0, 5), pads=[1] * 4)
    assert_exact(network.model(y), SMALL, {"x": random_int8(GENERATOR, (1, 3, 4, 1500))}, 3)
    network = NetworkBuilder()
    x = network.node("MaxPool", [network.input((1, 3, 60, 70))], kernel_shape=[1, 1])
    y = network.conv(x, (0.1, 3), random_int8(GENERATOR, (2, 3, 50, 66)), ONE, (90.0, 5))
    assert_exact(network.model(y), SMALL, {"x": random_int8(GENERATOR, (1, 3, 60, 70))}, 2)


def test_a_global_average_larger_than_the_features_buffer_is_summed_in_parts() -> None:
    network = NetworkBuilder()
    x = network.input((1, 9, 60, 50))
    y = network.unary("QLinearGlobalAveragePool", x, (0.1, 3), (0.05, 1), channels_last=0)
    assert_exact(network.model(y), SMALL, {"x": random_int8(GENERATOR, (1, 9, 60, 50))}, 2)
