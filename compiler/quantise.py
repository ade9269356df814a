"""Float networks to int8 QOperator networks: folded, rewritten, calibrated and quantised by ONNX Runtime.

Signed 8-bit activations and weights, one weight scale for each output channel, weight zero points 0: what the cores
compute with. The result is itself an ONNX network, the reference for everything that follows.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from compiler.errors import CompileError
from compiler.network import read_model

OPSET, OLDEST_OPSET = 17, 13
"""Operator set of the result where the network's is older than the oldest that can be quantised."""
_IR_VERSION = 8
MOST_IMAGES = 200
"""Images that calibration uses at most, evenly spread over those given."""


class _Images(CalibrationDataReader):  # type: ignore[misc]
    """Gives one set of inputs after another."""

    def __init__(self, inputs: Sequence[Mapping[str, NDArray[Any]]]) -> None:
        self._inputs: Iterator[Mapping[str, NDArray[Any]]] = iter(inputs)

    def get_next(self) -> Mapping[str, NDArray[Any]] | None:
        return next(self._inputs, None)


def quantise(
    source: str | Path | onnx.ModelProto,
    images: str | Path | Mapping[str, NDArray[Any]],
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> onnx.ModelProto:
    """The int8 QOperator network of a float one.

    `images` is an .npz file or a mapping: for each input of the network an array [images, ...] of that name; where
    the network has one input, a single array or one called `images` will do. float32 values are taken as they are,
    uint8 as 0..255 -> 0..1. Raises CompileError for anything that does not fit.
    """
    model = read_model(source, shapes)
    operators = {node.op_type for node in model.graph.node}
    if operators & {"QLinearConv", "QGemm", "QLinearMatMul"}:
        raise CompileError("the network is quantised already (QOperator): compile it without --calibrate")
    if operators & {"QuantizeLinear", "DequantizeLinear"}:
        raise CompileError(
            "the network is in QDQ format, whose results depend on how ONNX Runtime fuses it: give the float network "
            "with --calibrate, or quantise with quant_format=QuantFormat.QOperator"
        )
    inputs = _calibration_inputs(model, images)
    with tempfile.TemporaryDirectory() as folder:
        folded, result = Path(folder) / "folded.onnx", Path(folder) / "int8.onnx"
        _fold(_modern(_sums_as_additions(model)), folded)
        with _no_advice():
            quantize_static(
                folded,
                result,
                _Images(inputs),
                quant_format=QuantFormat.QOperator,
                per_channel=True,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
                extra_options={"WeightSymmetric": True},
            )
        return _quantised_before_pooling(onnx.load(str(result)))


@contextmanager
def _no_advice() -> Iterator[None]:
    """The quantiser recommends QDQ, which is no reference that is exact to the bit.

    It says so through functions that give the root logger a handler, with which every library would begin to talk.
    """
    before, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
        logging.root.handlers[:] = handlers


def _sums_as_additions(model: onnx.ModelProto) -> onnx.ModelProto:
    """Sum of several tensors as a chain of Add: ONNX Runtime's quantiser leaves Sum in float."""
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Sum":
            nodes.append(node)
            continue
        total = node.input[0]
        for place, operand in enumerate(node.input[1:], 1):
            is_last = place == len(node.input) - 1
            output = node.output[0] if is_last else f"{node.output[0]}::{place}"
            nodes.append(
                onnx.helper.make_node("Add", [total, operand], [output], name=f"{node.name or output}_{place}")
            )
            total = output
        if len(node.input) == 1:
            nodes.append(onnx.helper.make_node("Identity", [total], [node.output[0]]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _quantised_before_pooling(model: onnx.ModelProto) -> onnx.ModelProto:
    """A maximum of floats that is quantised behind it becomes a maximum of quantised values: the result is the same.

    ONNX Runtime's quantiser leaves a max pooling in float behind an operator that stays in float.
    """
    nodes = list(model.graph.node)
    places = {output: place for place, node in enumerate(nodes) for output in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(output.name for output in model.graph.output)
    for place, quantiser in enumerate(nodes):
        if quantiser.op_type != "QuantizeLinear" or quantiser.input[0] not in places:
            continue
        before = places[quantiser.input[0]]
        pool = nodes[before]
        if pool.op_type != "MaxPool" or len(pool.output) > 1 or readers[pool.output[0]] > 1:
            continue
        early = f"{pool.input[0]}::quantised"
        quantiser.input[0], pool.input[0] = pool.input[0], early
        pool.output[0], quantiser.output[0] = quantiser.output[0], early
        nodes[before], nodes[place] = quantiser, pool
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an operator set that knows 8-bit poolings and scales for each channel."""
    version = next((opset.version for opset in model.opset_import if opset.domain in ("", "ai.onnx")), OPSET)
    if version >= OLDEST_OPSET:
        return model
    model.ir_version = max(model.ir_version, _IR_VERSION)  # older ones want every constant listed as an input
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and its own kinds
        raise CompileError(
            f"the network uses operator set {version}, which is too old to quantise; converting it to {OPSET} fails "
            f"({str(error).strip().splitlines()[0]}); export it anew with operator set {OPSET}"
        ) from None


def _fold(model: onnx.ModelProto, path: Path) -> None:
    """Constants and batch norms folded by ONNX Runtime's basic, device-independent optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    try:
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        text = str(error).strip().splitlines()
        raise CompileError(f"ONNX Runtime does not accept the network: {text[0] if text else error!r}") from None


def _calibration_inputs(
    model: onnx.ModelProto, images: str | Path | Mapping[str, NDArray[Any]]
) -> list[dict[str, NDArray[Any]]]:
    """One mapping of inputs for each image."""
    arrays = images if isinstance(images, Mapping) else _read_images(Path(images))
    constants = {tensor.name for tensor in model.graph.initializer}
    values = [value for value in model.graph.input if value.name not in constants]
    columns: dict[str, NDArray[Any]] = {}
    for value in values:
        shape = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        columns[value.name] = _fitted(value.name, _array_for(value.name, arrays, len(values)), shape, dtype)
    count = min(len(column) for column in columns.values())
    if any(len(column) != count for column in columns.values()):
        raise CompileError(f"--calibrate: the inputs {sorted(columns)} have different numbers of images")
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_IMAGES)).astype(int))
    return [{name: column[place] for name, column in columns.items()} for place in chosen]


def _read_images(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError, EOFError) as error:
        raise CompileError(f"--calibrate {path}: {error}; give an .npz file that numpy.savez has written") from None


def _array_for(name: str, arrays: Mapping[str, NDArray[Any]], inputs: int) -> NDArray[Any]:
    if name in arrays:
        return arrays[name]
    if inputs == 1 and "images" in arrays:
        return arrays["images"]
    if inputs == 1 and len(arrays) == 1:
        return next(iter(arrays.values()))
    raise CompileError(f"--calibrate: no array for input {name!r}; the file has {', '.join(sorted(arrays)) or 'none'}")


def _fitted(name: str, array: NDArray[Any], shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array as [images, *shape], in the type of the input."""
    if array.dtype == np.uint8 and dtype == np.float32:
        array = array.astype(np.float32) / np.float32(255)
    if array.dtype != dtype:
        raise CompileError(f"--calibrate: the array for input {name!r} is {array.dtype}, the network takes {dtype}")
    size = int(np.prod(shape))
    if not array.size or array[:1].size != size:
        raise CompileError(
            f"--calibrate: the array for input {name!r} has shape {array.shape}; give [images, ...], at least one, "
            f"each with the {size} values of {shape}"
        )
    return array.reshape(-1, *shape)
