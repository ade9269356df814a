"""Tensors as they lie in a tenant's window: `[ceil(C/A)][H][W][A]` int8, A channels of one pixel being a vector."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fold:
    """How the host lays out an input anew: the taps of a kernel become channels, tap after tap.

    Channel (i * kernel[1] + j) * C + c of pixel (y, x) is channel c of the tensor at row y * strides[0] +
    i * dilations[0] - padding[0], column alike; `pad_value` outside. `size` is rows and columns of the result.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]
    pad_value: int

    def dimensions(self, channels: int) -> tuple[int, int, int]:
        """(channels, rows, columns) of the folded form of a tensor with so many channels."""
        return (channels * self.kernel[0] * self.kernel[1], *self.size)

    def apply(self, tensor: NDArray[np.int8]) -> NDArray[np.int8]:
        """[C][H][W] to its folded form."""
        rows, columns = (self._positions(axis, tensor.shape[axis + 1]) for axis in range(2))
        inside = rows[0][:, None, :, None] & columns[0][None, :, None, :]
        taken = tensor[:, rows[1][:, None, :, None], columns[1][None, :, None, :]]
        folded = np.where(inside, taken, np.int8(self.pad_value)).astype(np.int8)
        return folded.transpose(1, 2, 0, 3, 4).reshape(self.dimensions(len(tensor)))

    def _positions(self, axis: int, length: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """[taps][positions]: whether each lies inside, and where (0 if not)."""
        taps = np.arange(self.kernel[axis])[:, None] * self.dilations[axis] - self.padding[axis]
        places = np.arange(self.size[axis])[None, :] * self.strides[axis] + taps
        inside = (places >= 0) & (places < length)
        return inside, np.where(inside, places, 0)


@dataclass(frozen=True)
class TensorPlacement:
    """A tensor of the network that lies in the window.

    `shape` is the tensor's shape in the network; `dimensions` (channels, rows, columns) its shape in memory. Both
    have the same elements in the same row-major order, so a flattened map keeps its place. `offset` is the first
    byte in the window, `array` the bytes in a vector. `layer` is the index of the layer at whose end the tensor
    is complete, -1 when the host writes it before `stage`, in its folded form if it has a `fold`.
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
    fold: Fold | None = None

    @property
    def blocks(self) -> int:
        """Blocks of channels."""
        return -(-self.lying[0] // self.array)

    @property
    def lying(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of what lies in memory: `dimensions`, or their folded form."""
        return self.fold.dimensions(self.dimensions[0]) if self.fold else self.dimensions

    @property
    def vectors(self) -> int:
        """Vectors that the tensor takes in memory."""
        return self.blocks * self.lying[1] * self.lying[2]

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
        plain = tensor.reshape(self.dimensions)
        return tensor_to_vectors(self.fold.apply(plain) if self.fold else plain, self.array).tobytes()

    def from_bytes(self, content: bytes | bytearray | memoryview[int] | NDArray[np.uint8]) -> NDArray[np.int8]:
        """The bytes at `offset` (exactly `byte_count` of them) as the network's int8 tensor of `shape`."""
        if self.fold:
            raise ValueError(f"input {self.name!r} lies folded in memory; only the host reads it unfolded")
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
