"""Topologies that the onnx package carries, without weights (all are one constant), as descriptions.

Every convolution gets seeded He weights. Those behind which the network has a batch norm, and all of a network that has
none, are normalised; a batch norm of something else (DenseNet's concatenations) becomes a depthwise 1 x 1
convolution. Dropout and the last softmax do nothing for the logits and are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.networks.description import INPUT, OUTPUT, Description

IMAGE_SIZE = 224
_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
_WITHOUT_EFFECT = {"Dropout", "Reshape", "Softmax", "Unsqueeze", "ConstantOfShape", "Constant"}


def inception_v1() -> Description:
    """Inception v1 (GoogLeNet): 57 convolutions, two local response normalisations."""
    return _described("inception_v1", seed=14)


def squeezenet() -> Description:
    """SqueezeNet: 26 convolutions."""
    return _described("squeezenet", seed=15)


def densenet121() -> Description:
    """DenseNet-121: 121 convolutions, and 62 batch norms that follow no convolution."""
    return _described("densenet121", seed=121)


def _described(name: str, seed: int) -> Description:
    model = onnx.load(str(_FOLDER / f"light_{name}.onnx"))
    return _Reader(model, Description(name, IMAGE_SIZE, seed)).description()


class _Reader:
    """Walks through the nodes; `names` are the description's tensors by the network's."""

    def __init__(self, model: onnx.ModelProto, description: Description) -> None:
        self._model = model
        self._description = description
        self._names: dict[str, str] = {}
        constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self._weights = {
            node.output[0]: tuple(int(size) for size in constants[node.input[0]])
            for node in model.graph.node
            if node.op_type == "ConstantOfShape"
        }
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for source in node.input:
                self._readers.setdefault(source, []).append(node)
        self._has_norms = any(node.op_type == "BatchNormalization" for node in model.graph.node)
        self._shapes = {
            value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
            for value in onnx.shape_inference.infer_shapes(model).graph.value_info
        }

    def description(self) -> Description:
        """The whole network, its logits named OUTPUT."""
        self._names["data_0"] = INPUT
        actions: dict[str, Callable[[onnx.NodeProto, str, dict[str, Any]], str]] = {
            "Conv": self._convolution,
            "BatchNormalization": self._batch_norm,
            "Relu": lambda node, source, attributes: self._description.relu(source),
            "MaxPool": self._pool,
            "AveragePool": self._pool,
            "GlobalAveragePool": lambda node, source, attributes: self._description.flatten_average(source),
            "Concat": self._concatenation,
            "LRN": lambda node, source, attributes: self._description.local_response_norm(source, attributes),
            "Gemm": self._dense,
        }
        last = INPUT
        for node in self._model.graph.node:
            if node.op_type in _WITHOUT_EFFECT or node.op_type in ("Mul", "Add"):  # of a batch norm's scale
                if node.input and node.input[0] in self._names:
                    self._names[node.output[0]] = self._names[node.input[0]]
                continue
            attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            last = actions[node.op_type](node, self._names[node.input[0]], attributes)
            self._names[node.output[0]] = last
        self._description.rename_last(last, OUTPUT)
        return self._description

    def _convolution(self, node: onnx.NodeProto, source: str, attributes: dict[str, Any]) -> str:
        shape = self._weights[node.input[1]]
        readers = self._readers.get(node.output[0])
        if readers is None:  # DenseNet's classifier, behind the global average
            return self._description.dense(source, shape[1], shape[0], is_last=True)
        has_norm = not self._has_norms or readers[0].op_type == "BatchNormalization"
        pads = attributes.get("pads", [0] * 4)
        assert pads[:2] == pads[2:], "these networks pad evenly"
        return self._description.convolution(
            source, shape[0], (shape[2], shape[3]), attributes["strides"][0], (pads[0], pads[1]),
            relu=False, normalised=has_norm,
        )  # fmt: skip

    def _batch_norm(self, node: onnx.NodeProto, source: str, attributes: dict[str, Any]) -> str:
        before = next(each for each in self._model.graph.node if node.input[0] in each.output)
        if before.op_type == "Conv":
            return source  # the convolution is normalised
        channels = self._description.channels[source]
        return self._description.convolution(source, channels, 1, groups=channels, relu=False)

    def _pool(self, node: onnx.NodeProto, source: str, attributes: dict[str, Any]) -> str:
        kernel, stride = attributes["kernel_shape"][0], attributes["strides"][0]
        if node.op_type == "MaxPool":
            return self._description.max_pool(source, kernel, stride, attributes["pads"][0])
        if self._shapes.get(node.output[0], [])[2:] == [1, 1]:
            return self._description.flatten_average(source)
        return self._description.average_pool(source, kernel, stride)

    def _concatenation(self, node: onnx.NodeProto, source: str, attributes: dict[str, Any]) -> str:
        return self._description.concatenate([self._names[each] for each in node.input])

    def _dense(self, node: onnx.NodeProto, source: str, attributes: dict[str, Any]) -> str:
        outputs = self._shapes.get(node.output[0], [1, 1000])[-1]
        return self._description.dense(source, int(np.prod(self._description.channels[source])), outputs, is_last=True)
