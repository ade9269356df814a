"""What each ONNX operator means to the cores: one function for each, and the table that finds it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler import tables
from compiler.errors import CompileError
from compiler.graph import HostReason, Importer
from compiler.network import attributes, describe
from compiler.operations import Addition, Concatenation, Convolution, Mapping256, Operation, Tensor, byte_indices
from compiler.pooling import average_pool, global_average_pool, max_pool
from compiler.windows import check_window, window_of
from isa.arithmetic import add_parameters, encode_scales


def _weights(importer: Importer, node: onnx.NodeProto, place: int) -> NDArray[np.int8]:
    """Constant int8 weights; their zero point, two inputs further, must be 0."""
    weights = importer.constant(node, place, "weight tensor")
    if weights.dtype != np.int8:
        raise CompileError(
            f"{describe(node)}: weights are {weights.dtype}; quantise with weight_type=QuantType.QInt8 (symmetric)"
        )
    if place + 2 < len(node.input) and node.input[place + 2]:
        zero_points = importer.constant(node, place + 2, "weight zero point")
        if np.any(zero_points):
            raise CompileError(
                f"{describe(node)}: its weights have a zero point that is not 0; quantise weights symmetrically "
                "(weight_type=QuantType.QInt8, extra_options={'WeightSymmetric': True})"
            )
    return weights.astype(np.int8)


def _scales(
    factor: np.float32, weight_scales: NDArray[np.generic], scale_y: np.float32, outputs: int
) -> NDArray[np.float32]:
    """f32(f32(x * w) / y) for each output, as ONNX Runtime computes it."""
    with np.errstate(over="ignore", under="ignore"):
        scales = (factor * weight_scales.astype(np.float32).reshape(-1)).astype(np.float32) / scale_y
    scales = np.broadcast_to(scales.astype(np.float32), (outputs,)).copy()
    try:
        encode_scales(scales)
    except ValueError as error:
        raise HostReason(str(error)) from None
    return scales


def _folded_bias(bias: NDArray[np.generic] | None, weights: NDArray[np.int8], zero_x: int) -> NDArray[np.int32]:
    """The bias with the input's zero point folded in, wrapping at 32 bits."""
    outputs = weights.shape[0]
    sums = weights.reshape(outputs, -1).astype(np.int64).sum(axis=1)
    total = np.zeros(outputs, np.int64) if bias is None else np.broadcast_to(bias.reshape(-1), outputs).astype(np.int64)
    folded: NDArray[np.int64] = total - zero_x * sums
    return np.asarray(folded.astype(np.uint32).view(np.int32))


def _conv(importer: Importer, node: onnx.NodeProto) -> Operation:
    scale_x, zero_x = importer.scale(node, 1, "input scale"), importer.zero_point(node, 2, "input zero point")
    scale_y, zero_y = importer.scale(node, 6, "output scale"), importer.zero_point(node, 7, "output zero point")
    weights = _weights(importer, node, 3)
    source = importer.picture(node, 0, scale_x, zero_x)
    if weights.ndim == 3:
        weights = weights[:, :, None, :]
    if weights.ndim != 4 or len(source.shape) < 3:
        raise HostReason(f"it convolves over {weights.ndim - 2} dimensions")
    target = importer.target(node, scale_y, zero_y)
    window = window_of(node, source, target, weights.shape[2:])
    bias = importer.constant(node, 8, "bias") if len(node.input) > 8 and node.input[8] else None
    return Convolution(
        describe(node),
        (source.name,),
        target.name,
        weights,
        _folded_bias(bias, weights, zero_x),
        _scales(scale_x, importer.constant(node, 4, "weight scale"), scale_y, weights.shape[0]),
        zero_x,
        zero_y,
        window.strides,
        window.dilations,
        window.padding,
        int(attributes(node).get("group", 1)),
    )


def _gemm(importer: Importer, node: onnx.NodeProto) -> Operation:
    values = attributes(node)
    if values.get("transA", 0):
        raise HostReason("transA is set")
    if len(node.input) < 8 or not node.input[7]:
        raise HostReason("its output is float (no output scale)")
    matrix = _weights(importer, node, 3)
    bias = importer.constant(node, 6, "bias") if node.input[6] else None
    alpha = np.float32(values.get("alpha", 1.0))
    matrix = matrix if values.get("transB", 0) else matrix.T
    return _product(importer, node, matrix, (4, 7, 8), bias, alpha)


