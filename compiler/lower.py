"""Operations to layers of the machine: memory for tensors, constants packed, addresses instead of names."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from compiler.constants import ConstantImage, depthwise_tiles, parameter_bytes, table_bytes, weight_tiles
from compiler.fuse import Graph
from compiler.layout import TensorPlacement, tensor_to_vectors
from compiler.machine import (
    TENSOR_BIT,
    BlockWork,
    Drain,
    FeatureMap,
    FlatLayer,
    MachineLayer,
    OutputPart,
    ResidualMap,
    WindowLayer,
)
from compiler.memory import Lifetime, allocate, host_time, layer_time
from compiler.operations import Addition, Convolution, Mapping256, Operation, Pooling
from isa.configuration import PoolConfig
from isa.instructions import PARAMETER_VECTORS


@dataclass(frozen=True)
class LoweredLayer:
    """A layer with what the package records of it."""

    machine: MachineLayer
    operation: str
    output: str
    macs: int


class Lowering:
    """Lowers a graph; `host_reads[s]` are the tensors that host segment s reads (the last one: outputs too)."""

    def __init__(self, graph: Graph, host_reads: list[set[str]], constants: ConstantImage, config: PoolConfig) -> None:
        self._graph = graph
        self._config = config
        self._constants = constants
        self._operations = [operation for stage in graph.stages for operation in stage]
        self._first_layers = [0]
        for stage in graph.stages:
            self._first_layers.append(self._first_layers[-1] + len(stage))
        self._written = self._writers()
        self._places, self.vectors = allocate(self._lifetimes(host_reads), config.vectors_per_beat)

    # --- where tensors lie -------------------------------------------------------------------------------------

    def _slot(self, name: str) -> tuple[str, int]:
        """(outermost tensor, first block in it) of a tensor's memory."""
        base = self._graph.base(name)
        if base not in self._graph.slots:
            return base, 0
        outer, block = self._graph.slots[base]
        outermost, offset = self._slot(outer)
        return outermost, block + offset

    def _blocks(self, name: str) -> int:
        return -(-self._graph.tensors[name].lying[0] // self._config.array)

    def _writers(self) -> dict[str, tuple[int, int]]:
        """(layer, stage) that completes each tensor's memory; layer -1: the host, before the stage."""
        result: dict[str, tuple[int, int]] = {}
        number = 0
        for stage, operations in enumerate(self._graph.stages):
            for operation in operations:
                for name in operation.inputs:
                    base = self._graph.base(name)
                    if base in self._graph.tensors and not self._is_outer(base):
                        result.setdefault(base, (-1, stage))
                result[self._graph.base(operation.output)] = (number, stage)
                outer = self._graph.slots.get(operation.output)
                while outer:
                    result[outer[0]] = (number, stage)
                    outer = self._graph.slots.get(outer[0])
                number += 1
        return result

    def _is_outer(self, name: str) -> bool:
        return any(outer == name for outer, _ in self._graph.slots.values())

    def _lifetimes(self, host_reads: list[set[str]]) -> dict[str, Lifetime]:
        result: dict[str, Lifetime] = {}

        def needed(name: str, time: int) -> None:
            if name not in self._graph.tensors:
                return
            root, _ = self._slot(name)
            dimensions = self._graph.tensors[root].lying
            vectors = self._blocks(root) * dimensions[1] * dimensions[2]
            known = result.setdefault(root, Lifetime(vectors, time, time))
            known.birth, known.death = min(known.birth, time), max(known.death, time)

        for name, (layer, stage) in self._written.items():
            needed(name, layer_time(layer) if layer >= 0 else host_time(self._first_layers[stage]))
        for number, operation in enumerate(self._operations):
            for name in (*operation.inputs, operation.output):
                needed(name, layer_time(number))
        for segment, names in enumerate(host_reads):
            for name in names:
                if self._graph.base(name) in self._written:
                    needed(name, host_time(self._first_layers[segment]))
        return result

    def _map(self, name: str) -> FeatureMap:
        root, block = self._slot(name)
        _, rows, columns = self._graph.tensors[name].lying
        address = TENSOR_BIT + self._places[root] + block * rows * columns
        return FeatureMap(address, self._blocks(name), rows, columns)

    def placements(self, activations: int, names: list[str]) -> tuple[TensorPlacement, ...]:
        """Where the named tensors lie, the activation area beginning at vector `activations`."""
        result = []
        for name in names:
            tensor = self._graph.tensors[name]
            layer, stage = self._written[self._graph.base(name)]
            vector = self._map(name).address - TENSOR_BIT + activations
            result.append(
                TensorPlacement(
                    name,
                    tensor.shape,
                    tensor.dimensions,
                    float(tensor.scale),
                    tensor.zero_point,
                    vector * self._config.array,
                    self._config.array,
                    layer,
                    stage,
                    tensor.fold,
                )
            )
        return tuple(result)

    @property
    def tensor_names(self) -> list[str]:
        """Every name of memory that is written, other names for the same memory included."""
        return [name for name in self._graph.tensors if self._graph.base(name) in self._written]

    # --- layers ------------------------------------------------------------------------------------------------

    def layers(self) -> list[LoweredLayer]:
        """All layers in order; packs their constants."""
        return [self._layer(operation) for operation in self._operations]

    def _layer(self, operation: Operation) -> LoweredLayer:
        kind, macs = type(operation).__name__, 0
        layer: MachineLayer
        match operation:
            case Convolution():
                layer = self._convolution(operation)
                macs = 0 if operation.moves else operation.weights.size * layer.target.rows * layer.target.columns
            case Pooling():
                layer = self._pooling(operation)
            case Addition():
                layer = self._addition(operation)
            case Mapping256():
                layer = self._mapping(operation)
            case _:
                raise AssertionError(f"{kind} is rewritten before")
        return LoweredLayer(layer, kind, operation.output, macs)

    def _drain(self, operation: Convolution | Pooling | Addition, zero_point: int) -> Drain:
        table = None
        if operation.table is not None:
            table = self._constants.add(table_bytes(operation.table, self._config))
        return Drain(zero_point, operation.low, operation.high, table)

    def _convolution(self, operation: Convolution) -> WindowLayer:
        parameters = self._constants.add(parameter_bytes(operation.bias, operation.scales, self._config))
        is_depthwise = self._is_depthwise(operation)
        if is_depthwise:
            pieces = depthwise_tiles(operation.weights, self._config)
            first_tile = self._constants.add(pieces.tobytes())
            places = [(block, block + 1, first_tile + block * pieces[0, ..., 0].size) for block in range(len(pieces))]
        else:
            spans, tiles = weight_tiles(operation.weights, operation.groups, self._config)
            places = [(*span, self._constants.add(tile.tobytes())) for span, tile in zip(spans, tiles, strict=True)]
        blocks = tuple(
            BlockWork(*place, parameters + PARAMETER_VECTORS * number) for number, place in enumerate(places)
        )
        source, target = self._map(operation.inputs[0]), self._map(operation.output)
        kernel = (operation.weights.shape[2], operation.weights.shape[3])
        pixels = source.rows * source.columns
        if (
            (target.rows, target.columns) == (1, 1)
            and kernel == (source.rows, source.columns)
            and pixels > 1
            and not is_depthwise
        ):
            # The kernel covers the map: one pixel of many blocks, whose weights lie in this very order.
            blocks = tuple(replace(block, first=block.first * pixels, end=block.end * pixels) for block in blocks)
            source, kernel = FeatureMap(source.address, source.blocks * pixels, 1, 1), (1, 1)
        return WindowLayer(
            name=operation.name,
            source=source,
            target=target,
            kernel=kernel,
            strides=operation.strides,
            dilations=operation.dilations,
            padding=operation.padding,
            pad_value=operation.zero_x,
            reduction=None,
            blocks=blocks,
            parts=(OutputPart(0, target.rows, 0, target.columns),),
            drain=self._drain(operation, operation.zero_y),
            depthwise=is_depthwise,
            residual=self._residual(operation),
        )

    def _residual(self, operation: Convolution) -> ResidualMap | None:
        if operation.residual is None:
            return None
        address = self._map(operation.inputs[1]).address
        return ResidualMap(address, operation.residual.is_a, operation.residual.parameters)

    def _is_depthwise(self, operation: Convolution) -> bool:
        """Whether each channel has one kernel of its own, which the window of the array can walk."""
        channels = self._graph.tensors[operation.inputs[0]].lying[0]
        return operation.groups == len(operation.weights) == channels > 1 and operation.dilations == (1, 1)

    def _pooling(self, operation: Pooling) -> WindowLayer:
        width = self._config.array
        addresses = [
            self._constants.add(parameter_bytes([part.bias] * width, [part.scale] * width, self._config))
            for part in operation.parts
        ]
        target = self._map(operation.output)
        return WindowLayer(
            name=operation.name,
            source=self._map(operation.inputs[0]),
            target=target,
            kernel=operation.kernel,
            strides=operation.strides,
            dilations=operation.dilations,
            padding=operation.padding,
            pad_value=operation.pad_value,
            reduction=operation.reduction,
            blocks=tuple(BlockWork(block, block + 1, None, addresses[0]) for block in range(target.blocks)),
            parts=tuple(
                OutputPart(*part.rows, *part.columns, address)
                for part, address in zip(operation.parts, addresses, strict=True)
            ),
            drain=self._drain(operation, operation.zero_y),
        )

    def _addition(self, operation: Addition) -> FlatLayer:
        target = self._map(operation.output)
        dimensions = self._graph.tensors[operation.output].dimensions
        sources = tuple(
            self._constants.add(
                tensor_to_vectors(operation.constants[name].reshape(dimensions), self._config.array).tobytes()
            )
            if name in operation.constants
            else self._map(name).address
            for name in operation.inputs
        )
        vectors = target.blocks * target.rows * target.columns
        drain = self._drain(operation, 0)
        return FlatLayer(operation.name, sources, target.address, vectors, operation.parameters, drain)

    def _mapping(self, operation: Mapping256) -> FlatLayer:
        target = self._map(operation.output)
        table = self._constants.add(table_bytes(np.asarray(operation.table, np.int8), self._config))
        vectors = target.blocks * target.rows * target.columns
        source = self._map(operation.inputs[0]).address
        return FlatLayer(operation.name, (source,), target.address, vectors, None, Drain(table=table))
