"""How long a program takes: the one place where the model backend asks the timing model.

`isa.timing` answers exactly for programs that come to their END. For a program that faults or hangs the order of
events is exact, their cycles are estimates, and `is_exact` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hypervisor.pool_port import ActivityInterval, Bytes
from isa.configuration import PoolConfig
from isa.timing import simulate

ESTIMATED_BARRIER_CYCLES = 200
"""What the estimate takes for the distance of two barriers."""
ENGINE_ROW = -1
"""From isa.instructions.Engine (LOAD is 1) to the bit of the activity port (load is 0)."""


@dataclass(frozen=True)
class RunTiming:
    """Times of one run, in cycles after START took effect.

    `barriers[i]` is when barrier i shows in TENANT_BARRIERS, `end` when END or the fault shows in TENANT_STATE (None:
    never), which is what TENANT_CYCLES shows then; `activity` counts from START, too.
    """

    barriers: tuple[int, ...]
    end: int | None
    activity: tuple[ActivityInterval, ...]
    is_exact: bool


def time_run(config: PoolConfig, window: Bytes, start_word: int, cores: Mapping[int, int]) -> RunTiming:
    """Exact times of a run that comes to its END, on physical `cores`, each under its virtual index."""
    timing = simulate(config, window, start_word, cores)
    activity = tuple(
        ActivityInterval(cores[item.core], int(item.engine) + ENGINE_ROW, item.first, item.end)
        for item in timing.activity
    )
    return RunTiming(timing.barriers, timing.cycles, activity, is_exact=True)


def estimate_run(barriers: int, faults: bool) -> RunTiming:
    """Times of a run that completes `barriers` barriers, then faults or hangs."""
    times = tuple(ESTIMATED_BARRIER_CYCLES * (index + 1) for index in range(barriers))
    end = ESTIMATED_BARRIER_CYCLES * (barriers + 1) if faults else None
    return RunTiming(times, end, (), is_exact=False)
