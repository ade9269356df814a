"""Folding: a first layer of few channels would leave most rows of the array idle, so the host lays its input out anew.

The kernel's taps (all of them, or the columns) become channels: an image of 3 channels under a 7 x 7 kernel is 147
channels under a 1 x 1 kernel. The host writes the input in this form while it converts it, and nothing else changes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from compiler.fuse import Graph
from compiler.layout import Fold
from compiler.operations import Convolution
from isa.configuration import PoolConfig


def fold_inputs(graph: Graph, from_host: set[str], config: PoolConfig) -> None:
    """Fold each tensor that the host gives to one convolution alone, where that saves passes of the array."""
    uses = graph.uses()
    for stage in graph.stages:
        for place, operation in enumerate(stage):
            if not isinstance(operation, Convolution) or operation.groups != 1:
                continue
            name = operation.inputs[0]
            is_private = name in from_host and graph.base(name) == name and uses[name] == 1
            if is_private and name not in graph.slots:
                stage[place] = _folded(graph, operation, config)


def _folded(graph: Graph, operation: Convolution, config: PoolConfig) -> Convolution:
    name = operation.inputs[0]
    tensor, target = graph.tensors[name], graph.tensors[operation.output]
    channels, rows, _ = tensor.dimensions
    outputs, _, kernel_rows, kernel_columns = operation.weights.shape

    def blocks(count: int) -> int:
        return -(-count // config.array)

    passes = {
        (1, 1): blocks(channels) * kernel_rows * kernel_columns,
        (1, kernel_columns): blocks(channels * kernel_columns) * kernel_rows,
        (kernel_rows, kernel_columns): blocks(channels * kernel_columns * kernel_rows),
    }
    taps = min(passes, key=lambda candidate: (passes[candidate], candidate))
    if taps == (1, 1):
        return operation
    is_whole = taps[0] == kernel_rows
    fold = Fold(
        kernel=taps,
        strides=(operation.strides[0] if is_whole else 1, operation.strides[1]),
        dilations=operation.dilations,
        padding=(operation.padding[0] if is_whole else 0, operation.padding[1]),
        size=(target.dimensions[1] if is_whole else rows, target.dimensions[2]),
        pad_value=operation.zero_x,
    )
    graph.tensors[name] = replace(tensor, fold=fold)
    # [output][channel][row][column] to [output][folded row, folded column, channel][row][column]
    split = operation.weights.reshape(outputs, channels, taps[0], kernel_rows // taps[0], taps[1], 1)
    weights = split.transpose(0, 2, 4, 1, 3, 5).reshape(outputs, -1, kernel_rows // taps[0], 1)
    return replace(
        operation,
        weights=np.ascontiguousarray(weights),
        strides=(1 if is_whole else operation.strides[0], 1),
        dilations=(1 if is_whole else operation.dilations[0], 1),
        padding=(0 if is_whole else operation.padding[0], 0),
    )
