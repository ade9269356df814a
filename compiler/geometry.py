"""Geometry of sliding windows: output tiles, the input they need, and chunks of the reduction that fit the buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from math import gcd
from typing import NamedTuple

from compiler.machine import WindowLayer
from isa.configuration import PoolConfig
from isa.instructions import ConfigTile, ConfigWindow, Conv, Load
from isa.walks import raster_of, window_shape


class Tile(NamedTuple):
    """A rectangle of output pixels: rows first_row..end_row-1, columns alike; parameters as in OutputPart."""

    first_row: int
    end_row: int
    first_column: int
    end_column: int
    parameters: int | None = None

    @property
    def pixels(self) -> int:
        """Output pixels of the tile."""
        return (self.end_row - self.first_row) * (self.end_column - self.first_column)


class Chunk(NamedTuple):
    """A part of the reduction: input blocks (counted from the output block's first), kernel rows and columns.

    In a depthwise layer it is a piece of the kernel; the last pieces may reach beyond it.
    """

    first_block: int
    end_block: int
    first_row: int
    end_row: int
    first_column: int
    end_column: int


class Span(NamedTuple):
    """Input rows (or columns) start..start+length-1, inside the map; the kernel begins at `wanted`, maybe outside."""

    start: int
    length: int
    wanted: int


def _span(first: int, end: int, stride: int, dilation: int, padding: int, tap: int, last_tap: int, size: int) -> Span:
    wanted = first * stride + tap * dilation - padding
    wanted_end = (end - 1) * stride + last_tap * dilation - padding + 1
    start = min(max(wanted, 0), size - 1)
    stop = max(min(wanted_end, size), start + 1)
    return Span(start, stop - start, wanted)


def input_span(layer: WindowLayer, tile: Tile, chunk: Chunk) -> tuple[Span, Span]:
    """Input rows and columns that a chunk of a tile reads; at least one of each, even where all is padding."""
    rows = _span(
        tile.first_row, tile.end_row, layer.strides[0], layer.dilations[0], layer.padding[0],
        chunk.first_row, chunk.end_row - 1, layer.source.rows,
    )  # fmt: skip
    columns = _span(
        tile.first_column, tile.end_column, layer.strides[1], layer.dilations[1], layer.padding[1],
        chunk.first_column, chunk.end_column - 1, layer.source.columns,
    )  # fmt: skip
    return rows, columns


ROW_LIMIT = min(Load.field_layout("rows").highest, ConfigTile.field_layout("output_rows").highest)
COLUMN_LIMIT = min(Load.field_layout("columns").highest, ConfigTile.field_layout("output_columns").highest)
PLANE_LIMIT = min(Load.field_layout("planes").highest, ConfigWindow.field_layout("channel_blocks").highest)
KERNEL_LIMIT = ConfigWindow.field_layout("kernel_rows").highest
STRIDE_LIMIT = ConfigWindow.field_layout("stride_rows").highest
DILATION_LIMIT = ConfigWindow.field_layout("dilation_rows").highest
PADDING_LIMIT = -Conv.field_layout("first_row").lowest


@lru_cache(maxsize=1 << 10)
def in_short_rows(layer: WindowLayer, config: PoolConfig) -> WindowLayer | None:
    """A convolution of single pixels with its map seen as rows of one beat, so that tiles can end at every beat.

    None where the layer is no such convolution. Where a map is no whole number of beats, rows are shorter.
    """
    source, target = layer.source, layer.target
    is_pixelwise = layer.kernel == (1, 1) and layer.strides == (1, 1) and layer.padding == (0, 0)
    if not is_pixelwise or (source.rows, source.columns) != (target.rows, target.columns) or len(layer.parts) > 1:
        return None
    pixels = source.rows * source.columns
    columns = gcd(pixels, config.vectors_per_beat)
    if pixels // columns <= 1 or columns == source.columns:
        return None
    return replace(
        layer,
        source=replace(source, rows=pixels // columns, columns=columns),
        target=replace(target, rows=pixels // columns, columns=columns),
        parts=(replace(layer.parts[0], end_row=pixels // columns, end_column=columns),),
    )


def features_limit(config: PoolConfig) -> int:
    """Vectors that one load into the features buffer may take: half of it, so that the next one has room."""
    return config.features_vectors // 2


def weights_limit(config: PoolConfig) -> int:
    """Vectors that one load into the weights buffer may take: the part that a layer can prefetch."""
    return max(weights_zone(config), config.array)


def weights_zone(config: PoolConfig) -> int:
    """Vectors at one end of the weights buffer that a layer leaves alone, for the next one to prefetch into."""
    return min(config.weights_vectors // 4, COLUMN_LIMIT) // config.array * config.array


def kernel_piece(kernel: tuple[int, int], config: PoolConfig) -> tuple[int, int]:
    """(rows, columns) of the pieces of a depthwise kernel: all alike, since others would need other configurations."""
    rows, columns = (
        -(-size // -(-size // limit)) for size, limit in zip(kernel, window_shape(config.array), strict=True)
    )
    return rows, columns


def depthwise_chunks(kernel: tuple[int, int], config: PoolConfig) -> list[Chunk]:
    """The pieces of a depthwise kernel, which fit the window of the array."""
    rows, columns = kernel_piece(kernel, config)
    return [
        Chunk(0, 1, row, row + rows, column, column + columns)
        for row in range(0, kernel[0], rows)
        for column in range(0, kernel[1], columns)
    ]


def raster_of_tile(layer: WindowLayer, extent: tuple[int, int], config: PoolConfig) -> tuple[int, int]:
    """(rows, columns) that each chunk of a depthwise layer reads for an output tile of so many rows and columns."""
    strides = (1 if layer.loads_strided_rows else layer.strides[0], layer.strides[1])
    return raster_of(kernel_piece(layer.kernel, config), strides, extent)


_SHORTEST_CHUNK = 4
"""A chunk may be so many times shorter than wanted for the sake of equal chunks."""


def reduction_chunks(layer: WindowLayer, tile: Tile, blocks: int, config: PoolConfig) -> list[Chunk]:
    """The reduction over `blocks` input blocks and the kernel, cut so that each part fits the buffers; [] if none does.

    Parts are whole blocks if possible, else kernel rows of one block, else kernel columns of one row. Only the
    extents of the tile matter, so that tiles of one shape have equal chunks.
    """
    inner = (tile.end_row - tile.first_row, tile.end_column - tile.first_column)
    return _reduction_chunks(layer, inner, blocks, config)


@lru_cache(maxsize=1 << 14)
def _reduction_chunks(layer: WindowLayer, extent: tuple[int, int], blocks: int, config: PoolConfig) -> list[Chunk]:
    kernel_rows, kernel_columns = layer.kernel
    raster_columns = raster_of_tile(layer, extent, config)[1] if layer.depthwise else 0

    def fits(block_count: int, rows: int, columns: int) -> bool:
        input_rows = min((extent[0] - 1) * layer.strides[0] + (rows - 1) * layer.dilations[0] + 1, layer.source.rows)
        if layer.loads_strided_rows:
            input_rows = min(input_rows, extent[0])
        input_columns = min(
            (extent[1] - 1) * layer.strides[1] + (columns - 1) * layer.dilations[1] + 1, layer.source.columns
        )
        dense = layer.reduction is None and not layer.depthwise
        weights = block_count * rows * columns * config.array if dense else 0
        return (
            block_count * input_rows * input_columns <= features_limit(config)
            and raster_columns <= config.line_vectors
            and weights <= weights_limit(config)
            and input_rows <= ROW_LIMIT
            and input_columns <= COLUMN_LIMIT
            and block_count <= PLANE_LIMIT
        )

    if layer.depthwise:
        return depthwise_chunks(layer.kernel, config) if fits(1, kernel_rows, kernel_columns) else []
    whole = _largest(blocks, lambda count: fits(count, kernel_rows, kernel_columns))
    if whole:
        whole = _short_chunk(
            blocks, whole, layer.chunk_cycles // (extent[0] * extent[1] * kernel_rows * kernel_columns)
        )
        return [Chunk(first, end, 0, kernel_rows, 0, kernel_columns) for first, end in even_cuts(blocks, whole)]
    rows = _largest(kernel_rows, lambda count: fits(1, count, kernel_columns))
    if rows:
        return [
            Chunk(block, block + 1, first, end, 0, kernel_columns)
            for block in range(blocks)
            for first, end in even_cuts(kernel_rows, rows)
        ]
    columns = _largest(kernel_columns, lambda count: fits(1, 1, count))
    if columns:
        return [
            Chunk(block, block + 1, row, row + 1, first, end)
            for block in range(blocks)
            for row in range(kernel_rows)
            for first, end in even_cuts(kernel_columns, columns)
        ]
    return []


def _short_chunk(blocks: int, largest: int, wanted: int) -> int:
    """Blocks of a chunk: few, for the array waits for the first chunk; and all chunks alike where possible.

    A chunk of another length needs a configuration of its own, for which the array stops.
    """
    wanted = min(largest, max(1, wanted))
    shorter, longer = range(wanted, 0, -1), range(wanted + 1, min(largest, 2 * wanted) + 1)
    counts = (count for counts in (shorter, longer) for count in counts)
    return next((count for count in counts if blocks % count == 0 and count * _SHORTEST_CHUNK >= wanted), wanted)


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Largest count in 1..limit that fits (fitting is monotonic), 0 if none does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low


def even_cuts(total: int, largest: int) -> list[tuple[int, int]]:
    """0..total in as few pieces of at most `largest` as possible, as even as possible: (first, end) each."""
    return even_pieces(0, total, -(-total // largest))


def even_pieces(first: int, end: int, count: int) -> list[tuple[int, int]]:
    """first..end in `count` pieces, as even as possible: (first, end) each; no empty ones."""
    cuts = [first + (end - first) * number // count for number in range(count + 1)]
    return [(start, stop) for start, stop in pairwise(cuts) if stop > start]
