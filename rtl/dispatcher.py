"""Level 1: one instruction a cycle, read and acted upon for the owner of the core that the wheel names.

t       stage 0: the prefetch banks are read at the program counter of the owner of core t mod M, the word is looked at
t + 1   stage 1: the word is decoded; done now, or not consumed and read again in a later slot
t + 2   on the core's port; program counter, progress and credits show the effect
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyrtl import Const, MemBlock, Register, WireVector, concat_list, select

from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, WORD_BITS
from isa.registers import Fault
from rtl.core_ports import FAULT_CAUSE_BITS
from rtl.decoder import TRAITS, Decoded, decoder, traits_of, virtual_core_of
from rtl.hierarchy import hardware
from rtl.ownership import CoreEntry, FollowingEntry, Turn
from rtl.prefetch import Jump, prefetch_read
from rtl.sizes import Sizes, any_of, chosen, first_of, gated, register
from rtl.tenants import FaultSource, Tenant
from rtl.windows import Window

ENGINES = ("load", "compute", "save")


@dataclass(frozen=True)
class Fetched:
    """Stage registers between stage 0 and stage 1."""

    valid: Register
    tenant: Register
    address: Register
    is_outside: Register
    """`word` is none: the program counter's beat lies beyond the window."""
    word: Register
    traits: Register
    """Of the word."""
    cores: Register
    """One bit per core: the tenant holds it, and its virtual index is the one in the word."""


def read_stage(
    config: PoolConfig,
    turn: Turn,
    tenants: Sequence[Tenant],
    windows: Sequence[Window],
    banks: Sequence[MemBlock],
    following: Sequence[FollowingEntry],
) -> Fetched:
    """Stage 0: read the word of the tenant whose turn it is, and look at it."""
    sizes = Sizes(config)
    valid = register("dispatch_valid", 1)
    tenant = register("dispatch_tenant", sizes.tenant)
    address = register("dispatch_address", INSTRUCTION_ADDRESS_BITS)
    is_outside = register("dispatch_is_outside", 1)

    owner = turn.owner
    program_counter = chosen(owner, [each.program_counter for each in tenants])
    # Compared for each tenant, not for the chosen one: to choose takes as long.
    beats = [each.program_counter[sizes.word :] for each in tenants]
    has_word = chosen(owner, [mine != each.next_arrival for mine, each in zip(beats, tenants, strict=True)])
    beyond = chosen(owner, [mine >= window.limit for mine, window in zip(beats, windows, strict=True)])
    takes = (
        turn.is_held
        & chosen(owner, [each.is_running for each in tenants])
        & ~(valid & (tenant == owner))
        & (has_word | beyond)
    )
    valid.next <<= takes
    tenant.next <<= owner
    address.next <<= program_counter
    is_outside.next <<= takes & beyond

    read = prefetch_read(config, banks, owner, program_counter)
    word, traits = register("dispatch_word", WORD_BITS), register("dispatch_traits", len(TRAITS))
    cores = register("dispatch_cores", config.cores)
    word.next <<= read
    traits.next <<= traits_of(read)
    virtual = virtual_core_of(read)
    cores.next <<= concat_list(
        [entry.is_held & (entry.owner == owner) & (entry.virtual == virtual) for entry in following]
    )
    return Fetched(valid, tenant, address, is_outside, word, traits, cores)


@dataclass(frozen=True)
class Verdict:
    """What stage 1 does with the word, before it is known whether its tenant is still RUNNING; 1 bit each."""

    fault: WireVector
    cause: WireVector
    advance: WireVector
    """To the next word: the instruction goes to a core."""
    call: WireVector
    returns: WireVector
    finish: WireVector
    moves: WireVector
    """Advance, call or returns."""
    following: WireVector
    """The next word."""
    target: WireVector
    """Where the program goes on if it moves."""


