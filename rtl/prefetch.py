"""Instruction prefetch: which beat a tenant wants next, and the memory that holds what has arrived.

    program counter's beat  <=  next_arrival  <=  next_request  <=  program counter's beat + F
    |<- in the buffer ---------->|<- in flight -->|<- room ------------->|

Beat p lies in the bank of channel p mod G, entry (p div G) mod (F / G) of its tenant. A bank is written only by
responses of its own channel, in the response cycle of that slot: fetches, and sweep writes, which put 0 there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyrtl
from pyrtl import MemBlock, Register, WireVector

from isa.configuration import PoolConfig
from isa.instructions import WORD_BITS
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, any_of, chosen, first_of, gated, joined, lies_on, low_bits, named, register
from rtl.tenants import Tenant
from rtl.windows import Window


@dataclass(frozen=True)
class FetchWish:
    """A tenant's next fetch: 1 bit per channel (the fetch may use a slot of this channel now)."""

    on_channel: tuple[WireVector, ...]


@hardware()
def fetch_wish(config: PoolConfig, tenant: Tenant, window: Window) -> FetchWish:
    """A RUNNING tenant whose buffer has room fetches its next beat, unless that is beyond the window."""
    sizes = Sizes(config)
    program_beat = tenant.program_counter[sizes.word :]
    ahead = low_bits((tenant.next_request - program_beat)[: sizes.pointer], (config.fetch_beats - 1).bit_length() + 1)
    has_room = ahead != config.fetch_beats
    wants = tenant.is_running & has_room & (tenant.next_request < window.limit)
    return FetchWish(tuple(wants & lies_on(tenant.next_request, channel, sizes) for channel in range(config.channels)))


@dataclass(frozen=True)
class Jump:
    """A change of the program counter of one tenant to `target` (28 bits), where fetching starts anew."""

    valid: WireVector
    target: WireVector


@hardware()
def fetch_pointers(
    config: PoolConfig, tenant: Tenant, jump: Jump, stop: WireVector, requested: WireVector, arrived: WireVector
) -> None:
    """Drive the fetch pointers of one tenant; `requested` and `arrived` are pulses, `stop` resets."""
    sizes = Sizes(config)
    target_beat = jump.target[sizes.word :]
    for pointer, step in ((tenant.next_request, requested), (tenant.next_arrival, arrived)):
        pointer.next <<= first_of(
            [(stop, pyrtl.Const(0, sizes.pointer)), (jump.valid, target_beat)],
            (pointer + step)[: sizes.pointer],
        )
    tenant.epoch.next <<= ~stop & (tenant.epoch ^ jump.valid)


@dataclass(frozen=True)
class BankResponse:
    """What the slot whose response is due on a channel means for the channel's bank."""

    is_fetch: WireVector
    epoch: WireVector
    tenant: WireVector
    is_sweep: WireVector
    data: WireVector


def prefetch_banks(config: PoolConfig) -> list[MemBlock]:
    """One memory per channel: tenants x (F / G) beats, one write port, one asynchronous read into a register."""
    sizes = Sizes(config)
    return [
        MemBlock(
            sizes.data,
            sizes.tenant + sizes.entry,
            f"channel{channel}_prefetch",
            max_read_ports=1,
            max_write_ports=1,
            asynchronous=True,
        )
        for channel in range(config.channels)
    ]


@hardware()
def prefetch_write(
    config: PoolConfig,
    banks: Sequence[MemBlock],
    responses: Sequence[BankResponse],
    tenants: Sequence[Tenant],
    sweep_tenant: Register,
) -> list[WireVector]:
    """Write what arrives into the banks; for each tenant, a pulse when a beat of its present epoch has arrived."""
    sizes = Sizes(config)
    arrivals: list[list[WireVector]] = [[] for _ in tenants]
    for channel, (bank, response) in enumerate(zip(banks, responses, strict=True)):
        is_current = response.is_fetch & (response.epoch == chosen(response.tenant, [t.epoch for t in tenants]))
        for index, pulses in enumerate(arrivals):
            pulses.append(is_current & (response.tenant == index))

        beat_of_channel = chosen(response.tenant, [tenant.next_arrival[sizes.channel :] for tenant in tenants])
        address = joined((response.tenant, sizes.tenant), (beat_of_channel, sizes.entry))
        # A window is a multiple of F beats, so that the entry comes back to 0 with the end of each sweep.
        if sizes.entry:
            sweep_entry = register(f"channel{channel}_sweep_entry", sizes.entry)
            sweep_entry.next <<= (sweep_entry + response.is_sweep)[: sizes.entry]
            sweep_address = pyrtl.concat(sweep_tenant, sweep_entry)
        else:
            sweep_address = sweep_tenant
        bank[pyrtl.select(response.is_sweep, sweep_address, address)] <<= MemBlock.EnabledWrite(
            gated(response.data, response.is_fetch), is_current | response.is_sweep
        )
    return [any_of(pulses) for pulses in arrivals]


@hardware()
def prefetch_read(config: PoolConfig, banks: Sequence[MemBlock], tenant: WireVector, address: WireVector) -> WireVector:
    """The tenant's word at a word address."""
    sizes = Sizes(config)
    beat = address[sizes.word :]
    entry = joined((tenant, sizes.tenant), (beat[sizes.channel :], sizes.entry))
    here = chosen(low_bits(beat, sizes.channel), [bank[entry] for bank in banks])
    words = [here[WORD_BITS * place : WORD_BITS * (place + 1)] for place in range(config.words_per_beat)]
    return named("prefetch_word", chosen(low_bits(address, sizes.word), words))
