"""Import of poolings: parts of equal divisor, and the proof that an integer sum gives ONNX Runtime's average."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import onnx

from compiler.graph import HostReason, Importer
from compiler.network import attributes, describe
from compiler.operations import Operation, Pooling, PoolPart, Tensor
from compiler.windows import Window, check_window, window_of
from isa.arithmetic import LOWEST, average_pool_is_exact, average_pool_scale, encode_scale
from isa.instructions import Reduction

_ONE = np.float32(1)


def max_pool(importer: Importer, node: onnx.NodeProto) -> Operation:
    """MaxPool on int8; pads with the smallest number."""
    importer.unused_outputs(node)
    source = importer.picture(node, 0)
    target = importer.target(node, source.scale, source.zero_point)
    window = window_of(node, source, target, attributes(node)["kernel_shape"])
    whole = PoolPart((0, target.dimensions[1]), (0, target.dimensions[2]), 0, _ONE)
    return Pooling(
        describe(node), (source.name,), target.name, Reduction.MAXIMUM, window.kernel, window.strides, window.dilations,
        window.padding, LOWEST, (whole,),
    )  # fmt: skip


def global_average_pool(importer: Importer, node: onnx.NodeProto) -> Operation:
    """QLinearGlobalAveragePool: ONNX Runtime sums integers here, so the scale is all that matters."""
    scale_x, zero_x, scale_y, zero_y = _quantisation(importer, node)
    source = importer.picture(node, 0, scale_x, zero_x)
    kernel = source.dimensions[1:]
    check_window(kernel, (1, 1), (1, 1), (0, 0))
    target = importer.target(node, scale_y, zero_y)
    count = kernel[0] * kernel[1]
    part = PoolPart((0, 1), (0, 1), -count * zero_x, _checked_scale(scale_x, scale_y, count))
    return Pooling(
        describe(node), (source.name,), target.name, Reduction.SUM, kernel, (1, 1), (1, 1), (0, 0), zero_x, (part,),
        zero_y,
    )  # fmt: skip


def average_pool(importer: Importer, node: onnx.NodeProto) -> Operation:
    """QLinearAveragePool, if the integer sum provably gives what ONNX Runtime's float32 sum gives."""
    values = attributes(node)
    scale_x, zero_x, scale_y, zero_y = _quantisation(importer, node)
    source = importer.picture(node, 0, scale_x, zero_x)
    target = importer.target(node, scale_y, zero_y)
    window = window_of(node, source, target, values["kernel_shape"])
    pixels = window.kernel[0] * window.kernel[1]
    includes_padding = bool(values.get("count_include_pad", 0))
    if includes_padding and _reaches_beyond_padding(window, source, target):
        raise HostReason("its last window reaches beyond the padding (ceil_mode) and counts it")
    parts = []
    for rows, row_count in _equal_counts(window, source, target, 0):
        for columns, column_count in _equal_counts(window, source, target, 1):
            inside = row_count * column_count
            divisor = pixels if includes_padding else inside
            if not inside:
                raise HostReason("one of its windows lies in the padding altogether")
            if not _is_exact(inside, scale_x, zero_x, scale_y, zero_y, divisor):
                raise HostReason(
                    f"ONNX Runtime's float32 average of {inside} pixels cannot be proved equal to an integer sum with "
                    f"scales {scale_x} and {scale_y}"
                )
            # Padding holds the zero point, so every window sums `pixels` values, each with its zero point.
            scale = _checked_scale(scale_x, scale_y, divisor)
            parts.append(PoolPart(rows, columns, -pixels * zero_x, scale))
    if len({(part.bias, part.scale) for part in parts}) == 1:
        whole = ((0, target.dimensions[1]), (0, target.dimensions[2]))
        parts = [PoolPart(*whole, parts[0].bias, parts[0].scale)]
    return Pooling(
        describe(node), (source.name,), target.name, Reduction.SUM, window.kernel, window.strides, window.dilations,
        window.padding, zero_x, tuple(parts), zero_y,
    )  # fmt: skip


def _quantisation(importer: Importer, node: onnx.NodeProto) -> tuple[np.float32, int, np.float32, int]:
    if attributes(node).get("channels_last", 0):
        raise HostReason("its channels come last")
    return (
        importer.scale(node, 1, "input scale"),
        importer.zero_point(node, 2, "input zero point"),
        importer.scale(node, 3, "output scale"),
        importer.zero_point(node, 4, "output zero point"),
    )


def _is_exact(inside: int, scale_x: np.float32, zero_x: int, scale_y: np.float32, zero_y: int, divisor: int) -> bool:
    try:
        return average_pool_is_exact(inside, scale_x, zero_x, scale_y, zero_y, divisor)
    except ValueError as error:
        raise HostReason(str(error)) from None


def _checked_scale(scale_x: np.float32, scale_y: np.float32, divisor: int) -> np.float32:
    with np.errstate(over="ignore", under="ignore"):
        scale = average_pool_scale(scale_x, scale_y, divisor)
    try:
        encode_scale(scale)
    except ValueError as error:
        raise HostReason(str(error)) from None
    return scale


def _inside(window: Window, source: Tensor, position: int, axis: int) -> int:
    """Rows (axis 0) or columns of a window that lie inside the map, for one output row or column."""
    first = position * window.strides[axis] - window.padding[axis]
    taps = range(first, first + window.kernel[axis] * window.dilations[axis], window.dilations[axis])
    return sum(1 for tap in taps if 0 <= tap < source.dimensions[axis + 1])


def _equal_counts(window: Window, source: Tensor, target: Tensor, axis: int) -> list[tuple[tuple[int, int], int]]:
    """Runs of output rows (or columns) whose windows have equally many rows inside: ((first, end), rows inside)."""
    positions = range(target.dimensions[axis + 1])
    runs = []
    for inside, run in groupby(positions, lambda position: _inside(window, source, position, axis)):
        members = list(run)
        runs.append(((members[0], members[-1] + 1), inside))
    return runs


def _reaches_beyond_padding(window: Window, source: Tensor, target: Tensor) -> bool:
    return any(
        (target.dimensions[axis + 1] - 1) * window.strides[axis]
        - window.padding[axis]
        + (window.kernel[axis] - 1) * window.dilations[axis]
        >= source.dimensions[axis + 1] + window.padding_end[axis]
        for axis in range(2)
    )
