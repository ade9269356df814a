"""Ghost wires that theorems about the shell share; built in a monitored copy, so that they cannot touch the design."""

from __future__ import annotations

from pyrtl import Const, MemBlock, WireVector, select

from formal.monitor import Lookup
from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.sizes import Sizes, named


def arbitrary(name: str, bits: int, count: int) -> WireVector:
    """A number below `count` that is chosen freely at reset and never changes: a claim about it holds for every one.

    It is a word of a ghost memory called `{name}_word` that nothing writes, free at reset (`Problem.free_memories`).
    """
    word = MemBlock(bits, 1, f"{name}_word", asynchronous=True)[Const(0, 1)]
    return named(name, word if count == 1 << bits else select(word < count, word, Const(0, bits)))


def watched_tenant(config: PoolConfig) -> WireVector:
    """The tenant A that a theorem speaks about, as the ghost `watched_tenant`."""
    return arbitrary("watched_tenant", Sizes(config).tenant, config.tenants)


def of_tenant(lookup: Lookup, config: PoolConfig, tenant: WireVector, part: str) -> WireVector:
    """Register `part` of the context or window of the tenant that a wire names."""
    value = lookup(f"tenant0_{part}")
    for index in range(1, config.tenants):
        value = select(tenant == index, lookup(f"tenant{index}_{part}"), value)
    return value


def of_core(lookup: Lookup, config: PoolConfig, core: WireVector, part: str) -> WireVector:
    """Register or port `part` of the core that a wire names."""
    value = lookup(f"core0_{part}")
    for index in range(1, config.cores):
        value = select(core == index, lookup(f"core{index}_{part}"), value)
    return value


def owned_slot(lookup: Lookup, config: PoolConfig, channel: int, tenant: WireVector) -> WireVector:
    """The channel's slot in this cycle is that of a core which is HELD by the tenant, and is not the host's."""
    sizes = Sizes(config)
    position = lookup("wheel_position") - Const(channel * config.slot_spacing, sizes.wheel)
    revolution = position[sizes.core : sizes.wheel]
    owned = Const(0, 1)
    for core in range(config.cores):
        named_here = position[: sizes.core] == core if sizes.core else Const(1, 1)
        is_held = lookup(f"core{core}_state") == CoreState.HELD
        owned = owned | (named_here & is_held & (lookup(f"core{core}_owner") == tenant))
    return owned & (revolution != config.host_revolutions - 1)
