"""A tile of a layer as steps: compute instructions with the memory regions that they read and write.

A step is one compute instruction without places in buffers and without tokens; `compiler.schedule` gives it both.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from compiler.geometry import Chunk, Tile, depthwise_chunks, input_span, reduction_chunks
from compiler.machine import FlatLayer, WindowLayer
from isa.configuration import PoolConfig
from isa.instructions import (
    PARAMETER_VECTORS,
    TABLE_VECTORS,
    Add,
    Buffer,
    ConfigOutput,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Load,
    Lookup,
    Pool,
)
from isa.walks import passes

_FLAT_PIECES = 6
"""Pieces in which an elementwise layer's share is worked off at least, so that load, compute and save overlap..."""
_SHORTEST_PIECE = 64
"""...unless they become shorter than this many vectors."""
_WEIGHTS_AT_ONCE = 128
"""Vectors of weights that are loaded at once where the weights of a chunk are fewer."""
_COLUMN_LIMIT = Load.field_layout("columns").highest

_CONV, _POOL = Conv(core=0), Pool(core=0)
"""Millions of instructions are made from these: their constructors are slow."""


class Region(NamedTuple):
    """planes x rows x columns vectors in memory, as LOAD and SAVE walk them."""

    address: int
    columns: int
    rows: int = 1
    planes: int = 1
    row_pitch: int = 0
    plane_pitch: int = 0

    @property
    def vectors(self) -> int:
        """Vectors in the region."""
        return self.planes * self.rows * self.columns

    def collapsed(self) -> Region:
        """The same vectors in the same order with as few and as long rows as possible: fewer beats are read twice."""
        columns, rows, planes = self.columns, self.rows, self.planes
        if rows > 1 and self.row_pitch == columns and rows * columns <= _COLUMN_LIMIT:
            columns, rows = rows * columns, 1
        if rows == 1 and self.plane_pitch == columns and planes * columns <= _COLUMN_LIMIT:
            columns, planes = planes * columns, 1
        row_pitch = self.row_pitch if rows > 1 else 0
        return Region(self.address, columns, rows, planes, row_pitch, self.plane_pitch if planes > 1 else 0)


class Operand(NamedTuple):
    """A region that must lie in a buffer; `field` of the instruction becomes its place + `offset`.

    Equal keys mean equal contents, so that what lies in the buffer already is not loaded again.
    """

    field: str
    buffer: Buffer
    key: Hashable
    region: Region
    offset: int = 0


@dataclass(frozen=True)
class Step:
    """One compute instruction: the configuration it needs, what it reads, and where its output goes (if it drains)."""

    configuration: tuple[CoreInstruction, ...]
    instruction: Conv | Pool | Add | Lookup
    operands: tuple[Operand, ...]
    output: Region | None
    cycles: int
    changes_bank: bool = False
    """Whether it accumulates in the other bank than the step before, even if that does not drain."""

    @property
    def drains(self) -> bool:
        """Whether the instruction writes the output buffer."""
        return self.output is not None


def window_steps(
    layer: WindowLayer, tile: Tile, block: int, together: tuple[int, int], config: PoolConfig
) -> Iterator[Step]:
    """The steps of one tile and one block of output channels: one for each chunk of the reduction.

    `together` are the blocks (first, end) whose parameters are loaded at once, and whose weights in a depthwise layer.
    """
    work = layer.blocks[block]
    chunks = reduction_chunks(layer, tile, work.end - work.first, config)
    for number, chunk in enumerate(chunks):
        is_last = number == len(chunks) - 1
        weights = _weights_of(layer, chunks, number, config)
        yield _window_step(layer, tile, block, together, chunk, weights, number == 0, is_last, config)


