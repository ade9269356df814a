"""The ownership table: one entry (state, owner, virtual index) per core, the only map from virtual to physical cores.

Written by the control port's GRANT and REVOKE and by the context switch, by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Register, WireVector

from isa.configuration import PoolConfig
from isa.instructions import VIRTUAL_CORE_BITS
from isa.registers import CoreState
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, register

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
