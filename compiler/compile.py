"""The static compiler from end to end: an ONNX network to a package."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.constants import ConstantImage
from compiler.errors import CompileError
from compiler.exact import ExactChoice, frame_cycles
from compiler.fold import fold_inputs
from compiler.frame_cache import FrameCache
from compiler.frames import LayerFrame, build_frame, encode_words, epilogue, prologue, relocate
from compiler.fuse import Graph, fuse_mappings, fuse_residuals, place_concatenations, thin_inputs
from compiler.graph import Imported, Importer
from compiler.lower import LoweredLayer, Lowering
from compiler.network import Network, read_model
from compiler.package import Frame, LayerRecord, NetworkValue, Package, Stage
from compiler.segments import Division, divide, explanations, host_segments
from isa.configuration import PoolConfig
from isa.instructions import WORD_BYTES

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and what is being done."""
_PROGRAM_EXTRA_WORDS = 3
"""Words of a program besides the CALL of each layer: prologue, epilogue, END."""


def compile_model(
    model: str | Path | onnx.ModelProto,
    config: PoolConfig,
    core_counts: Sequence[int] | None = None,
    fuse: bool = True,
    progress: Progress | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    exact: Sequence[int] = (),
) -> Package:
    """Compile an int8 QOperator network for 1..config.cores cores (or those in `core_counts`).

    `fuse=False` keeps every intermediate tensor in memory, so that each can be checked. `shapes` fixes dynamic
    input shapes by name. For the core counts in `exact`, layers are laid out by exact timing instead of estimates,
    which takes a minute or more for each count of a large network. Raises CompileError, one paragraph, when the
    network cannot be compiled.
    """
    report = progress or (lambda fraction, what: None)
    counts = tuple(sorted(set(core_counts or range(1, config.cores + 1))))
    if not counts or counts[0] < 1 or counts[-1] > config.cores:
        raise CompileError(f"core counts {list(counts)} are outside 1..{config.cores}, the cores of {config.name!r}")
    report(0.0, "reading the network")
    name = Path(model).stem if not isinstance(model, onnx.ModelProto) else model.graph.name or "network"
    network = Network(read_model(model, shapes), name.removesuffix(".int8"), _digest(model))
    importer = Importer(network, config)
    imported = importer.import_nodes()
    division = divide(network, imported)
    if not any(division.stages):
        raise CompileError(_nothing_to_do(network, imported))
    return _Compilation(network, importer, division, config, fuse).package(
        counts, report, explanations(network, imported, division), frozenset(exact)
    )


def _digest(model: str | Path | onnx.ModelProto) -> str:
    """SHA-256 of the network's file, or of its serialised form."""
    content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else Path(model).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _nothing_to_do(network: Network, imported: list[Imported]) -> str:
    operators = {node.op_type for node in network.nodes}
    if operators & {"Conv", "Gemm", "MatMul"} and "DequantizeLinear" in operators:
        return (
            f"{network.name!r} is in QDQ format, whose results depend on how ONNX Runtime fuses it: quantise the float "
            "network with --calibrate IMAGES.npz, or with quant_format=QuantFormat.QOperator"
        )
    reasons = sorted({entry.reason for entry in imported if entry.reason})[:3]
    return (
        f"no node of {network.name!r} can run on the cores ({'; '.join(reasons)}): the compiler takes int8 QOperator "
        "networks; quantise a float network first (--calibrate IMAGES.npz)"
    )


