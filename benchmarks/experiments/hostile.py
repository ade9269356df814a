"""Programs of hostile neighbours, for any pool: they take every slot, barrier and fault that they can get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from isa.configuration import PoolConfig
from isa.encoding import encode_program
from isa.instructions import (
    WORD_BYTES,
    Buffer,
    Call,
    ConfigLoad,
    ConfigSave,
    End,
    Instruction,
    Load,
    Return,
    Save,
    SyncRaise,
    SyncWait,
)

CALLS = 2000
"""CALLs of the frame in one run. Nothing in the ISA loops, so a neighbour that has ended is started again."""
FRAME_REPEATS = 8
"""How often a frame does to each core what it does."""


@dataclass(frozen=True)
class Hostile:
    """A neighbour: `program(config, cores)` is what lies at the start of its window, START at word 0."""

    name: str
    program: Callable[[PoolConfig, int], bytes] = field(repr=False)


def window_bytes(config: PoolConfig, program: bytes) -> int:
    """A window that holds a program and as much data as the largest transfer of any of them."""
    return len(program) + 2 * max(config.features_vectors, config.output_vectors) * config.array


def _called(frame: list[Instruction], barriers: int) -> bytes:
    """CALLS times the frame, then END."""
    first = CALLS + 1
    main: list[Instruction] = [*[Call(address=first)] * CALLS, End(barriers=barriers)]
    return encode_program([*main, *frame, Return()])


def _flood(config: PoolConfig, cores: int) -> bytes:
    """Every engine of every core moves as much memory as one instruction can, all the time."""
    place = (CALLS + 2 + 4 * cores * FRAME_REPEATS) * WORD_BYTES // config.array + 1
    reads, writes = config.features_vectors // 2, config.output_vectors
    frame: list[Instruction] = []
    for _ in range(FRAME_REPEATS):
        for core in range(cores):
            frame.append(Load(core=core, buffer=Buffer.FEATURES, address=place, columns=reads))
            frame.append(Save(core=core, address=place, columns=writes))
    return _called(frame, 0)


def _barriers(config: PoolConfig, cores: int) -> bytes:
    """Nothing but barriers."""
    frame: list[Instruction] = []
    for _ in range(FRAME_REPEATS):
        frame += [SyncRaise(core=core) for core in range(cores)]
        frame += [SyncWait(core=core) for core in range(cores)]
    return _called(frame, 0)


def _configures(config: PoolConfig, cores: int) -> bytes:
    """Instructions as fast as the dispatcher issues them, so that its fetches take slots, too."""
    frame: list[Instruction] = []
    for _ in range(FRAME_REPEATS):
        for core in range(cores):
            frame += [ConfigLoad(core=core, row_pitch=1), ConfigSave(core=core, row_pitch=1)]
    return _called(frame, 0)


def _faults(config: PoolConfig, cores: int) -> bytes:
    """Reads beyond its window from every core."""
    beyond = (1 << 28) - 1
    return encode_program([Load(core=core, address=beyond) for core in range(cores)] + [End(barriers=1)])


def _endless(config: PoolConfig, cores: int) -> bytes:
    """Waits for a barrier that never comes, with loads of its other cores under way."""
    return encode_program([SyncRaise(core=0), *[Load(core=core) for core in range(1, cores)], End(barriers=1000)])


HOSTILE = (
    Hostile("flood", _flood),
    Hostile("barriers", _barriers),
    Hostile("instructions", _configures),
    Hostile("faults", _faults),
    Hostile("endless", _endless),
)
"""Every hostile neighbour."""
