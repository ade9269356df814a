"""An ONNX network made ready for import: static shapes, batch 1, constants folded, every tensor's type known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from compiler import golden
from compiler.errors import CompileError


class Network:
    """The nodes of a checked network, its constants, and shape and dtype of every tensor."""

    def __init__(self, model: onnx.ModelProto, name: str, digest: str) -> None:
        self.model = model
        self.digest = digest
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.nodes.append(node)
        self.inputs = [value.name for value in model.graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in model.graph.output]
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, np.dtype[Any]] = {}
        self._measure()
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for tensor in node.input:
                self.consumers.setdefault(tensor, []).append(node)

    def _measure(self) -> None:
        """Types by running the network once on zeros: ONNX's own inference knows nothing of com.microsoft."""
        zeros: dict[str, NDArray[Any]] = {}
        for value in self.model.graph.input:
            if value.name not in self.constants:
                zeros[value.name] = np.zeros(*_input_type(value))
        for name, result in {**zeros, **golden.run(golden.with_all_outputs(self.model), zeros)}.items():
            array = np.asarray(result)
            self.shapes[name], self.dtypes[name] = array.shape, array.dtype
        for name, array in self.constants.items():
            self.shapes[name], self.dtypes[name] = array.shape, array.dtype


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a node as Python values."""
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def describe(node: onnx.NodeProto) -> str:
    """How messages name a node: operator, and its name or first output."""
    return f"{node.op_type} {node.name or node.output[0]!r}"


def read_model(source: str | Path | onnx.ModelProto, shapes: Mapping[str, Sequence[int]] | None) -> onnx.ModelProto:
    """The model with dynamic input shapes fixed by `shapes`. Raises CompileError for what is no static model."""
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        try:
            model = onnx.load(str(source))
        except OSError as error:
            raise CompileError(f"cannot read {source}: {error.strerror or error}") from None
        except Exception as error:  # protobuf raises DecodeError, from a package without types
            raise CompileError(f"{source} is no ONNX model: {error}") from None
    if not model.graph.node:
        raise CompileError(f"{source if not isinstance(source, onnx.ModelProto) else 'the model'} has no nodes")
    golden.drop_unused_inputs(model)
    _fix_shapes(model, dict(shapes or {}))
    return model


def _fix_shapes(model: onnx.ModelProto, shapes: dict[str, Sequence[int]]) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name in constants:
            continue
        dimensions = value.type.tensor_type.shape.dim
        given = shapes.pop(value.name, None)
        if given is not None:
            if len(dimensions) not in (0, len(given)):
                raise CompileError(
                    f"input {value.name!r} has {len(dimensions)} dimensions, the given shape {tuple(given)} has "
                    f"{len(given)}; give one size for each dimension"
                )
            del dimensions[:]
            for size in given:
                dimensions.add().dim_value = int(size)
        for place, dimension in enumerate(dimensions):
            if dimension.dim_value < 1:
                symbol = dimension.dim_param or "unknown"
                raise CompileError(
                    f"input {value.name!r} is dynamic: dimension {place} is {symbol!r}; frames are laid "
                    f"out for fixed shapes, so fix it with --shape {value.name}=1,3,224,224 (its own sizes)"
                )
    if shapes:
        raise CompileError(f"--shape names {sorted(shapes)[0]!r}, which is no input of the network")


def _input_type(value: onnx.ValueInfoProto) -> tuple[tuple[int, ...], np.dtype[Any]]:
    tensor = value.type.tensor_type
    if tensor.elem_type == TensorProto.UNDEFINED:
        raise CompileError(f"input {value.name!r} is no tensor; the compiler takes networks of tensors only")
    shape = tuple(dimension.dim_value for dimension in tensor.shape.dim)
    return shape, np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type))
