"""Live switching: a running tenant goes on with other cores at its next layer boundary.

What a tenant in the middle of a network has computed lies in its own window; cores hold nothing that the next layer
needs. So a switch is `ask` (PAUSE: the next barrier withholds its release), `park` (REVOKE every core, STOP) and
`begin` (GRANT the new cores, START a program that begins with the next layer). Each step takes a number of cycles that
is known beforehand, so commands are given at computed cycles without a look in between, and the cost of a switch can be
told exactly: `start_of_switch` says when the new program runs, `lost_cycles` what the switch costs altogether.

No core is kept. STOP, which START needs after a PAUSE, is refused while the tenant holds one, for good reason: a core
at a barrier has already loaded for a layer that it may never execute. All cores drain and scrub at the same time, so
those that come back cost a REVOKE and a GRANT each and no further scrub. A tenant that is DONE keeps what it holds: it
gains cores by `begin` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from compiler.latencies import time_stage
from hypervisor.backends.control_plane import SCRUB_MARGIN_CYCLES
from hypervisor.hypervisor import Hypervisor, HypervisorError, Tenant, check_result
from hypervisor.pool_port import CONTROL_READ_CYCLES, ControlAccess, Idle, Read, Write
from isa.configuration import PoolConfig
from isa.registers import COMMAND_CYCLES, Command, Register, TenantState

if TYPE_CHECKING:
    from compiler.package import Package
    from isa.timing import Timing

LOOK_CYCLES = 8
"""Cycles from one look at the state of a tenant that shall pause to the next."""
ANSWER_CYCLES = 2 + CONTROL_READ_CYCLES
"""Cycles of a look: the reads of state and barriers, and the answer to the second one."""
COMMAND_PERIOD = COMMAND_CYCLES + 1
"""Cycles of a command without its arguments, from its write to the read of its result, others following at once."""
REVOKE_CYCLES = 1 + COMMAND_PERIOD
GRANT_CYCLES = 2 + COMMAND_PERIOD
START_DELAY = COMMAND_CYCLES + 1
"""Cycles from the write of START to the first one that can be the first of RUNNING."""
NOTICE_CYCLES = LOOK_CYCLES - 1 + ANSWER_CYCLES
"""Most cycles from a pause or an end to the host's knowing of it."""
END_DELAY_CYCLES = NOTICE_CYCLES + 1 + COMMAND_CYCLES
"""Most cycles that a program loses by a pause that RESUME ends as soon as the host knows of it."""
PATIENCE_CYCLES = 100_000_000
"""Cycles in which a layer must end unless the caller says otherwise."""


@dataclass(frozen=True)
class Switch:
    """A switch that was carried out; cycles since reset.

    The tenant goes on with layer `layer`. The host began to look for the pause in cycle `looked`, knew of it in cycle
    `noticed`, and the new program is RUNNING from cycle `running` on.
    """

    layer: int
    looked: int
    noticed: int
    running: int


def switch(
    hypervisor: Hypervisor,
    tenant: Tenant,
    package: Package,
    cores: Sequence[int],
    first_layer: int = 0,
    limit_cycles: int = PATIENCE_CYCLES,
) -> Switch | None:
    """Let a tenant that has been started go on with physical `cores`, in virtual order, from its next layer boundary.

    It executes the program of `package` from `first_layer` on; every one of `cores` is its own or free. Returns when
    the new program has been started. None if the tenant came to its end or to a fault before it could pause: then
    nothing has changed, but that it may end up to END_DELAY_CYCLES later. Raises HypervisorError for other cores or
    states, or when no layer ends in `limit_cycles`.
    """
    check_cores(hypervisor, tenant, cores)
    if not ask(hypervisor, tenant):
        return None
    looked = hypervisor.port.cycle
    state, barriers = _wait_for_boundary(hypervisor, tenant, limit_cycles)
    if state is not TenantState.PAUSED:
        return None
    noticed = hypervisor.port.cycle
    layer = next_layer(package, first_layer, barriers)
    if layer is None:
        hypervisor.resume(tenant)
        hypervisor.wait([tenant], limit_cycles)
        return None
    park(hypervisor, tenant)
    running = begin(hypervisor, tenant, package, cores, layer)
    return Switch(layer, looked, noticed, running)


