"""The wheel: which core, or the host, owns the slot of each channel in this cycle. No input, so nothing can bend it."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector

from isa.configuration import PoolConfig
from rtl.sizes import Sizes, register


@dataclass(frozen=True)
class Wheel:
    """Decoded positions of one cycle; tuples hold one wire per channel."""

    is_last_position: WireVector
    """1 bit: in the next cycle the wheel of channel 0 is at position 0 of revolution 0."""
    dispatch_core: WireVector
    """Core whose owner level 1 serves."""
    slot_core: tuple[WireVector, ...]
    """Core named by the channel's slot."""
    slot_is_host: tuple[WireVector, ...]
    """1 bit: the slot belongs to the host instead."""
    response_core: tuple[WireVector, ...]
    """Core named by the slot whose response is on the channel's input in this cycle."""


def wheel(config: PoolConfig) -> Wheel:
    """M * R positions; channel g serves position (t - g * M / G) mod (M * R) at cycle t.

    The low bits of a position are the core, the others the revolution, of which the last one is the host's.
    """
    sizes = Sizes(config)
    position = register("wheel_position", sizes.wheel)
    position.next <<= (position + 1)[: sizes.wheel]

    def delayed(cycles: int) -> WireVector:
        """The position that channel 0 was at some cycles ago."""
        if cycles % config.period_cycles == 0:
            return position
        return (position - Const(cycles % config.period_cycles, sizes.wheel))[: sizes.wheel]

    def core_at(some_position: WireVector) -> WireVector:
        return some_position[: sizes.core] if sizes.core else Const(0, 1)

    slots = [delayed(channel * config.slot_spacing) for channel in range(config.channels)]
    response_delay = config.channel_latency + 2
    return Wheel(
        is_last_position=position == config.period_cycles - 1,
        dispatch_core=core_at(position),
        slot_core=tuple(core_at(slot) for slot in slots),
        slot_is_host=tuple(slot[sizes.core :] == config.host_revolutions - 1 for slot in slots),
        response_core=tuple(
            core_at(delayed(channel * config.slot_spacing + response_delay)) for channel in range(config.channels)
        ),
    )
