"""Which events of a program come before which, in every run that hardware can make: tokens, queues, barriers.

Events form *chains*, each in the order of the program: what an engine begins, what it has finished. An event knows, for
each chain, how many events of it have happened before it for certain (a vector clock). So "a is always before b" is a
comparison of two numbers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Events:
    """A partial order of events, built by naming what each one waits for."""

    def __init__(self) -> None:
        self._chains: dict[str, int] = {}
        self._of_chain: list[list[int]] = []
        self._chain: list[int] = []
        self._place: list[int] = []
        self._waits: list[list[int]] = []
        self._clocks: NDArray[np.int64] = np.zeros((0, 0), np.int64)
        self.labels: list[str] = []

    def add(self, chain: str, label: str, waits: Iterable[int] = ()) -> int:
        """A new event behind the last one of its chain and behind others; returns its number."""
        number = self._chains.setdefault(chain, len(self._of_chain))
        if number == len(self._of_chain):
            self._of_chain.append([])
        own = self._of_chain[number]
        event = len(self._chain)
        self._waits.append([*waits, *own[-1:]])
        self._chain.append(number)
        own.append(event)
        self._place.append(len(own))
        self.labels.append(label)
        return event

    def wait(self, event: int, other: int) -> None:
        """`event` waits for `other`, which may be added later than it."""
        self._waits[event].append(other)

    def order(self) -> list[int]:
        """Complete the order. Returns events that wait for one another in a circle, hence for ever: none, if sound."""
        count = len(self._chain)
        followers: list[list[int]] = [[] for _ in range(count)]
        missing = [len(waits) for waits in self._waits]
        for event, waits in enumerate(self._waits):
            for other in waits:
                followers[other].append(event)
        self._clocks = np.zeros((count, len(self._of_chain)), np.int64)
        ready = deque(event for event in range(count) if not missing[event])
        done = 0
        while ready:
            event = ready.popleft()
            done += 1
            clock = self._clocks[event]
            if self._waits[event]:
                np.max(self._clocks[self._waits[event]], axis=0, out=clock)
            clock[self._chain[event]] = self._place[event]
            for follower in followers[event]:
                missing[follower] -= 1
                if not missing[follower]:
                    ready.append(follower)
        return [event for event in range(count) if missing[event]] if done < count else []

    def before(self, event: int, chain: str) -> int:
        """How many events of a chain have happened when `event` does."""
        number = self._chains.get(chain)
        return 0 if number is None else int(self._clocks[event, number])

    def place(self, event: int) -> int:
        """An event's place in its own chain, from 1."""
        return self._place[event]
