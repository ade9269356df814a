"""The checked graph: operations that the cores can execute, with all constants in them and nothing of ONNX left.

Names of tensors are those of the network, so that every tensor can be compared. Scales are float32, quantised
tensors int8, weights have zero point 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from compiler.layout import Fold
from isa.arithmetic import HIGHEST, LOWEST, AddParameters
from isa.instructions import Reduction


@dataclass(frozen=True)
class Tensor:
    """An int8 tensor in the window; `shape` in the network, `dimensions` (channels, rows, columns) in memory.

    `source` names the tensor whose memory this one shares: another one for a reshaped tensor, else itself.
    """

    name: str
    shape: tuple[int, ...]
    dimensions: tuple[int, int, int]
    source: str
    scale: float = 1.0
    zero_point: int = 0
    fold: Fold | None = None

    @property
    def lying(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of what lies in memory: `dimensions`, or their folded form."""
        return self.fold.dimensions(self.dimensions[0]) if self.fold else self.dimensions


@dataclass(frozen=True)
class Residual:
    """What is added behind a convolution's requantiser: a tensor of the output's dimensions, the second input.

    The residual is operand a of the addition, or b; the convolution's result, clipped to int8, is the other one.
    """

    is_a: bool
    parameters: AddParameters


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution or matrix product; also what a fully-connected layer over a whole map becomes.

    weights int8 [outputs][inputs / groups][kernel rows][kernel columns], bias int32 [outputs] with the input's zero
    point folded in, scales float32 [outputs]. Bounds and table come last, behind the residual if there is one.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    scales: NDArray[np.float32]
    zero_x: int
    zero_y: int
    strides: tuple[int, int] = (1, 1)
    dilations: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    moves: bool = False
    """It only moves channels: none of its multiplications is the network's."""
    residual: Residual | None = None
    low: int = LOWEST
    high: int = HIGHEST
    table: NDArray[np.int8] | None = None


@dataclass(frozen=True)
class PoolPart:
    """Output rows and columns (first, end) of a pooling that share a bias and a scale."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    bias: int
    scale: np.float32


@dataclass(frozen=True, eq=False)
class Pooling:
    """Maximum or sum over a window; an average is a sum whose parts hold bias and scale of the quotient."""

    name: str
    inputs: tuple[str, ...]
    output: str
    reduction: Reduction
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[int, int]
    pad_value: int
    parts: tuple[PoolPart, ...]
    zero_y: int = 0
    low: int = LOWEST
    high: int = HIGHEST
    table: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class Addition:
    """Sum of two tensors of equal dimensions; the order of the inputs matters. A constant input is in `constant`."""

    name: str
    inputs: tuple[str, ...]
    output: str
    parameters: AddParameters
    constants: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    low: int = LOWEST
    high: int = HIGHEST
    table: NDArray[np.int8] | None = None


@dataclass(frozen=True, eq=False)
class Mapping256:
    """Any function of one byte: `table` int8 [256], indexed by the input byte as 0..255.

    A pure clip also gives its bounds, so that it can become those of the operation before it.
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    table: NDArray[np.int8]
    clip: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class Concatenation:
    """Channels of the inputs one after another; tables[i], if any, first rescales input i."""

    name: str
    inputs: tuple[str, ...]
    output: str
    tables: tuple[NDArray[np.int8] | None, ...]


Operation = Convolution | Pooling | Addition | Mapping256 | Concatenation


def byte_indices() -> NDArray[np.int8]:
    """The inputs of a table in its order: 0..127, -128..-1."""
    return np.arange(256, dtype=np.uint8).view(np.int8)


def compose(first: NDArray[np.int8] | None, second: NDArray[np.int8]) -> NDArray[np.int8]:
    """The table of second(first(x))."""
    return second if first is None else second[first.view(np.uint8)]


def with_mapping(operation: Convolution | Pooling | Addition, mapping: Mapping256) -> Convolution | Pooling | Addition:
    """The operation with a mapping of its output built in."""
    if mapping.clip and operation.table is None:
        low, high = mapping.clip
        low, high = max(operation.low, low), min(operation.high, high)
        if low <= high:
            return replace(operation, low=low, high=high, output=mapping.output)
    return replace(operation, table=compose(operation.table, mapping.table), output=mapping.output)
