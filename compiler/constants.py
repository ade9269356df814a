"""Weights, parameters and tables as bytes of the window's static part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from compiler.geometry import depthwise_chunks, kernel_piece
from isa.arithmetic import encode_scales
from isa.configuration import PoolConfig
from isa.instructions import PARAMETER_VECTORS, TABLE_VECTORS
from isa.walks import tap_vector


class ConstantImage:
    """Collects constants and gives their vector addresses; equal constants are stored once."""

    def __init__(self, config: PoolConfig, first_vector: int) -> None:
        self._config = config
        self._first = first_vector
        self._parts: list[bytes] = []
        self._vectors = 0
        self._addresses: dict[bytes, int] = {}

    @property
    def end_vector(self) -> int:
        """First vector behind the constants."""
        return self._first + self._vectors

    def add(self, content: bytes) -> int:
        """Store bytes from the start of a beat on; the vector address."""
        known = self._addresses.get(content)
        if known is not None:
            return known
        beat = self._config.beat_bytes
        padded = content + bytes(-len(content) % beat)
        address = self.end_vector
        self._parts.append(padded)
        self._vectors += len(padded) // self._config.array
        self._addresses[content] = address
        return address

    def content(self) -> bytes:
        """All constants, from the first vector on."""
        return b"".join(self._parts)


def table_bytes(table: NDArray[np.int8], config: PoolConfig) -> bytes:
    """A lookup table: entry i is byte 0 of vector i."""
    vectors = np.zeros((TABLE_VECTORS, config.array), np.int8)
    vectors[:, 0] = table
    return vectors.tobytes()


def parameter_bytes(bias: ArrayLike, scales: ArrayLike, config: PoolConfig) -> bytes:
    """Parameter blocks of all output channels, 8 vectors a block: planes of bias (4), mantissa (3) and shift (1).

    bias int32 [outputs], scales float32 [outputs]; channels that fill up the last block get scale 1 and bias 0.
    """
    biases, factors = np.atleast_1d(np.asarray(bias, np.int32)), np.atleast_1d(np.asarray(scales, np.float32))
    blocks = -(-len(biases) // config.array)
    fill = blocks * config.array - len(biases)
    mantissas, shifts = encode_scales(np.concatenate([factors, np.ones(fill, np.float32)]))
    all_biases = np.concatenate([biases, np.zeros(fill, np.int32)]).astype(np.int64)
    planes = np.zeros((blocks, PARAMETER_VECTORS, config.array), np.uint8)
    for plane in range(4):
        planes[:, plane] = (all_biases >> 8 * plane & 0xFF).reshape(blocks, config.array)
    for plane in range(3):
        planes[:, 4 + plane] = (mantissas >> 8 * plane & 0xFF).reshape(blocks, config.array)
    planes[:, 7] = shifts.reshape(blocks, config.array)
    return planes.tobytes()


def depthwise_tiles(weights: NDArray[np.int8], config: PoolConfig) -> NDArray[np.int8]:
    """`[block][piece of the kernel][vector][channel]`: the weight tiles of a depthwise convolution.

    weights int8 [channels][1][rows][columns]. Vectors that hold no tap, and channels that fill up a block, are 0.
    """
    width = config.array
    kernel = (weights.shape[2], weights.shape[3])
    piece, chunks = kernel_piece(kernel, config), depthwise_chunks(kernel, config)
    blocks = -(-len(weights) // width)
    padded = np.zeros((blocks * width, *kernel), np.int8)
    padded[: len(weights)] = weights[:, 0]
    tiles = np.zeros((blocks, len(chunks), width, width), np.int8)
    for number, chunk in enumerate(chunks):
        for row in range(chunk.first_row, min(chunk.end_row, kernel[0])):
            for column in range(chunk.first_column, min(chunk.end_column, kernel[1])):
                vector = tap_vector(width, piece, row - chunk.first_row, column - chunk.first_column)
                tiles[:, number, vector] = padded[:, row, column].reshape(blocks, width)
    return tiles


def weight_tiles(
    weights: NDArray[np.int8], groups: int, config: PoolConfig
) -> tuple[list[tuple[int, int]], Sequence[NDArray[np.int8]]]:
    """For each block of outputs, the range of input blocks it needs and `[input block][row][column][k][o]` tiles.

    weights int8 [outputs][inputs / groups][rows][columns]. Groups become blocks on the diagonal of dense tiles.
    """
    width = config.array
    outputs, group_inputs, rows, columns = weights.shape
    group_outputs = outputs // groups
    spans: list[tuple[int, int]] = []
    tiles: list[NDArray[np.int8]] = []
    for first in range(0, outputs, width):
        members = np.arange(first, min(first + width, outputs))
        first_inputs = members // group_outputs * group_inputs
        begin, end = int(first_inputs[0]) // width, -(-(int(first_inputs[-1]) + group_inputs) // width)
        dense = np.zeros((width, (end - begin) * width, rows, columns), np.int8)
        if groups == 1:
            dense[: len(members), :group_inputs] = weights[members]
        else:
            for lane, (output, start) in enumerate(zip(members, first_inputs, strict=True)):
                offset = int(start) - begin * width
                dense[lane, offset : offset + group_inputs] = weights[output]
        split = dense.reshape(width, end - begin, width, rows, columns)
        spans.append((begin, end))
        tiles.append(np.ascontiguousarray(split.transpose(1, 3, 4, 2, 0)))
    return spans, tiles
