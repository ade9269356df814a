"""Reads the tensors of a PyTorch checkpoint without PyTorch (200 MB and more), and executes nothing that is in it.

The format is the one of `torch.save` before version 1.6: five pickles (magic number, protocol version, description of
the machine, state dictionary, keys of the storages), then for each key the number of elements and the raw elements.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {"FloatStorage": np.float32, "LongStorage": np.int64}


class CheckpointError(ValueError):
    """The file is no such checkpoint, or holds something else than tensors."""


class _Storage:
    """Elements that are read later."""

    def __init__(self, dtype: type[np.generic], count: int) -> None:
        self.dtype = dtype
        self.count = count
        self.elements: NDArray[Any] = np.zeros(0, dtype)


class _Tensor:
    """A view of a storage."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self._storage, self._offset, self._shape, self._strides = storage, offset, shape, strides

    def array(self) -> NDArray[Any]:
        elements = self._storage.elements[self._offset :]
        strides = tuple(stride * elements.itemsize for stride in self._strides)
        return np.lib.stride_tricks.as_strided(elements, self._shape, strides).copy()


class _Unpickler(pickle.Unpickler):
    """Knows the few classes of a checkpoint and refuses all others."""

    def __init__(self, file: BinaryIO, storages: dict[str, _Storage]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
            **{("torch", storage): dtype for storage, dtype in _DTYPES.items()},
        }
        if (module, name) not in known:
            raise CheckpointError(f"the checkpoint holds a {module}.{name}, which is no tensor")
        return known[module, name]

    def persistent_load(self, identifier: Any) -> _Storage:
        _, dtype, key, _, count, _ = identifier
        return self._storages.setdefault(key, _Storage(dtype, count))


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """All tensors by name. Raises CheckpointError for what is no checkpoint of this format."""
    with path.open("rb") as file:
        storages: dict[str, _Storage] = {}
        load: Callable[[], Any] = lambda: _Unpickler(file, storages).load()  # noqa: E731
        if load() != _MAGIC:
            raise CheckpointError(f"{path}: not a PyTorch checkpoint of the format before 1.6")
        load()
        load()
        state, keys = load(), load()
        for key in keys:
            storage = storages[key]
            (count,) = np.frombuffer(file.read(8), np.int64)
            if count != storage.count:
                raise CheckpointError(f"{path}: storage {key} has {count} elements, not {storage.count}")
            size = int(count) * np.dtype(storage.dtype).itemsize
            storage.elements = np.frombuffer(file.read(size), storage.dtype)
    return {name: tensor.array() for name, tensor in state.items()}
