"""How long a program takes: the one place where the model backend asks for time.

`isa.timing` will answer exactly. Until it does, barriers and END come after estimated times, and `is_exact` says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hypervisor.pool_port import ActivityInterval
from isa.configuration import PoolConfig

ESTIMATED_BARRIER_CYCLES = 200
"""What the estimate takes for the distance of two barriers."""


@dataclass(frozen=True)
class RunTiming:
    """Times of one run, in cycles after START took effect.

    `barriers[i]` is when barrier i shows in TENANT_BARRIERS, `end` when END or the fault shows in TENANT_STATE (None:
    never), `cycles` what TENANT_CYCLES shows then; `activity` counts from START, too.
    """

    barriers: tuple[int, ...]
    end: int | None
    cycles: int
    activity: tuple[ActivityInterval, ...]
    is_exact: bool


def time_run(
    config: PoolConfig, window: bytes, start_word: int, cores: Sequence[int], barriers: int, ends: bool
) -> RunTiming:
    """Times of a run that completes `barriers` barriers, on physical `cores` in virtual order."""
    del config, window, start_word, cores
    times = tuple(ESTIMATED_BARRIER_CYCLES * (index + 1) for index in range(barriers))
    end = ESTIMATED_BARRIER_CYCLES * (barriers + 1)
    return RunTiming(times, end if ends else None, end, (), is_exact=False)