def _matrix_product(importer: Importer, node: onnx.NodeProto) -> Operation:
    matrix = _weights(importer, node, 3)
    if matrix.ndim != 2:
        raise HostReason(f"its right side has {matrix.ndim} dimensions")
    return _product(importer, node, matrix.T, (4, 6, 7), None, np.float32(1))


def _product(
    importer: Importer,
    node: onnx.NodeProto,
    matrix: NDArray[np.int8],
    places: tuple[int, int, int],
    bias: NDArray[np.generic] | None,
    alpha: np.float32,
) -> Operation:
    """matrix [outputs][inputs] times one row: a convolution whose kernel covers the whole map.

    `places` are the inputs with the weight scale, output scale and output zero point.
    """
    scale_x, zero_x = importer.scale(node, 1, "input scale"), importer.zero_point(node, 2, "input zero point")
    scale_y, zero_y = (
        importer.scale(node, places[1], "output scale"),
        importer.zero_point(node, places[2], "zero point"),
    )
    source = importer.source(node, 0, scale_x, zero_x)
    channels, rows, columns = source.dimensions
    outputs, inputs = matrix.shape
    if source.shape[-1] != inputs or channels * rows * columns != inputs:
        raise HostReason(f"its left side {source.shape} is more than one row")
    check_window((rows, columns), (1, 1), (1, 1), (0, 0))
    shape = importer.network.shapes[node.output[0]]
    if len(shape) > 2:  # one row of more dimensions: keep the channels of the result apart from its columns
        raise HostReason(f"its output has shape {shape}; the cores give [1, N]")
    target = importer.target(node, scale_y, zero_y)
    weights = np.ascontiguousarray(matrix.reshape(outputs, channels, rows, columns))
    scales = _scales(np.float32(alpha * scale_x), importer.constant(node, places[0], "weight scale"), scale_y, outputs)
    folded = _folded_bias(bias, weights, zero_x)
    return Convolution(describe(node), (source.name,), target.name, weights, folded, scales, zero_x, zero_y)


def _add(importer: Importer, node: onnx.NodeProto) -> Operation:
    shapes = importer.network.shapes
    operands = [
        (
            place,
            importer.scale(node, place + 1, "input scale"),
            importer.zero_point(node, place + 2, "input zero point"),
        )
        for place in (0, 3)
    ]
    scale_c, zero_c = importer.scale(node, 6, "scale of C"), importer.zero_point(node, 7, "zero point of C")
    if _is_scalar_first(shapes[node.input[0]], shapes[node.input[3]]):
        operands.reverse()
    try:
        parameters = add_parameters(*operands[0][1:], *operands[1][1:], scale_c, zero_c)
    except ValueError as error:
        raise HostReason(str(error)) from None
    shape = shapes[node.output[0]]
    constants: dict[str, NDArray[np.int8]] = {}
    tensors = []
    for place, scale, zero in operands:
        name = node.input[place]
        if name in importer.network.constants:
            constants[name] = _constant_operand(node, name, importer.network.constants[name], shape)
            continue
        tensors.append(importer.source(node, place, scale, zero))
        if tensors[-1].shape != shape:
            raise HostReason(f"its operand {name!r} {tensors[-1].shape} is spread over {shape}")
    if not tensors or len({tensor.dimensions for tensor in tensors}) > 1:
        raise HostReason("its operands do not lie alike in memory")
    target = importer.target(node, scale_c, zero_c)
    _lie_alike(importer, target, tensors[0])
    names = tuple(node.input[place] for place, _, _ in operands)
    return Addition(describe(node), names, target.name, parameters, constants)


def _is_scalar_first(shape_a: tuple[int, ...], shape_b: tuple[int, ...]) -> bool:
    """Whether ONNX Runtime adds one value of A to many of B at a time: it then takes B as its first operand.

    It does so where A is spread along the last axis that is longer than 1, and where there is a single element.
    """
    for size_a, size_b in zip_longest(reversed(shape_a), reversed(shape_b), fillvalue=1):
        if max(size_a, size_b) > 1:
            return size_a == 1
    return True


def _constant_operand(
    node: onnx.NodeProto, name: str, value: NDArray[np.generic], shape: tuple[int, ...]
) -> NDArray[np.int8]:
    if value.dtype != np.int8:
        raise CompileError(f"{describe(node)}: constant {name!r} is {value.dtype}; quantise it as int8")
    return np.ascontiguousarray(np.broadcast_to(value, shape)).astype(np.int8)


