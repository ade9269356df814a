"""The compiled network: everything that running it takes, for any number of cores, in one object and one file.

A run alternates host segments (ONNX sub-models, usually the quantisation of the input and the end behind the last
layer) and stages (layers that the cores execute): segment 0, stage 0, segment 1, stage 1, ..., last segment. Most
networks have one stage.

    package = Package.load("resnet8.ifp")
    window[:len(package.image())] = package.image()         # once per window
    inference = package.inference({"image": image})         # once per image
    for stage in range(len(package.stages)):
        for write in inference.before(stage, read_window):  # runs the host segment, gives what to write
            window[write.offset : write.offset + len(write.data)] = write.data
        program = package.program(cores, package.stages[stage].first_layer)
        ...write program.words at program.offset_bytes, START at program.start_word, run until DONE
    outputs = inference.outputs(read_window)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from compiler.dynamic import Linker
from compiler.errors import CompileError, PackageError
from compiler.layout import TensorPlacement

if TYPE_CHECKING:
    from compiler.host import Inference
    from isa.configuration import PoolConfig

__all__ = [
    "CompileError", "Frame", "HostSegment", "LayerRecord", "NetworkValue", "Package", "PackageError", "Program",
    "Stage", "TensorPlacement", "WindowWrite",
]  # fmt: skip


@dataclass(frozen=True)
class Program:
    """A dynamic program: write `words` at byte `offset_bytes` of the window, START at word `start_word`.

    `barriers` complete during the run: the first one when the cores have come together, then one for each layer.
    """

    words: bytes
    offset_bytes: int
    start_word: int
    barriers: int

    def place(self, window: NDArray[np.uint8]) -> None:
        """Write the words into a window, uint8 [window_bytes]."""
        window[self.offset_bytes : self.offset_bytes + len(self.words)] = np.frombuffer(self.words, np.uint8)


@dataclass(frozen=True)
class WindowWrite:
    """Bytes for the window, from byte `offset` on."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Frame:
    """The instructions of one layer for one number of cores.

    `word` and `words` say where they lie in the window (16-byte words). `cycles` is the latency: exact in a package
    `with_exact_latencies`, else estimated from those of the tiles in `tiles`, (virtual core, cycles) of each
    instruction frame package.
    """

    cores: int
    word: int
    words: int
    cycles: int
    tiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LayerRecord:
    """A layer that the cores execute: `macs` of the network (not those spent on padding), frames by core count."""

    name: str
    operation: str
    macs: int
    output: str
    frames: Mapping[int, Frame]


@dataclass(frozen=True)
class Stage:
    """Layers first_layer..end_layer-1 run in one program."""

    first_layer: int
    end_layer: int


@dataclass(frozen=True)
class HostSegment:
    """Nodes that ONNX Runtime executes on the host: a serialised ONNX model (empty: nothing to do).

    Inputs are inputs of the network, outputs of earlier segments or tensors in the window; outputs are tensors that
    the next stage reads from the window, or later segments, or outputs of the network.
    """

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class NetworkValue:
    """An input or output of the network: name, shape, numpy dtype name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Package:
    """A compiled network. `static` is the head of the window: room for the program, frames, weights and tables."""

    name: str
    pool: Mapping[str, Any]
    """Sizes of the pool that this package was compiled for (PoolConfig as a dict); its frames fit no other."""
    fuse: bool
    tensors: tuple[TensorPlacement, ...]
    layers: tuple[LayerRecord, ...]
    stages: tuple[Stage, ...]
    segments: tuple[HostSegment, ...]
    inputs: tuple[NetworkValue, ...]
    outputs: tuple[NetworkValue, ...]
    explanations: tuple[str, ...]
    prologues: Mapping[int, int]
    """First word of the prologue, by number of cores."""
    epilogues: Mapping[int, int]
    """First word of the epilogue, by number of cores."""
    program_words: int
    """Room for a program at the start of the window, in words."""
    window_bytes: int
    """Length of the window: a multiple of the pool's fetch_beats beats."""
    static: bytes = field(repr=False)
    network_digest: str = ""
    """SHA-256 of the int8 ONNX network that this package executes, in hexadecimal."""

    @property
    def core_counts(self) -> tuple[int, ...]:
        """Numbers of cores that this package has frames for, ascending."""
        return tuple(sorted(self.prologues))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network on the cores, for one image."""
        return sum(layer.macs for layer in self.layers)

    def differences(self, config: PoolConfig) -> list[str]:
        """Sizes of a pool, by name, that are not those that this package was compiled for; none when it fits."""
        sizes = (key for key in self.pool if key != "name")
        return sorted(key for key in sizes if getattr(config, key, self.pool[key]) != self.pool[key])

    def image(self) -> bytes:
        """First bytes of the window: frames, weights, parameters, tables; room for the program is zero."""
        return self.static

    def window(self) -> NDArray[np.uint8]:
        """The whole window, uint8 [window_bytes]: the image, then zeros."""
        window = np.zeros(self.window_bytes, np.uint8)
        window[: len(self.static)] = np.frombuffer(self.static, np.uint8)
        return window

    def program(self, cores: int, first_layer: int = 0) -> Program:
        """The program for virtual cores 0..cores-1, from `first_layer` to the end of its stage.

        Raises ValueError for a number of cores or a layer that the package does not have.
        """
        return self._linker.link(cores, first_layer)

    @cached_property
    def _linker(self) -> Linker:
        return Linker(self)

    def tensor(self, name: str) -> TensorPlacement:
        """The placement of a tensor. Raises KeyError."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)

    def barriers_until(self, layer: int, first_layer: int = 0) -> int:
        """Barriers since START after which the output of `layer` is complete, in a program from `first_layer`."""
        return layer - first_layer + 2

    def inference(self, inputs: Mapping[str, NDArray[Any]] | NDArray[Any]) -> Inference:
        """One inference: runs the host segments and converts between arrays and the window."""
        from compiler.host import Inference

        return Inference(self, inputs)

    def quantise_input(self, inputs: Mapping[str, NDArray[Any]] | NDArray[Any]) -> list[WindowWrite]:
        """What to write to the window before the first stage, for the network's input (float or int8 as it says)."""
        return self.inference(inputs).before(0, _nothing_to_read)

    def read_output(self, window: bytes | bytearray | memoryview[int] | NDArray[np.uint8]) -> NDArray[Any]:
        """The network's first output, from the window after the last stage (host tail included)."""
        return self.read_outputs(window)[self.outputs[0].name]

    def read_outputs(self, window: bytes | bytearray | memoryview[int] | NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Every output of the network, from the window after the last stage (host tail included)."""
        content = np.frombuffer(window, np.uint8)
        return self.inference({}).outputs(lambda offset, length: content[offset : offset + length].tobytes())

    def explain(self) -> list[str]:
        """One line for every part of the network that the host executes, and why."""
        return list(self.explanations)

    def save(self, path: str | Path) -> None:
        """Write the package file atomically (a temporary file beside it, then rename)."""
        from compiler.container import write_package

        write_package(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Package:
        """Read a package file. Raises PackageError for anything but an intact one of this version."""
        from compiler.container import read_package

        return read_package(Path(path))


def _nothing_to_read(offset: int, length: int) -> bytes:
    raise ValueError(f"the host segment before the first stage reads the window at {offset}")
