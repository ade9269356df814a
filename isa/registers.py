"""The control port: one description of registers, commands and states for RTL, driver and reference page.

The host writes the arguments of a command, then the command; its result is ready COMMAND_CYCLES later, whatever
the pool is doing. Addresses count 32-bit registers. Registers of a tenant or core show the one that
ARGUMENT_TENANT or ARGUMENT_CORE names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

CONTROL_ADDRESS_BITS = 5
CONTROL_DATA_BITS = 32
IDENTIFICATION = 0x54454E31
"""What register IDENTIFICATION reads: "TEN1"."""
COMMAND_CYCLES = 4
"""Cycles from the write of COMMAND until COMMAND_RESULT holds its result."""


class Register(IntEnum):
    """Addresses of the control registers."""

    IDENTIFICATION = 0
    CORES = 1
    TENANTS = 2
    ARGUMENT_TENANT = 4
    ARGUMENT_CORE = 5
    ARGUMENT_VIRTUAL = 6
    ARGUMENT_BASE = 7
    ARGUMENT_LIMIT = 8
    ARGUMENT_START = 9
    COMMAND = 10
    COMMAND_RESULT = 11
    TENANT_STATE = 16
    TENANT_BARRIERS = 17
    TENANT_CYCLES = 18
    TENANT_FAULT = 19
    TENANT_FAULT_ADDRESS = 20
    TENANT_BASE = 21
    TENANT_LIMIT = 22
    CORE_STATE = 24
    CORE_OWNER = 25
    CORE_VIRTUAL = 26


class AxiRegister(IntEnum):
    """Addresses of the registers that the AXI adapter adds to those of the pool.

    They answer in every state, even when the pool's clock is stopped for good.
    """

    STATUS = 32
    RESET = 33
    LATE = 34
    PATIENCE = 35
    QUARANTINE = 36
    ENDED = 37
    INTERRUPT_ENABLE = 38
    INTERRUPTS = 39


class Access(IntEnum):
    """How the host may use a register."""

    READ = 0
    WRITE = 1
    READ_WRITE = 2


@dataclass(frozen=True)
class RegisterDescription:
    """One control register: who may touch it and what it holds."""

    register: Register | AxiRegister
    access: Access
    meaning: str


REGISTERS: tuple[RegisterDescription, ...] = (
    RegisterDescription(Register.IDENTIFICATION, Access.READ, "constant that tells a Tenure pool of this layout"),
    RegisterDescription(Register.CORES, Access.READ, "physical cores of the pool"),
    RegisterDescription(Register.TENANTS, Access.READ, "tenant contexts of the pool"),
    RegisterDescription(Register.ARGUMENT_TENANT, Access.READ_WRITE, "tenant of the next command, and on show"),
    RegisterDescription(Register.ARGUMENT_CORE, Access.READ_WRITE, "physical core of the next command, and on show"),
    RegisterDescription(Register.ARGUMENT_VIRTUAL, Access.READ_WRITE, "virtual index for GRANT"),
    RegisterDescription(Register.ARGUMENT_BASE, Access.READ_WRITE, "first beat of the window for ATTACH"),
    RegisterDescription(Register.ARGUMENT_LIMIT, Access.READ_WRITE, "beats in the window for ATTACH"),
    RegisterDescription(Register.ARGUMENT_START, Access.READ_WRITE, "first instruction word for START"),
    RegisterDescription(Register.COMMAND, Access.WRITE, "a Command; writing it executes it"),
    RegisterDescription(Register.COMMAND_RESULT, Access.READ, "a Result of the last command"),
    RegisterDescription(Register.TENANT_STATE, Access.READ, "a TenantState"),
    RegisterDescription(Register.TENANT_BARRIERS, Access.READ, "barriers completed since START"),
    RegisterDescription(Register.TENANT_CYCLES, Access.READ, "cycles from START taking effect to END retired"),
    RegisterDescription(Register.TENANT_FAULT, Access.READ, "a Fault: the first one since START"),
    RegisterDescription(Register.TENANT_FAULT_ADDRESS, Access.READ, "instruction word that faulted"),
    RegisterDescription(Register.TENANT_BASE, Access.READ, "first beat of the window"),
    RegisterDescription(Register.TENANT_LIMIT, Access.READ, "beats in the window"),
    RegisterDescription(Register.CORE_STATE, Access.READ, "a CoreState"),
    RegisterDescription(Register.CORE_OWNER, Access.READ, "tenant that holds the core (while not FREE)"),
    RegisterDescription(Register.CORE_VIRTUAL, Access.READ, "virtual index of the core (while not FREE)"),
)
"""Every control register, in the order of its address."""


AXI_ADDRESS_BITS = 8
"""Byte address on the AXI4-Lite port: four times a register's address."""
AXI_PATIENCE = 1 << 20
"""Value of PATIENCE after reset."""

