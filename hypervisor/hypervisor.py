"""Drives a pool: places tenants, gives them cores, runs their programs and takes everything back.

It knows a pool only through its control registers and its memory (`hypervisor.pool_port`), so it drives a simulator
and a card alike, from reset or in the middle of work: it begins with what the registers say. Every command's result is
checked; a refused one raises HypervisorError with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hypervisor.pool_port import Bytes, ControlAccess, Idle, PoolPort, Read, Write, read_control
from hypervisor.windows import OutOfMemory, Window, WindowAllocator
from isa.configuration import PoolConfig
from isa.registers import (
    COMMAND_CYCLES,
    FAULT_MEANINGS,
    IDENTIFICATION,
    RESULT_MEANINGS,
    Command,
    CoreState,
    Fault,
    Register,
    Result,
    TenantState,
)

POLL_CYCLES = 64
"""Cycles from one look at the tenants' states to the next. A layer takes longer: its first read alone takes 64."""


class HypervisorError(RuntimeError):
    """Something that the pool refused or did not do in time; `result` is the refused command's result, if any."""

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


@dataclass
class Tenant:
    """An attached tenant: its context in the pool, its window, and its physical cores in virtual order."""

    number: int
    window: Window
    beat_bytes: int
    cores: list[int] = field(default_factory=list)

    @property
    def offset_bytes(self) -> int:
        """First byte of the window in memory."""
        return self.window.base * self.beat_bytes

    @property
    def length_bytes(self) -> int:
        """Bytes in the window."""
        return self.window.beats * self.beat_bytes


@dataclass(frozen=True)
class TenantStatus:
    """What the registers of a tenant show. `cycles` count from START taking effect to END retired."""

    state: TenantState
    barriers: int
    cycles: int
    fault: Fault
    fault_address: int

    def describe_fault(self) -> str | None:
        """The fault in words with its instruction, or None."""
        if self.fault is Fault.NONE:
            return None
        return f"{self.fault.name} at instruction word {self.fault_address}: {FAULT_MEANINGS[self.fault]}"


BarrierWatch = Callable[[Tenant, int], None]
"""Called when a tenant's count of completed barriers has changed, with the new count."""
ENDED = (TenantState.DONE, TenantState.FAULTED, TenantState.PAUSED, TenantState.STOPPED)


