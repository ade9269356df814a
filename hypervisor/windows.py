"""Where tenants' windows lie in memory: first fit, in units of the pool's prefetch."""

from __future__ import annotations

from dataclasses import dataclass

from isa.configuration import PoolConfig


class OutOfMemory(ValueError):
    """No gap in memory is large enough for a window."""


@dataclass(frozen=True)
class Window:
    """A run of beats: `base` is the first one, `beats` their number."""

    base: int
    beats: int

    @property
    def end(self) -> int:
        """The first beat behind the window."""
        return self.base + self.beats


class WindowAllocator:
    """Hands out disjoint windows; base and length are multiples of `fetch_beats` beats, as ATTACH requires."""

    def __init__(self, config: PoolConfig) -> None:
        self._config = config
        self._windows: list[Window] = []

    def find(self, length_bytes: int) -> Window:
        """A window of at least `length_bytes` bytes that is free, and stays so until `take`.

        Raises OutOfMemory, saying what is needed and what is left.
        """
        unit = self._config.fetch_beats
        beats = -(-max(1, length_bytes) // (self._config.beat_bytes * unit)) * unit
        largest = 0
        base = 0
        for taken in [*self._windows, Window(self._config.memory_beats, 0)]:
            gap = taken.base - base
            if gap >= beats:
                return Window(base, beats)
            largest = max(largest, gap)
            base = taken.end
        raise OutOfMemory(
            f"a window of {beats * self._config.beat_bytes} bytes does not fit: the largest gap in the "
            f"{self._config.memory_bytes} bytes of memory of pool {self._config.name!r} has "
            f"{largest * self._config.beat_bytes}"
        )

    def take(self, window: Window) -> None:
        """Hand out this very window, which is free."""
        self._windows.append(window)
        self._windows.sort(key=lambda known: known.base)

    def release(self, window: Window) -> None:
        """Take a window back. Raises ValueError when it was not handed out."""
        self._windows.remove(window)