AXI_REGISTERS: tuple[RegisterDescription, ...] = (
    RegisterDescription(AxiRegister.STATUS, Access.READ, "a set of AxiStatus bits"),
    RegisterDescription(
        AxiRegister.RESET, Access.WRITE, "any value: once all memory accesses are answered, the whole pool is reset"
    ),
    RegisterDescription(
        AxiRegister.LATE,
        Access.READ,
        "clock cycles that the pool has waited for late beats since reset; stops at the top",
    ),
    RegisterDescription(
        AxiRegister.PATIENCE, Access.READ_WRITE, "clock cycles after which a late beat is given up, and the pool halts"
    ),
    RegisterDescription(
        AxiRegister.QUARANTINE,
        Access.READ_WRITE,
        "bit c: memory answered an access of core c with an error; GRANT is refused; write 1 to clear",
    ),
    RegisterDescription(
        AxiRegister.ENDED,
        Access.READ_WRITE,
        "bit n: tenant n has become DONE, FAULTED or PAUSED; write 1 to clear",
    ),
    RegisterDescription(
        AxiRegister.INTERRUPT_ENABLE, Access.READ_WRITE, "bits of INTERRUPTS that raise the interrupt line"
    ),
    RegisterDescription(
        AxiRegister.INTERRUPTS, Access.READ, "a set of AxiInterrupt bits, which show as long as their causes do"
    ),
)
"""Every register of the AXI adapter, in the order of its address."""


class AxiStatus(IntEnum):
    """Bits of STATUS."""

    HALTED_LATE = 1
    HALTED_SWEEP = 2
    RESETTING = 4


AXI_STATUS_MEANINGS: dict[AxiStatus, str] = {
    AxiStatus.HALTED_LATE: "a beat did not come within PATIENCE; only reset helps",
    AxiStatus.HALTED_SWEEP: "memory answered the zeroing of a window with an error; only reset helps",
    AxiStatus.RESETTING: "RESET was written, and answers of the memory are still awaited",
}


AXI_CORE_IN_QUARANTINE = 12
"""What COMMAND_RESULT reads behind AXI, beside the values of Result, when a core in QUARANTINE was to be granted."""


class AxiInterrupt(IntEnum):
    """Bits of INTERRUPTS and INTERRUPT_ENABLE."""

    ENDED = 1
    QUARANTINE = 2
    HALTED = 4


AXI_INTERRUPT_MEANINGS: dict[AxiInterrupt, str] = {
    AxiInterrupt.ENDED: "a bit of ENDED is set",
    AxiInterrupt.QUARANTINE: "a bit of QUARANTINE is set",
    AxiInterrupt.HALTED: "the pool has halted: see STATUS",
}


class Command(IntEnum):
    """What the host can order."""

    ATTACH = 1
    DETACH = 2
    GRANT = 3
    REVOKE = 4
    START = 5
    PAUSE = 6
    RESUME = 7
    STOP = 8


COMMAND_MEANINGS: dict[Command, str] = {
    Command.ATTACH: "DETACHED tenant -> STOPPED, with the window [base, base + limit); refused over any window in use",
    Command.DETACH: "STOPPED tenant without cores -> DIRTY; host slots zero its window, then it is DETACHED",
    Command.GRANT: "FREE core -> HELD by an attached tenant as its virtual core; duplicates are refused",
    Command.REVOKE: "HELD core -> DRAINING -> SCRUBBING -> FREE, in a constant number of cycles",
    Command.START: "STOPPED or DONE tenant -> STARTING -> RUNNING at the wheel's next whole period",
    Command.PAUSE: "RUNNING tenant stops at its next barrier: it becomes PAUSED, sync_global is withheld",
    Command.RESUME: "PAUSED tenant -> RUNNING (sync_global is given); also takes back a PAUSE not yet reached",
    Command.STOP: "any attached tenant without cores -> STOPPED, its context reset",
}


class Result(IntEnum):
    """Result of a command."""

    NONE = 0
    ACCEPTED = 1
    UNKNOWN_COMMAND = 2
    NO_SUCH_TENANT = 3
    NO_SUCH_CORE = 4
    WRONG_TENANT_STATE = 5
    WRONG_CORE_STATE = 6
    WINDOW_OUTSIDE_MEMORY = 7
    WINDOW_OVERLAPS = 8
    VIRTUAL_INDEX_TAKEN = 9
    TENANT_HOLDS_CORES = 10
    WINDOW_NOT_ALIGNED = 11