def verdict(
    fetched: Fetched, decoded: Decoded, tenants: Sequence[Tenant], is_mapped: WireVector, has_credit: WireVector
) -> Verdict:
    """Judge the word. Exactly one of fault, advance, call, returns, finish, or none: then it stays where it is.

    Whether a word is legal takes all of its bits: everything else is asked of its opcode.
    """
    opcode = decoded.opcode
    for_core = any_of(opcode.engine)
    in_frame = chosen(fetched.tenant, [tenant.in_frame for tenant in tenants])
    barriers = chosen(fetched.tenant, [tenant.barriers for tenant in tenants])
    return_address = chosen(fetched.tenant, [tenant.return_address for tenant in tenants])
    program_counter = chosen(fetched.tenant, [tenant.program_counter for tenant in tenants])
    faults = [
        (fetched.is_outside, Fault.FETCH_OUTSIDE_WINDOW),
        (~decoded.is_legal, Fault.ILLEGAL_INSTRUCTION),
        (opcode.is_call & in_frame, Fault.NESTED_CALL),
        (opcode.is_return & ~in_frame, Fault.RETURN_WITHOUT_CALL),
        (for_core & ~is_mapped, Fault.UNMAPPED_CORE),
    ]
    is_word = ~fetched.is_outside & decoded.is_legal
    may_advance, may_call, may_return = (
        for_core & is_mapped & has_credit, opcode.is_call & ~in_frame, opcode.is_return & in_frame
    )  # fmt: skip
    following = (program_counter + 1)[:INSTRUCTION_ADDRESS_BITS]
    return Verdict(
        fault=any_of([condition for condition, _ in faults]),
        cause=first_of(
            [(condition, Const(cause, FAULT_CAUSE_BITS)) for condition, cause in faults],
            Const(Fault.NONE, FAULT_CAUSE_BITS),
        ),
        advance=is_word & may_advance,
        call=is_word & may_call,
        returns=is_word & may_return,
        finish=is_word & opcode.is_end & (barriers >= decoded.barriers),
        moves=is_word & (may_advance | may_call | may_return),
        following=following,
        # A RETURN moves only within a frame, a CALL only outside of one.
        target=select(opcode.is_jump, select(in_frame, return_address, decoded.target), following),
    )


def program_flow(tenant: Tenant, acts: WireVector, judged: Verdict, start: WireVector, entry: WireVector) -> Jump:
    """Drive program counter and frame of one tenant. `start` jumps to `entry`; STOP is `start` with the entry 0."""
    calls, returns = acts & judged.call, acts & judged.returns
    target = select(start, entry, judged.target)
    tenant.program_counter.next <<= select(start | (acts & judged.moves), target, tenant.program_counter)
    tenant.in_frame.next <<= ~start & (calls | (tenant.in_frame & ~returns))
    tenant.return_address.next <<= first_of(
        [(start | returns, Const(0, INSTRUCTION_ADDRESS_BITS)), (calls, judged.following)], tenant.return_address
    )
    return Jump(start | calls | returns, target)


@dataclass(frozen=True)
class Dispatch:
    """What level 1 did to each tenant in this cycle."""

    jumps: list[Jump]
    finishes: list[WireVector]
    faults: list[FaultSource]


@hardware()
def dispatcher(
    config: PoolConfig,
    turn: Turn,
    entries: Sequence[CoreEntry],
    tenants: Sequence[Tenant],
    windows: Sequence[Window],
    banks: Sequence[MemBlock],
    following: Sequence[FollowingEntry],
    starts: Sequence[WireVector],
    stops: Sequence[WireVector],
    start_address: WireVector,
    outputs: Sequence[Mapping[str, WireVector]],
    inputs: Sequence[Mapping[str, Register]],
) -> Dispatch:
    """Both stages, the credits, and the instruction ports of all cores. `turn`: of the core that position t names.

    `following`: the ownership table in the next cycle, in which the word is in stage 1.
    """
    fetched = read_stage(config, turn, tenants, windows, banks, following)
    decoded = decoder(fetched.word, fetched.traits)
    matches = list(fetched.cores)
    credits = [credit_counters(config, core) for core in range(config.cores)]
    has_credit = any_of(
        [
            match & any_of([wants & (count != 0) for wants, count in zip(decoded.opcode.engine, counts, strict=True)])
            for match, counts in zip(matches, credits, strict=True)
        ]
    )
    judged = verdict(fetched, decoded, tenants, any_of(matches), has_credit)
    acting = [fetched.valid & (fetched.tenant == index) & tenant.is_running for index, tenant in enumerate(tenants)]
    sends = any_of(acting) & judged.advance
    for core, entry in enumerate(entries):
        sent = sends & matches[core]
        ports = inputs[core]
        ports["instruction_valid"].next <<= sent
        ports["instruction"].next <<= gated(fetched.word, sent)
        ports["instruction_address"].next <<= gated(fetched.address, sent)
        for engine, count in enumerate(credits[core]):
            balance = count + outputs[core]["credit"][engine] - (sent & decoded.opcode.engine[engine])
            full = Const(config.queue_instructions, len(count))
            count.next <<= select(entry.is_held, balance[: len(count)], full)
    jumps = []
    for index, tenant in enumerate(tenants):
        entry_address = gated(start_address, starts[index])
        restart = starts[index] | stops[index]
        jumps.append(program_flow(tenant, acting[index], judged, restart, entry_address))
    return Dispatch(
        jumps,
        [acts & judged.finish for acts in acting],
        [FaultSource(acts & judged.fault, judged.cause, fetched.address) for acts in acting],
    )


def credit_counters(config: PoolConfig, core: int) -> list[Register]:
    """Free places in the queues of one core, per engine: full unless the core is HELD."""
    bits = config.queue_instructions.bit_length()
    return [register(f"core{core}_credits_{engine}", bits, config.queue_instructions) for engine in ENGINES]