def ask(hypervisor: Hypervisor, tenant: Tenant) -> bool:
    """PAUSE a tenant at its next barrier, after its start if need be; False when its program has ended.

    Who looks after other tenants, too, waits with `Hypervisor.wait_for_any`, where PAUSED is an end, reads the barriers
    from `Hypervisor.status`, and goes on with `next_layer`, `park` and `begin`.
    """
    port = hypervisor.port
    if hypervisor.status(tenant).state is TenantState.STARTING:
        port.step(-port.cycle % hypervisor.config.period_cycles)
    try:
        _order(hypervisor, [(Command.PAUSE, {Register.ARGUMENT_TENANT: tenant.number})])
    except HypervisorError:
        if hypervisor.status(tenant).state in (TenantState.DONE, TenantState.FAULTED):
            return False
        raise
    return True


def next_layer(package: Package, first_layer: int, barriers: int) -> int | None:
    """The layer behind barrier number `barriers` of the program from `first_layer` on; None behind the last one.

    With None there is nothing to switch: RESUME lets the program end.
    """
    end = next(stage.end_layer for stage in package.stages if stage.first_layer <= first_layer < stage.end_layer)
    layer = first_layer + barriers - 1
    return layer if layer < end else None


def park(hypervisor: Hypervisor, tenant: Tenant) -> None:
    """Take all cores from a tenant in any state, and STOP it; what it has computed stays in its window.

    The last core goes first: at every moment the tenant holds the head of its cores, which the registers then tell.
    Takes `park_cycles`. Raises HypervisorError when the pool refuses a command.
    """
    port, cores = hypervisor.port, list(tenant.cores)
    began = port.cycle
    _order(hypervisor, [(Command.REVOKE, {Register.ARGUMENT_CORE: core}) for core in reversed(cores)], tenant)
    if cores:
        port.step(began + free_cycles(hypervisor.config, len(cores)) - port.cycle)
    _order(hypervisor, [(Command.STOP, {})])
    hypervisor.take_note(tenant, [])


def begin(hypervisor: Hypervisor, tenant: Tenant, package: Package, cores: Sequence[int], layer: int) -> int:
    """START a STOPPED or DONE tenant on `cores`, from `layer` to the end of its stage; the first cycle of RUNNING.

    What it holds must be the head of `cores`. Raises HypervisorError otherwise or when the pool refuses a command.
    """
    check_cores(hypervisor, tenant, cores)
    held = len(tenant.cores)
    if list(cores[:held]) != tenant.cores:
        raise HypervisorError(
            f"tenant {tenant.number} holds cores {tenant.cores}, which {list(cores)} does not begin with: park it first"
        )
    program = package.program(len(cores), layer)
    hypervisor.write(tenant, program.offset_bytes, program.words)
    commands: list[tuple[Command, Mapping[Register, int]]] = [
        (Command.GRANT, {Register.ARGUMENT_CORE: cores[virtual], Register.ARGUMENT_VIRTUAL: virtual})
        for virtual in range(held, len(cores))
    ]
    commands.append((Command.START, {Register.ARGUMENT_START: program.start_word}))
    running = start_after(hypervisor.config, hypervisor.port.cycle, len(cores) - held)
    hypervisor.port.transfer([Write(Register.ARGUMENT_TENANT, tenant.number)])
    _order(hypervisor, commands)
    hypervisor.take_note(tenant, cores)
    return running


def check_cores(hypervisor: Hypervisor, tenant: Tenant, cores: Sequence[int]) -> None:
    """Raises HypervisorError unless `cores` are distinct, at least one, and each free or the tenant's own."""
    usable = hypervisor.free_cores | set(tenant.cores)
    if not cores or len(set(cores)) < len(cores) or not usable.issuperset(cores):
        raise HypervisorError(
            f"tenant {tenant.number} cannot get cores {list(cores)}: name different ones of its own ({tenant.cores}) "
            f"or free ones ({sorted(hypervisor.free_cores)})"
        )


def _wait_for_boundary(hypervisor: Hypervisor, tenant: Tenant, limit_cycles: int) -> tuple[TenantState, int]:
    """Look until the tenant is not RUNNING any more; its state and its barriers."""
    port = hypervisor.port
    end = port.cycle + limit_cycles
    look: list[ControlAccess] = [Read(Register.TENANT_STATE), Read(Register.TENANT_BARRIERS)]
    while True:
        state, barriers = port.transfer(look)
        if state != TenantState.RUNNING:
            return TenantState(state), barriers
        if port.cycle >= end:
            hypervisor.resume(tenant)
            raise HypervisorError(
                f"tenant {tenant.number} came to no barrier within {limit_cycles} cycles: give a higher limit"
            )
        port.step(LOOK_CYCLES - ANSWER_CYCLES)


