"""Memory channels: whose access a slot carries, where it may go, and to whom its response belongs.

    t           slot: the wheel names a core or the host; its access and its owner's window are selected
    t + 1       stage registers: the limit is checked, the base added; an access beyond the window raises a fault, and
                only a write takes data further
    t + 2       channel outputs, and stage 0 of the delay line, which remembers what is in flight
    t + 2 + L   last stage of the delay line; the response is on the channel's input
    t + 3 + L   registers on the core's port (or the host's); a fetched beat is in the prefetch bank

The core of a response is the one that the wheel named L + 2 cycles ago, and its owner has not changed since: a core
stays DRAINING for longer than that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from pyrtl import Const, Register, WireVector, select

from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS
from rtl.hierarchy import hardware
from rtl.ownership import Turn
from rtl.prefetch import FetchWish
from rtl.sizes import Sizes, any_of, chosen, gated, lies_on, low_bits, output, register
from rtl.tenants import Tenant
from rtl.wheel import Wheel
from rtl.windows import Sweep, Window

KIND_BITS = 3


class Kind(IntEnum):
    """What a slot carries."""

    NOTHING = 0
    FETCH = 1
    READ = 2
    WRITE = 3
    HOST_READ = 4
    HOST_WRITE = 5
    SWEEP = 6


@dataclass(frozen=True)
class Access:
    """An access on its way, one field per stage register. `kind` says what of it means something; the rest is anything
    that is quick to choose, and goes no further."""

    kind: WireVector
    epoch: WireVector
    tenant: WireVector
    base: WireVector
    limit: WireVector
    offset: WireVector
    data: WireVector
    strobe: WireVector
    instruction: WireVector


@dataclass(frozen=True)
class HostPort:
    """The host's request, held until `taken` shows 1."""

    valid: WireVector
    write: WireVector
    address: WireVector
    data: WireVector
    strobe: WireVector
    taken: Register


@dataclass(frozen=True)
class Slot:
    """Who gets the channel's slot in this cycle (at most one bit is 1), and the access that goes to the stage."""

    core: WireVector
    owner: WireVector
    is_fetch: WireVector
    is_request: WireVector
    is_host: WireVector
    is_sweep: WireVector
    access: Access


@hardware()
def slot_candidates(
    config: PoolConfig, wheel: Wheel, requests: Sequence[Mapping[str, WireVector]]
) -> dict[str, list[WireVector]]:
    """The request ports of the cores that slots of this cycle name, one core for each run of M / G cores.

    The channels' slots are M / G cores apart, so that all name the same place in different runs: that is chosen once
    for all channels. `requests[c]` are the ports of core c, `request_valid` without what has been taken already.
    """
    sizes = Sizes(config)
    place = low_bits(wheel.slot_core[0], sizes.core - sizes.channel)
    runs = [requests[first : first + config.slot_spacing] for first in range(0, config.cores, config.slot_spacing)]
    return {name: [chosen(place, [ports[name] for ports in run]) for run in runs] for name in requests[0]}


