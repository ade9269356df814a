"""The control port: registers, commands and the checks that accept or refuse them, in constant time.

    t       control_write with COMMAND's address
    t + 1   the command register holds it; everything it depends on is selected and compared
    t + 2   check registers: the verdict is drawn from the host's side of the state alone
    t + 3   verdict register, and one for each command and tenant or core: the command takes effect;
            START, PAUSE and RESUME look at the tenant's progress
    t + 4   the effect and COMMAND_RESULT are visible

Writes in cycles t + 1 to t + 3 are ignored, so that a command is carried out with the arguments it was checked with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, select

from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, VIRTUAL_CORE_BITS
from isa.registers import (
    CONTROL_DATA_BITS,
    IDENTIFICATION,
    Command,
    CoreState,
    Result,
    TenantState,
)
from isa.registers import Register as Address
from rtl.hierarchy import hardware
from rtl.ownership import CoreEntry
from rtl.sizes import any_of, chosen, first_of, is_below, output, register
from rtl.tenants import PROGRESS_BITS, Tenant, TenantEvents
from rtl.windows import Attachment, Window, WindowCommands

RESULT_BITS = 4
_ARGUMENT_BITS = {
    Address.ARGUMENT_TENANT: CONTROL_DATA_BITS,
    Address.ARGUMENT_CORE: CONTROL_DATA_BITS,
    Address.ARGUMENT_VIRTUAL: VIRTUAL_CORE_BITS,
    Address.ARGUMENT_BASE: CONTROL_DATA_BITS,
    Address.ARGUMENT_LIMIT: CONTROL_DATA_BITS,
    Address.ARGUMENT_START: INSTRUCTION_ADDRESS_BITS,
}
_NEEDS_TENANT = tuple(command for command in Command if command != Command.REVOKE)
OF_CORES = (Command.GRANT, Command.REVOKE)
"""Commands that take effect for a core; all others do for a tenant."""


@dataclass(frozen=True)
class Commands:
    """Arguments, and 1-bit pulses of accepted commands in the cycle in which they take effect."""

    tenant: Register
    virtual: Register
    base: Register
    limit: Register
    start: Register
    grants: list[WireVector]
    revokes: list[WireVector]
    windows: list[WindowCommands]
    starts: list[WireVector]
    pauses: list[WireVector]
    resumes: list[WireVector]
    stops: list[WireVector]


@hardware()
def control_port(
    config: PoolConfig,
    write: WireVector,
    address: WireVector,
    data: WireVector,
    entries: Sequence[CoreEntry],
    tenants: Sequence[Tenant],
    windows: Sequence[Window],
) -> Commands:
    """The whole port: `write` 1, `address` 5, `data` 32 bits; drives the output `control_read_data`."""
    is_read, is_checked, is_decided = (
        register(name, 1) for name in ("command_is_read", "command_is_checked", "command_is_decided")
    )
    writes = write & ~is_read & ~is_checked & ~is_decided
    orders = writes & (address == Address.COMMAND)
    arguments = {}
    for argument, bits in _ARGUMENT_BITS.items():
        field = register(argument.name.lower(), bits)
        field.next <<= select(writes & (address == argument), data[:bits], field)
        arguments[argument] = field
    command = register("command", CONTROL_DATA_BITS)
    command.next <<= select(orders, data, command)
    is_read.next <<= orders
    is_checked.next <<= is_read
    is_decided.next <<= is_checked

    refusal = _checks(config, command, arguments, entries, windows)
    verdict = register("command_verdict", RESULT_BITS)
    verdict.next <<= refusal
    permitted = is_checked & (refusal == Result.ACCEPTED)

    def ordered(which: Command, argument: Address, index: int) -> Register:
        """1 while the accepted command takes effect, and for this tenant or core: compared a cycle ahead."""
        order = register(order_name(which, index), 1)
        order.next <<= permitted & (command == which) & (arguments[argument] == index)
        return order

    progress = chosen(arguments[Address.ARGUMENT_TENANT], [tenant.progress for tenant in tenants])
    may_start = _may_start(progress)
    is_running = progress == TenantState.RUNNING
    may_move = is_running | (progress == TenantState.PAUSED)
    suits_progress = {Command.START: may_start, Command.PAUSE: may_move, Command.RESUME: may_move}
    unsuitable = any_of([(command == which) & ~suits for which, suits in suits_progress.items()])

    result = register("command_result", RESULT_BITS)
    final = select(unsuitable & (verdict == Result.ACCEPTED), Const(Result.WRONG_TENANT_STATE, RESULT_BITS), verdict)
    result.next <<= first_of([(orders, Const(Result.NONE, RESULT_BITS)), (is_decided, final)], result)

    def per_tenant(which: Command) -> list[WireVector]:
        return [ordered(which, Address.ARGUMENT_TENANT, index) for index in range(config.tenants)]

    def per_core(which: Command) -> list[WireVector]:
        return [ordered(which, Address.ARGUMENT_CORE, index) for index in range(config.cores)]

    starts, stops, pauses, resumes = (
        per_tenant(which) for which in (Command.START, Command.STOP, Command.PAUSE, Command.RESUME)
    )
    suits = [_may_start(tenant.progress) for tenant in tenants]
    _read_side(config, address, arguments, result, entries, tenants, windows)
    return Commands(
        tenant=arguments[Address.ARGUMENT_TENANT],
        virtual=arguments[Address.ARGUMENT_VIRTUAL],
        base=arguments[Address.ARGUMENT_BASE],
        limit=arguments[Address.ARGUMENT_LIMIT],
        start=arguments[Address.ARGUMENT_START],
        grants=per_core(Command.GRANT),
        revokes=per_core(Command.REVOKE),
        windows=[
            WindowCommands(*pulses)
            for pulses in zip(per_tenant(Command.ATTACH), per_tenant(Command.DETACH), starts, stops, strict=True)
        ],
        starts=[order & suit for order, suit in zip(starts, suits, strict=True)],
        pauses=[order & tenant.is_running for order, tenant in zip(pauses, tenants, strict=True)],
        resumes=[order & tenant.may_move for order, tenant in zip(resumes, tenants, strict=True)],
        stops=stops,
    )


def order_name(which: Command, index: int) -> str:
    """The register that says that a command takes effect for tenant `index`, or for that core."""
    return f"command_is_{which.name.lower()}_for_{'core' if which in OF_CORES else 'tenant'}{index}"


def _may_start(progress: WireVector) -> WireVector:
    return (progress == 0) | (progress == TenantState.DONE)


def tenant_events(commands: Commands, index: int, finish: WireVector, barrier: WireVector) -> TenantEvents:
    """The pulses for one tenant."""
    return TenantEvents(
        start=commands.starts[index],
        pause=commands.pauses[index],
        resume=commands.resumes[index],
        stop=commands.stops[index],
        finish=finish,
        barrier=barrier,
    )


def _checks(
    config: PoolConfig,
    command: WireVector,
    arguments: dict[Address, Register],
    entries: Sequence[CoreEntry],
    windows: Sequence[Window],
) -> WireVector:
    """A Result, valid one cycle after `command`: ACCEPTED, or the first refusal that applies.

    Depends on arguments, ownership table and windows only.
    """
    tenant, core = arguments[Address.ARGUMENT_TENANT], arguments[Address.ARGUMENT_CORE]
    base, limit = arguments[Address.ARGUMENT_BASE], arguments[Address.ARGUMENT_LIMIT]
    end = base + limit
    attachment = chosen(tenant, [window.attachment for window in windows])
    core_state = chosen(core, [entry.state for entry in entries])
    owned = [(entry.state != CoreState.FREE) & (entry.owner == tenant) for entry in entries]
    overlaps = [
        (window.attachment != Attachment.DETACHED) & (base < window.base + window.limit) & (window.base < end)
        for window in windows
    ]
    is_attached = (attachment == Attachment.STOPPED) | (attachment == Attachment.ACTIVE)
    rest = (base | limit) & (config.fetch_beats - 1)

    def ordered(*commands: Command) -> WireVector:
        return any_of([command == each for each in commands])

    attached_only = (Command.GRANT, Command.START, Command.PAUSE, Command.RESUME, Command.STOP)
    wrong_tenant_state = (
        (ordered(Command.ATTACH) & (attachment != Attachment.DETACHED))
        | (ordered(Command.DETACH) & (attachment != Attachment.STOPPED))
        | (ordered(*attached_only) & ~is_attached)
    )
    wrong_core_state = (ordered(Command.GRANT) & (core_state != CoreState.FREE)) | (
        ordered(Command.REVOKE) & (core_state != CoreState.HELD)
    )
    attaches = ordered(Command.ATTACH)
    virtual = arguments[Address.ARGUMENT_VIRTUAL]
    taken = any_of([owns & (entry.virtual == virtual) for owns, entry in zip(owned, entries, strict=True)])
    refusals: list[tuple[Result, WireVector]] = [
        (Result.UNKNOWN_COMMAND, ~ordered(*Command)),
        (Result.NO_SUCH_TENANT, ordered(*_NEEDS_TENANT) & ~is_below(tenant, config.tenants)),
        (Result.NO_SUCH_CORE, ordered(*OF_CORES) & ~is_below(core, config.cores)),
        (Result.TENANT_HOLDS_CORES, ordered(Command.DETACH, Command.STOP) & any_of(owned)),
        (Result.WRONG_TENANT_STATE, wrong_tenant_state),
        (Result.WRONG_CORE_STATE, wrong_core_state),
        (Result.WINDOW_NOT_ALIGNED, attaches & ((rest != 0) | (limit == 0))),
        (Result.WINDOW_OUTSIDE_MEMORY, attaches & (end > config.memory_beats)),
        (Result.WINDOW_OVERLAPS, attaches & any_of(overlaps)),
        (Result.VIRTUAL_INDEX_TAKEN, ordered(Command.GRANT) & taken),
    ]
    choices = []
    for result, applies in refusals:
        check = register(f"check_{result.name.lower()}", 1)
        check.next <<= applies
        choices.append((check, Const(result, RESULT_BITS)))
    return first_of(choices, Const(Result.ACCEPTED, RESULT_BITS))


def _read_side(
    config: PoolConfig,
    address: WireVector,
    arguments: dict[Address, Register],
    result: Register,
    entries: Sequence[CoreEntry],
    tenants: Sequence[Tenant],
    windows: Sequence[Window],
) -> None:
    """Drive `control_read_data`: the register at the address of the cycle before; 0 where there is none to show."""
    tenant_index, core_index = arguments[Address.ARGUMENT_TENANT], arguments[Address.ARGUMENT_CORE]

    def of_tenant(value: Callable[[int], WireVector]) -> WireVector:
        shown = chosen(tenant_index, [value(index) for index in range(config.tenants)])
        return select(is_below(tenant_index, config.tenants), shown, Const(0, len(shown)))

    def of_core(value: Callable[[CoreEntry], WireVector]) -> WireVector:
        shown = chosen(core_index, [value(entry) for entry in entries])
        return select(is_below(core_index, config.cores), shown, Const(0, len(shown)))

    def state(index: int) -> WireVector:
        attachment = windows[index].attachment
        names = {
            Attachment.STOPPED: TenantState.STOPPED,
            Attachment.DIRTY: TenantState.DIRTY,
            Attachment.DETACHED: TenantState.DETACHED,
        }
        return first_of(
            [(attachment == side, Const(shown, PROGRESS_BITS)) for side, shown in names.items()],
            tenants[index].progress,
        )

    shown: dict[Address, WireVector] = {
        Address.IDENTIFICATION: Const(IDENTIFICATION, CONTROL_DATA_BITS),
        Address.CORES: Const(config.cores, CONTROL_DATA_BITS),
        Address.TENANTS: Const(config.tenants, CONTROL_DATA_BITS),
        **arguments,
        Address.COMMAND_RESULT: result,
        Address.TENANT_STATE: of_tenant(state),
        Address.TENANT_BARRIERS: of_tenant(lambda index: tenants[index].barriers),
        Address.TENANT_CYCLES: of_tenant(lambda index: tenants[index].cycles),
        Address.TENANT_FAULT: of_tenant(lambda index: tenants[index].fault),
        Address.TENANT_FAULT_ADDRESS: of_tenant(lambda index: tenants[index].fault_address),
        Address.TENANT_BASE: of_tenant(lambda index: windows[index].base),
        Address.TENANT_LIMIT: of_tenant(lambda index: windows[index].limit),
        Address.CORE_STATE: of_core(lambda entry: entry.state),
        Address.CORE_OWNER: of_core(lambda entry: entry.owner),
        Address.CORE_VIRTUAL: of_core(lambda entry: entry.virtual),
    }
    read_data = register("control_answer", CONTROL_DATA_BITS)
    read_data.next <<= first_of(
        [(address == at, wire.zero_extended(CONTROL_DATA_BITS)) for at, wire in shown.items()],
        Const(0, CONTROL_DATA_BITS),
    )
    output("control_read_data", read_data)
