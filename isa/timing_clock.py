"""Events in the order of their cycles; within a cycle, what becomes visible in it comes before what acts upon it."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum


class Phase(IntEnum):
    """Order of the events of one cycle. Whatever an event changes, hardware shows one cycle later at the earliest."""

    ARRIVAL = 0
    SLOT = 1
    CORE = 2
    DISPATCH = 3


class Clock:
    """A queue of events (cycle, phase, action)."""

    def __init__(self) -> None:
        self.now = 0
        self._events: list[tuple[int, int, int, Callable[[int], None]]] = []
        self._sequence = 0
        self._stopped = False

    def at(self, cycle: int, phase: Phase, action: Callable[[int], None]) -> None:
        """Call `action(cycle)` in this cycle and phase; events of the same cycle and phase keep their order."""
        self._sequence += 1
        heapq.heappush(self._events, (cycle, phase, self._sequence, action))

    def stop(self) -> None:
        """End `run` behind the event that is being processed."""
        self._stopped = True

    def run(self, limit: int) -> bool:
        """Process events until `stop`; False if none is left, or if cycle `limit` is reached, before that."""
        events, pop = self._events, heapq.heappop
        while not self._stopped:
            if not events or events[0][0] > limit:
                return False
            self.now, _, _, action = pop(events)
            action(self.now)
        return True
