"""Rewrites of the checked graph: concatenations become places in memory, functions of a byte join what feeds them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from compiler.operations import (
    Addition,
    Concatenation,
    Convolution,
    Mapping256,
    Operation,
    Pooling,
    PoolPart,
    Residual,
    Tensor,
    byte_indices,
    with_mapping,
)
from isa.arithmetic import HIGHEST, LOWEST
from isa.configuration import PoolConfig
from isa.instructions import Reduction


@dataclass
class Graph:
    """Operations by stage, and the tensors they use; `slots` places a tensor inside another: (outer, first block)."""

    stages: list[list[Operation]]
    tensors: dict[str, Tensor]
    slots: dict[str, tuple[str, int]]
    read_by_host: set[str]
    """Tensors that host segments or the network's outputs read."""

    def base(self, name: str) -> str:
        """The tensor whose memory `name` names."""
        return self.tensors[name].source if name in self.tensors else name

    def uses(self) -> Counter[str]:
        """How often each tensor's memory is read, by cores and host."""
        counter = Counter(self.base(name) for stage in self.stages for entry in stage for name in entry.inputs)
        counter.update(self.base(name) for name in self.read_by_host)
        return counter


def place_concatenations(graph: Graph, config: PoolConfig) -> None:
    """Replace every concatenation by places for its inputs in its output, with rescalings and copies where needed.

    Where an input does not begin at a whole block, the inputs are first placed side by side at whole blocks, and a
    1 x 1 convolution with weights 0 and 1 (scale 1) moves the channels together.
    """
    written = {operation.output for stage in graph.stages for operation in stage}
    for stage in graph.stages:
        rewritten: list[Operation] = []
        for operation in stage:
            if isinstance(operation, Concatenation):
                rewritten += _placed(operation, graph, written, config.array)
            else:
                rewritten.append(operation)
        stage[:] = rewritten


