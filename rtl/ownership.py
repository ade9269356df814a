"""The ownership table: one entry (state, owner, virtual index) per core, the only map from virtual to physical cores.

Written by the control port's GRANT and REVOKE and by the context switch, by nobody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrtl import Register, WireVector

from isa.configuration import PoolConfig
from isa.instructions import VIRTUAL_CORE_BITS
from isa.registers import CoreState
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, chosen, register
from rtl.wheel import Wheel, is_host_at_reset

CORE_STATE_BITS = 2


@dataclass(frozen=True)
class CoreEntry:
    """Entry of one core; owner and virtual index are 0 while it is FREE."""

    state: Register
    owner: Register
    virtual: Register
    timer: Register
    """Cycles spent DRAINING or SCRUBBING so far."""
    is_held: WireVector
    owned_by: tuple[WireVector, ...]
    """For each tenant, 1 bit: the entry names it, in whatever state."""


@hardware()
def ownership_table(config: PoolConfig) -> list[CoreEntry]:
    """Registers of the table; `context_switch` drives them. Reset enters SCRUBBING: memories survive a reset."""
    sizes = Sizes(config)
    entries = []
    for core in range(config.cores):
        state = register(f"core{core}_state", CORE_STATE_BITS, CoreState.SCRUBBING)
        owner = register(f"core{core}_owner", sizes.tenant)
        entries.append(
            CoreEntry(
                state=state,
                owner=owner,
                virtual=register(f"core{core}_virtual", VIRTUAL_CORE_BITS),
                timer=register(f"core{core}_timer", sizes.core_timer),
                is_held=state == CoreState.HELD,
                owned_by=tuple(owner == tenant for tenant in range(config.tenants)),
            )
        )
    return entries


@dataclass(frozen=True)
class Turn:
    """Whose turn it is in a channel's slot of this cycle, in registers: to look it up takes long."""

    owner: Register
    """Of the core that the wheel names."""
    is_held: Register
    """That core."""
    is_host: Register
    """The slot belongs to the host instead."""


def turn_name(channel: int, part: str) -> str:
    """Name of the register with `part` of a channel's Turn."""
    return f"turn{channel}_{part}"


@hardware(merged=True)
def turns(config: PoolConfig) -> list[Turn]:
    """Registers of each channel's turn; `turn_update` drives them."""
    owner_bits = Sizes(config).tenant
    return [
        Turn(
            register(turn_name(channel, "owner"), owner_bits),
            register(turn_name(channel, "is_held"), 1),
            register(turn_name(channel, "is_host"), 1, is_host_at_reset(config, channel)),
        )
        for channel in range(config.channels)
    ]


@dataclass(frozen=True)
class FollowingEntry:
    """What the entry of a core shows in the next cycle."""

    owner: WireVector
    virtual: WireVector
    is_held: WireVector


@hardware(merged=True)
def turn_update(wheel: Wheel, shown: Sequence[Turn], following: Sequence[FollowingEntry]) -> None:
    """Look up, for each channel, the core that its slot names in the next cycle, as its entry is then."""
    for turn, core, is_host in zip(shown, wheel.following_core, wheel.following_is_host, strict=True):
        turn.owner.next <<= chosen(core, [entry.owner for entry in following])
        turn.is_held.next <<= chosen(core, [entry.is_held for entry in following])
        turn.is_host.next <<= is_host
