"""The context switch of one core: HELD -> DRAINING -> SCRUBBING -> FREE -> HELD, each step in constant time.

REVOKE accepted; DRAINING visible in cycle d:

    d                         core is no longer HELD: no request taken, no instruction sent
    d + drain_cycles          SCRUBBING visible, nothing of the core is outstanding
      + 1                     `scrub` on the core's port with address 0, one address a cycle
      + scrub_cycles          `scrub` with the last address
      + scrub_cycles + margin FREE visible, owner and virtual index 0
"""

from __future__ import annotations

from collections.abc import Mapping

from pyrtl import Const, Register, WireVector

from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.core_ports import SCRUB_ADDRESS_BITS
from rtl.hierarchy import hardware
from rtl.ownership import CoreEntry, FollowingEntry
from rtl.sizes import SCRUB_MARGIN_CYCLES, first_of, gated, low_bits


def switch_cycles(config: PoolConfig) -> int:
    """Cycles from DRAINING visible to FREE visible."""
    return config.drain_cycles + config.scrub_cycles + SCRUB_MARGIN_CYCLES


@hardware()
def context_switch(
    config: PoolConfig,
    entry: CoreEntry,
    grant: WireVector,
    revoke: WireVector,
    tenant: WireVector,
    virtual: WireVector,
    ports: Mapping[str, Register],
) -> FollowingEntry:
    """Drive one entry of the ownership table and the scrub ports of its core; what the entry shows in the next cycle.

    `grant` and `revoke` are 1-bit pulses of accepted commands; `tenant` and `virtual` are GRANT's arguments.
    """
    is_draining = entry.state == CoreState.DRAINING
    is_scrubbing = entry.state == CoreState.SCRUBBING
    has_drained = is_draining & (entry.timer == config.drain_cycles - 1)
    has_scrubbed = is_scrubbing & (entry.timer == config.scrub_cycles + SCRUB_MARGIN_CYCLES - 1)
    entry.state.next <<= first_of(
        [
            (grant, Const(CoreState.HELD, len(entry.state))),
            (revoke, Const(CoreState.DRAINING, len(entry.state))),
            (has_drained, Const(CoreState.SCRUBBING, len(entry.state))),
            (has_scrubbed, Const(CoreState.FREE, len(entry.state))),
        ],
        entry.state,
    )
    counts = (is_draining & ~has_drained) | (is_scrubbing & ~has_scrubbed)
    entry.timer.next <<= gated((entry.timer + 1)[: len(entry.timer)], counts)
    owner, index = (
        first_of([(has_scrubbed & ~grant, Const(0, len(field))), (grant, argument[: len(field)])], field)
        for field, argument in ((entry.owner, tenant), (entry.virtual, virtual))
    )
    entry.owner.next <<= owner
    entry.virtual.next <<= index

    sweeps = is_scrubbing & (entry.timer < config.scrub_cycles)
    ports["scrub"].next <<= sweeps
    ports["scrub_address"].next <<= gated(low_bits(entry.timer, SCRUB_ADDRESS_BITS), sweeps)
    return FollowingEntry(owner, index, grant | (entry.is_held & ~revoke))
