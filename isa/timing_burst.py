"""A run of reads that nothing has disturbed so far, in place of one event for each of its beats.

While a core's load engine alone uses the request port, each beat moves to the port as soon as the one before was taken
and unpacked, and is taken in its next slot. What may come in between is a write, or a fetch in one of the
slots: the run is cut there, as if it had never been foreseen any further.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from isa.timing_memory import Beat
from isa.timing_slots import Slots

LONGEST = 64
"""Beats that are foreseen at once: a cut run was foreseen in vain."""


class Burst:
    """Beats in a row, of which the first moves to the port in cycle `first`.

    `pause`: cycles that the unpacking of a beat adds before the next one may move.
    """

    def __init__(self, slots: Slots, channels: int, beats: Sequence[Beat], first: int, pause: int) -> None:
        self.beats = beats
        self.moves: list[int] = []
        self.slots: list[int] = []
        move = first
        for beat in beats:
            slot = slots.on(beat.address % channels, move + 1)
            self.moves.append(move)
            self.slots.append(slot)
            move = slot + 1 + pause

    @property
    def last_slot(self) -> int:
        """The slot of its last beat."""
        return self.slots[-1]

    def uses(self, cycle: int) -> bool:
        """Whether a beat is taken in the slot at `cycle`."""
        place = bisect_left(self.slots, cycle)
        return place < len(self.slots) and self.slots[place] == cycle

    def moved_before(self, cycle: int) -> int:
        """How many beats moved before `cycle`."""
        return bisect_left(self.moves, cycle)

    def taken_before(self, cycle: int) -> int:
        """How many beats were taken before `cycle`."""
        return bisect_left(self.slots, cycle)

    def taken_until(self, cycle: int) -> int:
        """How many beats were taken in `cycle` or before."""
        return bisect_right(self.slots, cycle)
