"""What a machine that runs a pool offers to the hypervisor: a control port, memory, time and a record of activity.

Three machines offer it today (`hypervisor.backends`); a real card would be a fourth. Cycle 0 is the first cycle after
reset, in which the wheel of channel 0 is at position 0 of revolution 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isa.configuration import PoolConfig

Bytes = NDArray[np.uint8]

CONTROL_READ_CYCLES = 1
"""Cycles from presenting the address of a control register until its value is on control_read_data."""


@dataclass(frozen=True)
class Write:
    """Control access: write `value` to the register at `address`; takes one cycle."""

    address: int
    value: int


@dataclass(frozen=True)
class Read:
    """Control access: read the register at `address`; a new read or write may follow in the next cycle."""

    address: int


@dataclass(frozen=True)
class Idle:
    """No control access for `cycles` cycles."""

    cycles: int


ControlAccess = Write | Read | Idle


@dataclass(frozen=True)
class ActivityInterval:
    """Engine `engine` (0 load, 1 compute, 2 save) of physical core `core` was busy in cycles first..end-1."""

    core: int
    engine: int
    first: int
    end: int


class PortError(RuntimeError):
    """A machine that cannot be built or does not answer, with what to do about it."""


class PoolPort(Protocol):
    """A pool and its memory, as the host sees them."""

    @property
    def config(self) -> PoolConfig:
        """The sizes of the pool."""

    @property
    def cycle(self) -> int:
        """Cycles simulated since reset."""

    def transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        """Perform control accesses, one a cycle; the values of the reads, in their order.

        Returns once the last read is answered: `transfer_cycles(accesses)` cycles later.
        """

    def step(self, cycles: int) -> None:
        """Let `cycles` cycles pass without host activity."""

    def read_memory(self, offset: int, length: int) -> Bytes:
        """A copy of `length` bytes of memory from byte `offset`: the host's own path, outside simulated time."""

    def write_memory(self, offset: int, data: Bytes) -> None:
        """Place bytes in memory from byte `offset`: the host's own path, outside simulated time."""

    def host_read(self, beat: int) -> Bytes:
        """Read one beat through the host's slots, in simulated time."""

    def host_write(self, beat: int, data: Bytes) -> None:
        """Write one beat through the host's slots, in simulated time; returns when it is acknowledged."""

    def activity(self) -> list[ActivityInterval]:
        """When which engine of which core was busy, since reset; ordered by core, engine and cycle."""

    def close(self) -> None:
        """Give back what the machine holds; it cannot be used any more."""


def transfer_cycles(accesses: Sequence[ControlAccess]) -> int:
    """Cycles that `PoolPort.transfer` takes."""
    total = 0
    last_answer = 0
    for access in accesses:
        if isinstance(access, Idle):
            total += access.cycles
            continue
        if isinstance(access, Read):
            last_answer = total + CONTROL_READ_CYCLES + 1
        total += 1
    return max(total, last_answer)


def write_control(port: PoolPort, address: int, value: int) -> None:
    """Write one control register; takes one cycle."""
    port.transfer([Write(address, value)])


def read_control(port: PoolPort, address: int) -> int:
    """The value of one control register."""
    return port.transfer([Read(address)])[0]
