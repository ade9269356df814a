"""The choice among the ways to compute a layer by their exact cycles instead of estimated ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise

import numpy as np

from compiler.machine import WindowLayer, shape_of
from isa.configuration import PoolConfig
from isa.encoding import encode_program
from isa.instructions import WORD_BYTES, Call, End, Instruction, Return, SyncRaise, SyncWait
from isa.timing import simulate


class ExactChoice:
    """Times a layer's frames alone on the first cores of the pool, and remembers the choice for layers of one shape."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._choices: dict[Hashable, int] = {}

    def choose(self, layer: WindowLayer, cores: int, frames: Sequence[Callable[[], Sequence[Instruction]]]) -> int:
        """Which of the frames (in the same order for layers of one shape) takes the fewest cycles."""
        if len(frames) == 1:
            return 0
        key = (shape_of(layer), cores, len(frames))
        if key not in self._choices:
            cycles = [sum(frame_cycles([encode_program(frame())], cores, self._config)) for frame in frames]
            self._choices[key] = cycles.index(min(cycles))
        return self._choices[key]


def frame_cycles(frames: Sequence[bytes], cores: int, config: PoolConfig) -> list[int]:
    """Cycles of frames that run one after another on the first cores, each from the barrier before it to its own."""
    granule = config.words_per_beat
    parts = [
        encode_program([*(SyncRaise(core=core) for core in range(cores)), Return()]),
        *frames,
        encode_program([*(SyncWait(core=core) for core in range(cores)), Return()]),
    ]
    words = bytearray(-(-(len(parts) + 1) // granule) * granule * WORD_BYTES)
    calls: list[Instruction] = []
    for part in parts:
        calls.append(Call(address=len(words) // WORD_BYTES))
        words += part
        words += bytes(-len(words) % (granule * WORD_BYTES))
    head = encode_program([*calls, End(barriers=len(frames) + 1)])
    words[: len(head)] = head
    barriers = simulate(config, np.frombuffer(bytes(words), np.uint8), 0, range(cores)).barriers
    return [after - before for before, after in pairwise(barriers)]
