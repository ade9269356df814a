"""The wheel: which core, or the host, owns the slot of each channel in this cycle. No input, so nothing can bend it."""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector

from isa.configuration import PoolConfig
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, register

RESPONSE_STAGES = 2
"""Cycles from a slot to its request on the channel; the channel's latency later its response is on the input."""


@dataclass(frozen=True)
class Wheel:
    """Decoded positions of one cycle; tuples hold one wire per channel."""

    is_last_position: WireVector
    """1 bit: in the next cycle the wheel of channel 0 is at position 0 of revolution 0."""
    slot_core: tuple[WireVector, ...]
    """Core named by the channel's slot."""
    following_core: tuple[WireVector, ...]
    """Core named by the channel's slot in the next cycle."""
    following_is_host: tuple[WireVector, ...]
    """1 bit: that slot belongs to the host instead."""
    response_core: tuple[WireVector, ...]
    """Core named by the slot whose response is on the channel's input in this cycle."""


@hardware()
def wheel(config: PoolConfig) -> Wheel:
    """M * R positions; channel g serves position (t - g * M / G) mod (M * R) at cycle t.

    The low bits of a position are the core, the others the revolution, of which the last one is the host's.
    """
    sizes = Sizes(config)
    position = register("wheel_position", sizes.wheel)
    position.next <<= (position + 1)[: sizes.wheel]

    slots = [slot_position(config, position, channel) for channel in range(config.channels)]
    following = [(slot + 1)[: sizes.wheel] for slot in slots]
    return Wheel(
        is_last_position=position == config.period_cycles - 1,
        slot_core=tuple(core_at(config, slot) for slot in slots),
        following_core=tuple(core_at(config, slot) for slot in following),
        following_is_host=tuple(is_host_at(config, slot) for slot in following),
        response_core=tuple(
            core_at(config, slot_position(config, position, channel, config.channel_latency + RESPONSE_STAGES))
            for channel in range(config.channels)
        ),
    )


def slot_position(config: PoolConfig, position: WireVector, channel: int, ago: int = 0) -> WireVector:
    """Position of the slot that `channel` served some cycles ago, `position` being where channel 0 is now."""
    bits = Sizes(config).wheel
    cycles = (channel * config.slot_spacing + ago) % config.period_cycles
    return position if cycles == 0 else (position - Const(cycles, bits))[:bits]


def core_at(config: PoolConfig, position: WireVector) -> WireVector:
    """The core that a position names."""
    bits = Sizes(config).core
    return position[:bits] if bits else Const(0, 1)


def is_host_at(config: PoolConfig, position: WireVector) -> WireVector:
    """Whether a position is the host's (1 bit)."""
    return position[Sizes(config).core :] == config.host_revolutions - 1


def is_host_at_reset(config: PoolConfig, channel: int) -> int:
    """Whether the first slot of a channel is the host's: 1 or 0."""
    position = -channel * config.slot_spacing % config.period_cycles
    return int(position // config.cores == config.host_revolutions - 1)
