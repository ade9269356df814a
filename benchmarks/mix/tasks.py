"""Tasks of the mix: which network, when it arrives, by when it must have ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CLOCK_HERTZ = 300_000_000
"""The clock that deadlines in milliseconds are turned into cycles with."""
PRIORITIES = (1.0, 3.0, 9.0)
"""Low, medium and high, equally likely, as in PREMA."""


@dataclass(frozen=True)
class TaskKind:
    """Tasks that run `network`, each due `milliseconds` after its arrival; `share` of all arrivals."""

    network: str
    milliseconds: float
    share: float

    @property
    def window_cycles(self) -> int:
        """Cycles from arrival to deadline."""
        return round(self.milliseconds * CLOCK_HERTZ / 1000)


@dataclass(frozen=True)
class MixTask:
    """One inference: arrives in cycle `arrival`, is in time if it has ended by cycle `deadline`."""

    number: int
    network: str
    arrival: int
    deadline: int
    priority: float


def poisson_tasks(
    kinds: Sequence[TaskKind], isolated: Mapping[str, int], load: float, count: int, seed: int, pools: int = 1
) -> list[MixTask]:
    """`count` tasks whose arrivals are a Poisson process, in the order of arrival; the same for the same seed.

    `load` is the mean number of arrivals in the time in which `pools` pools serve one task after the other, each with
    a whole pool to itself; `isolated` has the cycles of a network alone on a pool. Times between arrivals scale
    with 1/load and nothing else changes, so loads can be compared task by task.
    """
    random = np.random.default_rng(seed)
    shares = np.array([kind.share for kind in kinds])
    mean = float(sum(kind.share * isolated[kind.network] for kind in kinds) / shares.sum())
    gaps = random.exponential(mean / (load * pools), count)
    chosen = random.choice(len(kinds), count, p=shares / shares.sum())
    priorities = random.choice(np.array(PRIORITIES), count)
    arrivals = np.cumsum(gaps).astype(np.int64)
    return [
        MixTask(
            number,
            kinds[kind].network,
            int(arrival),
            int(arrival) + kinds[kind].window_cycles,
            float(priority),
        )
        for number, (arrival, kind, priority) in enumerate(zip(arrivals, chosen, priorities, strict=True))
    ]
