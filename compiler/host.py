"""The host's part of an inference: its ONNX segments, and conversion between arrays and the window."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler import golden
from compiler.package import Package, WindowWrite

ReadWindow = Callable[[int, int], bytes]
"""Gives `length` bytes of the window from byte `offset` on: read(offset, length)."""


class Inference:
    """One run of a package: what to write before each stage, and the outputs after the last one.

    Call `before(stage, read)` for each stage in order, then `outputs(read)`. Raises ValueError for inputs that do
    not match the network's.
    """

    def __init__(self, package: Package, inputs: Mapping[str, NDArray[Any]] | NDArray[Any]) -> None:
        self._package = package
        if isinstance(inputs, np.ndarray):
            if len(package.inputs) != 1:
                names = ", ".join(value.name for value in package.inputs)
                raise ValueError(f"the network has inputs {names}; give an array for each by name")
            inputs = {package.inputs[0].name: inputs}
        self._values: dict[str, NDArray[Any]] = {name: self._checked(name, value) for name, value in inputs.items()}
        self._tensors = {tensor.name: tensor for tensor in package.tensors}

    def before(self, stage: int, read: ReadWindow) -> list[WindowWrite]:
        """Run the host segment before a stage; what to write to the window."""
        self._run_segment(stage, read)
        return [
            WindowWrite(tensor.offset, tensor.to_bytes(self._value(tensor.name, read)))
            for tensor in self._package.tensors
            if tensor.layer < 0 and tensor.stage == stage
        ]

    def outputs(self, read: ReadWindow) -> dict[str, NDArray[Any]]:
        """Run the last host segment; every output of the network."""
        self._run_segment(len(self._package.stages), read)
        return {value.name: self._value(value.name, read) for value in self._package.outputs}

    def _checked(self, name: str, value: NDArray[Any]) -> NDArray[Any]:
        expected = next((known for known in self._package.inputs if known.name == name), None)
        if expected is None:
            raise ValueError(f"{name!r} is no input of the network: {[known.name for known in self._package.inputs]}")
        if value.shape != expected.shape or value.dtype != np.dtype(expected.dtype):
            raise ValueError(
                f"input {name!r} is {value.dtype} {value.shape}; the network takes {expected.dtype} {expected.shape}"
            )
        return value

    def _value(self, name: str, read: ReadWindow) -> NDArray[Any]:
        if name not in self._values:
            tensor = self._tensors.get(name)
            if tensor is None or tensor.layer < 0:
                raise ValueError(f"input {name!r} of the network is missing")
            return tensor.from_bytes(read(tensor.offset, tensor.byte_count))
        return self._values[name]

    def _run_segment(self, place: int, read: ReadWindow) -> None:
        segment = self._package.segments[place]
        if segment.model:
            inputs = {name: self._value(name, read) for name in segment.inputs}
            self._values.update(golden.run(segment.model, inputs, segment.outputs))
