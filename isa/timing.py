"""The timing model: in which cycle a tenant's program does what, exactly as the RTL (and shown equal to it by tests).

Time depends on the program and on the physical cores, not on data and not on other tenants. The model runs a
program from the first cycle in which its tenant is RUNNING, which is position 0 of the wheel's whole period, so
cycles are the same for every START. Its rules are the cycle tables in the docstrings of `rtl/`, its
numbers those of `isa.pipeline` and of the pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.configuration import PoolConfig
from isa.encoding import decode
from isa.instructions import WORD_BYTES, Add, Conv, CoreInstruction, Engine, Instruction, Load, Lookup, Pool, Save
from isa.timing_level1 import TenantTiming

CYCLE_LIMIT = 1 << 40
"""Cycles after which a program is given up, unless the caller says otherwise."""

_decode = cache(decode)


class TimingError(RuntimeError):
    """The program does not come to its END: a deadlock, or the cycle limit."""


@dataclass(frozen=True)
class Activity:
    """Engine `engine` of virtual core `core` shows busy on the core's activity port in cycles first..end-1."""

    core: int
    engine: Engine
    first: int
    end: int


class Unit(StrEnum):
    """A part of a core that executes one instruction after the other; compute has two, which overlap."""

    LOAD = "load"
    ARRAY = "array"
    RESULTS = "results"
    SAVE = "save"


class Execution(NamedTuple):
    """Unit `unit` of virtual core `core` executes the instruction at `word` of the window in cycles first..end-1.

    A unit executes one at a time. For LOAD that is until its last request, for SAVE until its last vector is read:
    the memory answers later, while the next one executes.
    """

    core: int
    unit: Unit
    word: int
    instruction: CoreInstruction
    first: int
    end: int


@dataclass(frozen=True)
class Timing:
    """Cycles count from the first cycle of RUNNING.

    `cycles` is what TENANT_CYCLES shows at the end; `barriers[i]` the cycle in which the count shows i + 1 barriers;
    `activity` is ordered by core, engine, cycle; `array_cycles[i]` the cycles in which pixels entered the array
    of the i-th core; `dispatch_wait[i]` those in which its array was idle and waited for nothing but the instruction
    itself; `dispatched` (cycle on the core's port, word address, instruction); `executed` what the units of the cores
    did, ordered by core, unit, cycle.
    """

    cycles: int
    barriers: tuple[int, ...]
    activity: tuple[Activity, ...]
    array_cycles: tuple[int, ...]
    dispatch_wait: tuple[int, ...]
    dispatched: tuple[tuple[int, int, CoreInstruction], ...]
    executed: tuple[Execution, ...]


def simulate(
    config: PoolConfig,
    window: bytes | NDArray[np.uint8],
    start_word: int,
    physical: Sequence[int] | Mapping[int, int],
    limit: int = CYCLE_LIMIT,
) -> Timing:
    """Time of the program at `start_word` of a window on the cores `physical` (index or key: virtual core).

    Raises TimingError for a program that does not reach END within `limit` cycles, ValueError for cores that the
    pool does not have, and IllegalInstruction; what faults has no timing here.
    """
    held = physical if isinstance(physical, Mapping) else dict(enumerate(physical))
    positions = list(held.values())
    if len(set(positions)) != len(positions) or not positions or not all(0 <= at < config.cores for at in positions):
        raise ValueError(f"physical cores {positions}: distinct numbers below {config.cores} are needed")
    content = bytes(window)

    def instruction(word: int) -> Instruction:
        return _decode(int.from_bytes(content[word * WORD_BYTES : (word + 1) * WORD_BYTES], "little"))

    tenant = TenantTiming(config, instruction, len(content) // config.beat_bytes, start_word, held)
    if not tenant.clock.run(limit):
        raise TimingError(f"the program at word {start_word} does not reach END (cycle {tenant.clock.now})")
    cycles = tenant.done_at
    assert cycles is not None
    activity = [
        Activity(number, engine, first, end)
        for number, core in tenant.cores.items()
        for engine, busy in (
            (Engine.LOAD, core.load.busy),
            (Engine.COMPUTE, core.compute.busy),
            (Engine.SAVE, core.save.busy),
        )
        for first, end in merged(busy, 1)
    ]
    return Timing(
        cycles,
        tuple(tenant.barrier_cycles),
        tuple(activity),
        tuple(core.compute.array_busy for core in tenant.cores.values()),
        tuple(core.compute.dispatch_wait for core in tenant.cores.values()),
        tuple(tenant.dispatched),
        tuple(_executions(tenant)),
    )


def _executions(tenant: TenantTiming) -> Iterator[Execution]:
    """What the units did, each with the address that its instruction was dispatched from: units keep the order."""
    words: dict[tuple[int, Unit], list[int]] = defaultdict(list)
    for _, word, instruction in tenant.dispatched:
        for unit in _units(instruction):
            words[instruction.core, unit].append(word)
    for number, core in tenant.cores.items():
        for unit, executed in (
            (Unit.LOAD, core.load.loaded),
            (Unit.ARRAY, core.compute.walked),
            (Unit.RESULTS, core.compute.finished),
            (Unit.SAVE, core.save.saved),
        ):
            for word, (instruction, first, end) in zip(words[number, unit], executed, strict=False):
                yield Execution(number, unit, word, instruction, first, end)


def _units(instruction: CoreInstruction) -> tuple[Unit, ...]:
    match instruction:
        case Load():
            return (Unit.LOAD,)
        case Save():
            return (Unit.SAVE,)
        case Conv() | Pool():
            return (Unit.ARRAY, Unit.RESULTS) if instruction.drain else (Unit.ARRAY,)
        case Add() | Lookup():
            return (Unit.RESULTS,)
    return ()


def merged(intervals: Sequence[tuple[int, int]], shift: int = 0) -> list[tuple[int, int]]:
    """The union of intervals (first, end), ascending, each moved by `shift` cycles."""
    union: list[tuple[int, int]] = []
    for first, end in sorted(intervals):
        if union and first <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        elif end > first:
            union.append((first, end))
    return [(first + shift, end + shift) for first, end in union]
