"""What each instruction of a core reads and writes, vector by vector, in the words of `isa.instructions`.

Configuration is followed engine by engine. Padding and the parts of a weight tile that do nothing are read by no one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.configuration import PoolConfig
from isa.instructions import (
    PARAMETER_VECTORS,
    TABLE_VECTORS,
    Add,
    Buffer,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Load,
    Lookup,
    Pool,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.walks import tap_vector

Places = NDArray[np.int64]
MEMORY, OUTPUT = "memory", "output"
Space = str
"""A memory that instructions share: the window, the output buffer, or a buffer by its name in lower case."""


@dataclass(frozen=True)
class Footprint:
    """Vectors that an instruction reads and writes, by space.

    `early`: read until the walk is over (features and weights); `late`: read in the background, until the drain is
    over. Of a LOAD and a SAVE everything is early.
    """

    early: dict[Space, Places]
    late: dict[Space, Places]
    writes: dict[Space, Places]


_WITHOUT_VECTORS = frozenset(
    (
        ConfigLoad,
        ConfigSave,
        ConfigWindow,
        ConfigTile,
        ConfigOutput,
        ConfigAddFactors,
        ConfigAddOffset,
        SyncRaise,
        SyncWait,
    )
)


def buffer_space(buffer: int) -> Space:
    """The space of a buffer."""
    return Buffer(buffer).name.lower()


class Footprints:
    """The instructions of one core, in the order of each engine."""

    def __init__(self, config: PoolConfig) -> None:
        self._array = config.array
        self._load, self._save = ConfigLoad(), ConfigSave()
        self._window, self._tile = ConfigWindow(), ConfigTile()
        self._actions: dict[type[CoreInstruction], Callable[[Any], Footprint]] = {
            Load: self._of_load,
            Save: self._of_save,
            Conv: self._of_conv,
            Pool: self._of_pool,
            Add: self._of_add,
            Lookup: self._of_lookup,
        }

    def of(self, instruction: CoreInstruction) -> Footprint | None:
        """The footprint of the next instruction; None for one that touches no vector.

        Raises:
            KeyError: for a kind of instruction that is not described here.
        """
        match instruction:
            case ConfigLoad():
                self._load = instruction
            case ConfigSave():
                self._save = instruction
            case ConfigWindow():
                self._window = instruction
            case ConfigTile():
                self._tile = instruction
        if type(instruction) in _WITHOUT_VECTORS:
            return None
        return self._actions[type(instruction)](instruction)

    def _of_load(self, load: Load) -> Footprint:
        plane, row, column = np.ogrid[: load.planes, : load.rows, : load.columns]
        source = load.address + plane * self._load.plane_pitch + row * self._load.row_pitch + column
        target = {buffer_space(load.buffer): _run(load.destination, source.size)}
        return Footprint({MEMORY: source.reshape(-1)}, {}, target)

    def _of_save(self, save: Save) -> Footprint:
        row, column = np.ogrid[: save.rows, : save.columns]
        target = (save.address + row * self._save.row_pitch + column).reshape(-1)
        return Footprint({OUTPUT: _run(save.source, target.size)}, {}, {MEMORY: target})

    def _of_conv(self, conv: Conv) -> Footprint:
        kernel = (self._window.kernel_rows, self._window.kernel_columns)
        if conv.depthwise:
            taps = [tap_vector(self._array, kernel, *tap) for tap in np.ndindex(kernel)]
            features = self._inputs(conv, 1, (1, 1))
            weights: Places = conv.weights + np.array(taps, np.int64)
        else:
            dilations = (self._window.dilation_rows, self._window.dilation_columns)
            features = self._inputs(conv, self._window.channel_blocks, dilations)
            tiles = self._window.channel_blocks * kernel[0] * kernel[1]
            weights = _run(conv.weights, tiles * self._array)
        late, writes = self._drained(conv)
        if conv.drain and conv.add:
            late["residual"] = _run(conv.residual, self._pixels())
        return Footprint({"features": features, "weights": weights}, late, writes)

    def _of_pool(self, pool: Pool) -> Footprint:
        late, writes = self._drained(pool)
        dilations = (self._window.dilation_rows, self._window.dilation_columns)
        return Footprint({"features": self._inputs(pool, 1, dilations)}, late, writes)

    def _of_add(self, add: Add) -> Footprint:
        operands = np.concatenate([_run(first, add.vectors) for first in (add.features, add.features_b)])
        return Footprint({"features": operands}, _table(add.lookup), {OUTPUT: _run(add.output, add.vectors)})

    def _of_lookup(self, lookup: Lookup) -> Footprint:
        operand, result = (_run(first, lookup.vectors) for first in (lookup.features, lookup.output))
        return Footprint({"features": operand}, _table(1), {OUTPUT: result})

    def _pixels(self) -> int:
        return self._tile.output_rows * self._tile.output_columns

    def _inputs(self, walk: Conv | Pool, blocks: int, dilations: tuple[int, int]) -> Places:
        window, tile = self._window, self._tile
        row = _axis(window.kernel_rows, dilations[0], window.stride_rows, tile.output_rows, walk.first_row)
        column = _axis(
            window.kernel_columns, dilations[1], window.stride_columns, tile.output_columns, walk.first_column
        )
        row, column = row[(row >= 0) & (row < tile.input_rows)], column[(column >= 0) & (column < tile.input_columns)]
        block = np.arange(blocks, dtype=np.int64)[:, None, None] * tile.plane_pitch
        return (walk.features + block + row[:, None] * tile.input_columns + column).reshape(-1)

    def _drained(self, walk: Conv | Pool) -> tuple[dict[Space, Places], dict[Space, Places]]:
        if not walk.drain:
            return {}, {}
        late = {"parameters": _run(walk.parameters, PARAMETER_VECTORS), **_table(walk.lookup)}
        return late, {OUTPUT: _run(walk.output, self._pixels())}


def _axis(kernel: int, dilation: int, stride: int, outputs: int, first: int) -> Places:
    """Input rows or columns that a walk comes to, padding included."""
    positions = np.arange(outputs)[:, None] * stride + np.arange(kernel) * dilation + first
    return np.unique(positions).astype(np.int64)


def _run(first: int, count: int) -> Places:
    return np.arange(first, first + count, dtype=np.int64)


def _table(looks_up: int) -> dict[Space, Places]:
    return {"table": _run(0, TABLE_VECTORS)} if looks_up else {}