def _placed(operation: Concatenation, graph: Graph, written: set[str], width: int) -> list[Operation]:
    channels = [graph.tensors[name].dimensions[0] for name in operation.inputs]
    output = graph.tensors[operation.output]
    result: list[Operation] = []
    outer = output
    is_aligned = all(count % width == 0 for count in channels[:-1])
    if not is_aligned:
        padded = sum(-(-count // width) * width for count in channels)
        outer = _invent(graph, f"{output.name}::blocks", padded, output)
    block = 0
    for place, (name, table) in enumerate(zip(operation.inputs, operation.tables, strict=True)):
        source = graph.base(name)
        is_taken = source in graph.slots or name in operation.inputs[:place]
        if table is not None or is_taken or source not in written:
            moved = _invent(graph, f"{output.name}::input{place}", channels[place], output)
            mapping = byte_indices() if table is None else table
            is_copy = table is None
            clip = (-128, 127) if is_copy else None
            result.append(Mapping256(f"{operation.name} input {place}", (name,), moved.name, mapping, clip))
            source = moved.name
        graph.slots[source] = (outer.name, block)
        block += -(-channels[place] // width)
    if not is_aligned:
        result.append(_permutation(operation, outer.name, channels, width))
    return result


def _invent(graph: Graph, name: str, channels: int, like: Tensor) -> Tensor:
    """A tensor that the network does not have."""
    dimensions = (channels, *like.dimensions[1:])
    graph.tensors[name] = Tensor(name, (1, *dimensions), dimensions, name)
    return graph.tensors[name]


def _permutation(operation: Concatenation, source: str, channels: list[int], width: int) -> Convolution:
    blocks = [-(-count // width) for count in channels]
    outputs = sum(channels)
    weights = np.zeros((outputs, sum(blocks) * width, 1, 1), np.int8)
    target = 0
    for place, count in enumerate(channels):
        lanes = np.arange(count)
        weights[target + lanes, sum(blocks[:place]) * width + lanes] = 1
        target += count
    return Convolution(
        f"{operation.name} channels",
        (source,),
        operation.output,
        weights,
        np.zeros(outputs, np.int32),
        np.ones(outputs, np.float32),
        0,
        0,
        moves=True,
    )


def thin_inputs(graph: Graph, config: PoolConfig) -> None:
    """Let a pooling pick the pixels that a strided 1 x 1 convolution reads where its cores would load the rest, too.

    That is so where a row takes no more than a beat of each channel: leaving rows out then saves no slots. And it
    matters where a core cannot keep the input.
    """
    written = {operation.output for stage in graph.stages for operation in stage}
    for stage in graph.stages:
        thinned: list[Operation] = []
        for operation in stage:
            if isinstance(operation, Convolution) and _reads_needlessly(operation, graph, config, written):
                source, target = graph.tensors[operation.inputs[0]], graph.tensors[operation.output]
                name = f"{operation.name}::pixels"
                dimensions = (source.dimensions[0], *target.dimensions[1:])
                graph.tensors[name] = Tensor(name, (1, *dimensions), dimensions, name)
                whole = PoolPart((0, dimensions[1]), (0, dimensions[2]), 0, np.float32(1))
                thinned.append(
                    Pooling(
                        f"{operation.name} pixels", (operation.inputs[0],), name, Reduction.MAXIMUM, (1, 1),
                        operation.strides, (1, 1), (0, 0), LOWEST, (whole,),
                    )
                )  # fmt: skip
                operation = replace(operation, inputs=(name, *operation.inputs[1:]), strides=(1, 1))
            thinned.append(operation)
        stage[:] = thinned


def _reads_needlessly(operation: Convolution, graph: Graph, config: PoolConfig, written: set[str]) -> bool:
    source = graph.tensors[operation.inputs[0]]
    channels, rows, columns = source.dimensions
    is_pixelwise = operation.weights.shape[2:] == (1, 1) and operation.padding == (0, 0) and operation.groups == 1
    return (
        is_pixelwise
        and graph.base(source.name) in written
        and min(operation.strides) > 1
        and columns <= config.channels * config.vectors_per_beat
        and -(-channels // config.array) * rows * columns > config.features_vectors
    )


def fuse_mappings(graph: Graph) -> None:
    """Build functions of a byte into the operation before, where nobody else reads what is between."""
    uses = graph.uses()
    for stage in graph.stages:
        producers: dict[str, int] = {}
        result: list[Operation] = []
        for operation in stage:
            if isinstance(operation, Mapping256):
                source = graph.base(operation.inputs[0])
                place = producers.get(source)
                if place is not None and uses[source] == 1 and source not in graph.slots:
                    merged = _merged(result[place], operation)
                    if merged is not None:
                        result[place] = merged
                        producers[operation.output] = place
                        continue
            producers[operation.output] = len(result)
            result.append(operation)
        stage[:] = result


def _merged(producer: Operation, mapping: Mapping256) -> Operation | None:
    if isinstance(producer, Convolution | Pooling | Addition):
        return with_mapping(producer, mapping)
    if isinstance(producer, Mapping256):
        table = mapping.table[producer.table.view(np.uint8)]
        return replace(producer, table=table, output=mapping.output, clip=None)
    return None


def fuse_residuals(graph: Graph) -> None:
    """Let a convolution add what an addition behind it adds, where nobody else reads what is between.

    Of two convolutions that an addition joins, the later one adds the result of the earlier one.
    """
    uses = graph.uses()
    for stage in graph.stages:
        producers = {graph.base(operation.output): place for place, operation in enumerate(stage)}
        fused = list(stage)
        removed = set()
        for place, addition in enumerate(stage):
            if not isinstance(addition, Addition) or addition.constants:
                continue
            operands = [graph.base(name) for name in addition.inputs]
            number = max((0, 1), key=lambda each: producers.get(operands[each], -1))
            source = producers.get(operands[number], -1)
            if source < 0 or uses[operands[number]] != 1 or operands[number] in graph.slots:
                continue
            convolution = fused[source]
            if isinstance(convolution, Convolution) and _drains_plainly(convolution):
                fused[source] = replace(
                    convolution,
                    inputs=(*convolution.inputs, addition.inputs[1 - number]),
                    output=addition.output,
                    residual=Residual(number == 1, addition.parameters),
                    low=addition.low,
                    high=addition.high,
                    table=addition.table,
                )
                removed.add(place)
        stage[:] = [operation for place, operation in enumerate(fused) if place not in removed]


def _drains_plainly(convolution: Convolution) -> bool:
    """Whether there is nothing behind the requantiser."""
    plain = convolution.residual is None and convolution.table is None
    return plain and (convolution.low, convolution.high) == (LOWEST, HIGHEST)
