"""Quantisation of a float ONNX file to an integer-only graph, and its checks."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from scripts.networks.data import IMAGE_SIZE, Dataset, normalise

CALIBRATION_STRIDE = 8  # every eighth training image: 500 of 4,000
WEIGHTED_OPERATORS = ("QLinearConv", "QGemm", "QLinearMatMul")
WEIGHT, WEIGHT_ZERO_POINT = 3, 5  # input positions, the same in all three
INTEGER_OPERATORS = {
    *WEIGHTED_OPERATORS,
    "QLinearAdd",
    "QLinearGlobalAveragePool",
    "MaxPool",
    "Flatten",
    "Reshape",
}


class CalibrationImages(CalibrationDataReader):
    """Feeds images to the quantiser one by one, since the graphs have batch size 1."""

    def __init__(self, images: np.ndarray) -> None:
        self.batches: Iterator[np.ndarray] = iter(normalise(images)[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image as a feed, or None after the last one."""
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def quantise(float_path: Path, int8_path: Path, training: Dataset) -> None:
    """Write the int8 version of a float network: s8 x s8, weight scales by channel."""
    quantize_static(
        float_path,
        int8_path,
        CalibrationImages(training.images[::CALIBRATION_STRIDE]),
        quant_format=QuantFormat.QOperator,
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
    )


def open_session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Open a model with every graph optimisation off, so that it runs as written."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def classify(path: Path, dataset: Dataset) -> np.ndarray:
    """Return the class that the network gives to each image."""
    session = open_session(path)
    return np.array([session.run(None, {"image": image[None]})[0].argmax() for image in normalise(dataset.images)])


def trace_tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Run the model on a blank image and return the value of every tensor in it."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    names = [name for node in model.graph.node for name in node.output]
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(exposed.SerializeToString())
    image = np.zeros([1, 1, IMAGE_SIZE, IMAGE_SIZE], np.float32)
    values = dict(zip(names, session.run(None, {"image": image}), strict=True))
    constants = {constant.name: numpy_helper.to_array(constant) for constant in model.graph.initializer}
    return {"image": image, **constants, **values}


def check_integer_only(model: onnx.ModelProto) -> None:
    """Refuse a graph with floats in its middle, or with weights other than plain s8."""
    nodes = model.graph.node
    constants = {constant.name: constant for constant in model.graph.initializer}
    tensors = trace_tensors(model)
    if nodes[0].op_type != "QuantizeLinear" or nodes[-1].op_type != "DequantizeLinear":
        raise ValueError("the graph does not begin and end with a conversion")
    for node in nodes[1:-1]:
        if node.op_type not in INTEGER_OPERATORS:
            raise ValueError(f"{node.name}: {node.op_type} is not an integer operator")
        if node.op_type in WEIGHTED_OPERATORS:
            weight, zero_point = (constants[node.input[i]] for i in (WEIGHT, WEIGHT_ZERO_POINT))
            if weight.data_type != TensorProto.INT8:
                raise ValueError(f"{node.name}: the weights are not int8")
            if numpy_helper.to_array(zero_point).any():
                raise ValueError(f"{node.name}: a weight zero point is not 0")
    for node in nodes[:-1]:
        for name in node.output:
            if tensors[name].dtype != np.int8:
                raise ValueError(f"{name} is {tensors[name].dtype}, not int8")


def count_operators(model: onnx.ModelProto) -> Counter[str]:
    """Return how often each operator occurs."""
    return Counter(node.op_type for node in model.graph.node)


def count_multiplications(model: onnx.ModelProto) -> int:
    """Return the multiply-accumulate operations of an int8 graph for one image."""
    tensors = trace_tensors(model)
    total = 0
    for node in model.graph.node:
        if node.op_type in WEIGHTED_OPERATORS:
            weights = tensors[node.input[WEIGHT]]
            output = tensors[node.output[0]]
            if node.op_type == "QLinearConv":
                total += output.size * weights[0].size
            else:
                total += weights.size
    return total


def describe_nodes(model: onnx.ModelProto) -> Iterator[str]:
    """Yield one line for each node: operator, shapes, weights and attributes."""
    tensors = trace_tensors(model)

    def shape(name: str) -> str:
        return "x".join(map(str, tensors[name].shape))

    for node in model.graph.node:
        activations = [node.input[0]]
        if node.op_type == "QLinearAdd":
            activations.append(node.input[3])
        text = f"{node.op_type:25}{' + '.join(map(shape, activations))}"
        text += f" -> {shape(node.output[0])}"
        if node.op_type in WEIGHTED_OPERATORS:
            text += f"  weights {shape(node.input[WEIGHT])}"
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            text += f"  {attribute.name}={value}"
        yield text
