"""What the two RTL backends share: control transfers, host accesses and the record of activity.

A backend only has to advance its simulator by some cycles with given inputs of the control and the host port.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hypervisor.pool_port import (
    CONTROL_READ_CYCLES,
    ActivityInterval,
    Bytes,
    ControlAccess,
    Idle,
    PortError,
    Write,
    transfer_cycles,
)
from isa.configuration import PoolConfig

CONTROL_COLUMNS = 3
"""Columns of a control block: write enable, address, data; one row a cycle."""
ENGINES = 3
STEP_CYCLES = 1 << 13
"""Longest step in one call of the simulator: an interrupt is noticed behind it."""
HOST_PATIENCE_PERIODS = 4
"""Whole periods of the wheel within which the host must get a slot and its response."""

ControlBlock = NDArray[np.uint32]
Progress = Callable[[int], None]
"""Called with the cycle that has been reached."""


@dataclass(frozen=True)
class HostRequest:
    """One beat for the host port; `data` is None for a read."""

    beat: int
    data: Bytes | None


@dataclass(frozen=True)
class HostAnswer:
    """The host port's outputs in one cycle."""

    taken: bool
    response: Bytes | None


class RtlPort(ABC):
    """A PoolPort on simulated RTL."""

    def __init__(self, config: PoolConfig, progress: Progress | None = None) -> None:
        self.config = config
        self.progress = progress
        self._cycle = 0

    @property
    def cycle(self) -> int:
        """Cycles simulated since reset."""
        return self._cycle

    @abstractmethod
    def _advance(self, control: ControlBlock, cycles: int) -> NDArray[np.uint32]:
        """Simulate `cycles` cycles, with the rows of `control` in the first of them; control_read_data of each."""

    @abstractmethod
    def _host_cycle(self, request: HostRequest | None) -> HostAnswer:
        """Simulate one cycle with `request` on the host port."""

    @abstractmethod
    def _memory(self) -> Bytes:
        """The bytes of the simulated memory itself."""

    @abstractmethod
    def _activity_changes(self) -> NDArray[np.int64]:
        """Rows (cycle, core, bits) in the order of their cycle, one whenever activity of a core changes."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the machine holds; it cannot be used any more."""

    def transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        """See PoolPort."""
        cycles = transfer_cycles(accesses)
        control = np.zeros((cycles, CONTROL_COLUMNS), np.uint32)
        answers: list[int] = []
        at = 0
        for access in accesses:
            if isinstance(access, Idle):
                at += access.cycles
                continue
            if isinstance(access, Write):
                control[at] = (1, access.address, access.value)
            else:
                control[at, 1] = access.address
                answers.append(at + CONTROL_READ_CYCLES)
            at += 1
        data = self._advance(control, cycles)
        self._report()
        return [int(data[answer]) for answer in answers]

    def step(self, cycles: int) -> None:
        """See PoolPort."""
        nothing = np.zeros((0, CONTROL_COLUMNS), np.uint32)
        while cycles > 0:
            block = min(cycles, STEP_CYCLES)
            self._advance(nothing, block)
            self._report()
            cycles -= block

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(self._cycle)

    def read_memory(self, offset: int, length: int) -> Bytes:
        """See PoolPort."""
        self._check_range(offset, length)
        return self._memory()[offset : offset + length].copy()

    def write_memory(self, offset: int, data: Bytes) -> None:
        """See PoolPort."""
        self._check_range(offset, len(data))
        self._memory()[offset : offset + len(data)] = data

    def _check_range(self, offset: int, length: int) -> None:
        if not 0 <= offset <= offset + length <= self.config.memory_bytes:
            raise ValueError(f"bytes {offset}..{offset + length} lie outside the {self.config.memory_bytes} of memory")

    def host_read(self, beat: int) -> Bytes:
        """See PoolPort."""
        response = self._host_access(HostRequest(beat, None))
        assert response is not None
        return response

    def host_write(self, beat: int, data: Bytes) -> None:
        """See PoolPort."""
        if len(data) != self.config.beat_bytes:
            raise ValueError(f"a beat has {self.config.beat_bytes} bytes, not {len(data)}")
        self._host_access(HostRequest(beat, data))

    def _host_access(self, request: HostRequest) -> Bytes | None:
        limit = HOST_PATIENCE_PERIODS * self.config.period_cycles + 2 * self.config.channel_latency
        waiting: HostRequest | None = request
        for _ in range(limit):
            answer = self._host_cycle(waiting)
            if answer.taken:
                waiting = None
            if answer.response is not None:
                return answer.response
        raise PortError(f"the host port did not answer within {limit} cycles: the pool's host slots are broken")

    def activity(self) -> list[ActivityInterval]:
        """See PoolPort."""
        return intervals_of(self._activity_changes(), self.config.cores, self._cycle)


def intervals_of(changes: NDArray[np.int64], cores: int, end: int) -> list[ActivityInterval]:
    """Rows (cycle, core, bits) to intervals; what is still busy at `end` ends there."""
    intervals: list[ActivityInterval] = []
    for core in range(cores):
        rows = changes[changes[:, 1] == core]
        for engine in range(ENGINES):
            busy = np.concatenate([[0], (rows[:, 2] >> engine) & 1, [0]])
            cycles = np.concatenate([[0], rows[:, 0], [end]])
            edges = np.diff(busy)
            starts, ends = cycles[1:][edges == 1], cycles[1:][edges == -1]
            intervals += [
                ActivityInterval(core, engine, int(first), int(last))
                for first, last in zip(starts, ends, strict=True)
                if last > first
            ]
    return intervals
