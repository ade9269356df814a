"""Windows: which part of memory a tenant owns, and the sweep that zeroes it before anybody else can.

A window is written by ATTACH and taken back by the sweep; it is live or dirty whenever the tenant is not DETACHED.
What is here depends on the host's commands, the host's requests and the wheel alone, never on what tenants do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import pyrtl
from pyrtl import Const, Register, WireVector

from isa.configuration import PoolConfig
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, all_of, any_of, chosen, first_of, gated, joined, register

ATTACHMENT_BITS = 2


class Attachment(IntEnum):
    """The host's side of a tenant's state; the other side, `progress`, tells STARTING to FAULTED apart."""

    DETACHED = 0
    STOPPED = 1
    ACTIVE = 2
    DIRTY = 3


@dataclass(frozen=True)
class Window:
    """Window of one tenant, in beats."""

    attachment: Register
    base: Register
    limit: Register
    is_dirty: WireVector


@hardware("windows", merged=True)
def windows(config: PoolConfig) -> list[Window]:
    """Registers of all windows. After reset tenant n is DIRTY with a window of F beats from n * F.

    So its prefetch buffer, which survives a reset, is cleaned by the sweep before the first ATTACH.
    """
    sizes = Sizes(config)
    result = []
    for tenant in range(config.tenants):
        attachment = register(f"tenant{tenant}_attachment", ATTACHMENT_BITS, Attachment.DIRTY)
        result.append(
            Window(
                attachment=attachment,
                base=register(f"tenant{tenant}_base", sizes.beat, tenant * config.fetch_beats),
                limit=register(f"tenant{tenant}_limit", sizes.length, config.fetch_beats),
                is_dirty=attachment == Attachment.DIRTY,
            )
        )
    return result


@dataclass(frozen=True)
class WindowCommands:
    """1-bit pulses of accepted commands for one tenant; `activate` is START as far as the host alone decides it."""

    attach: WireVector
    detach: WireVector
    activate: WireVector
    stop: WireVector


@hardware("windows", merged=True)
def window_update(
    window: Window, commands: WindowCommands, base: WireVector, limit: WireVector, swept: WireVector
) -> None:
    """Drive one window; `base` and `limit` are ATTACH's arguments, `swept` the end of the sweep over this window."""
    window.attachment.next <<= first_of(
        [
            (commands.attach | commands.stop, Const(Attachment.STOPPED, ATTACHMENT_BITS)),
            (commands.detach, Const(Attachment.DIRTY, ATTACHMENT_BITS)),
            (commands.activate, Const(Attachment.ACTIVE, ATTACHMENT_BITS)),
            (swept, Const(Attachment.DETACHED, ATTACHMENT_BITS)),
        ],
        window.attachment,
    )
    for field, argument in ((window.base, base), (window.limit, limit)):
        # The reset of a register and its enable take no logic; a choice of two values in front of it takes some.
        field.next <<= first_of(
            [(swept & ~commands.attach, Const(0, len(field))), (commands.attach, argument[: len(field)])],
            field,
        )


@dataclass(frozen=True)
class Sweep:
    """The sweep engine's state and its wishes for host slots."""

    tenant: Register
    base: WireVector
    limit: WireVector
    wants: tuple[WireVector, ...]
    """For each channel, 1 bit: a beat of the window on this channel is still to be zeroed."""
    offset: tuple[WireVector, ...]
    """For each channel: that beat, from the start of the window."""
    is_busy: Register
    timer: Register
    counts: tuple[Register, ...]


@hardware("sweep_engine", merged=True)
def sweep_engine(config: PoolConfig, table: Sequence[Window]) -> Sweep:
    """Registers of the sweep: the tenant being swept and, per channel, the number of beats already written."""
    sizes = Sizes(config)
    tenant = register("sweep_tenant", sizes.tenant)
    is_busy = register("sweep_is_busy", 1)
    limit = chosen(tenant, [window.limit for window in table])
    counts = tuple(
        register(f"channel{channel}_sweep_count", sizes.length - sizes.channel) for channel in range(config.channels)
    )
    return Sweep(
        tenant=tenant,
        base=chosen(tenant, [window.base for window in table]),
        limit=limit,
        wants=tuple(is_busy & (count < limit[sizes.channel :]) for count in counts),
        offset=tuple(
            joined((count, len(count)), (Const(channel, max(1, sizes.channel)), sizes.channel))
            for channel, count in enumerate(counts)
        ),
        is_busy=is_busy,
        timer=register("sweep_timer", config.drain_cycles.bit_length()),
        counts=counts,
    )


@hardware("sweep_engine", merged=True)
def sweep_update(
    config: PoolConfig, sweep: Sweep, table: Sequence[Window], issued: Sequence[WireVector]
) -> list[WireVector]:
    """Drive the sweep engine; for each tenant, a pulse when its window has been swept.

    `issued[g]`: channel g's slot goes to the sweep in this cycle. One window at a time, the lowest DIRTY tenant
    first; `drain_cycles` after the last write its response has come and the prefetch buffer is clean too.
    """
    sizes = Sizes(config)
    all_issued = sweep.is_busy & all_of([~wants for wants in sweep.wants])
    is_done = sweep.timer == config.drain_cycles  # it counts once all is issued, which stays so
    sweep.timer.next <<= gated((sweep.timer + 1)[: len(sweep.timer)], all_issued & ~is_done)
    for count, strobe in zip(sweep.counts, issued, strict=True):
        count.next <<= gated((count + strobe)[: len(count)], sweep.is_busy & ~is_done)
    any_dirty = any_of([window.is_dirty for window in table])
    first_dirty = first_of(
        [(window.is_dirty, Const(tenant, sizes.tenant)) for tenant, window in enumerate(table)],
        Const(0, sizes.tenant),
    )
    starts = ~sweep.is_busy & any_dirty
    sweep.is_busy.next <<= (sweep.is_busy & ~is_done) | starts
    sweep.tenant.next <<= pyrtl.select(starts, first_dirty, sweep.tenant)
    return [is_done & (sweep.tenant == tenant) for tenant in range(len(table))]
