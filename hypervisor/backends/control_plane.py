"""The control plane in Python: what the shell's registers do with commands, without a netlist.

Ownership, windows, states and their timers live here; what a tenant's program does is left to a `ProgramRunner`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from hypervisor.pool_port import PortError
from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, VIRTUAL_CORE_BITS
from isa.registers import (
    COMMAND_CYCLES,
    CONTROL_DATA_BITS,
    IDENTIFICATION,
    Command,
    CoreState,
    Fault,
    Register,
    Result,
    TenantState,
)

SCRUB_MARGIN_CYCLES = 4
"""Cycles in SCRUBBING beyond the sweep of the core; `rtl.sizes` has the same number."""
CHECK_CYCLES = 1
"""Cycles from the write of COMMAND to the one whose cores, attachments and windows it is checked against."""
_ARGUMENT_BITS = {
    Register.ARGUMENT_VIRTUAL: VIRTUAL_CORE_BITS,
    Register.ARGUMENT_START: INSTRUCTION_ADDRESS_BITS,
}
"""Bits that an argument keeps of what is written; others keep all."""
MAY_START = (TenantState.STOPPED, TenantState.DONE)
MOVING = (TenantState.RUNNING, TenantState.PAUSED)


class Run(Protocol):
    """A tenant's program in flight; times are cycles since START took effect, without the time spent PAUSED."""

    @property
    def barriers(self) -> Sequence[int]:
        """When each barrier completes."""

    @property
    def end(self) -> int | None:
        """When END retires or a fault stops the tenant; None: never."""

    @property
    def fault(self) -> tuple[Fault, int]:
        """The fault that ends the run, and the word address; Fault.NONE when END does."""

    def reach_barrier(self, number: int) -> None:
        """Let what the program wrote before barrier `number` show in memory; `len(barriers)` means before its end."""


ProgramRunner = Callable[[int, int, int, int, dict[int, int]], Run]
"""(tenant, base beat, limit beats, start word, physical cores by virtual index, in that order) to its run."""


@dataclass
class CoreEntry:
    """Ownership of one physical core; `until` is the cycle in which its timer runs out, `grants` counts GRANTs.

    `revoked` is the cycle of the last REVOKE, 0 before the first.
    """

    state: CoreState = CoreState.SCRUBBING
    owner: int = 0
    virtual: int = 0
    until: int = 0
    grants: int = 0
    revoked: int = 0


@dataclass
class Context:
    """One tenant's registers."""

    state: TenantState = TenantState.DIRTY
    base: int = 0
    limit: int = 0
    start_word: int = 0
    barriers: int = 0
    began: int = 0
    paused: int = 0
    paused_at: int = 0
    ended_cycles: int = 0
    fault: Fault = Fault.NONE
    fault_address: int = 0
    pause_pending: bool = False
    until: int = 0
    run: Run | None = None


@dataclass(frozen=True)
class _Sweep:
    """The window of `tenant` is being zeroed; DETACHED shows at `end`."""

    tenant: int
    end: int