class _Compilation:
    def __init__(
        self, network: Network, importer: Importer, division: Division, config: PoolConfig, fuse: bool
    ) -> None:
        self._network = network
        self._config = config
        self._fuse = fuse
        tensors = importer.tensors
        from_host = [
            {
                tensors[name].source
                for operation in stage
                for name in operation.inputs
                if name in tensors and not importer.is_on_cores(tensors[name].source)
            }
            for stage in division.stages
        ]
        self._segments = host_segments(network, division, from_host)
        reads = [{name for name in segment.inputs if name in tensors} for segment in self._segments]
        reads[-1] |= {name for name in network.outputs if name in tensors}
        self._graph = Graph([list(stage) for stage in division.stages], tensors, {}, set().union(*reads))
        self._from_host = from_host
        place_concatenations(self._graph, config)
        if fuse:
            fuse_mappings(self._graph)
            fuse_residuals(self._graph)
            thin_inputs(self._graph, config)
        fold_inputs(self._graph, set().union(*from_host), config)
        layers = sum(len(stage) for stage in self._graph.stages)
        words = layers + _PROGRAM_EXTRA_WORDS
        self._program_words = -(-words // config.words_per_beat) * config.words_per_beat
        self._constants = ConstantImage(config, self._program_words * WORD_BYTES // config.array)
        self._lowering = Lowering(self._graph, reads, self._constants, config)

    def package(
        self, counts: tuple[int, ...], report: Progress, explained: tuple[str, ...], exact: frozenset[int]
    ) -> Package:
        """Build all frames and put everything in its place."""
        layers = self._lowering.layers()
        words = _WordImage(self._constants.end_vector * self._config.array // WORD_BYTES, self._config)
        prologues = {cores: words.add(encode_words(prologue(cores))) for cores in counts}
        epilogues = {cores: words.add(encode_words(epilogue(cores))) for cores in counts}
        cache = FrameCache(self._config)
        chosen = {cores: self._exact_frames(layers, cores, cache, report) for cores in counts if cores in exact}
        records = []
        for number, layer in enumerate(layers):
            report(number / len(layers), f"laying out {layer.machine.name}")
            frames = {}
            for cores in counts:
                frame = chosen[cores][number] if cores in chosen else cache.frame(layer.machine, number, cores)
                frames[cores] = _record(frame, cores, words.add(frame.words))
            records.append(LayerRecord(layer.machine.name, layer.operation, layer.macs, layer.output, frames))
        report(1.0, "done")
        activations = words.end * WORD_BYTES // self._config.array
        head = bytes(self._program_words * WORD_BYTES)
        static = head + self._constants.content() + relocate(words.content(), activations).tobytes()
        granule = self._config.beat_bytes * self._config.fetch_beats
        length = len(static) + self._lowering.vectors * self._config.array
        length = -(-length // granule) * granule
        if length > self._config.memory_bytes:
            raise CompileError(
                f"{self._network.name!r} needs a window of {length} bytes, pool {self._config.name!r} has "
                f"{self._config.memory_bytes} bytes of memory; use a pool with larger memory_beats or fewer core counts"
            )
        names = [name for name in self._lowering.tensor_names if name in self._network.shapes]
        return Package(
            name=self._network.name,
            pool=dataclasses.asdict(self._config),
            fuse=self._fuse,
            tensors=self._lowering.placements(activations, names),
            layers=tuple(records),
            stages=self._stages(),
            segments=tuple(self._segments),
            inputs=tuple(self._value(name) for name in self._network.inputs),
            outputs=tuple(self._value(name) for name in self._network.outputs),
            explanations=explained,
            prologues=prologues,
            epilogues=epilogues,
            program_words=self._program_words,
            window_bytes=length,
            static=static,
            network_digest=self._network.digest,
        )

    def _exact_frames(
        self, layers: list[LoweredLayer], cores: int, cache: FrameCache, report: Progress
    ) -> list[LayerFrame]:
        """The frames of all layers, each chosen by exact timing: of the layer alone, and at last of all together, for
        alone a layer does not see what its neighbours still load or save."""
        choice = ExactChoice(self._config)
        sets: list[list[LayerFrame]] = [[], []]
        for number, layer in enumerate(layers):
            report(number / len(layers), f"timing {layer.machine.name} on {cores} cores")
            sets[0].append(cache.frame(layer.machine, number, cores))
            sets[1].append(build_frame(layer.machine, number, cores, self._config, choice))
        return min(
            sets, key=lambda frames: sum(frame_cycles([each.words.tobytes() for each in frames], cores, self._config))
        )

    def _stages(self) -> tuple[Stage, ...]:
        result, first = [], 0
        for stage in self._graph.stages:
            result.append(Stage(first, first + len(stage)))
            first += len(stage)
        return tuple(result)

    def _value(self, name: str) -> NetworkValue:
        return NetworkValue(name, self._network.shapes[name], self._network.dtypes[name].name)


def _record(frame: LayerFrame, cores: int, word: int) -> Frame:
    return Frame(cores, word, len(frame.words), frame.cycles, frame.tiles)


class _WordImage:
    """Collects frames, each at the start of a beat; word addresses count from the start of the window."""

    def __init__(self, first_word: int, config: PoolConfig) -> None:
        self._granule = config.words_per_beat
        self._parts: list[NDArray[np.uint64]] = []
        self.end = first_word

    def add(self, words: NDArray[np.uint64]) -> int:
        """Store words; the address of the first."""
        address = self.end
        fill = -len(words) % self._granule
        self._parts += [words, np.zeros((fill, 2), np.uint64)]
        self.end += len(words) + fill
        return address

    def content(self) -> NDArray[np.uint64]:
        """All words, uint64 [words][2]."""
        return np.concatenate(self._parts)
