"""Tensors as they lie in a tenant's window: `[ceil(C/A)][H][W][A]` int8, A channels of one pixel being a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorPlacement:
    """A tensor of the network that lies in the window.

    `shape` is the tensor's shape in the network; `dimensions` (channels, rows, columns) its shape in memory. Both
    have the same elements in the same row-major order, so a flattened map keeps its place. `offset` is the first
    byte in the window, `array` the bytes in a vector. `layer` is the index of the layer at whose end the tensor
    is complete, -1 when the host writes it before `stage`.
    """

    name: str
    shape: tuple[int, ...]
    dimensions: tuple[int, int, int]
    scale: float
    zero_point: int
    offset: int
    array: int
    layer: int
    stage: int = 0

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.dimensions[0] // self.array)

    @property
    def vectors(self) -> int:
        """Vectors that the tensor takes in memory."""
        return self.blocks * self.dimensions[1] * self.dimensions[2]

    @property
    def byte_count(self) -> int:
        """Bytes that the tensor takes in memory, the channels that fill up the last block included."""
        return self.vectors * self.array

    @property
    def elements(self) -> int:
        """Elements of the network's tensor = bytes that a comparison covers."""
        channels, rows, columns = self.dimensions
        return channels * rows * columns

    def to_bytes(self, tensor: NDArray[np.int8]) -> bytes:
        """The network's int8 tensor as the bytes of the window at `offset`; fills up with zeros."""
        return tensor_to_vectors(tensor.reshape(self.dimensions), self.array).tobytes()

    def from_bytes(self, content: bytes | bytearray | memoryview[int] | NDArray[np.uint8]) -> NDArray[np.int8]:
        """The bytes at `offset` (exactly `byte_count` of them) as the network's int8 tensor of `shape`."""
        vectors = np.frombuffer(content, np.int8)
        return vectors_to_tensor(vectors, self.dimensions, self.array).reshape(self.shape)


def tensor_to_vectors(tensor: NDArray[np.int8], array: int) -> NDArray[np.int8]:
    """[C][H][W] to [ceil(C/A)][H][W][A], filled up with zeros."""
    channels, rows, columns = tensor.shape
    blocks = -(-channels // array)
    padded = np.zeros((blocks * array, rows, columns), np.int8)
    padded[:channels] = tensor
    return np.ascontiguousarray(padded.reshape(blocks, array, rows, columns).transpose(0, 2, 3, 1))


def vectors_to_tensor(vectors: NDArray[np.int8], dimensions: tuple[int, int, int], array: int) -> NDArray[np.int8]:
    """[ceil(C/A)][H][W][A] (any shape with as many bytes) to [C][H][W]; the channels that fill up are dropped."""
    channels, rows, columns = dimensions
    blocks = -(-channels // array)
    lying = vectors.reshape(blocks, rows, columns, array).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(lying.reshape(blocks * array, rows, columns)[:channels])