def _weights_of(layer: WindowLayer, chunks: list[Chunk], number: int, config: PoolConfig) -> Chunk:
    """What of the reduction has its weights loaded at once with those of chunk `number`: so few loads suffice."""
    chunk = chunks[number]
    if (chunk.end_row - chunk.first_row, chunk.end_column - chunk.first_column) != layer.kernel:
        return chunk
    vectors = (chunk.end_block - chunk.first_block) * layer.kernel[0] * layer.kernel[1] * config.array
    count = max(1, _WEIGHTS_AT_ONCE // vectors)
    together = chunks[number // count * count :][:count]
    return chunk._replace(first_block=together[0].first_block, end_block=together[-1].end_block)


def _window_step(
    layer: WindowLayer,
    tile: Tile,
    block: int,
    together: tuple[int, int],
    chunk: Chunk,
    weighted: Chunk,
    is_first: bool,
    is_last: bool,
    config: PoolConfig,
) -> Step:
    work, source, target = layer.blocks[block], layer.source, layer.target
    first_block, end_block = work.first + chunk.first_block, work.first + chunk.end_block
    whole_kernel = Chunk(chunk.first_block, chunk.end_block, 0, layer.kernel[0], 0, layer.kernel[1])
    rows, columns = input_span(layer, tile, whole_kernel if layer.depthwise else chunk)
    into_kernel = (chunk.first_row, chunk.first_column) if layer.depthwise else (0, 0)
    skipped = layer.loads_strided_rows
    row_step = layer.strides[0] if skipped else 1
    plane = source.rows * source.columns
    features = Region(
        address=source.address + first_block * plane + rows.start * source.columns + columns.start,
        columns=columns.length,
        rows=-(-rows.length // row_step),
        planes=end_block - first_block,
        row_pitch=row_step * source.columns,
        plane_pitch=plane,
    )
    operands = [Operand("features", Buffer.FEATURES, ("features", features), features.collapsed())]
    kernel_rows, kernel_columns = chunk.end_row - chunk.first_row, chunk.end_column - chunk.first_column
    if layer.depthwise:
        operands.append(_depthwise_weights(layer, block, together, chunk, config))
    elif work.weights is not None:
        taps = kernel_rows * kernel_columns
        first_tile = (weighted.first_block * layer.kernel[0] + chunk.first_row) * layer.kernel[1] + chunk.first_column
        count = (weighted.end_block - weighted.first_block) * taps * config.array
        weights = Region(work.weights + first_tile * config.array, count)
        offset = (chunk.first_block - weighted.first_block) * taps * config.array
        key = ("weights", weights.address, weights.columns)
        operands.append(Operand("weights", Buffer.WEIGHTS, key, weights, offset))
    output_rows, output_columns = tile.end_row - tile.first_row, tile.end_column - tile.first_column
    output = Region(
        address=target.address + (block * target.rows + tile.first_row) * target.columns + tile.first_column,
        columns=output_columns,
        rows=output_rows,
        row_pitch=target.columns,
    )
    if is_last:
        operands.append(_parameters(layer, tile, block, together))
        if layer.drain.table is not None:
            operands.append(_table(layer.drain.table))
        if layer.residual is not None:
            added = output._replace(address=output.address + layer.residual.address - target.address)
            operands.append(Operand("residual", Buffer.RESIDUAL, ("residual", added), added.collapsed()))
    configuration = _configuration(
        layer,
        (kernel_rows, kernel_columns, end_block - first_block),
        (features.rows, features.columns),
        (output_rows, output_columns),
    )
    flags = dict(
        core=0,
        accumulate=int(not is_first),
        drain=int(is_last),
        lookup=int(is_last and layer.drain.table is not None),
        first_row=rows.wanted - rows.start + into_kernel[0],
        first_column=columns.wanted - columns.start + into_kernel[1],
    )
    instruction: Conv | Pool
    if layer.reduction is not None:
        instruction = _POOL.changed(**flags, reduction=int(layer.reduction))
    elif layer.residual is not None and is_last:
        instruction = _CONV.changed(
            **flags, depthwise=int(layer.depthwise), add=1, residual_is_a=int(layer.residual.is_a)
        )
    else:
        instruction = _CONV.changed(**flags, depthwise=int(layer.depthwise))
    walked = passes(config, configuration[0], configuration[1], instruction)
    return Step(
        configuration,
        instruction,
        tuple(operands),
        output.collapsed() if is_last else None,
        walked.count * walked.cycles,
    )


@lru_cache(maxsize=1 << 12)
def _configuration(
    layer: WindowLayer,
    kernel: tuple[int, int, int],
    features: tuple[int, int],
    outputs: tuple[int, int],
) -> tuple[ConfigWindow, ConfigTile, *tuple[CoreInstruction, ...]]:
    """What a step needs, and what its layer's drain does: that comes with the first step, before the array is busy.

    Equal steps share one object. `kernel`: rows, columns, blocks; the others: rows, columns.
    """
    window = ConfigWindow(
        core=0,
        kernel_rows=kernel[0],
        kernel_columns=kernel[1],
        stride_rows=1 if layer.loads_strided_rows else layer.strides[0],
        stride_columns=layer.strides[1],
        dilation_rows=layer.dilations[0],
        dilation_columns=layer.dilations[1],
        channel_blocks=kernel[2],
        pad_value=layer.pad_value,
    )
    tile = ConfigTile(
        core=0,
        input_rows=features[0],
        input_columns=features[1],
        plane_pitch=features[0] * features[1],
        output_rows=outputs[0],
        output_columns=outputs[1],
    )
    addition = layer.residual.add.instructions(0) if layer.residual else ()
    return window, tile, output_settings(layer), *addition


def flat_steps(layer: FlatLayer, first: int, end: int, config: PoolConfig) -> Iterator[Step]:
    """Vectors first..end-1 of an addition or look-up, in chunks that leave every buffer doubled."""
    limit = min(config.output_vectors // 2, config.features_vectors // (2 * len(layer.sources)), _COLUMN_LIMIT)
    length = end - first
    count = max(-(-length // limit), min(_FLAT_PIECES, length // _SHORTEST_PIECE))
    cuts = [first + (end - first) * number // count for number in range(count + 1)]
    for start, stop in pairwise(cuts):
        operands = [
            Operand(name, Buffer.FEATURES, (name, source + start), Region(source + start, stop - start))
            for name, source in zip(("features", "features_b"), layer.sources, strict=False)
        ]
        if layer.drain.table is not None:
            operands.append(_table(layer.drain.table))
        instruction: Add | Lookup
        configuration: tuple[CoreInstruction, ...] = ()
        if layer.add is None:
            instruction = Lookup(core=0, vectors=stop - start)
        else:
            instruction = Add(core=0, vectors=stop - start, lookup=int(layer.drain.table is not None))
            configuration = (*layer.add.instructions(0), output_settings(layer))
        cycles = (stop - start) * config.array // config.lanes
        yield Step(configuration, instruction, tuple(operands), Region(layer.target + start, stop - start), cycles)


def _parameters(layer: WindowLayer, tile: Tile, block: int, together: tuple[int, int]) -> Operand:
    """The parameter block of a tile's own, or that of the output block, which comes with its neighbours."""
    if tile.parameters is not None:
        address, count, offset = tile.parameters, 1, 0
    else:
        address, count = layer.blocks[together[0]].parameters, together[1] - together[0]
        offset = (block - together[0]) * PARAMETER_VECTORS
    region = Region(address, count * PARAMETER_VECTORS)
    return Operand("parameters", Buffer.PARAMETERS, ("parameters", address), region, offset)


def _depthwise_weights(
    layer: WindowLayer, block: int, together: tuple[int, int], chunk: Chunk, config: PoolConfig
) -> Operand:
    """The weight tile of one piece of the kernel; the tiles of all pieces and of all blocks in `together` come at
    once."""
    chunks = depthwise_chunks(layer.kernel, config)
    address = layer.blocks[together[0]].weights
    assert address is not None
    number = (block - together[0]) * len(chunks) + chunks.index(chunk)
    region = Region(address, (together[1] - together[0]) * len(chunks) * config.array)
    return Operand("weights", Buffer.WEIGHTS, ("weights", address, region.columns), region, number * config.array)


def _table(address: int) -> Operand:
    return Operand("table", Buffer.TABLE, ("table", address), Region(address, TABLE_VECTORS))


def output_settings(layer: WindowLayer | FlatLayer) -> ConfigOutput:
    """What the drain of a layer adds and where it clips, for core 0."""
    return ConfigOutput(core=0, zero_point=layer.drain.zero_point, low=layer.drain.low, high=layer.drain.high)