class Hypervisor:
    """Drives the pool behind `port`. Raises HypervisorError when it is no pool of these sizes.

    `tenants`, by context, are those that the registers show as attached; on a pool at reset there are none.
    """

    def __init__(self, port: PoolPort) -> None:
        self.port = port
        self.config: PoolConfig = port.config
        self._windows = WindowAllocator(self.config)
        self.tenants: dict[int, Tenant] = {}
        self._free_cores: set[int] = set()
        self._check_identity()
        self._read_registers()

    # --- placing -------------------------------------------------------------------------------------------------

    def attach(self, length_bytes: int) -> Tenant:
        """A new tenant with a window of at least `length_bytes` bytes, zeroed outside simulated time."""
        number = self.free_context()
        if number is None:
            raise HypervisorError(f"all {self.config.tenants} tenant contexts of pool {self.config.name!r} are in use")
        try:
            window = self.find_window(length_bytes)
        except OutOfMemory as problem:
            raise HypervisorError(str(problem)) from None
        tenant = self.attach_at(number, window)
        self.write(tenant, 0, np.zeros(tenant.length_bytes, np.uint8))
        return tenant

    def free_context(self) -> int | None:
        """The lowest context that is not in use, or None."""
        return next((n for n in range(self.config.tenants) if n not in self.tenants), None)

    def find_window(self, length_bytes: int) -> Window:
        """Where a window of so many bytes would go. Raises OutOfMemory."""
        return self._windows.find(length_bytes)

    def attach_at(self, number: int, window: Window) -> Tenant:
        """A new tenant in a context and window that are free; what was in the memory stays there."""
        arguments = {
            Register.ARGUMENT_TENANT: number,
            Register.ARGUMENT_BASE: window.base,
            Register.ARGUMENT_LIMIT: window.beats,
        }
        self._command(Command.ATTACH, arguments)
        self._windows.take(window)
        self.tenants[number] = Tenant(number, window, self.config.beat_bytes)
        return self.tenants[number]

    def grant(self, tenant: Tenant, cores: Sequence[int]) -> None:
        """Give physical cores to a tenant, as its next virtual cores in this order."""
        for core in cores:
            if core not in self._free_cores:
                raise HypervisorError(
                    f"core {core} is not free; free cores of pool {self.config.name!r}: {sorted(self._free_cores)}"
                )
            arguments = {
                Register.ARGUMENT_TENANT: tenant.number,
                Register.ARGUMENT_CORE: core,
                Register.ARGUMENT_VIRTUAL: len(tenant.cores),
            }
            self._command(Command.GRANT, arguments)
            self._free_cores.remove(core)
            tenant.cores.append(core)

    def revoke(self, *tenants: Tenant, keep: int = 0) -> None:
        """Take cores from tenants at the same time, all but the first `keep` of each.

        Returns when they are drained, scrubbed and free. The last ones go first: what a tenant holds has no gaps at any
        moment.
        """
        taken = [core for tenant in tenants for core in reversed(tenant.cores[keep:])]
        for core in taken:
            self._command(Command.REVOKE, {Register.ARGUMENT_CORE: core})
        for core in taken:
            self._wait_for_core(core)
        self._free_cores |= set(taken)
        for tenant in tenants:
            del tenant.cores[keep:]

    @property
    def free_cores(self) -> frozenset[int]:
        """Cores that can be granted."""
        return frozenset(self._free_cores)

    def take_note(self, tenant: Tenant, cores: Sequence[int]) -> None:
        """The pool has been made to give the tenant exactly `cores`, in virtual order; others of its own are FREE."""
        self._free_cores |= set(tenant.cores)
        self._free_cores -= set(cores)
        tenant.cores[:] = cores

    def detach(self, tenant: Tenant) -> None:
        """Remove a tenant without cores; returns when the pool has zeroed its window in the host's slots."""
        if self.status(tenant).state is not TenantState.STOPPED:
            self.stop(tenant)
        self.begin_detach(tenant)
        self._wait_for_detached(tenant.number, tenant.window.beats)
        self.forget(tenant)

    def begin_detach(self, tenant: Tenant) -> None:
        """Let the pool zero the window of a stopped tenant without cores; `forget` it when that is done."""
        self._command(Command.DETACH, {Register.ARGUMENT_TENANT: tenant.number})

    def forget(self, tenant: Tenant) -> None:
        """Take back context and window of a tenant that is DETACHED."""
        self._windows.release(tenant.window)
        del self.tenants[tenant.number]

    # --- memory --------------------------------------------------------------------------------------------------

    def write(self, tenant: Tenant, offset: int, data: bytes | Bytes) -> None:
        """Place bytes in the tenant's window, outside simulated time. Raises ValueError beyond its end."""
        content = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        self._check_place(tenant, offset, len(content))
        self.port.write_memory(tenant.offset_bytes + offset, content)

    def read(self, tenant: Tenant, offset: int, length: int) -> Bytes:
        """A copy of bytes of the tenant's window, outside simulated time. Raises ValueError beyond its end."""
        self._check_place(tenant, offset, length)
        return self.port.read_memory(tenant.offset_bytes + offset, length)

    # --- running -------------------------------------------------------------------------------------------------

    def align_start(self, count: int) -> None:
        """Wait, if need be, until `count` tenants can be started before the wheel's next whole period begins."""
        needed = count * (3 + COMMAND_CYCLES + 2) + COMMAND_CYCLES
        period = self.config.period_cycles
        if needed > period:
            raise HypervisorError(f"{count} tenants cannot start in one period of {period} cycles: start fewer")
        remaining = period - self.port.cycle % period
        if remaining < needed:
            self.port.step(remaining)

    def start(self, programs: Sequence[tuple[Tenant, int]]) -> None:
        """START tenants at their start words, all at the beginning of the same whole period of the wheel."""
        orders = [
            {Register.ARGUMENT_TENANT: tenant.number, Register.ARGUMENT_START: start_word}
            for tenant, start_word in programs
        ]
        accesses = [access for order in orders for access in _command_accesses(Command.START, order)]
        self.align_start(len(programs))
        for order, answer in zip(orders, self.port.transfer(accesses), strict=True):
            check_result(Command.START, answer, order)

    def wait(
        self,
        tenants: Iterable[Tenant],
        limit_cycles: int,
        watch: BarrierWatch | None = None,
        poll_cycles: int = POLL_CYCLES,
    ) -> None:
        """Let time pass until every one of the tenants has ended: DONE, FAULTED or PAUSED.

        Looks at those that have not once every `poll_cycles` cycles, and calls `watch` for new barriers before any
        more time passes. Raises HypervisorError when `limit_cycles` pass without an end.
        """
        waiting = list(tenants)
        seen: dict[int, int] = {}
        while waiting:
            ended = self.wait_for_any(waiting, limit_cycles, watch, poll_cycles, seen)
            waiting = [tenant for tenant in waiting if tenant not in ended]

    def wait_for_any(
        self,
        tenants: Sequence[Tenant],
        limit_cycles: int,
        watch: BarrierWatch | None = None,
        poll_cycles: int = POLL_CYCLES,
        seen: dict[int, int] | None = None,
    ) -> list[Tenant]:
        """As `wait`, until one of the tenants has ended; those that have.

        `seen` keeps the barriers that `watch` knows of, by tenant, from one call to the next: clear a tenant's entry
        when it starts anew.
        """
        known = {} if seen is None else seen
        end = self.port.cycle + limit_cycles
        while True:
            began = self.port.cycle
            states = self._look(tenants)
            for tenant, (_, count) in zip(tenants, states, strict=True):
                if count != known.get(tenant.number, 0) and watch is not None:
                    watch(tenant, count)
                known[tenant.number] = count
            ended = [tenant for tenant, (state, _) in zip(tenants, states, strict=True) if state in ENDED]
            if ended:
                return ended
            if self.port.cycle >= end:
                names = ", ".join(f"tenant {t.number} ({self.status(t).state.name})" for t in tenants)
                raise HypervisorError(f"no end within {limit_cycles} cycles: {names}; give a higher limit")
            self.port.step(max(0, began + poll_cycles - self.port.cycle))

    def _look(self, tenants: Sequence[Tenant]) -> list[tuple[TenantState, int]]:
        """State and completed barriers of tenants."""
        look: list[ControlAccess] = []
        for tenant in tenants:
            look += [Write(Register.ARGUMENT_TENANT, tenant.number), Read(Register.TENANT_STATE)]
            look += [Read(Register.TENANT_BARRIERS)]
        answers = self.port.transfer(look)
        return [(TenantState(state), count) for state, count in zip(answers[0::2], answers[1::2], strict=True)]

    def status(self, tenant: Tenant) -> TenantStatus:
        """What the tenant's registers show now."""
        registers = (
            Register.TENANT_STATE,
            Register.TENANT_BARRIERS,
            Register.TENANT_CYCLES,
            Register.TENANT_FAULT,
            Register.TENANT_FAULT_ADDRESS,
        )
        select = Write(Register.ARGUMENT_TENANT, tenant.number)
        state, barriers, cycles, fault, address = self.port.transfer([select, *map(Read, registers)])
        return TenantStatus(TenantState(state), barriers, cycles, Fault(fault), address)

    def pause(self, tenant: Tenant) -> None:
        """Ask a running tenant to stop at its next barrier; `wait` for it then."""
        self._command(Command.PAUSE, {Register.ARGUMENT_TENANT: tenant.number})

    def resume(self, tenant: Tenant) -> None:
        """Let a paused tenant go on."""
        self._command(Command.RESUME, {Register.ARGUMENT_TENANT: tenant.number})

    def stop(self, tenant: Tenant) -> None:
        """Reset the context of a tenant without cores."""
        self._command(Command.STOP, {Register.ARGUMENT_TENANT: tenant.number})

    # --- registers -----------------------------------------------------------------------------------------------

    def _command(self, command: Command, arguments: Mapping[Register, int]) -> None:
        (answer,) = self.port.transfer(_command_accesses(command, arguments))
        check_result(command, answer, arguments)

    def _check_identity(self) -> None:
        """Read the constants. That takes COMMAND_CYCLES and longer: what is written next meets no command under way."""
        found = read_control(self.port, Register.IDENTIFICATION)
        if found != IDENTIFICATION:
            raise HypervisorError(f"this is no Tenure pool: IDENTIFICATION reads {found:#x}, not {IDENTIFICATION:#x}")
        for register, expected in ((Register.CORES, self.config.cores), (Register.TENANTS, self.config.tenants)):
            value = read_control(self.port, register)
            if value != expected:
                raise HypervisorError(
                    f"the pool has {value} {register.name.lower()}, {self.config.name!r} says {expected}"
                )

    def _read_registers(self) -> None:
        """Tenants, windows and cores as they are. Cores that are being scrubbed are waited for, as after reset.

        Reset cleans every context, too; a tenant that is DIRTY then, or was left so, is waited for.
        """
        owners = []
        for core in range(self.config.cores):
            if self._wait_for_core(core) is CoreState.HELD:
                look: list[ControlAccess] = [Write(Register.ARGUMENT_CORE, core)]
                owner, virtual = self.port.transfer([*look, Read(Register.CORE_OWNER), Read(Register.CORE_VIRTUAL)])
                owners.append((owner, virtual, core))
            else:
                self._free_cores.add(core)
        for number in range(self.config.tenants):
            if self._wait_for_detached(number, self.config.memory_beats) is not TenantState.DETACHED:
                look = [Write(Register.ARGUMENT_TENANT, number), Read(Register.TENANT_BASE)]
                base, beats = self.port.transfer([*look, Read(Register.TENANT_LIMIT)])
                self._windows.take(Window(base, beats))
                self.tenants[number] = Tenant(number, Window(base, beats), self.config.beat_bytes)
        for owner, virtual, core in sorted(owners):
            cores = self.tenants[owner].cores
            if virtual != len(cores):
                raise HypervisorError(
                    f"tenant {owner} holds virtual core {virtual} and not {len(cores)}: reset the pool"
                )
            cores.append(core)

    def _wait_for_core(self, core: int) -> CoreState:
        """Until a core is neither draining nor being scrubbed; its state then."""
        look: list[ControlAccess] = [Write(Register.ARGUMENT_CORE, core), Read(Register.CORE_STATE)]
        settled = (CoreState.FREE, CoreState.HELD)
        limit = self.config.drain_cycles + self.config.scrub_cycles + 4 * self.config.period_cycles
        return CoreState(self._wait_for(look, settled, limit, f"core {core}"))

    def _wait_for_detached(self, number: int, beats: int) -> TenantState:
        """Until a tenant is not DIRTY any more, with a window of `beats` beats to zero; its state then."""
        slots = self.config.cores * self.config.channels
        limit = (beats // slots + 4) * self.config.tenants * self.config.period_cycles + self.config.drain_cycles
        look: list[ControlAccess] = [Write(Register.ARGUMENT_TENANT, number), Read(Register.TENANT_STATE)]
        settled = [state for state in TenantState if state is not TenantState.DIRTY]
        return TenantState(self._wait_for(look, settled, limit, f"tenant {number}"))

    def _wait_for(self, look: Sequence[ControlAccess], wanted: Collection[int], limit_cycles: int, who: str) -> int:
        end = self.port.cycle + limit_cycles
        while (value := self.port.transfer(look)[0]) not in wanted:
            if self.port.cycle > end:
                raise HypervisorError(
                    f"{who} is in state {value} after {limit_cycles} cycles, and should be in another"
                )
            self.port.step(POLL_CYCLES)
        return value

    def _check_place(self, tenant: Tenant, offset: int, length: int) -> None:
        if not 0 <= offset <= offset + length <= tenant.length_bytes:
            raise ValueError(
                f"bytes {offset}..{offset + length} lie outside the window of tenant {tenant.number}, which has "
                f"{tenant.length_bytes}"
            )


def _command_accesses(command: Command, arguments: Mapping[Register, int]) -> list[ControlAccess]:
    writes = [Write(register, value) for register, value in arguments.items()]
    return [*writes, Write(Register.COMMAND, command), Idle(COMMAND_CYCLES), Read(Register.COMMAND_RESULT)]


def check_result(command: Command, answer: int, arguments: Mapping[Register, int]) -> None:
    """Raises HypervisorError unless `answer`, what COMMAND_RESULT reads, says that a command was accepted."""
    result = Result(answer)
    if result is not Result.ACCEPTED:
        what = ", ".join(f"{name.name.removeprefix('ARGUMENT_').lower()} {value}" for name, value in arguments.items())
        raise HypervisorError(f"{command.name} ({what}) was refused: {RESULT_MEANINGS[result]}", result)