RESULT_MEANINGS: dict[Result, str] = {
    Result.NONE: "no command since reset, or the last one is still being decided",
    Result.ACCEPTED: "done; what takes longer (draining, scrubbing, sweeping) has begun",
    Result.UNKNOWN_COMMAND: "COMMAND was written with no Command",
    Result.NO_SUCH_TENANT: "ARGUMENT_TENANT is beyond TENANTS",
    Result.NO_SUCH_CORE: "ARGUMENT_CORE is beyond CORES",
    Result.WRONG_TENANT_STATE: "the command does not apply to a tenant in this state",
    Result.WRONG_CORE_STATE: "the command does not apply to a core in this state",
    Result.WINDOW_OUTSIDE_MEMORY: "the window ends beyond the memory",
    Result.WINDOW_OVERLAPS: "the window overlaps one that is in use or not yet zeroed",
    Result.VIRTUAL_INDEX_TAKEN: "the tenant already holds a core with this virtual index",
    Result.TENANT_HOLDS_CORES: "the command needs a tenant without cores",
    Result.WINDOW_NOT_ALIGNED: "base or length of the window is no multiple of the prefetch's beats, or it is empty",
}


class TenantState(IntEnum):
    """State of a tenant's context."""

    DETACHED = 0
    STOPPED = 1
    STARTING = 2
    RUNNING = 3
    PAUSED = 4
    DONE = 5
    FAULTED = 6
    DIRTY = 7


TENANT_STATE_MEANINGS: dict[TenantState, str] = {
    TenantState.DETACHED: "no tenant: the context is reset and has no window",
    TenantState.STOPPED: "attached, with a window; nothing runs, the host may fill the window",
    TenantState.STARTING: "START was accepted and takes effect with the wheel's next whole period",
    TenantState.RUNNING: "the dispatcher fetches and executes",
    TenantState.PAUSED: "held at a barrier; its cores wait for sync_global",
    TenantState.DONE: "END was reached",
    TenantState.FAULTED: "stopped by a Fault",
    TenantState.DIRTY: "detached; its window is being zeroed",
}


class CoreState(IntEnum):
    """State of a physical core; reset enters SCRUBBING."""

    SCRUBBING = 0
    FREE = 1
    HELD = 2
    DRAINING = 3


CORE_STATE_MEANINGS: dict[CoreState, str] = {
    CoreState.SCRUBBING: "every register and every word of its memories is being zeroed",
    CoreState.FREE: "zeroed, nobody's",
    CoreState.HELD: "executes for its owner",
    CoreState.DRAINING: "revoked: no more requests, and what is in flight runs out",
}


class Fault(IntEnum):
    """Why a tenant was stopped; the first fault sticks until STOP."""

    NONE = 0
    ILLEGAL_INSTRUCTION = 1
    UNMAPPED_CORE = 2
    FETCH_OUTSIDE_WINDOW = 3
    NESTED_CALL = 4
    RETURN_WITHOUT_CALL = 5
    ACCESS_OUTSIDE_WINDOW = 6
    BUFFER_OVERRUN = 7
    TOKEN_OVERFLOW = 8


FAULT_MEANINGS: dict[Fault, str] = {
    Fault.NONE: "no fault",
    Fault.ILLEGAL_INSTRUCTION: "unknown opcode, or reserved bits that are not zero",
    Fault.UNMAPPED_CORE: "the tenant holds no core with this virtual index",
    Fault.FETCH_OUTSIDE_WINDOW: "the program counter left the window: END is missing, or CALL went astray",
    Fault.NESTED_CALL: "CALL inside a called frame",
    Fault.RETURN_WITHOUT_CALL: "RETURN outside a called frame",
    Fault.ACCESS_OUTSIDE_WINDOW: "LOAD or SAVE beyond the end of the window",
    Fault.BUFFER_OVERRUN: "an index beyond the end of a buffer of the core",
    Fault.TOKEN_OVERFLOW: "a token was given that could not be counted, or sync_global came with one pending",
}


MEANINGS: dict[type[IntEnum], Mapping[Any, str]] = {
    Command: COMMAND_MEANINGS,
    Result: RESULT_MEANINGS,
    TenantState: TENANT_STATE_MEANINGS,
    CoreState: CORE_STATE_MEANINGS,
    Fault: FAULT_MEANINGS,
    AxiStatus: AXI_STATUS_MEANINGS,
    AxiInterrupt: AXI_INTERRUPT_MEANINGS,
}
"""What each value (or, of AxiStatus and AxiInterrupt, each bit) of an enumeration says."""
