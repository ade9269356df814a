"""Layers as a core executes them: addresses, blocks of channels and drain constants; nothing of ONNX is left.

Addresses count vectors. An address in the activation area carries TENSOR_BIT until the window's layout is known
(`compiler.frames.relocate`); the others are absolute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from isa.arithmetic import AddParameters
from isa.instructions import Reduction

TENSOR_BIT = 1 << 31
"""Set in addresses that count from the start of the activation area; windows are shorter than this."""


@dataclass(frozen=True)
class FeatureMap:
    """`[blocks][rows][columns]` vectors from `address` on."""

    address: int
    blocks: int
    rows: int
    columns: int


@dataclass(frozen=True)
class BlockWork:
    """What one block of output channels needs: input blocks first..end-1, its weight tiles, its parameter block.

    `weights` is the address of `[input block][kernel row][kernel column]` tiles, one for each piece of the kernel in
    a depthwise layer, None in a pooling.
    """

    first: int
    end: int
    weights: int | None
    parameters: int


@dataclass(frozen=True)
class OutputPart:
    """A rectangle of output pixels with parameters of its own (None: those of each block)."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int
    parameters: int | None = None


@dataclass(frozen=True)
class Drain:
    """What happens to a sum on its way out: zero point added, clipped to low..high, passed through the table."""

    zero_point: int = 0
    low: int = -128
    high: int = 127
    table: int | None = None


@dataclass(frozen=True)
class ResidualMap:
    """What the drain adds: a map of the target's shape from `address` on, operand a of the addition or b."""

    address: int
    is_a: bool
    add: AddParameters


_SOME_RESIDUAL = ResidualMap(0, False, AddParameters(0, 0, 0, 0, 0, 0, 0, 0))


@dataclass(frozen=True, eq=False)
class WindowLayer:
    """A convolution (`reduction` None) or pooling: a kernel slides over the source and gives the target."""

    name: str
    source: FeatureMap
    target: FeatureMap
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[int, int]
    """Rows above and columns left of the source that count as `pad_value`."""
    pad_value: int
    reduction: Reduction | None
    blocks: tuple[BlockWork, ...]
    parts: tuple[OutputPart, ...]
    drain: Drain
    chunk_cycles: int = 320
    """Cycles that the array spends in one chunk of the reduction at most, if that has so many blocks."""
    depthwise: bool = False
    """Each channel is convolved by itself; the weights of consecutive blocks follow one another without gaps."""
    residual: ResidualMap | None = None
    """What the drain adds, if it does."""

    @property
    def loads_strided_rows(self) -> bool:
        """Whether only every stride-th row is loaded: a kernel of one row, all inside, never reads the others."""
        last_row = (self.target.rows - 1) * self.strides[0]
        return self.kernel[0] == 1 and self.strides[0] > 1 and self.padding[0] == 0 and last_row < self.source.rows


@lru_cache(maxsize=1 << 12)
def shape_of(layer: WindowLayer) -> WindowLayer:
    """The layer without name and places: the same object for all layers of one shape."""
    return _shape(
        replace(layer.source, address=0),
        replace(layer.target, address=0),
        (layer.kernel, layer.strides, layer.dilations, layer.padding),
        layer.reduction,
        tuple(BlockWork(block.first, block.end, None, 0) for block in layer.blocks),
        tuple(replace(part, parameters=None) for part in layer.parts),
        Drain(table=None if layer.drain.table is None else 0),
        layer.chunk_cycles,
        layer.depthwise,
        _SOME_RESIDUAL if layer.residual else None,
    )


@lru_cache(maxsize=1 << 12)
def _shape(
    source: FeatureMap,
    target: FeatureMap,
    window: tuple[tuple[int, int], tuple[int, int], tuple[int, int], tuple[int, int]],
    reduction: Reduction | None,
    blocks: tuple[BlockWork, ...],
    parts: tuple[OutputPart, ...],
    drain: Drain,
    chunk_cycles: int,
    depthwise: bool,
    residual: ResidualMap | None,
) -> WindowLayer:
    return WindowLayer(
        "", source, target, *window, 0, reduction, blocks, parts, drain, chunk_cycles, depthwise, residual
    )


@dataclass(frozen=True, eq=False)
class FlatLayer:
    """target[i] = f(source[i], ...) for `vectors` vectors: an addition (`add` set) or a table look-up."""

    name: str
    sources: tuple[int, ...]
    target: int
    vectors: int
    add: AddParameters | None
    drain: Drain


MachineLayer = WindowLayer | FlatLayer
