"""What a tenant's program can change: its window of memory and the buffers and registers of its cores.

Everything can hold a *batch*: many images that run through the same program at once. Data that are the same for all
images (weights, parameters, the program) are stored once; an array whose batch axis has length 1 stands for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.configuration import PoolConfig
from isa.instructions import (
    TABLE_VECTORS,
    WORD_BYTES,
    Buffer,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Engine,
)
from isa.registers import Fault

PAGE_BYTES = 4096
"""Bytes of the window that become private to the images together, at the first write in which they differ."""

Edge = tuple[Engine, Engine]
"""Who gives a token, and who takes it."""


class MachineFault(Exception):
    """A fault of the instruction that is being executed; the machine adds its address."""

    def __init__(self, cause: Fault, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause


class VectorStore:
    """A memory of `depth` vectors; `data` is [depth, 1 or batch, width], 1 while all images hold the same."""

    def __init__(self, depth: int, width: int, dtype: type[np.generic]) -> None:
        self.depth = depth
        self.data: NDArray[Any] = np.zeros((depth, 1, width), dtype)

    def write(self, first: int, values: NDArray[Any]) -> None:
        """Write values [count, 1 or batch, width] to the vectors from `first` on."""
        if values.shape[1] > self.data.shape[1]:
            self.data = np.repeat(self.data, values.shape[1], axis=1)
        self.data[first : first + len(values)] = values


class WindowMemory:
    """The tenant's window: bytes shared by all images, and pages that belong to each image.

    `image` is uint8 [window_bytes] or [batch, window_bytes]; it is copied. For many images with a large window, give
    one image and `batch`, then write what differs. Raises ValueError when the size is no whole number of beats.
    """

    def __init__(self, config: PoolConfig, image: NDArray[np.uint8], batch: int | None = None) -> None:
        if image.dtype != np.uint8 or image.ndim not in (1, 2) or (image.ndim == 2 and batch not in (None, len(image))):
            raise ValueError(
                f"memory is uint8 [window_bytes] or [batch, window_bytes], not {image.dtype} {image.shape}"
                + (f" with batch {batch}" if batch is not None else "")
            )
        rows = image if image.ndim == 2 else image[None]
        if not rows.size or rows.shape[1] % config.beat_bytes:
            raise ValueError(
                f"a window is a whole number of beats of {config.beat_bytes} bytes, this one has {rows.shape[1]} bytes"
            )
        self.batch = len(rows) if batch is None else batch
        self.bytes = int(rows.shape[1])
        self._width = config.array
        self._page_vectors = max(1, PAGE_BYTES // config.array)
        self._shared = rows[0].copy()
        self._private: dict[int, NDArray[np.uint8]] = {}
        page_bytes = self._page_vectors * self._width
        for start in range(0, self.bytes if len(rows) > 1 else 0, page_bytes):
            page = rows[:, start : start + page_bytes]
            if (page != page[0]).any():
                self.write(start, page)

    @property
    def vectors(self) -> int:
        """Vectors in the window."""
        return self.bytes // self._width

    def word(self, address: int) -> int:
        """The instruction word at a word address; all images must have the same one."""
        first = address * WORD_BYTES
        if first // (self._page_vectors * self._width) in self._private:
            raw = self.read(first, WORD_BYTES)
            if (raw != raw[0]).any():
                raise ValueError(f"the images of a batch run one program, but word {address} differs between them")
            return int.from_bytes(raw[0].tobytes(), "little")
        return int.from_bytes(self._shared[first : first + WORD_BYTES].tobytes(), "little")

    def read(self, first: int, count: int) -> NDArray[np.uint8]:
        """Bytes first..first+count-1 of every image, uint8 [batch, count]."""
        self._check(first, count)
        begin, end = first // self._width, -(-(first + count) // self._width)
        vectors = self.gather(np.arange(begin, end))
        flat = np.moveaxis(vectors, 1, 0).reshape(vectors.shape[1], -1)
        offset = first - begin * self._width
        return np.broadcast_to(flat[:, offset : offset + count].view(np.uint8), (self.batch, count))

    def write(self, first: int, data: NDArray[np.uint8]) -> None:
        """Write data [count] (the same for every image) or [batch, count] to the bytes from `first` on."""
        count = data.shape[-1]
        self._check(first, count)
        begin, end = first // self._width, -(-(first + count) // self._width)
        vectors = self.gather(np.arange(begin, end)).view(np.uint8)
        batch = max(vectors.shape[1], 1 if data.ndim == 1 else len(data))
        flat = np.repeat(vectors, batch // vectors.shape[1], axis=1).transpose(1, 0, 2).reshape(batch, -1)
        flat[:, first - begin * self._width :][:, :count] = data
        self.scatter(np.arange(begin, end), flat.reshape(batch, -1, self._width).transpose(1, 0, 2).view(np.int8))

    def _check(self, first: int, count: int) -> None:
        if first < 0 or first + count > self.bytes:
            raise ValueError(f"bytes {first}..{first + count - 1} lie outside the window of {self.bytes} bytes")

    def gather(self, addresses: NDArray[np.int64]) -> NDArray[np.int8]:
        """Vectors of memory, int8 [len(addresses), 1 or batch, width]."""
        shared: NDArray[np.int8] = self._shared.reshape(-1, self._width)[addresses].view(np.int8)[:, None, :]
        if not self._private:
            return shared
        pages = addresses // self._page_vectors
        private = [page for page in np.unique(pages).tolist() if page in self._private]
        if not private:
            return shared
        result = np.repeat(shared, self.batch, axis=1)
        for page in private:
            here = pages == page
            result[here] = self._private[page][addresses[here] - page * self._page_vectors].view(np.int8)
        return result

    def scatter(self, addresses: NDArray[np.int64], values: NDArray[np.int8]) -> None:
        """Write values [len(addresses), 1 or batch, width]; where an address repeats, the last one stays."""
        data = values.view(np.uint8)
        shared = self._shared.reshape(-1, self._width)
        if data.shape[1] == 1 and not self._private:
            shared[addresses] = data[:, 0]
            return
        pages = addresses // self._page_vectors
        for page in np.unique(pages).tolist():
            here = pages == page
            if data.shape[1] == 1 and page not in self._private:
                shared[addresses[here]] = data[here, 0]
                continue
            if page not in self._private:
                first = page * self._page_vectors
                self._private[page] = np.repeat(shared[first : first + self._page_vectors, None], self.batch, axis=1)
            self._private[page][addresses[here] - page * self._page_vectors] = data[here]


class CoreState:
    """Buffers, accumulators, configuration registers and tokens of one core, as the scrub leaves them: all zero."""

    def __init__(self, config: PoolConfig) -> None:
        width = config.array
        self.buffers = {
            Buffer.FEATURES: VectorStore(config.features_vectors, width, np.int8),
            Buffer.WEIGHTS: VectorStore(config.weights_vectors, width, np.int8),
            Buffer.PARAMETERS: VectorStore(config.parameters_vectors, width, np.int8),
            Buffer.TABLE: VectorStore(TABLE_VECTORS, width, np.int8),
            Buffer.RESIDUAL: VectorStore(config.residual_vectors, width, np.int8),
        }
        self.output = VectorStore(config.output_vectors, width, np.int8)
        self.accumulators = [VectorStore(config.accumulator_pixels, width, np.int32) for _ in range(2)]
        self.line_vectors = config.line_vectors
        """Depth of the line buffers, of which nothing outlives an instruction."""
        # Registers hold stored bits, so a scrubbed count register means 1: the default of its field.
        self.load = ConfigLoad()
        self.window = ConfigWindow()
        self.tile = ConfigTile()
        self.drain = ConfigOutput()
        self.add_factors = ConfigAddFactors()
        self.add_offset = ConfigAddOffset()
        self.save = ConfigSave()
        self.tokens: dict[Edge, int] = {
            (Engine.LOAD, Engine.COMPUTE): 0,
            (Engine.COMPUTE, Engine.LOAD): 0,
            (Engine.COMPUTE, Engine.SAVE): 0,
            (Engine.SAVE, Engine.COMPUTE): 0,
        }