def _lie_alike(importer: Importer, target: Tensor, source: Tensor) -> None:
    """An elementwise result lies in memory as its operand does, whatever shape the network gives it."""
    importer.tensors[target.name] = replace(target, dimensions=source.dimensions)


def _concat(importer: Importer, node: onnx.NodeProto) -> Operation:
    is_plain = node.op_type == "Concat"
    first, step = (0, 1) if is_plain else (2, 3)
    axis = int(attributes(node)["axis"])
    scale_y, zero_y = (
        (np.float32(1), 0)
        if is_plain
        else (importer.scale(node, 0, "output scale"), importer.zero_point(node, 1, "output zero point"))
    )
    shape = importer.network.shapes[node.output[0]]
    if axis not in (1, 1 - len(shape)):
        raise HostReason(f"it joins along axis {axis}; the cores join channels (axis 1)")
    names, rescaling = [], []
    for place in range(first, len(node.input), step):
        scale, zero = scale_y, zero_y
        if not is_plain:
            scale, zero = importer.scale(node, place + 1, "input scale"), importer.zero_point(node, place + 2, "zero")
        source = importer.picture(node, place, scale, zero)
        names.append(source.name)
        is_same = (scale, zero) == (scale_y, zero_y)
        rescaling.append(None if is_same else tables.rescaling(scale, zero, scale_y, zero_y))
    if is_plain:
        operands = [importer.tensors[name] for name in names]
        scale_y, zero_y = np.float32(operands[0].scale), operands[0].zero_point
    target = importer.target(node, scale_y, zero_y)
    return Concatenation(describe(node), tuple(names), target.name, tuple(rescaling))


def _quantised_function(importer: Importer, node: onnx.NodeProto) -> Operation:
    scale_x, zero_x = importer.scale(node, 1, "input scale"), importer.zero_point(node, 2, "input zero point")
    scale_y, zero_y = importer.scale(node, 3, "output scale"), importer.zero_point(node, 4, "output zero point")
    return _mapping(importer, node, importer.source(node, 0, scale_x, zero_x), scale_y, zero_y)


def _byte_function(importer: Importer, node: onnx.NodeProto) -> Operation:
    """Relu and Clip on int8: functions of the raw byte."""
    for place in range(1, len(node.input)):
        if node.input[place]:
            importer.constant(node, place, "bound")
    source = importer.source(node, 0)
    return _mapping(importer, node, source, np.float32(source.scale), source.zero_point)


def _mapping(importer: Importer, node: onnx.NodeProto, source: Tensor, scale_y: np.float32, zero_y: int) -> Operation:
    table = tables.of_node(node, importer.network)
    target = importer.target(node, scale_y, zero_y)
    _lie_alike(importer, target, source)
    low, high = int(table.min()), int(table.max())
    is_clip = bool((table == np.clip(byte_indices(), low, high)).all())
    return Mapping256(describe(node), (source.name,), target.name, table, (low, high) if is_clip else None)


def _transpose_keeps_order(importer: Importer, node: onnx.NodeProto) -> None:
    """A transposition that moves only dimensions of size 1 moves nothing."""
    shape = importer.network.shapes[node.input[0]]
    order = attributes(node).get("perm", list(reversed(range(len(shape)))))
    moved = [axis for axis in order if shape[axis] > 1]
    if moved != sorted(moved):
        raise HostReason("it moves data in memory")


OPERATORS: dict[str, Callable[[Importer, onnx.NodeProto], Operation]] = {
    "QLinearConv": _conv,
    "QGemm": _gemm,
    "QLinearMatMul": _matrix_product,
    "QLinearAdd": _add,
    "QLinearConcat": _concat,
    "Concat": _concat,
    "MaxPool": max_pool,
    "QLinearAveragePool": average_pool,
    "QLinearGlobalAveragePool": global_average_pool,
    "QLinearSigmoid": _quantised_function,
    "QLinearLeakyRelu": _quantised_function,
    "Relu": _byte_function,
    "Clip": _byte_function,
}
"""Operators of the cores."""

ALIASES: dict[str, Callable[[Importer, onnx.NodeProto], None] | None] = {
    "Flatten": None,
    "Reshape": None,
    "Identity": None,
    "Squeeze": None,
    "Unsqueeze": None,
    "Dropout": None,
    "Transpose": _transpose_keeps_order,
}
"""Operators that keep the elements in their order; a function, if any, checks that this node does."""
