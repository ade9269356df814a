"""Whether a compiled package means the same in every run, and writes what it should: exact, for one package.

Nothing of the compiler's own bookkeeping is believed: what counts are the words in the window. For each number of cores
and each stage the program is followed; `formal.package_events` says what is always before what, `formal.footprints`
which vectors each instruction touches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.package import Package
from formal.footprints import MEMORY, OUTPUT, Footprint, Footprints, Places, Space, buffer_space
from formal.happens_before import Events
from formal.package_events import Timed, program_order
from isa.configuration import PoolConfig
from isa.instructions import TABLE_VECTORS, Add, Buffer, Conv, Lookup, Pool

SHOWN = 5
"""Contradictions that are listed for one program."""
NOBODY, HOST = -2, -1
"""Who wrote a vector of memory: nobody; the host, or the compiler; else a layer."""


def contradictions(package: Package, network: onnx.ModelProto | None = None) -> list[str]:
    """What contradicts the theorem about a package, in words, for all of its numbers of cores; nothing if it holds.

    With the network that it was compiled from, the layers' inputs are checked to be the network's.
    """
    config = PoolConfig(**package.pool)
    found = []
    for cores in package.core_counts:
        written = np.full(package.window_bytes // config.array, NOBODY, np.int64)
        for stage in range(len(package.stages)):
            lines = list(_stage(package, config, cores, stage, written, network))
            found += [f"{package.name} on {cores} cores: {line}" for line in lines[:SHOWN]]
    return found


def _stage(
    package: Package,
    config: PoolConfig,
    cores: int,
    stage: int,
    written: NDArray[np.int64],
    network: onnx.ModelProto | None,
) -> Iterator[str]:
    order = program_order(package, config, cores, stage)
    yield from order.problems
    if order.problems:
        return
    written[: len(package.image()) // config.array] = HOST
    written[: package.program_words * 16 // config.array] = NOBODY  # LOAD has no business there
    for tensor in package.tensors:
        if tensor.layer == HOST and tensor.stage == stage:
            written[_places(package, config, tensor.name)] = HOST
    run = _Run(order.events, config, cores, written, _sources(package, network) if network else {})
    run.tensors = {tensor.name: _places(package, config, tensor.name) for tensor in package.tensors}
    run.producers = {tensor.name: tensor.layer for tensor in package.tensors}
    for timed in order.instructions:
        yield from run.step(timed)
    yield from run.undrained()
    for number in range(package.stages[stage].first_layer, package.stages[stage].end_layer):
        yield from _coverage(number, package.layers[number].output, run)
    for segment in package.segments[stage + 1 :]:
        for name in segment.inputs:
            is_there = name in run.tensors and run.producers[name] < package.stages[stage].end_layer
            if is_there and (written[run.tensors[name]] != run.producers[name]).any():
                yield f"tensor {name!r}, which the host reads, is overwritten or incomplete"


def _places(package: Package, config: PoolConfig, name: str) -> Places:
    tensor = package.tensor(name)
    first = tensor.offset // config.array
    return np.arange(first, first + tensor.vectors, dtype=np.int64)


def _sources(package: Package, network: onnx.ModelProto) -> dict[int, set[str]]:
    """For each layer the tensors that it may read: back from its output to the next tensors that lie in memory."""
    makers = {output: node for node in network.graph.node for output in node.output}
    placed = {tensor.name: tensor.layer for tensor in package.tensors}
    result = {}
    for number, layer in enumerate(package.layers):
        sources: set[str] = set()
        pending, seen = [layer.output], set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in placed and placed[name] != number:
                sources.add(name)
            elif name in makers:
                pending += makers[name].input
        result[number] = sources
    return result


def _coverage(number: int, output: str, run: _Run) -> Iterator[str]:
    """Each vector of a layer's output is written once, and nothing else is."""
    writes = np.concatenate(run.writes.get(number, [np.zeros(0, np.int64)]))
    places, counts = np.unique(writes, return_counts=True)
    if (counts > 1).any():
        yield f"layer {number} writes {int((counts > 1).sum())} vectors of its output more than once"
    if output in run.tensors and not np.array_equal(places, run.tensors[output]):
        missing = np.setdiff1d(run.tensors[output], places).size
        beyond = np.setdiff1d(places, run.tensors[output]).size
        yield f"layer {number} leaves {missing} vectors of {output!r} unwritten and writes {beyond} elsewhere"