def _order(
    hypervisor: Hypervisor, commands: Sequence[tuple[Command, Mapping[Register, int]]], show: Tenant | None = None
) -> None:
    """Give commands as fast as the control port takes them, then name the tenant `show`. Raises HypervisorError."""
    accesses: list[ControlAccess] = []
    for command, arguments in commands:
        accesses += [Write(register, value) for register, value in arguments.items()]
        accesses += [Write(Register.COMMAND, command), Idle(COMMAND_CYCLES - 1), Read(Register.COMMAND_RESULT)]
    if show is not None:
        accesses.append(Write(Register.ARGUMENT_TENANT, show.number))
    for (command, arguments), answer in zip(commands, hypervisor.port.transfer(accesses), strict=True):
        check_result(command, answer, arguments)


# --- cycles ------------------------------------------------------------------------------------------------------


def free_cycles(config: PoolConfig, cores: int) -> int:
    """Cycles until `cores` cores are FREE, revoked one after another from now on.

    The last REVOKE is written (cores - 1) * REVOKE_CYCLES + 1 cycles from now and carried out COMMAND_CYCLES later. It
    takes drain_cycles until nothing is in flight, and scrub_cycles + SCRUB_MARGIN_CYCLES to zero the core.
    """
    draining = (cores - 1) * REVOKE_CYCLES + 1 + COMMAND_CYCLES
    return draining + config.drain_cycles + config.scrub_cycles + SCRUB_MARGIN_CYCLES


def park_cycles(config: PoolConfig, cores: int) -> int:
    """Cycles that `park` takes for a tenant with `cores` cores: until they are FREE, STOP, and the answer to it."""
    return (free_cycles(config, cores) if cores else 1) + COMMAND_PERIOD + CONTROL_READ_CYCLES


def start_after(config: PoolConfig, began: int, grants: int) -> int:
    """The first cycle of RUNNING of a tenant that `begin` gives `grants` cores from cycle `began` on.

    Before START go the tenant's number, the GRANTs with their results, and the start word. START takes effect with the
    first whole period of the wheel that begins START_DELAY cycles after its write or later.
    """
    written = began + 1 + grants * GRANT_CYCLES + 1
    return -(-(written + START_DELAY) // config.period_cycles) * config.period_cycles


def start_of_switch(config: PoolConfig, noticed: int, held: int, wanted: int) -> int:
    """The first cycle of RUNNING after a switch from `held` to `wanted` cores whose pause was noticed in `noticed`."""
    return start_after(config, noticed + park_cycles(config, held), wanted)


def lost_cycles(
    package: Package, config: PoolConfig, cores: Sequence[int], layer: int, boundary: int, running: int
) -> int:
    """How much later a program ends for a switch to `cores` than if these had taken over at once.

    At once: as if the barrier that paused it in cycle `boundary` were that of a run which had been on `cores`, physical
    in virtual order, since the first layer of the stage. In fact the program from `layer` on is RUNNING first in
    `running`. So what is lost is the time until then and the `warm_up_cycles`. Exact, as the timing model is.
    """
    return running - boundary + warm_up_cycles(package, config, cores, layer)


def warm_up_cycles(
    package: Package, config: PoolConfig, cores: Sequence[int], layer: int, whole: Timing | None = None
) -> int:
    """What a program from `layer` on takes longer than the same layers in one from the stage's first layer on.

    That is the fetch of the program, its first barrier, and weights that were not loaded ahead; the layers behind may
    take a few cycles more or less, since they meet the wheel in other positions. `whole`: the timing of the latter
    program, if it is known.
    """
    (stage,) = (stage for stage in package.stages if stage.first_layer <= layer < stage.end_layer)
    window = package.window()
    rest = time_stage(package, layer, cores, config, window).cycles
    whole = whole or time_stage(package, stage.first_layer, cores, config, window)
    return rest - (whole.cycles - whole.barriers[layer - stage.first_layer])
