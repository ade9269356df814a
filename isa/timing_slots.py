"""When the wheel serves which core: slots, counted from a START (wheel position 0)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from isa.configuration import PoolConfig

Slot = tuple[int, int]
"""(cycles from now, core: its place among those that were asked for)."""


class Slots:
    """The slots of some physical cores; cores are named by their places in `physical`."""

    def __init__(self, config: PoolConfig, physical: Sequence[int]) -> None:
        self._period = config.period_cycles
        self._tables = _tables(config, tuple(physical))

    def on(self, channel: int, cycle: int) -> int:
        """The first slot of any of the cores with `channel` in or behind `cycle`."""
        return cycle + self._tables[channel][cycle % self._period][0]

    def owner_on(self, channel: int, cycle: int) -> tuple[int, int]:
        """That slot, and whose it is."""
        ahead, owner = self._tables[channel][cycle % self._period]
        return cycle + ahead, owner


@cache
def _tables(config: PoolConfig, physical: tuple[int, ...]) -> tuple[tuple[Slot, ...], ...]:
    """For each channel and each cycle of the wheel's whole period, the next slot."""
    return tuple(_table(config, physical, channel) for channel in range(config.channels))


def _table(config: PoolConfig, physical: tuple[int, ...], channel: int) -> tuple[Slot, ...]:
    period = config.period_cycles
    places = {core: place for place, core in enumerate(physical)}
    slots: list[Slot] = []
    following = (0, 0)
    for cycle in reversed(range(2 * period)):
        revolution, position = divmod((cycle - channel * config.slot_spacing) % period, config.cores)
        if position in places and revolution != config.host_revolutions - 1:
            following = cycle, places[position]
        if cycle < period:
            slots.append((following[0] - cycle, following[1]))
    return tuple(reversed(slots))
