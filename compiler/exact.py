"""The choice among the ways to compute a layer by their exact cycles instead of estimated ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import numpy as np

from compiler.machine import WindowLayer, shape_of
from isa.configuration import PoolConfig
from isa.encoding import encode
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
            cycles = [self._cycles(frame(), cores) for frame in frames]
            self._choices[key] = cycles.index(min(cycles))
        return self._choices[key]

    def _cycles(self, frame: Sequence[Instruction], cores: int) -> int:
        """Cycles from the barrier before the frame to the one behind it."""
        granule = self._config.words_per_beat
        parts: list[Sequence[Instruction]] = [
            [*(SyncRaise(core=core) for core in range(cores)), Return()],
            frame,
            [*(SyncWait(core=core) for core in range(cores)), Return()],
        ]
        words = bytearray(-(-(len(parts) + 1) // granule) * granule * WORD_BYTES)
        calls: list[Instruction] = []
        for part in parts:
            calls.append(Call(address=len(words) // WORD_BYTES))
            words += b"".join(encode(instruction).to_bytes(WORD_BYTES, "little") for instruction in part)
            words += bytes(-len(words) % (granule * WORD_BYTES))
        calls.append(End(barriers=2))
        head = b"".join(encode(instruction).to_bytes(WORD_BYTES, "little") for instruction in calls)
        words[: len(head)] = head
        barriers = simulate(self._config, np.frombuffer(bytes(words), np.uint8), 0, range(cores)).barriers
        return barriers[1] - barriers[0]
