"""The timing model's slots are those that the wheel's definition gives, cycle by cycle."""

from collections.abc import Sequence

import pytest

from isa.configuration import NAMED_POOLS, PoolConfig
from isa.timing_slots import Slots


def owner(config: PoolConfig, physical: Sequence[int], channel: int, cycle: int) -> int | None:
    """Which of the cores `channel` serves in `cycle`, from docs/microarchitecture.md."""
    place = (cycle - channel * config.cores // config.channels) % (config.cores * config.host_revolutions)
    revolution, core = divmod(place, config.cores)
    return None if revolution == config.host_revolutions - 1 or core not in physical else physical.index(core)


@pytest.mark.parametrize(("pool", "physical"), [("tiny", [1]), ("small", [3, 1]), ("paper", [5, 0, 12])])
def test_the_next_slot_is_the_first_one_that_the_wheel_gives(pool: str, physical: list[int]) -> None:
    config = NAMED_POOLS[pool]
    slots = Slots(config, physical)
    for channel in range(config.channels):
        for cycle in range(config.period_cycles - 5, 2 * config.period_cycles + 40):
            first = next(at for at in range(cycle, 1 << 20) if owner(config, physical, channel, at) is not None)
            assert slots.owner_on(channel, cycle) == (first, owner(config, physical, channel, first))
            assert slots.on(channel, cycle) == first