@hardware(instance="channel{channel}_slot")
def slot(
    config: PoolConfig,
    channel: int,
    wheel: Wheel,
    turn: Turn,
    tenants: Sequence[Tenant],
    windows: Sequence[Window],
    wishes: Sequence[FetchWish],
    candidates: Mapping[str, Sequence[WireVector]],
    host: HostPort,
    sweep: Sweep,
) -> Slot:
    """Decide one slot: the owner's fetch, else the core's request; in host slots the host's request, else the sweep.

    `candidates` are the ports of `slot_candidates`.
    """
    sizes = Sizes(config)
    core = wheel.slot_core[channel]
    run = core[sizes.core - sizes.channel :] if sizes.channel else core
    request = {name: chosen(run, values) for name, values in candidates.items()}
    owner = turn.owner
    # Whose slot it is is known before what the tenants want: each one is asked for itself.
    served = [~turn.is_host & turn.is_held & (owner == index) for index in range(config.tenants)]
    fetching = [mine & wish.on_channel[channel] for mine, wish in zip(served, wishes, strict=True)]
    is_fetch = any_of(fetching)
    is_request = (
        any_of([mine & tenant.may_move for mine, tenant in zip(served, tenants, strict=True)])
        & request["request_valid"]
        & lies_on(request["request_address"], channel, sizes)
        & ~is_fetch
    )
    is_host = turn.is_host & host.valid & ~host.taken & lies_on(host.address, channel, sizes)
    is_sweep = turn.is_host & ~is_host & sweep.wants[channel]

    def kind(value: Kind) -> WireVector:
        return Const(value, KIND_BITS)

    kinds = [
        (is_fetch, kind(Kind.FETCH)),
        (is_request, select(request["request_write"], kind(Kind.WRITE), kind(Kind.READ))),
        (is_host, select(host.write, kind(Kind.HOST_WRITE), kind(Kind.HOST_READ))),
        (is_sweep, kind(Kind.SWEEP)),
    ]

    def of_host(hosts: WireVector, cores: WireVector) -> WireVector:
        """Whether the slot is the host's is known long before who gets it."""
        return select(turn.is_host, hosts, cores)

    def of_window(field: str, hosts: WireVector) -> WireVector:
        """Base or limit: of the whole memory, of the window that is swept, of the owner's."""
        swept = getattr(sweep, field)
        return of_host(select(is_host, hosts, swept), chosen(owner, [getattr(window, field) for window in windows]))

    def offset(value: WireVector) -> WireVector:
        return low_bits(value, sizes.offset)

    access = Access(
        kind=any_of([gated(value, condition) for condition, value in kinds]),
        epoch=chosen(owner, [tenant.epoch for tenant in tenants]),
        tenant=owner,
        base=of_window("base", Const(0, sizes.beat)),
        limit=of_window("limit", Const(config.memory_beats, sizes.length)),
        offset=of_host(
            select(is_host, offset(host.address), offset(sweep.offset[channel])),
            select(
                is_fetch,
                offset(chosen(owner, [tenant.next_request for tenant in tenants])),
                offset(request["request_address"]),
            ),
        ),
        data=of_host(host.data, request["request_data"]),
        strobe=of_host(host.strobe, request["request_strobe"]),
        instruction=request["request_instruction"],
    )
    return Slot(core, owner, is_fetch, is_request, is_host, is_sweep, access)


@dataclass(frozen=True)
class Due:
    """What is due on a channel in this cycle, one bit per kind, and the core that its slot named."""

    core: WireVector
    is_fetch: WireVector
    epoch: WireVector
    is_read: WireVector
    is_write: WireVector
    is_host_read: WireVector
    is_host_write: WireVector
    is_sweep: WireVector
    data: WireVector


@dataclass(frozen=True)
class Violation:
    """An access beyond its owner's window, found in the stage: it is suppressed and faults its tenant."""

    valid: WireVector
    tenant: WireVector
    instruction: WireVector