@dataclass
class _Shared:
    """Who touched each vector of a buffer last: places in the chains of its writers and readers, 0 for nobody."""

    writer: str
    written: Places
    readers: dict[str, Places] = field(default_factory=dict)


class _Run:
    """Follows the accesses of a program in the order of dispatch, which is what it means; any order that hardware
    may take must agree."""

    def __init__(
        self,
        events: Events,
        config: PoolConfig,
        cores: int,
        written: NDArray[np.int64],
        sources: Mapping[int, set[str]],
    ) -> None:
        self._events, self._sources, self._cores = events, sources, cores
        self.memory_written = written
        self.tensors: dict[str, Places] = {}
        self.producers: dict[str, int] = {}
        self.writes: dict[int, list[Places]] = {}
        self._footprints = [Footprints(config) for _ in range(cores)]
        self._buffers = [self._empty(config, core) for core in range(cores)]
        self._banks = [[False, False] for _ in range(cores)]
        shape = (cores, len(written))
        self._read = np.zeros(shape, np.int64)  # places in the `loaded` chains
        self._saved = np.zeros(shape, np.int64)  # places in the `written` chains

    @staticmethod
    def _empty(config: PoolConfig, core: int) -> dict[Space, _Shared]:
        depths = {
            Buffer.FEATURES: config.features_vectors,
            Buffer.WEIGHTS: config.weights_vectors,
            Buffer.PARAMETERS: config.parameters_vectors,
            Buffer.TABLE: TABLE_VECTORS,
            Buffer.RESIDUAL: config.residual_vectors,
        }
        loaded = {
            buffer_space(buffer): _Shared(f"{core} loaded", np.zeros(depth, np.int64))
            for buffer, depth in depths.items()
        }
        return {**loaded, OUTPUT: _Shared(f"{core} drained", np.zeros(config.output_vectors, np.int64))}

    def step(self, timed: Timed) -> Iterator[str]:
        """What is wrong with the accesses of the next instruction."""
        core = timed.instruction.core
        footprint = self._footprints[core].of(timed.instruction)
        if footprint is None:
            return
        yield from (f"{self._events.labels[timed.begins]} {line}" for line in self._accesses(core, timed, footprint))
        if isinstance(timed.instruction, Conv | Pool):
            yield from self._accumulate(core, timed.instruction)

    def _accesses(self, core: int, timed: Timed, footprint: Footprint) -> Iterator[str]:
        early_chain = {"Load": "loaded", "Save": "read"}.get(type(timed.instruction).__name__, "walked")
        operands = isinstance(timed.instruction, Add | Lookup)
        for reads, begins, ends, chain in (
            (footprint.early, timed.begins, timed.reads, early_chain),
            (footprint.late, timed.begins if operands else timed.writes_from, timed.ends, "drained"),
        ):
            for space, places in reads.items():
                if space == MEMORY:
                    yield from self._load_reads(core, timed, places)
                else:
                    yield from self._reads(core, space, places, begins, ends, chain)
        for space, places in footprint.writes.items():
            if space == MEMORY:
                yield from self._save_writes(core, timed, places)
            else:
                yield from self._writes(core, space, places, timed)

    def _reads(self, core: int, space: Space, places: Places, begins: int, ends: int, chain: str) -> Iterator[str]:
        shared = self._buffers[core][space]
        if not places.size:
            return
        if int(places.max()) >= len(shared.written):
            yield f"reads vector {int(places.max())} of the {space} buffer, which has {len(shared.written)}"
            return
        writers = shared.written[places]
        if not writers.all():
            yield f"reads vector {int(places[writers == 0][0])} of the {space} buffer, which nobody has filled"
        if self._events.before(begins, shared.writer) < int(writers.max()):
            yield f"may read the {space} buffer before what it needs is there"
        readers = shared.readers.setdefault(f"{core} {chain}", np.zeros(len(shared.written), np.int64))
        readers[places] = self._events.place(ends)

    def _writes(self, core: int, space: Space, places: Places, timed: Timed) -> Iterator[str]:
        shared = self._buffers[core][space]
        if int(places.max()) >= len(shared.written):
            yield f"writes vector {int(places.max())} of the {space} buffer, which has {len(shared.written)}"
            return
        for chain, readers in shared.readers.items():
            if self._events.before(timed.writes_from, chain) < int(readers[places].max()):
                yield f"may overwrite vectors of the {space} buffer that are still being read"
        shared.written[places] = self._events.place(timed.ends)

    def _accumulate(self, core: int, walk: Conv | Pool) -> Iterator[str]:
        """Sums wait in a bank from the first pass to the drain."""
        waits = self._banks[core][walk.bank]
        if waits != bool(walk.accumulate):
            what = "overwrites sums that have not been drained" if waits else "adds to sums that are not there"
            yield f"core {core}: {walk.mnemonic()} {what}, in bank {walk.bank}"
        self._banks[core][walk.bank] = not walk.drain

    def undrained(self) -> Iterator[str]:
        """Sums that are left when the program is over."""
        for core, banks in enumerate(self._banks):
            if any(banks):
                yield f"core {core} ends with sums that have not been drained"

    def _load_reads(self, core: int, timed: Timed, places: Places) -> Iterator[str]:
        if int(places.max()) >= len(self.memory_written):
            yield f"reads vector {int(places.max())} of the window, which has {len(self.memory_written)}"
            return
        writers = self.memory_written[places]
        if (writers == NOBODY).any():
            yield f"reads vector {int(places[writers == NOBODY][0])} of the window, which nobody has written"
        yield from self._behind_saves(timed, places, "may read vectors of the window before they are written")
        if timed.layer is not None and timed.layer in self._sources:
            yield from self._from_sources(timed.layer, places, writers)
        self._read[core][places] = self._events.place(timed.ends)

    def _from_sources(self, layer: int, places: Places, writers: NDArray[np.int64]) -> Iterator[str]:
        """What a layer reads of tensors is its own inputs: written by their layer, and not since."""
        allowed = np.zeros(len(places), np.bool_)
        inside = np.zeros(len(places), np.bool_)
        for name, own in self.tensors.items():
            here = (places >= own[0]) & (places <= own[-1])
            inside |= here
            if name in self._sources[layer]:
                allowed |= here & (writers == self.producers[name])
        if (inside & ~allowed).any():
            yield f"reads vector {int(places[inside & ~allowed][0])}, which holds no input of layer {layer} any more"

    def _save_writes(self, core: int, timed: Timed, places: Places) -> Iterator[str]:
        if int(places.max()) >= len(self.memory_written):
            yield f"writes vector {int(places.max())} of the window, which has {len(self.memory_written)}"
            return
        for reader in range(self._cores):
            if self._events.before(timed.begins, f"{reader} loaded") < int(self._read[reader][places].max()):
                yield f"may overwrite vectors of the window that core {reader} is still reading"
        yield from self._behind_saves(timed, places, "may write vectors of the window before those of an older write")
        self.memory_written[places] = NOBODY if timed.layer is None else timed.layer
        self._saved[core][places] = self._events.place(timed.ends)
        self.writes.setdefault(NOBODY if timed.layer is None else timed.layer, []).append(places)

    def _behind_saves(self, timed: Timed, places: Places, problem: str) -> Iterator[str]:
        for writer in range(self._cores):
            own_order = writer == timed.instruction.core and problem.startswith("may write")
            newest = int(self._saved[writer][places].max())
            if not own_order and self._events.before(timed.begins, f"{writer} written") < newest:
                yield problem
