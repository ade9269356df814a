"""Tables of 256 bytes: functions of one int8 value, taken from ONNX Runtime itself."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compiler import golden
from compiler.network import Network
from compiler.operations import byte_indices

_SHAPE = (1, 4, 8, 8)
"""All 256 bytes as a tensor."""
_OPSETS = (("", 17), ("com.microsoft", 1))
_IR_VERSION = 8


def of_node(node: onnx.NodeProto, network: Network) -> NDArray[np.int8]:
    """The table of a node whose first input is the byte and whose other inputs are constants."""
    constants = {name: network.constants[name] for name in node.input[1:] if name}
    return _run(node, constants, list(network.model.opset_import), network.model.ir_version)


def rescaling(scale_x: np.float32, zero_x: int, scale_y: np.float32, zero_y: int) -> NDArray[np.int8]:
    """The table with which QLinearConcat brings one of its inputs to the scale of its output."""
    constants: dict[str, NDArray[np.generic]] = {
        "sy": np.asarray(scale_y, np.float32),
        "zy": np.asarray(zero_y, np.int8),
        "sx": np.asarray(scale_x, np.float32),
        "zx": np.asarray(zero_x, np.int8),
    }
    node = helper.make_node("QLinearConcat", ["sy", "zy", "x", "sx", "zx"], ["y"], domain="com.microsoft", axis=1)
    opsets = [helper.make_opsetid(*opset) for opset in _OPSETS]
    return _run(node, constants, opsets, _IR_VERSION, byte="x")


def _run(
    node: onnx.NodeProto,
    constants: dict[str, NDArray[np.generic]],
    opsets: list[onnx.OperatorSetIdProto],
    ir_version: int,
    byte: str | None = None,
) -> NDArray[np.int8]:
    name = byte or node.input[0]
    graph = helper.make_graph(
        [node],
        "table",
        [helper.make_tensor_value_info(name, TensorProto.INT8, _SHAPE)],
        [onnx.ValueInfoProto(name=node.output[0])],
        [numpy_helper.from_array(np.asarray(value), constant) for constant, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    result = golden.run(model, {name: byte_indices().reshape(_SHAPE)})[node.output[0]]
    return np.asarray(result, np.int8).reshape(256)