@dataclass
class ControlPlane:
    """All registers of a pool. `advance` lets time pass; `write` and `read` are the host's accesses."""

    config: PoolConfig
    runner: ProgramRunner
    zero_window: Callable[[int, int], None]
    cycle: int = 0
    has_resumed: bool = False
    """A PAUSED tenant went on: from there on its times are those without the pause, shifted; the wheel's are not."""
    cores: list[CoreEntry] = field(default_factory=list)
    tenants: list[Context] = field(default_factory=list)
    _arguments: dict[int, int] = field(default_factory=dict)
    _result: Result = Result.NONE
    _ordered: int = 0
    _effect_at: int | None = None
    _seen_cores: list[CoreEntry] = field(default_factory=list)
    _seen_tenants: list[Context] = field(default_factory=list)
    _sweep: _Sweep | None = None

    def __post_init__(self) -> None:
        self.cores = [CoreEntry(until=self._scrub_cycles) for _ in range(self.config.cores)]
        unit = self.config.fetch_beats
        self.tenants = [Context(base=n * unit, limit=unit) for n in range(self.config.tenants)]
        self._begin_sweep()

    @property
    def _scrub_cycles(self) -> int:
        return self.config.scrub_cycles + SCRUB_MARGIN_CYCLES

    # --- host ----------------------------------------------------------------------------------------------------

    def write(self, address: int, value: int) -> None:
        """A write access in the present cycle; ignored while a command is being carried out."""
        if self._effect_at is not None:
            return
        if address == Register.COMMAND:
            self._result, self._ordered = Result.NONE, value
            self._effect_at = self.cycle + COMMAND_CYCLES
        elif Register.ARGUMENT_TENANT <= address <= Register.ARGUMENT_START:
            bits = _ARGUMENT_BITS.get(Register(address), CONTROL_DATA_BITS)
            self._arguments[address] = value & (1 << bits) - 1

    def read(self, address: int) -> int:
        """What a read access in the present cycle answers; 0 for an address without a register."""
        if Register.ARGUMENT_TENANT <= address <= Register.ARGUMENT_START:
            return self._argument(Register(address))
        if address == Register.COMMAND_RESULT:
            return self._result
        constants = {
            Register.IDENTIFICATION: IDENTIFICATION,
            Register.CORES: self.config.cores,
            Register.TENANTS: self.config.tenants,
        }
        if address in constants:
            return constants[Register(address)]
        if Register.TENANT_STATE <= address <= Register.TENANT_LIMIT:
            return self._read_tenant(Register(address))
        if Register.CORE_STATE <= address <= Register.CORE_VIRTUAL:
            return self._read_core(Register(address))
        return 0

    def _read_tenant(self, register: Register) -> int:
        number = self._argument(Register.ARGUMENT_TENANT)
        if number >= len(self.tenants):
            return 0
        context = self.tenants[number]
        return {
            Register.TENANT_STATE: int(context.state),
            Register.TENANT_BARRIERS: context.barriers,
            Register.TENANT_CYCLES: self._cycles_of(context),
            Register.TENANT_FAULT: int(context.fault),
            Register.TENANT_FAULT_ADDRESS: context.fault_address,
            Register.TENANT_BASE: context.base,
            Register.TENANT_LIMIT: context.limit,
        }[register]

    def _read_core(self, register: Register) -> int:
        number = self._argument(Register.ARGUMENT_CORE)
        if number >= len(self.cores):
            return 0
        entry = self.cores[number]
        return {
            Register.CORE_STATE: int(entry.state),
            Register.CORE_OWNER: entry.owner,
            Register.CORE_VIRTUAL: entry.virtual,
        }[register]

    def _argument(self, register: Register) -> int:
        return self._arguments.get(register, 0)

    # --- time ----------------------------------------------------------------------------------------------------

    def advance(self, cycles: int) -> None:
        """Let `cycles` cycles pass."""
        end, effect_at = self.cycle + cycles, self._effect_at
        if effect_at is not None and effect_at - COMMAND_CYCLES + CHECK_CYCLES <= end:
            self._see(effect_at - COMMAND_CYCLES + CHECK_CYCLES)
            if effect_at <= end:
                self._pass_until(effect_at)
                self._effect_at = None
                self._result = self._execute(self._ordered)
                self._seen_cores = []
        self._pass_until(end)

    def _see(self, cycle: int) -> None:
        """Keep what the command is checked against, which is what there is in `cycle`, unless that was done before."""
        if not self._seen_cores:
            self._pass_until(cycle)
            self._seen_cores = [replace(entry) for entry in self.cores]
            self._seen_tenants = [replace(context) for context in self.tenants]

    def _pass_until(self, cycle: int) -> None:
        self.cycle = cycle
        for entry in self.cores:
            if entry.state is CoreState.DRAINING and cycle >= entry.until:
                entry.state, entry.until = CoreState.SCRUBBING, entry.until + self._scrub_cycles
            if entry.state is CoreState.SCRUBBING and cycle >= entry.until:
                entry.state, entry.owner, entry.virtual = CoreState.FREE, 0, 0
        while self._sweep is not None and cycle >= self._sweep.end:
            context, free_at = self.tenants[self._sweep.tenant], self._sweep.end
            self.zero_window(context.base, context.limit)
            context.state, context.base, context.limit = TenantState.DETACHED, 0, 0
            self._sweep = None
            self._begin_sweep(free_at)
        for number, context in enumerate(self.tenants):
            self._advance_tenant(number, context)

    def _begin_sweep(self, cycle: int = 0) -> None:
        """The lowest DIRTY tenant is seen in `cycle`; each channel zeroes one beat in every host slot after that."""
        dirty = [number for number, context in enumerate(self.tenants) if context.state is TenantState.DIRTY]
        if self._sweep is not None or not dirty:
            return
        config = self.config
        beats = self.tenants[dirty[0]].limit // config.channels
        first_host_position = (config.host_revolutions - 1) * config.cores
        last = 0
        for channel in range(config.channels):
            delay = channel * config.slot_spacing
            position = (cycle + 1 - delay) % config.period_cycles
            done = max(0, position - first_host_position)
            periods, rest = divmod(done + beats - 1, config.cores)
            last = max(last, cycle + 1 - position + periods * config.period_cycles + first_host_position + rest)
        self._sweep = _Sweep(dirty[0], last + 2 + config.drain_cycles)

    def _advance_tenant(self, number: int, context: Context) -> None:
        if context.state is TenantState.STARTING and self.cycle >= context.until:
            context.state, context.began = TenantState.RUNNING, context.until
            held = sorted(
                (entry.virtual, core)
                for core, entry in enumerate(self.cores)
                if entry.state is CoreState.HELD and entry.owner == number
            )
            cores = dict(held)
            # Without cores nothing is dispatched: it is RUNNING, and comes to no barrier and to no end.
            context.run = self.runner(number, context.base, context.limit, context.start_word, cores) if cores else None
        if context.state is TenantState.RUNNING and context.run is not None:
            self._advance_run(context, context.run)

    def _advance_run(self, context: Context, run: Run) -> None:
        now = self.cycle - context.began - context.paused
        while context.barriers < len(run.barriers) and run.barriers[context.barriers] <= now:
            run.reach_barrier(context.barriers)
            context.barriers += 1
            if context.pause_pending:
                context.state, context.pause_pending = TenantState.PAUSED, False
                context.paused_at = context.began + context.paused + run.barriers[context.barriers - 1]
                return
        if run.end is not None and run.end <= now:
            run.reach_barrier(len(run.barriers))
            context.fault, context.fault_address = run.fault
            context.state = TenantState.DONE if context.fault is Fault.NONE else TenantState.FAULTED
            context.ended_cycles = run.end + context.paused

    def _cycles_of(self, context: Context) -> int:
        if context.state in MOVING:
            return self.cycle - context.began
        return context.ended_cycles

    # --- commands ------------------------------------------------------------------------------------------------

    def _execute(self, value: int) -> Result:
        if value not in set(Command):
            return Result.UNKNOWN_COMMAND
        command = Command(value)
        number, core = self._argument(Register.ARGUMENT_TENANT), self._argument(Register.ARGUMENT_CORE)
        if command is not Command.REVOKE and number >= len(self.tenants):
            return Result.NO_SUCH_TENANT
        if command in (Command.GRANT, Command.REVOKE) and core >= len(self.cores):
            return Result.NO_SUCH_CORE
        if command is Command.REVOKE:
            return self._revoke(self.cores[core])
        context = self.tenants[number]
        match command:
            case Command.ATTACH:
                return self._attach(number, context)
            case Command.GRANT:
                return self._grant(number, context, core)
            case Command.START:
                return self._start(context)
            case Command.PAUSE | Command.RESUME:
                return self._pause_or_resume(context, command)
        return self._stop_or_detach(number, context, command)

    def _attach(self, number: int, context: Context) -> Result:
        base, limit = self._argument(Register.ARGUMENT_BASE), self._argument(Register.ARGUMENT_LIMIT)
        if self._seen_tenants[number].state is not TenantState.DETACHED:
            return Result.WRONG_TENANT_STATE
        if base % self.config.fetch_beats or limit % self.config.fetch_beats or not limit:
            return Result.WINDOW_NOT_ALIGNED
        if base + limit > self.config.memory_beats:
            return Result.WINDOW_OUTSIDE_MEMORY
        used = [other for other in self._seen_tenants if other.state is not TenantState.DETACHED]
        if any(base < other.base + other.limit and other.base < base + limit for other in used):
            return Result.WINDOW_OVERLAPS
        context.state, context.base, context.limit = TenantState.STOPPED, base, limit
        return Result.ACCEPTED

    def _grant(self, number: int, context: Context, core: int) -> Result:
        """Raises PortError for a first core that comes after START."""
        entry, virtual = self.cores[core], self._argument(Register.ARGUMENT_VIRTUAL)
        if context.state in (TenantState.DETACHED, TenantState.DIRTY):
            return Result.WRONG_TENANT_STATE
        if self._seen_cores[core].state is not CoreState.FREE:
            return Result.WRONG_CORE_STATE
        if any(
            other.owner == number and other.virtual == virtual
            for other in self._seen_cores
            if other.state is not CoreState.FREE
        ):
            return Result.VIRTUAL_INDEX_TAKEN
        if context.state in (TenantState.RUNNING, TenantState.PAUSED) and context.run is None:
            raise PortError("the model backend runs no program whose first core comes after START: GRANT it before")
        entry.state, entry.owner, entry.virtual = CoreState.HELD, number, virtual
        entry.grants += 1
        return Result.ACCEPTED

    def _revoke(self, entry: CoreEntry) -> Result:
        if entry.state is not CoreState.HELD:
            return Result.WRONG_CORE_STATE
        entry.state, entry.until = CoreState.DRAINING, self.cycle + self.config.drain_cycles
        entry.revoked = self.cycle
        return Result.ACCEPTED

    def _start(self, context: Context) -> Result:
        if context.state not in MAY_START:
            return Result.WRONG_TENANT_STATE
        period = self.config.period_cycles
        context.state = TenantState.STARTING
        context.start_word = self._argument(Register.ARGUMENT_START)
        context.until = (self.cycle // period + 1) * period
        context.barriers, context.paused, context.pause_pending, context.run = 0, 0, False, None
        context.fault, context.fault_address, context.ended_cycles = Fault.NONE, 0, 0
        return Result.ACCEPTED

    def _pause_or_resume(self, context: Context, command: Command) -> Result:
        if context.state not in MOVING:
            return Result.WRONG_TENANT_STATE
        is_paused = context.state is TenantState.PAUSED
        if command is Command.PAUSE:
            context.pause_pending |= not is_paused
            return Result.ACCEPTED
        if is_paused:
            context.paused += self.cycle - context.paused_at
            context.state = TenantState.RUNNING
            self.has_resumed = True
        context.pause_pending = False
        return Result.ACCEPTED

    def _stop_or_detach(self, number: int, context: Context, command: Command) -> Result:
        if context.state in (TenantState.DETACHED, TenantState.DIRTY):
            return Result.WRONG_TENANT_STATE
        if command is Command.DETACH and context.state is not TenantState.STOPPED:
            return Result.WRONG_TENANT_STATE
        if any(entry.owner == number for entry in self._seen_cores if entry.state is not CoreState.FREE):
            return Result.TENANT_HOLDS_CORES
        if command is Command.DETACH:
            context.state = TenantState.DIRTY
            self._begin_sweep(self.cycle)
        else:
            self.tenants[number] = Context(TenantState.STOPPED, context.base, context.limit)
        return Result.ACCEPTED
