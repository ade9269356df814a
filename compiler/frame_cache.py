"""Frames of layers that differ only in where their data lie and in the constants of their drains: laid out once.

Half of a network's layers repeat the shape of another one. Their frames differ in addresses, which move by the distance
between the layers' data, and in CONFIG instructions, which hold the layer's constants.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import numpy as np
from numpy.typing import NDArray

from compiler.frames import LayerFrame, build_frame, encode_words
from compiler.machine import MachineLayer, WindowLayer, shape_of
from compiler.steps import output_settings
from isa.configuration import PoolConfig
from isa.fields import FieldLayout
from isa.instructions import (
    OPCODE_BITS,
    Buffer,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigOutput,
    ConfigWindow,
    Load,
    Save,
)

_LOW_BITS = 64


class FrameCache:
    """Builds frames of one pool, or moves one that it has built before."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._built: dict[Hashable, tuple[WindowLayer, LayerFrame]] = {}

    def frame(self, layer: MachineLayer, number: int, cores: int) -> LayerFrame:
        """What `build_frame` gives, without exact timing."""
        if not isinstance(layer, WindowLayer) or any(part.parameters is not None for part in layer.parts):
            return build_frame(layer, number, cores, self._config)
        key = (shape_of(layer), _places(layer), number % 2, cores)
        if key not in self._built:
            self._built[key] = layer, build_frame(layer, number, cores, self._config)
        known, frame = self._built[key]
        return frame if known is layer else LayerFrame(_moved(frame.words, known, layer), frame.cycles, frame.tiles)


def _places(layer: WindowLayer) -> Hashable:
    """Places of weights and parameters relative to the first block's, and how the residual is added."""
    first = layer.blocks[0]
    weights = tuple(None if block.weights is None else block.weights - (first.weights or 0) for block in layer.blocks)
    parameters = tuple(block.parameters - first.parameters for block in layer.blocks)
    return weights, parameters, layer.residual is not None and layer.residual.is_a


def _moved(words: NDArray[np.uint64], known: WindowLayer, layer: WindowLayer) -> NDArray[np.uint64]:
    """The words of `known`'s frame as those of `layer`'s."""
    result = words.copy()
    opcodes = result[:, 0] & np.uint64((1 << OPCODE_BITS) - 1)
    low = result[:, 0]
    buffer = Load.field_layout("buffer")
    buffers = _bits(result, buffer)
    for name, distance in _distances(known, layer):
        low[(opcodes == Load.opcode) & (buffers == int(name))] += _shifted(distance, Load.field_layout("address"))
    low[opcodes == Save.opcode] += _shifted(layer.target.address - known.target.address, Save.field_layout("address"))

    windows, pad = opcodes == ConfigWindow.opcode, ConfigWindow.field_layout("pad_value")
    assert pad.offset >= _LOW_BITS or pad.offset + pad.width <= _LOW_BITS
    column, offset = divmod(pad.offset, _LOW_BITS)
    mask = np.uint64(((1 << pad.width) - 1) << offset)
    result[windows, column] &= ~mask
    result[windows, column] |= np.uint64(pad.store(layer.pad_value) >> column * _LOW_BITS)
    core = ConfigOutput.field_layout("core")
    cores = np.uint64(((1 << core.width) - 1) << core.offset)
    additions = layer.residual.add.instructions(0) if layer.residual else ()
    for instruction in (output_settings(layer), *additions):
        places = opcodes == type(instruction).opcode
        assert type(instruction) in (ConfigOutput, ConfigAddFactors, ConfigAddOffset)
        word = encode_words([instruction])[0]
        result[places, 0] = low[places] & cores | word[0]
        result[places, 1] = word[1]
    return result


def _distances(known: WindowLayer, layer: WindowLayer) -> Iterator[tuple[Buffer, int]]:
    """How far the data for each buffer have moved."""
    yield Buffer.FEATURES, layer.source.address - known.source.address
    yield Buffer.WEIGHTS, (layer.blocks[0].weights or 0) - (known.blocks[0].weights or 0)
    yield Buffer.PARAMETERS, layer.blocks[0].parameters - known.blocks[0].parameters
    yield Buffer.TABLE, (layer.drain.table or 0) - (known.drain.table or 0)
    if layer.residual and known.residual:
        yield Buffer.RESIDUAL, layer.residual.address - known.residual.address


def _bits(words: NDArray[np.uint64], field: FieldLayout) -> NDArray[np.uint64]:
    """The stored bits of a field that may lie across both halves of the words."""
    low = words[:, 0] >> np.uint64(field.offset) if field.offset < _LOW_BITS else np.zeros_like(words[:, 0])
    if field.offset + field.width > _LOW_BITS:
        shift = field.offset - _LOW_BITS
        low = low | (words[:, 1] >> np.uint64(shift) if shift >= 0 else words[:, 1] << np.uint64(-shift))
    return low & np.uint64((1 << field.width) - 1)


def _shifted(distance: int, field: FieldLayout) -> np.uint64:
    """A distance in the place of a field of the low half, modulo 2**64: what it is added to stays in its field."""
    assert field.offset + field.width <= _LOW_BITS
    return np.uint64((distance << field.offset) & ((1 << _LOW_BITS) - 1))
