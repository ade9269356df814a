"""Kernel, strides, dilations and padding of an ONNX node, checked against what an instruction can express."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from compiler.geometry import DILATION_LIMIT, KERNEL_LIMIT, PADDING_LIMIT, STRIDE_LIMIT
from compiler.graph import HostReason
from compiler.network import attributes
from compiler.operations import Tensor


@dataclass(frozen=True)
class Window:
    """A sliding window over rows and columns; `padding` above and left, `padding_end` below and right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[int, int]
    padding_end: tuple[int, int]


def window_of(node: onnx.NodeProto, source: Tensor, target: Tensor, kernel: Sequence[int]) -> Window:
    """The window of a convolution or pooling; one-dimensional ones slide along a single row. Raises HostReason."""
    values = attributes(node)
    spatial = len(source.shape) - 2
    kernel_pair = _pair(kernel if len(kernel) == 2 else [1, *kernel], 1)
    strides = _pair(values.get("strides", [1] * spatial), 1)
    dilations = _pair(values.get("dilations", [1] * spatial), 1)
    automatic = values.get("auto_pad", b"NOTSET").decode()
    pads = list(values.get("pads", [0] * 2 * spatial))
    if automatic == "NOTSET" or automatic == "":
        padding, padding_end = _pair(pads[:spatial], 0), _pair(pads[spatial:], 0)
    else:
        starts, ends = [], []
        for axis in range(2):
            reach = (target.dimensions[axis + 1] - 1) * strides[axis] + (kernel_pair[axis] - 1) * dilations[axis] + 1
            total = max(0, reach - source.dimensions[axis + 1]) if automatic.startswith("SAME") else 0
            smaller, larger = total // 2, total - total // 2
            starts.append(smaller if automatic == "SAME_UPPER" else larger)
            ends.append(larger if automatic == "SAME_UPPER" else smaller)
        padding, padding_end = (starts[0], starts[1]), (ends[0], ends[1])
    check_window(kernel_pair, strides, dilations, padding)
    return Window(kernel_pair, strides, dilations, padding, padding_end)


def check_window(
    kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int], padding: tuple[int, int]
) -> None:
    """Raises HostReason for a window that no instruction can express."""
    for what, values, limit in (
        ("kernel", kernel, KERNEL_LIMIT),
        ("stride", strides, STRIDE_LIMIT),
        ("dilation", dilations, DILATION_LIMIT),
    ):
        if max(values) > limit:
            raise HostReason(
                f"its {what} {values[0]} x {values[1]} is larger than {limit}, the largest of an instruction"
            )
    if min(padding) < 0 or max(padding) > PADDING_LIMIT:
        raise HostReason(f"its padding {padding} is outside 0..{PADDING_LIMIT}")


def _pair(values: Any, single: int) -> tuple[int, int]:
    numbers = [int(value) for value in values]
    if len(numbers) == 1:
        numbers = [single, *numbers]
    if len(numbers) != 2:
        raise HostReason(f"it slides over {len(numbers)} dimensions")
    return numbers[0], numbers[1]
