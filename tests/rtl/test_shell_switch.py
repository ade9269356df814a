"""Windows, cores and commands: accepted or refused for the right reason, and always in the same time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from isa.instructions import ConfigSave, End
from isa.registers import COMMAND_CYCLES, IDENTIFICATION, Command, CoreState, Fault, Register, Result, TenantState
from rtl.context_switch import switch_cycles
from rtl.sizes import SCRUB_MARGIN_CYCLES
from tests.rtl.shell_bench import MINI, WIDE, PoolConfig, Request, ShellBench


def settled() -> ShellBench:
    bench = ShellBench(MINI)
    bench.settle()
    return bench


def test_reset_scrubs_every_core_and_sweeps_every_prefetch_buffer() -> None:
    for config in (MINI, WIDE):
        bench = ShellBench(config)
        memories = [memory for memory in bench.memories if "prefetch" in memory.name]
        assert len(memories) == config.channels
        for memory in memories:
            contents = bench.simulation.inspect_mem(memory)
            contents.update({address: 0xBAD for address in range(1 << memory.addrwidth)})
        bench.memory = [0xBAD] * config.memory_beats
        detached: dict[int, int] = {}
        while len(detached) < config.tenants:
            bench.step()
            for tenant in range(config.tenants):
                if not bench.show(f"tenant{tenant}_attachment"):
                    detached.setdefault(tenant, bench.cycle - 1)
        for tenant, cycle in detached.items():
            last_slot = max(c - 2 for c, _, _, beat in bench.accesses if beat // config.fetch_beats == tenant)
            assert cycle == last_slot + config.drain_cycles + 2
        bench.settle()
        swept = config.tenants * config.fetch_beats
        assert bench.memory == [0] * swept + [0xBAD] * (config.memory_beats - swept)
        used = config.tenants * config.fetch_beats // config.channels
        for memory in memories:
            contents = bench.simulation.inspect_mem(memory)
            assert [contents[address] for address in range(used)] == [0] * used
        for script in bench.cores:
            assert script.scrubbed == [(1 + address, address) for address in range(config.scrub_cycles)]


def test_constants_and_arguments_can_be_read() -> None:
    bench = settled()
    assert bench.read(Register.IDENTIFICATION) == IDENTIFICATION
    assert (bench.read(Register.CORES), bench.read(Register.TENANTS)) == (MINI.cores, MINI.tenants)
    bench.write(Register.ARGUMENT_BASE, 0xDEADBEEF)
    bench.write(Register.ARGUMENT_TENANT, 77)
    bench.write(Register.ARGUMENT_CORE, 4)
    assert bench.read(Register.ARGUMENT_BASE) == 0xDEADBEEF
    for register in (Register.TENANT_STATE, Register.TENANT_LIMIT, Register.CORE_STATE, Register.COMMAND):
        assert bench.read(register) == 0


def test_a_command_takes_exactly_its_cycles_and_ignores_writes_meanwhile() -> None:
    bench = settled()
    for register, value in ((Register.ARGUMENT_BASE, 8), (Register.ARGUMENT_LIMIT, 16), (Register.ARGUMENT_TENANT, 1)):
        bench.write(register, value)
    begin = bench.cycle
    bench.write(Register.COMMAND, Command.ATTACH)
    for _ in range(COMMAND_CYCLES - 1):
        bench.write(Register.ARGUMENT_BASE, 0)
        assert (bench.show("command_result"), bench.show("tenant1_base")) == (Result.NONE, 0)
    bench.step()
    assert bench.cycle - 1 == begin + COMMAND_CYCLES
    assert (bench.show("command_result"), bench.show("tenant1_base")) == (Result.ACCEPTED, 8)


def one_running_one_stopped() -> ShellBench:
    """Tenant 0 DETACHED, 1 RUNNING in beats 8..24 on cores 1 and 2, 2 STOPPED in 24..40 without cores."""
    bench = settled()
    bench.admit(1, 8, 16, [1, 2])
    bench.admit(2, 24, 16, [])
    bench.place(8, [End(barriers=1)])
    bench.start(1)
    bench.run(20)
    return bench


REFUSALS: list[tuple[Command | int, dict[str, int], Result]] = [
    (0, {}, Result.UNKNOWN_COMMAND),
    (9, {}, Result.UNKNOWN_COMMAND),
    (257, {}, Result.UNKNOWN_COMMAND),
    (Command.ATTACH, {"tenant": 3, "base": 0, "limit": 8}, Result.NO_SUCH_TENANT),
    (Command.STOP, {"tenant": 1 << 31}, Result.NO_SUCH_TENANT),
    (Command.GRANT, {"tenant": 1, "core": 4, "virtual": 5}, Result.NO_SUCH_CORE),
    (Command.REVOKE, {"tenant": 99, "core": 1 << 16}, Result.NO_SUCH_CORE),
    (Command.ATTACH, {"tenant": 1, "base": 64, "limit": 8}, Result.WRONG_TENANT_STATE),
    (Command.ATTACH, {"tenant": 0, "base": 65, "limit": 8}, Result.WINDOW_NOT_ALIGNED),
    (Command.ATTACH, {"tenant": 0, "base": 64, "limit": 6}, Result.WINDOW_NOT_ALIGNED),
    (Command.ATTACH, {"tenant": 0, "base": 64, "limit": 0}, Result.WINDOW_NOT_ALIGNED),
    (Command.ATTACH, {"tenant": 0, "base": 124, "limit": 8}, Result.WINDOW_OUTSIDE_MEMORY),
    (Command.ATTACH, {"tenant": 0, "base": (1 << 32) - 4, "limit": 8}, Result.WINDOW_OUTSIDE_MEMORY),
    (Command.ATTACH, {"tenant": 0, "base": 8, "limit": (1 << 32) - 8}, Result.WINDOW_OUTSIDE_MEMORY),
    (Command.ATTACH, {"tenant": 0, "base": 4, "limit": 8}, Result.WINDOW_OVERLAPS),
    (Command.ATTACH, {"tenant": 0, "base": 20, "limit": 4}, Result.WINDOW_OVERLAPS),
    (Command.ATTACH, {"tenant": 0, "base": 36, "limit": 92}, Result.WINDOW_OVERLAPS),
    (Command.ATTACH, {"tenant": 0, "base": 0, "limit": 128}, Result.WINDOW_OVERLAPS),
    (Command.GRANT, {"tenant": 0, "core": 0, "virtual": 0}, Result.WRONG_TENANT_STATE),
    (Command.GRANT, {"tenant": 2, "core": 1, "virtual": 0}, Result.WRONG_CORE_STATE),
    (Command.GRANT, {"tenant": 1, "core": 0, "virtual": 1}, Result.VIRTUAL_INDEX_TAKEN),
    (Command.REVOKE, {"core": 0}, Result.WRONG_CORE_STATE),
    (Command.START, {"tenant": 0, "start": 0}, Result.WRONG_TENANT_STATE),
    (Command.START, {"tenant": 1, "start": 0}, Result.WRONG_TENANT_STATE),
    (Command.PAUSE, {"tenant": 2}, Result.WRONG_TENANT_STATE),
    (Command.RESUME, {"tenant": 2}, Result.WRONG_TENANT_STATE),
    (Command.STOP, {"tenant": 0}, Result.WRONG_TENANT_STATE),
    (Command.STOP, {"tenant": 1}, Result.TENANT_HOLDS_CORES),
    (Command.DETACH, {"tenant": 1}, Result.TENANT_HOLDS_CORES),
    (Command.DETACH, {"tenant": 0}, Result.WRONG_TENANT_STATE),
]


def test_commands_are_refused_for_the_first_reason_that_applies_and_change_nothing() -> None:
    bench = one_running_one_stopped()
    parts = ("attachment", "base", "limit", "progress", "program_counter")
    names = [f"tenant{tenant}_{part}" for tenant in range(MINI.tenants) for part in parts]
    names += [f"core{core}_{part}" for core in range(MINI.cores) for part in ("state", "owner", "virtual")]
    before = [bench.show(name) for name in names]
    for command, arguments, result in REFUSALS:
        assert bench.order(command, **arguments) == result, (command, arguments)  # type: ignore[arg-type]
        assert [bench.show(name) for name in names] == before, (command, arguments)


def test_adjacent_windows_and_the_same_virtual_index_for_another_tenant_are_accepted() -> None:
    bench = one_running_one_stopped()
    bench.accept(Command.ATTACH, tenant=0, base=0, limit=8)
    bench.accept(Command.DETACH)
    bench.run_until(lambda: bench.show("tenant0_attachment") == 0)
    bench.accept(Command.ATTACH, tenant=0, base=40, limit=88)
    bench.accept(Command.GRANT, tenant=0, core=0, virtual=1)
    bench.accept(Command.GRANT, tenant=2, core=3, virtual=1)
    for core, owner, virtual in ((0, 0, 1), (1, 1, 0), (2, 1, 1), (3, 2, 1)):
        bench.write(Register.ARGUMENT_CORE, core)
        assert bench.read(Register.CORE_STATE) == CoreState.HELD
        assert (bench.read(Register.CORE_OWNER), bench.read(Register.CORE_VIRTUAL)) == (owner, virtual)


def busy_core(bench: ShellBench) -> None:
    bench.cores[1].requests.extend(Request(beat % 16) for beat in range(1000))


@pytest.mark.parametrize("prepare", [lambda bench: None, busy_core])
def test_a_switch_takes_a_constant_number_of_cycles_whatever_the_core_does(
    prepare: Callable[[ShellBench], None],
) -> None:
    bench = one_running_one_stopped()
    bench.run(100)
    script = bench.cores[1]
    prepare(bench)
    bench.run(50)
    script.scrubbed.clear()
    ordered = bench.accept(Command.REVOKE, core=1)
    begin = ordered + COMMAND_CYCLES
    assert bench.core_state(1) == CoreState.DRAINING
    assert bench.order(Command.GRANT, tenant=2, core=1, virtual=0) == Result.WRONG_CORE_STATE
    bench.run_to(begin + MINI.drain_cycles)
    assert bench.core_state(1) == CoreState.DRAINING
    bench.step()
    assert bench.core_state(1) == CoreState.SCRUBBING
    script.requests.clear()
    scrubs = begin + MINI.drain_cycles + 1
    bench.run_to(begin + switch_cycles(MINI))
    assert bench.core_state(1) == CoreState.SCRUBBING
    assert script.scrubbed == [(scrubs + address, address) for address in range(MINI.scrub_cycles)]
    bench.step()
    assert bench.core_state(1) == CoreState.FREE
    assert (bench.show("core1_owner"), bench.show("core1_virtual")) == (0, 0)
    assert switch_cycles(MINI) == MINI.drain_cycles + MINI.scrub_cycles + SCRUB_MARGIN_CYCLES
    assert all(cycle <= begin for cycle in script.taken)
    assert all(cycle < begin + MINI.drain_cycles for cycle, _ in script.responses)
    assert len(script.responses) == len(script.taken)


def test_a_core_being_drained_is_mapped_no_more_but_still_counts_as_held() -> None:
    bench = one_running_one_stopped()
    bench.run(100)
    bench.accept(Command.REVOKE, core=1)
    assert bench.order(Command.GRANT, tenant=1, core=0, virtual=0) == Result.VIRTUAL_INDEX_TAKEN
    bench.accept(Command.REVOKE, core=2)
    assert bench.order(Command.STOP, tenant=1) == Result.TENANT_HOLDS_CORES
    bench.run_until(lambda: bench.core_state(2) == CoreState.FREE)
    bench.accept(Command.STOP, tenant=1)
    assert bench.tenant_state(1) == TenantState.STOPPED


def test_an_instruction_for_a_core_being_drained_faults() -> None:
    bench = settled()
    bench.admit(1, 8, 16, [1, 2])
    bench.place(8, [ConfigSave(core=1)] + [ConfigSave(core=0)] * 20)
    bench.cores[2].gives_credit = False
    bench.cores[1].gives_credit = False
    bench.start(1)
    bench.run(200)
    assert len(bench.cores[1].instructions) == MINI.queue_instructions
    bench.accept(Command.REVOKE, core=1)
    bench.run(10)
    assert len(bench.cores[1].instructions) == MINI.queue_instructions
    assert bench.tenant_state(1) == TenantState.FAULTED
    assert bench.read(Register.TENANT_FAULT) == Fault.UNMAPPED_CORE
    assert bench.read(Register.TENANT_FAULT_ADDRESS) == 1 + MINI.queue_instructions


def test_credits_and_arrivals_are_fresh_after_a_switch() -> None:
    bench = settled()
    bench.admit(1, 8, 16, [1])
    bench.place(8, [ConfigSave(core=0, row_pitch=1)] * 9)
    bench.cores[1].gives_credit = False
    bench.start(1)
    bench.run(200)
    bench.cores[1].pulses[bench.cycle] = {"sync_local": 1}
    bench.run(2)
    assert bench.show("core1_credits_save") == 0
    bench.accept(Command.REVOKE, core=1)
    bench.run_until(lambda: bench.core_state(1) == CoreState.FREE)
    assert bench.show("core1_credits_save") == MINI.queue_instructions
    assert bench.show("core1_arrived") == 0
    bench.cores[1].pulses[bench.cycle] = {"sync_local": 1, "credit": 7, "fault_valid": 1, "request_valid": 1}
    bench.run(3)
    assert bench.show("core1_credits_save") == MINI.queue_instructions
    assert bench.show("core1_arrived") == 0


@pytest.mark.parametrize("config", [MINI, WIDE])
def test_detach_zeroes_the_window_the_prefetch_buffer_and_the_context(config: PoolConfig) -> None:
    bench = ShellBench(config)
    bench.settle()
    unit = config.fetch_beats
    base, limit = 3 * unit, 2 * unit
    bench.admit(2, base, limit, [1])
    bench.memory = [0xBAD] * config.memory_beats
    bench.place(base, [ConfigSave(core=0, row_pitch=1)] * 5 + [End()])
    bench.start(2)
    bench.run_until(lambda: bench.show("tenant2_progress") == TenantState.DONE)
    bench.accept(Command.REVOKE, core=1)
    bench.run_until(lambda: bench.core_state(1) == CoreState.FREE)
    bench.accept(Command.STOP, tenant=2)
    memories = [memory for memory in bench.memories if "prefetch" in memory.name]
    assert any(any(bench.simulation.inspect_mem(memory).values()) for memory in memories)
    bench.accept(Command.DETACH, tenant=2)
    assert bench.tenant_state(2) == TenantState.DIRTY
    assert bench.order(Command.ATTACH, tenant=0, base=base + unit, limit=unit) == Result.WINDOW_OVERLAPS
    bench.run_until(lambda: bench.show("tenant2_attachment") == 0)
    inside = range(base, base + limit)
    assert bench.memory == [0 if beat in inside else 0xBAD for beat in range(config.memory_beats)]
    assert not any(any(bench.simulation.inspect_mem(memory).values()) for memory in memories)
    context = [name for name in bench.registers if name.startswith("tenant2_")]
    assert len(context) == 16 and all(bench.show(name) == 0 for name in context)
    bench.accept(Command.ATTACH, tenant=0, base=base, limit=unit)


def test_windows_are_swept_one_after_another_and_the_host_keeps_its_share() -> None:
    bench = settled()
    for tenant in range(3):
        bench.admit(tenant, 32 * tenant, 32, [])
    bench.memory = [1] * MINI.memory_beats
    for tenant in (2, 0, 1):
        bench.accept(Command.DETACH, tenant=tenant)
    bench.host = {"host_request_valid": 1, "host_request_address": 100}
    bench.run_until(lambda: all(bench.show(f"tenant{tenant}_attachment") == 0 for tenant in range(3)))
    assert bench.memory == [0] * 96 + [1] * 32
    order = [beat for _, _, write, beat in bench.accesses if write][-96:]
    assert order == [*range(64, 96), *range(64)]
    assert sum(beat == 100 for _, _, _, beat in bench.accesses) > 40
