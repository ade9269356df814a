"""The context of a tenant: how far it has come, its program's pointers, its fault; and what changes its progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, select

from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, End
from isa.registers import CONTROL_DATA_BITS, Fault, TenantState
from rtl.core_ports import FAULT_CAUSE_BITS
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, any_of, first_of, register

PROGRESS_BITS = 3
BARRIER_BITS = End.field_layout("barriers").width


@dataclass(frozen=True)
class Tenant:
    """Registers of one context. All are 0 unless the tenant is ACTIVE; `progress` holds a TenantState then."""

    progress: Register
    pause_pending: Register
    release: Register
    """A barrier is complete: sync_global to the tenant's cores."""
    barriers: Register
    cycles: Register
    fault: Register
    fault_address: Register
    program_counter: Register
    """Word address of the next instruction, modulo 2**28."""
    in_frame: Register
    return_address: Register
    next_request: Register
    """Next beat of instructions to request."""
    next_arrival: Register
    """Next beat of instructions to arrive; those from the program counter's beat up to here are in the buffer."""
    epoch: Register
    """Flipped by every jump: responses to fetches of another epoch are dropped."""
    is_running: WireVector
    may_move: WireVector
    """RUNNING or PAUSED: its cores' requests are taken."""


@hardware()
def tenants(config: PoolConfig) -> list[Tenant]:
    """Registers of all contexts."""
    sizes = Sizes(config)
    result = []
    for index in range(config.tenants):
        name = f"tenant{index}_"
        progress = register(f"{name}progress", PROGRESS_BITS)
        is_running = progress == TenantState.RUNNING
        result.append(
            Tenant(
                progress=progress,
                pause_pending=register(f"{name}pause_pending", 1),
                release=register(f"{name}release", 1),
                barriers=register(f"{name}barriers", BARRIER_BITS),
                cycles=register(f"{name}cycles", CONTROL_DATA_BITS),
                fault=register(f"{name}fault", FAULT_CAUSE_BITS),
                fault_address=register(f"{name}fault_address", INSTRUCTION_ADDRESS_BITS),
                program_counter=register(f"{name}program_counter", INSTRUCTION_ADDRESS_BITS),
                in_frame=register(f"{name}in_frame", 1),
                return_address=register(f"{name}return_address", INSTRUCTION_ADDRESS_BITS),
                next_request=register(f"{name}next_request", sizes.pointer),
                next_arrival=register(f"{name}next_arrival", sizes.pointer),
                epoch=register(f"{name}epoch", 1),
                is_running=is_running,
                may_move=is_running | (progress == TenantState.PAUSED),
            )
        )
    return result


@dataclass(frozen=True)
class FaultSource:
    """One place where a tenant's fault can come from, in one cycle."""

    valid: WireVector
    cause: WireVector
    address: WireVector


@dataclass(frozen=True)
class TenantEvents:
    """1-bit pulses that change the progress of one tenant: accepted commands, then what happened to it."""

    start: WireVector
    pause: WireVector
    resume: WireVector
    stop: WireVector
    finish: WireVector
    """END retires."""
    barrier: WireVector
    """Every core has arrived at a barrier."""


@hardware()
def tenant_progress(
    tenant: Tenant, events: TenantEvents, faults: Sequence[FaultSource], is_last_position: WireVector
) -> None:
    """Drive progress, pause, barrier count, cycle count and fault of one tenant.

    The first fault since START sticks; of faults in the same cycle the first of `faults` wins. Faults count while
    the tenant is RUNNING or PAUSED. `cycles` counts the cycles in which `progress` shows RUNNING or PAUSED.
    """

    def state(value: TenantState) -> WireVector:
        return Const(value, PROGRESS_BITS)

    restart = events.start | events.stop
    faulted = tenant.may_move & any_of([source.valid for source in faults])
    pauses = events.barrier & tenant.pause_pending & ~events.resume
    resumes = events.resume & (tenant.progress == TenantState.PAUSED)
    begins = (tenant.progress == TenantState.STARTING) & is_last_position
    tenant.progress.next <<= first_of(
        [
            (events.stop, Const(0, PROGRESS_BITS)),
            (events.start, state(TenantState.STARTING)),
            (faulted, state(TenantState.FAULTED)),
            (events.finish, state(TenantState.DONE)),
            (pauses, state(TenantState.PAUSED)),
            (resumes | begins, state(TenantState.RUNNING)),
        ],
        tenant.progress,
    )
    tenant.pause_pending.next <<= ~restart & (events.pause | (tenant.pause_pending & ~events.resume & ~pauses))
    tenant.release.next <<= ~restart & ((events.barrier & ~pauses) | resumes)

    every_barrier = (1 << BARRIER_BITS) - 1
    counts_barrier = events.barrier & (tenant.barriers != every_barrier)
    tenant.barriers.next <<= first_of(
        [(restart, Const(0, BARRIER_BITS))], (tenant.barriers + counts_barrier)[:BARRIER_BITS]
    )
    tenant.cycles.next <<= first_of(
        [(restart, Const(0, CONTROL_DATA_BITS))], (tenant.cycles + tenant.may_move)[:CONTROL_DATA_BITS]
    )
    cause = first_of([(source.valid, source.cause) for source in faults], Const(Fault.NONE, FAULT_CAUSE_BITS))
    address = first_of([(source.valid, source.address) for source in faults], Const(0, INSTRUCTION_ADDRESS_BITS))
    for field, value in ((tenant.fault, cause), (tenant.fault_address, address)):
        field.next <<= first_of([(restart, Const(0, len(field)))], select(faulted, value, field))
