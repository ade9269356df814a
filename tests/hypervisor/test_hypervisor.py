"""The hypervisor on the registers of the real shell and of the model; cores are not needed for any of this."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from hypervisor.backends import control_plane
from hypervisor.backends.model_backend import ModelPort
from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.backends.verilator_backend import VerilatorPort
from hypervisor.hypervisor import Hypervisor, HypervisorError
from hypervisor.pool_port import Idle, PoolPort, Read, Write, read_control, write_control
from isa.configuration import NAMED_POOLS
from isa.encoding import encode_program
from isa.instructions import Call, ConfigSave, End, Return
from isa.registers import COMMAND_CYCLES, Command, CoreState, Fault, Register, Result, TenantState
from rtl import sizes
from tests.hypervisor.shell_only import DESCRIPTION, elaborate, export

TINY = NAMED_POOLS["tiny"]
WINDOW_BYTES = 2 * TINY.fetch_beats * TINY.beat_bytes
BACKENDS: dict[str, Callable[[], PoolPort]] = {
    "pyrtl": lambda: PyrtlPort(TINY, elaborate=elaborate, description=DESCRIPTION),
    "verilator": lambda: VerilatorPort(TINY, exporter=export, description=DESCRIPTION),
    "model": lambda: ModelPort(TINY),
}


@pytest.fixture(params=list(BACKENDS))
def port(request: pytest.FixtureRequest) -> Iterator[PoolPort]:
    opened = BACKENDS[request.param]()
    yield opened
    opened.close()


@pytest.fixture
def hypervisor(port: PoolPort) -> Hypervisor:
    return Hypervisor(port)


def test_a_program_runs_from_start_to_end(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    hypervisor.write(tenant, 0, encode_program([Call(address=3), End(), End(), Return()]))
    hypervisor.start([(tenant, 0)])
    hypervisor.wait([tenant], 10_000)
    status = hypervisor.status(tenant)
    assert status.state is TenantState.DONE
    assert status.cycles > TINY.channel_latency
    assert status.describe_fault() is None


def test_a_fault_is_reported_with_cause_and_address(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [1])
    hypervisor.write(tenant, 0, encode_program([ConfigSave(core=0), ConfigSave(core=1), End()]))
    hypervisor.start([(tenant, 0)])
    hypervisor.wait([tenant], 10_000)
    status = hypervisor.status(tenant)
    assert (status.state, status.fault, status.fault_address) == (TenantState.FAULTED, Fault.UNMAPPED_CORE, 1)
    assert "UNMAPPED_CORE at instruction word 1" in (status.describe_fault() or "")


def test_tenants_start_in_the_same_cycle_and_take_as_long_as_alone(hypervisor: Hypervisor) -> None:
    tenants = []
    for core in range(TINY.cores):
        tenant = hypervisor.attach(WINDOW_BYTES)
        hypervisor.grant(tenant, [core])
        hypervisor.write(tenant, 0, encode_program([End()]))
        tenants.append(tenant)
    hypervisor.start([(tenant, 0) for tenant in tenants])
    hypervisor.wait(tenants, 10_000)
    together = [hypervisor.status(tenant).cycles for tenant in tenants]
    alone = []
    for tenant in tenants:
        hypervisor.start([(tenant, 0)])
        hypervisor.wait([tenant], 10_000)
        alone.append(hypervisor.status(tenant).cycles)
    assert together == alone


def test_a_tenant_that_loses_its_cores_before_it_runs_waits_and_can_be_stopped(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    hypervisor.write(tenant, 0, encode_program([End()]))
    port = hypervisor.port
    port.step(-port.cycle % TINY.period_cycles)
    assert result_of(port, Command.START, tenant=tenant.number, start=0) is Result.ACCEPTED
    assert result_of(port, Command.REVOKE, core=0) is Result.ACCEPTED
    assert hypervisor.status(tenant).state is TenantState.STARTING
    port.step(10 * TINY.period_cycles + TINY.drain_cycles + TINY.scrub_cycles)
    status = hypervisor.status(tenant)
    assert (status.state, status.barriers, status.fault) == (TenantState.RUNNING, 0, Fault.NONE)
    hypervisor.take_note(tenant, [])
    hypervisor.stop(tenant)
    assert hypervisor.status(tenant).state is TenantState.STOPPED
    hypervisor.grant(tenant, [0])
    hypervisor.start([(tenant, 0)])
    hypervisor.wait([tenant], 10_000)
    assert hypervisor.status(tenant).state is TenantState.DONE


def test_a_window_is_zero_after_detach_and_can_be_used_again(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0, 1])
    secret = np.full(tenant.length_bytes, 0xA5, np.uint8)
    hypervisor.write(tenant, 0, secret)
    hypervisor.revoke(tenant)
    hypervisor.detach(tenant)
    assert not hypervisor.port.read_memory(tenant.offset_bytes, tenant.length_bytes).any()
    again = hypervisor.attach(WINDOW_BYTES)
    assert again.window == tenant.window
    hypervisor.grant(again, [1, 0])


def test_every_refusal_of_the_pool_says_why(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    with pytest.raises(
        HypervisorError, match=r"STOP \(tenant 0\) was refused: .*needs a tenant without cores"
    ) as refusal:
        hypervisor.stop(tenant)
    assert refusal.value.result is Result.TENANT_HOLDS_CORES
    with pytest.raises(HypervisorError, match="does not apply to a tenant in this state"):
        hypervisor.resume(tenant)
    with pytest.raises(HypervisorError, match="core 0 is not free"):
        hypervisor.grant(tenant, [0])
    with pytest.raises(HypervisorError, match=r"START \(tenant 0, start 2\) was refused: "):
        hypervisor.start([(tenant, 0), (tenant, 2)])
    with pytest.raises(HypervisorError, match="largest gap"):
        hypervisor.attach(2 * TINY.memory_bytes)
    hypervisor.attach(WINDOW_BYTES)
    with pytest.raises(HypervisorError, match="all 2 tenant contexts"):
        hypervisor.attach(WINDOW_BYTES)


def result_of(port: PoolPort, command: int, **arguments: int) -> Result:
    writes = [Write(Register[f"ARGUMENT_{name.upper()}"], value) for name, value in arguments.items()]
    idle = Idle(COMMAND_CYCLES)
    return Result(port.transfer([*writes, Write(Register.COMMAND, command), idle, Read(Register.COMMAND_RESULT)])[0])


def test_raw_commands_are_refused_as_the_register_description_says(port: PoolPort) -> None:
    unit = TINY.fetch_beats
    Hypervisor(port)
    assert result_of(port, 0) is Result.UNKNOWN_COMMAND
    assert result_of(port, Command.ATTACH, tenant=7) is Result.NO_SUCH_TENANT
    assert result_of(port, Command.REVOKE, core=2) is Result.NO_SUCH_CORE
    assert result_of(port, Command.REVOKE, core=0) is Result.WRONG_CORE_STATE
    assert result_of(port, Command.ATTACH, tenant=0, base=1, limit=unit) is Result.WINDOW_NOT_ALIGNED
    beyond = TINY.memory_beats
    assert result_of(port, Command.ATTACH, tenant=0, base=beyond, limit=unit) is Result.WINDOW_OUTSIDE_MEMORY
    assert result_of(port, Command.ATTACH, tenant=0, base=unit, limit=2 * unit) is Result.ACCEPTED
    assert result_of(port, Command.ATTACH, tenant=1, base=2 * unit, limit=2 * unit) is Result.WINDOW_OVERLAPS
    assert result_of(port, Command.ATTACH, tenant=0, base=0, limit=unit) is Result.WRONG_TENANT_STATE
    assert result_of(port, Command.GRANT, tenant=0, core=0, virtual=5) is Result.ACCEPTED
    assert result_of(port, Command.GRANT, tenant=0, core=1, virtual=5) is Result.VIRTUAL_INDEX_TAKEN
    assert result_of(port, Command.DETACH, tenant=0) is Result.TENANT_HOLDS_CORES


def test_pause_and_resume_of_a_running_tenant_can_be_repeated(port: PoolPort) -> None:
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    hypervisor.write(tenant, 0, encode_program([End(barriers=1)]))
    assert result_of(port, Command.PAUSE, tenant=0) is Result.WRONG_TENANT_STATE
    hypervisor.start([(tenant, 0)])
    port.step(TINY.period_cycles)
    for command in (Command.RESUME, Command.PAUSE, Command.PAUSE, Command.RESUME, Command.RESUME):
        assert result_of(port, command, tenant=0) is Result.ACCEPTED


def test_another_hypervisor_finds_what_the_first_one_left(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    other = hypervisor.attach(3 * WINDOW_BYTES)
    hypervisor.grant(other, [1, 0])
    hypervisor.revoke(other, keep=1)
    again = Hypervisor(hypervisor.port)
    assert again.tenants == {0: tenant, 1: other}
    assert again.free_cores == {0}
    result_of(hypervisor.port, Command.REVOKE, core=1)
    result_of(hypervisor.port, Command.DETACH, tenant=0)
    third = Hypervisor(hypervisor.port)
    assert list(third.tenants) == [1]
    assert third.free_cores == {0, 1}
    assert third.attach(WINDOW_BYTES).window == tenant.window


@pytest.mark.parametrize("wait", range(COMMAND_CYCLES + 1))
def test_another_hypervisor_finds_what_was_under_way_when_the_first_one_died(port: PoolPort, wait: int) -> None:
    """The pool ignores what is written before a command is carried out: who takes over must not write as early."""
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    arguments = {Register.ARGUMENT_CORE: 1, Register.ARGUMENT_VIRTUAL: 1}
    port.transfer([*(Write(name, value) for name, value in arguments.items()), Write(Register.COMMAND, Command.GRANT)])
    port.step(wait)
    again = Hypervisor(port)
    assert again.tenants[tenant.number].cores == [0, 1]
    assert again.free_cores == set()


@pytest.mark.parametrize("steps", [[COMMAND_CYCLES], [1] * COMMAND_CYCLES])
def test_a_command_is_checked_against_the_cycle_behind_its_write(port: PoolPort, steps: list[int]) -> None:
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    for command, early in ((Command.GRANT, Result.WRONG_CORE_STATE), (Command.STOP, Result.TENANT_HOLDS_CORES)):
        for lead, expected in ((2, early), (1, Result.ACCEPTED)):
            assert result_of(port, Command.GRANT, tenant=tenant.number, core=0, virtual=0) is Result.ACCEPTED
            port.transfer([Write(Register.ARGUMENT_CORE, 0), Write(Register.COMMAND, Command.REVOKE)])
            free = port.cycle - 1 + COMMAND_CYCLES + TINY.drain_cycles + TINY.scrub_cycles + sizes.SCRUB_MARGIN_CYCLES
            port.step(free - lead - port.cycle)
            write_control(port, Register.COMMAND, command)
            for step in steps:
                port.step(step)
            assert read_control(port, Register.COMMAND_RESULT) == expected
            if command is Command.GRANT and expected is Result.ACCEPTED:
                hypervisor.take_note(tenant, [0])
                hypervisor.revoke(tenant)


def test_the_host_reaches_memory_through_its_own_slots(port: PoolPort) -> None:
    data = np.arange(TINY.beat_bytes, dtype=np.uint8)
    port.host_write(77, data)
    assert (port.read_memory(77 * TINY.beat_bytes, TINY.beat_bytes) == data).all()
    began = port.cycle
    assert (port.host_read(77) == data).all()
    assert port.cycle - began > TINY.channel_latency


def test_a_run_without_an_end_is_given_up_in_time(hypervisor: Hypervisor) -> None:
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0])
    hypervisor.write(tenant, 0, encode_program([End(barriers=1)]))
    hypervisor.start([(tenant, 0)])
    with pytest.raises(HypervisorError, match=r"no end within 500 cycles: tenant 0 \(RUNNING\)"):
        hypervisor.wait([tenant], 500)


def test_the_control_planes_of_rtl_and_model_agree_on_time() -> None:
    seen = []
    for make in BACKENDS.values():
        port = make()
        hypervisor = Hypervisor(port)
        tenant = hypervisor.attach(WINDOW_BYTES)
        hypervisor.grant(tenant, [1, 0])
        granted = port.cycle
        hypervisor.revoke(tenant)
        seen.append((granted, port.cycle))
        port.close()
    assert seen[0] == seen[1] == seen[2]


def test_states_change_in_the_same_cycle_on_rtl_and_model() -> None:
    """Reset, REVOKE and DETACH, looked at in every cycle."""
    seen = []
    for make in BACKENDS.values():
        port = make()
        reset = [cycle_of(port, Register.CORE_STATE, CoreState.FREE)]
        for tenant in range(TINY.tenants):
            port.transfer([Write(Register.ARGUMENT_TENANT, tenant)])
            reset.append(cycle_of(port, Register.TENANT_STATE, TenantState.DETACHED))
        hypervisor = Hypervisor(port)
        tenant_0 = hypervisor.attach(5 * WINDOW_BYTES)
        hypervisor.grant(tenant_0, [1])
        result_of(port, Command.REVOKE, core=1)
        revoked = cycle_of(port, Register.CORE_STATE, CoreState.FREE)
        result_of(port, Command.DETACH, tenant=0)
        detached = cycle_of(port, Register.TENANT_STATE, TenantState.DETACHED)
        seen.append((*reset, revoked, detached))
        port.close()
    assert seen[0] == seen[1] == seen[2]


def cycle_of(port: PoolPort, register: Register, state: int) -> int:
    """The first cycle in which `register` reads `state`."""
    for _ in range(1000):
        answers = port.transfer([Read(register)] * 64)
        if state in answers:
            return port.cycle - 64 + answers.index(state)
    raise AssertionError(f"{register.name} never became {state}")


def test_the_model_scrubs_as_long_as_the_rtl() -> None:
    assert control_plane.SCRUB_MARGIN_CYCLES == sizes.SCRUB_MARGIN_CYCLES
