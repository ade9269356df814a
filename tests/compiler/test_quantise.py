"""Float networks: quantised with images, then exact like any other."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from compiler.compile import compile_model
from compiler.errors import CompileError
from compiler.quantise import quantise
from isa.configuration import NAMED_POOLS
from tests.compiler.builder import NetworkBuilder
from tests.compiler.execution import run_and_compare

NETWORKS = Path(__file__).parent.parent / "networks"
IMAGES = NETWORKS / "mnist_test.npz"
SMALL = NAMED_POOLS["small"]
GENERATOR = np.random.default_rng(3)


def float_network() -> onnx.ModelProto:
    """Convolutions with batch norm, a Sum, a concatenation, an average pooling and a fully-connected layer."""
    network = NetworkBuilder()

    def conv(x: str, outputs: int, inputs: int) -> str:
        weights = GENERATOR.normal(0, 0.2, (outputs, inputs, 3, 3)).astype(np.float32)
        y = network.node("Conv", [x, network.constant(weights)], pads=[1] * 4)
        statistics = [GENERATOR.uniform(0.5, 1.5, outputs).astype(np.float32) for _ in range(4)]
        return network.node("BatchNormalization", [y, *map(network.constant, statistics)])

    x = network.input((1, 3, 12, 12), TensorProto.FLOAT)
    first = network.node("Relu", [conv(x, 12, 3)])
    second = conv(first, 12, 12)
    total = network.node("Sum", [first, second])
    joined = network.node("Concat", [total, conv(total, 5, 12)], axis=1)
    pooled = network.node("MaxPool", [network.node("Sigmoid", [joined])], kernel_shape=[2, 2], strides=[2, 2])
    flat = network.node("Flatten", [network.node("GlobalAveragePool", [pooled])])
    weights = GENERATOR.normal(0, 0.2, (17, 4)).astype(np.float32)
    return network.model(network.node("Gemm", [flat, network.constant(weights)]))


def test_a_float_network_becomes_exact_layers_of_the_cores() -> None:
    images = GENERATOR.normal(0, 1, (6, 3, 12, 12)).astype(np.float32)
    model = quantise(float_network(), {"x": images})
    operators = {node.op_type for node in model.graph.node}
    assert "Sum" not in operators and "BatchNormalization" not in operators
    package = compile_model(model, SMALL, [3])
    result = run_and_compare(package, model, SMALL, 3, {"x": images[:1]})
    assert not result.wrong
    assert [line.split(" ")[0] for line in package.explain()] == ["QuantizeLinear", "DequantizeLinear"]


def test_a_trained_network_and_an_archive_of_images() -> None:
    model = quantise(NETWORKS / "lenet.float.onnx", IMAGES)
    package = compile_model(model, SMALL, [2])
    archive = np.load(IMAGES)
    for number in range(5):
        image = archive["images"][number : number + 1, None].astype(np.float32) / np.float32(255)
        result = run_and_compare(package, model, SMALL, 2, {"image": image})
        assert not result.wrong


def refusal(images: object, model: object = None) -> str:
    with pytest.raises(CompileError) as caught:
        quantise(float_network() if model is None else model, images)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_quantiser_gives_no_advice_and_leaves_logging_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    handlers = list(logging.root.handlers)
    quantise(float_network(), {"x": GENERATOR.normal(0, 1, (2, 3, 12, 12)).astype(np.float32)})
    assert caplog.records == []
    assert (logging.root.handlers, logging.root.manager.disable) == (handlers, logging.NOTSET)


def test_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    assert "text.npz" in refusal(tmp_path / "text.npz")
    assert "missing.npz" in refusal(tmp_path / "missing.npz")
    assert "shape" in refusal({"x": np.zeros((4, 3, 12, 13), np.float32)})
    assert "float64" in refusal({"x": np.zeros((4, 3, 12, 12))})
    assert "no array" in refusal({"a": np.zeros(1), "b": np.zeros(1)})
    assert "at least one" in refusal({"x": np.zeros((0, 3, 12, 12), np.float32)})


def test_quantised_networks_are_not_quantised_again() -> None:
    assert "QOperator" in refusal({}, NETWORKS / "lenet.int8.onnx")
    network = NetworkBuilder()
    x = network.input((1, 3, 12, 12), TensorProto.FLOAT)
    quantised = network.node("QuantizeLinear", [x, *network.numbers((0.1, 0))])
    y = network.node("DequantizeLinear", [quantised, *network.numbers((0.1, 0))])
    weights = network.constant(np.ones((4, 3, 3, 3), np.float32))
    model = network.model(network.node("Conv", [y, weights]))
    assert "QDQ" in refusal({}, model)
    with pytest.raises(CompileError, match="QDQ"):
        compile_model(model, SMALL, [1])


def test_a_max_pooling_behind_a_float_operator_is_quantised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Local response normalisation stays in float; the pooling behind it runs on the cores, with the same values."""
    network = NetworkBuilder()
    first, last = (
        network.constant(GENERATOR.normal(0, 0.2, shape).astype(np.float32)) for shape in ((8, 3, 3, 3), (4, 8, 1, 1))
    )
    x = network.node("Conv", [network.input((1, 3, 12, 12), TensorProto.FLOAT), first])
    normalised = network.node("LRN", [network.node("Relu", [x])], size=3)
    pooled = network.node("MaxPool", [normalised], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    model = network.model(network.node("Conv", [pooled, last]))
    images = {"x": GENERATOR.normal(0, 1, (4, 3, 12, 12)).astype(np.float32)}
    int8 = quantise(model, images)
    monkeypatch.setattr("compiler.quantise._quantised_before_pooling", lambda network: network)
    plain = quantise(model, images)
    one = {"x": images["x"][:1]}
    assert any("MaxPool" in line for line in compile_model(plain, SMALL, [2]).explain())
    package = compile_model(int8, SMALL, [2])
    assert not any("MaxPool" in line for line in package.explain())
    assert not run_and_compare(package, int8, SMALL, 2, one).wrong
    outputs = [
        onnxruntime.InferenceSession(each.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, one)[0]
        for each in (int8, plain)
    ]
    assert (outputs[0] == outputs[1]).all()
