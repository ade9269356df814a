"""What became of tenants and memory accesses, for the host: errors by the core of their slot, tenants that ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyrtl
from pyrtl import Register, WireVector, select

from isa.configuration import PoolConfig
from isa.registers import CONTROL_DATA_BITS, TenantState
from rtl.sizes import Sizes, any_of, gated, register
from rtl.wheel import RESPONSE_STAGES, core_at, is_host_at, slot_position


@dataclass(frozen=True)
class AxiErrors:
    """1-bit wires: in this cycle it shows that memory answered with an error."""

    cores: list[WireVector]
    """In a slot of this core."""
    host: list[Register]
    """In a slot of the host on this channel, one pool cycle before."""
    sweep: WireVector
    """In a slot of the host that the zeroing of windows had."""


def axi_errors(
    config: PoolConfig, ports: Mapping[str, WireVector], enable: WireVector, restart: WireVector
) -> AxiErrors:
    """Whose the errors are, from a copy of the pool's wheel, which turns with the pool's clock."""
    position = register("position", Sizes(config).wheel)
    position.next <<= gated(select(enable, (position + 1)[: len(position)], position), ~restart)
    in_core_slot, cores, host = [], [], []
    for channel in range(config.channels):
        slot = slot_position(config, position, channel, config.channel_latency + RESPONSE_STAGES)
        fails, is_host = ports[f"channel{channel}_is_error"] & enable & ~restart, is_host_at(config, slot)
        failed = register(f"channel{channel}_host_failure", 1)
        failed.next <<= gated(select(enable, fails & is_host, failed), ~restart)
        in_core_slot.append(fails & ~is_host)
        cores.append(core_at(config, slot))
        host.append(failed)
    return AxiErrors(
        cores=[
            any_of([fails & (named == core) for fails, named in zip(in_core_slot, cores, strict=True)])
            for core in range(config.cores)
        ],
        host=host,
        sweep=enable
        & any_of([failed & ~ports[f"channel{channel}_answers_host"] for channel, failed in enumerate(host)]),
    )


def ended_tenants(config: PoolConfig, ports: Mapping[str, WireVector]) -> list[WireVector]:
    """1-bit pulses: tenant n has become DONE, FAULTED or PAUSED."""
    pulses = []
    for tenant in range(config.tenants):
        progress = ports[f"tenant{tenant}_state"]
        before = register(f"tenant{tenant}_progress_before", len(progress))
        before.next <<= progress
        has_ended = any_of(
            [progress == int(state) for state in (TenantState.DONE, TenantState.FAULTED, TenantState.PAUSED)]
        )
        pulses.append(has_ended & (progress != before))
    return pulses


@dataclass(frozen=True)
class Flags:
    """Sticky bits, and the register that shows them: bit i is the or of flags i, i + 32, ..."""

    flags: list[Register]
    shown: WireVector


def flags(name: str, events: Sequence[WireVector], cleared: WireVector, restart: WireVector) -> Flags:
    """One sticky bit for each event, cleared by bit (index modulo 32) of `cleared`; an event in that cycle wins."""
    bits = []
    for index, event in enumerate(events):
        bit = register(f"{name}{index}", 1)
        bit.next <<= (event | (bit & ~cleared[index % CONTROL_DATA_BITS])) & ~restart
        bits.append(bit)
    shown = [any_of(bits[first::CONTROL_DATA_BITS]) for first in range(min(len(bits), CONTROL_DATA_BITS))]
    return Flags(bits, pyrtl.concat_list(shown))