@hardware(instance="channel{channel}_pipeline")
def channel_pipeline(
    config: PoolConfig, channel: int, access: Access, response: WireVector, core: WireVector
) -> tuple[Violation, Due]:
    """Stage, limit check, channel outputs and delay line of one channel.

    `response` is the channel's input, `core` the core of the slot that it answers. The check compares the whole
    offset with the limit and adds with one more bit than an address has, so that nothing can wrap.
    """
    sizes = Sizes(config)
    name = f"channel{channel}_"
    stage = Access(
        kind=register(f"{name}stage_kind", KIND_BITS),
        epoch=register(f"{name}stage_epoch", 1),
        tenant=register(f"{name}stage_tenant", sizes.tenant),
        base=register(f"{name}stage_base", sizes.beat),
        limit=register(f"{name}stage_limit", sizes.length),
        offset=register(f"{name}stage_offset", sizes.offset),
        data=register(f"{name}stage_data", sizes.data),
        strobe=register(f"{name}stage_strobe", config.vectors_per_beat),
        instruction=register(f"{name}stage_instruction", INSTRUCTION_ADDRESS_BITS),
    )
    for field, wire in vars(stage).items():
        wire.next <<= getattr(access, field).zero_extended(len(wire))[: len(wire)]

    is_inside = stage.offset < stage.limit
    passes = is_inside & (stage.kind != Kind.NOTHING)
    carries_data = (stage.kind == Kind.WRITE) | (stage.kind == Kind.HOST_WRITE)
    sweeps = stage.kind == Kind.SWEEP
    physical = stage.base + stage.offset[: sizes.beat]
    whole_beat = Const((1 << config.vectors_per_beat) - 1, config.vectors_per_beat)
    strobe = select(sweeps, whole_beat, gated(stage.strobe, carries_data))
    for port, bits, value in (
        ("valid", 1, passes),
        ("write", 1, (carries_data | sweeps) & passes),
        ("address", sizes.channel_address, gated(physical[sizes.channel : sizes.beat], passes)),
        ("data", sizes.data, gated(stage.data, passes & carries_data)),
        ("strobe", config.vectors_per_beat, gated(strobe, passes)),
    ):
        driver = register(f"{name}request_{port}", bits)
        driver.next <<= value
        output(f"{name}{port}", driver)

    kind, epoch = gated(stage.kind, passes), stage.epoch & passes
    for step in range(config.channel_latency + 1):
        kind_here = register(f"{name}flight{step}_kind", KIND_BITS)
        epoch_here = register(f"{name}flight{step}_epoch", 1)
        kind_here.next <<= kind
        epoch_here.next <<= epoch
        kind, epoch = kind_here, epoch_here
    asked = (stage.kind == Kind.READ) | (stage.kind == Kind.WRITE)
    return (
        Violation(asked & ~is_inside, stage.tenant, stage.instruction),
        Due(
            core,
            is_fetch=kind == Kind.FETCH,
            epoch=epoch,
            is_read=kind == Kind.READ,
            is_write=kind == Kind.WRITE,
            is_host_read=kind == Kind.HOST_READ,
            is_host_write=kind == Kind.HOST_WRITE,
            is_sweep=kind == Kind.SWEEP,
            data=response,
        ),
    )


@hardware()
def core_responses(
    config: PoolConfig, due: Sequence[Due], slots: Sequence[Slot], inputs: Sequence[Mapping[str, Register]]
) -> None:
    """Drive the ports `request_taken`, `response_valid`, `response_data`, `write_acknowledged` of all cores.

    The wheel says which channel can have an answer for a core: data need one multiplexer, not a gate for each channel.
    """
    sizes = Sizes(config)

    def names(index: WireVector, core: int) -> WireVector:
        return index == core if sizes.core else Const(1, 1)

    for core, ports in enumerate(inputs):
        named = [names(answer.core, core) for answer in due]
        read = any_of([here & answer.is_read for here, answer in zip(named, due, strict=True)])
        writes = [here & answer.is_write for here, answer in zip(named, due, strict=True)]
        data = chosen(channel_of(config, due[0].core, core), [answer.data for answer in due])
        ports["request_taken"].next <<= any_of([names(each.core, core) & each.is_request for each in slots])
        ports["response_valid"].next <<= read
        ports["response_data"].next <<= gated(data, read)
        ports["write_acknowledged"].next <<= any_of(writes)


def channel_of(config: PoolConfig, first: WireVector, core: int) -> WireVector:
    """The channel that names a core, if any does, while channel 0 names core `first`: channel g is g * M / G behind."""
    sizes = Sizes(config)
    if not sizes.channel:
        return Const(0, 1)
    ahead = (first - Const(core, sizes.core))[: sizes.core]
    return ahead[sizes.core - sizes.channel :]


def host_port(
    valid: WireVector, write: WireVector, address: WireVector, data: WireVector, strobe: WireVector
) -> HostPort:
    """The host's request with its `taken` register, which `host_responses` drives."""
    return HostPort(valid, write, address, data, strobe, register("host_taken", 1))


@hardware()
def host_responses(config: PoolConfig, host: HostPort, slots: Sequence[Slot], due: Sequence[Due]) -> None:
    """Drive the host's outputs: a request was taken; a read's data, or a write is done (with data 0)."""
    host.taken.next <<= any_of([each.is_host for each in slots])
    valid = register("host_answer_valid", 1)
    valid.next <<= any_of([answer.is_host_read | answer.is_host_write for answer in due])
    data = register("host_answer_data", Sizes(config).data)
    data.next <<= any_of([gated(answer.data, answer.is_host_read) for answer in due])
    output("host_request_taken", host.taken)
    output("host_response_valid", valid)
    output("host_response_data", data)
