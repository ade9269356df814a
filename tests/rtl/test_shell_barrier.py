"""Barriers: never early, in a fixed time, for the tenant's own cores only; PAUSE and RESUME."""

from __future__ import annotations

from isa.instructions import End
from isa.registers import COMMAND_CYCLES, Command, Register, Result, TenantState
from tests.rtl.shell_bench import MINI, ShellBench


def waiting(cores: dict[int, list[int]]) -> ShellBench:
    """Tenants in END that wait for 3 barriers."""
    bench = ShellBench(MINI)
    bench.settle()
    for tenant, held in cores.items():
        bench.place(8 + 16 * tenant, [End(barriers=3)])
        bench.admit(tenant, 8 + 16 * tenant, 16, held)
        bench.start(tenant)
    bench.run(150)
    return bench


def arrive(bench: ShellBench, *cores: int) -> int:
    """Raise sync_local of some cores in the cycle that comes next; that cycle."""
    for core in cores:
        bench.cores[core].pulses[bench.cycle] = {"sync_local": 1}
    bench.step()
    return bench.cycle - 1


def test_release_follows_the_last_arrival_by_three_cycles() -> None:
    bench = waiting({1: [0, 2, 3]})
    arrive(bench, 2)
    bench.run(5)
    arrive(bench, 0)
    bench.run(9)
    assert not bench.cores[0].released
    last = arrive(bench, 3)
    assert (bench.show("core3_arrived"), bench.show("tenant1_release")) == (0, 0)
    bench.step()
    assert (bench.show("core3_arrived"), bench.show("tenant1_release")) == (1, 0)
    bench.step()
    assert (bench.show("core3_arrived"), bench.show("tenant1_release")) == (0, 1)
    assert bench.show("tenant1_barriers") == 1
    bench.run(5)
    assert [script.released for script in bench.cores] == [[last + 3], [], [last + 3], [last + 3]]


def test_barriers_of_two_tenants_do_not_meet() -> None:
    bench = waiting({1: [0, 2], 2: [1, 3]})
    arrive(bench, 0, 1)
    bench.run(20)
    assert not any(script.released for script in bench.cores)
    cycle = arrive(bench, 3)
    bench.run(20)
    assert [script.released for script in bench.cores] == [[], [cycle + 3], [], [cycle + 3]]
    assert bench.show("tenant2_barriers") == 1 and bench.show("tenant1_barriers") == 0


def test_an_arrival_in_the_cycle_of_completion_counts_for_the_next_barrier() -> None:
    bench = waiting({1: [0, 2]})
    arrive(bench, 0)
    arrive(bench, 2)
    arrive(bench, 2)
    bench.run(10)
    assert bench.show("tenant1_barriers") == 1 and bench.show("core2_arrived") == 1
    arrive(bench, 0)
    bench.run(10)
    assert bench.show("tenant1_barriers") == 2


def test_pause_holds_the_release_back_until_resume() -> None:
    bench = waiting({1: [0, 2]})
    bench.accept(Command.PAUSE, tenant=1)
    assert bench.tenant_state(1) == TenantState.RUNNING
    arrive(bench, 0, 2)
    bench.run(2)
    assert bench.show("tenant1_progress") == TenantState.PAUSED
    assert bench.show("tenant1_barriers") == 1
    bench.run(50)
    assert not bench.cores[0].released
    ordered = bench.accept(Command.RESUME, tenant=1)
    bench.run(4)
    assert [script.released for script in bench.cores] == [
        [ordered + COMMAND_CYCLES + 1], [], [ordered + COMMAND_CYCLES + 1], []
    ]  # fmt: skip
    assert bench.tenant_state(1) == TenantState.RUNNING
    for _ in range(2):
        arrive(bench, 0, 2)
        bench.run(10)
    assert bench.tenant_state(1) == TenantState.DONE


def test_resume_takes_back_a_pause_that_was_not_reached() -> None:
    bench = waiting({1: [0, 2]})
    bench.accept(Command.PAUSE, tenant=1)
    bench.accept(Command.RESUME, tenant=1)
    cycle = arrive(bench, 0, 2)
    bench.run(10)
    assert bench.cores[2].released == [cycle + 3]
    assert bench.tenant_state(1) == TenantState.RUNNING


def test_pause_and_resume_in_the_cycle_of_the_barrier_lose_no_release() -> None:
    for command in (Command.PAUSE, Command.RESUME):
        for offset in range(8):
            bench = waiting({1: [0]})
            if command == Command.RESUME:
                bench.accept(Command.PAUSE, tenant=1)
            bench.write(Register.ARGUMENT_TENANT, 1)
            bench.cores[0].pulses[bench.cycle + offset] = {"sync_local": 1}
            assert bench.order(command) == Result.ACCEPTED
            bench.run(20)
            if bench.show("tenant1_progress") == TenantState.PAUSED:
                assert command == Command.PAUSE and not bench.cores[0].released
                bench.accept(Command.RESUME)
                bench.run(10)
            assert len(bench.cores[0].released) == 1
            assert bench.tenant_state(1) == TenantState.RUNNING
            assert bench.show("tenant1_barriers") == 1


def test_a_revoked_core_is_waited_for_no_more() -> None:
    bench = waiting({1: [0, 2]})
    arrive(bench, 0)
    bench.run(10)
    ordered = bench.accept(Command.REVOKE, core=2)
    bench.run(4)
    assert bench.cores[0].released == [ordered + COMMAND_CYCLES + 2]
    assert not bench.cores[2].released


def test_no_barrier_completes_while_the_tenant_is_paused_or_done() -> None:
    bench = waiting({1: [0, 2]})
    bench.accept(Command.PAUSE, tenant=1)
    for _ in range(2):
        arrive(bench, 0, 2)
        bench.run(10)
    assert bench.show("tenant1_progress") == TenantState.PAUSED
    assert bench.show("tenant1_barriers") == 1
    bench.accept(Command.RESUME)
    bench.run(10)
    assert bench.show("tenant1_barriers") == 2
    for _ in range(2):
        arrive(bench, 0, 2)
        bench.run(20)
    assert bench.show("tenant1_progress") == TenantState.DONE
    assert bench.show("tenant1_barriers") == 3
