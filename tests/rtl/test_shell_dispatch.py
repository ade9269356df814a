"""Level 1: what reaches which core, in which cycle, and what stops a tenant."""

from __future__ import annotations

from random import Random

import pytest

from isa.encoding import encode
from isa.instructions import Call, ConfigSave, ConfigTile, End, Instruction, Return, SyncRaise, SyncWait
from isa.registers import Command, Fault, Register, TenantState
from tests.rtl.shell_bench import MINI, WIDE, PoolConfig, Request, ShellBench

ILLEGAL = (1 << 128) - 1


def marked(core: int, mark: int) -> ConfigSave:
    """A core instruction that a test can recognise."""
    return ConfigSave(core=core, row_pitch=mark)


def words_to_bytes(words: list[Instruction | int]) -> bytes:
    """A program in which whole numbers stand for themselves."""
    return b"".join((word if isinstance(word, int) else encode(word)).to_bytes(16, "little") for word in words)


def running(config: PoolConfig, program: list[Instruction | int], cores: list[int], start: int = 0) -> ShellBench:
    """Tenant 1, RUNNING from the cycle that comes next, in a window of all beats from F on to the middle."""
    bench = ShellBench(config)
    bench.settle()
    base = config.fetch_beats
    bench.place(base, words_to_bytes(program))
    bench.admit(1, base, config.memory_beats // 2, cores)
    bench.start(1, start)
    assert bench.show("tenant1_progress") == TenantState.STARTING
    return bench


def run_to_end(bench: ShellBench) -> TenantState:
    """Until tenant 1 is DONE or FAULTED."""
    ends = (TenantState.DONE, TenantState.FAULTED)
    bench.run_until(lambda: bench.show("tenant1_progress") in ends)
    return TenantState(bench.show("tenant1_progress"))


def contract(config: PoolConfig, cores: list[int], targets: list[int], begin: int) -> list[tuple[int, int]]:
    """(cycle, physical core) of each instruction, by the letter of the contract; `targets` are virtual cores."""
    arrivals: list[int] = []
    requested, counter, sent, held_until = 0, 0, [], -1
    limit, cycle = config.memory_beats // 2, begin
    pending: list[tuple[int, int]] = []
    while len(sent) < len(targets):
        pending, now = [p for p in pending if p[0] > cycle], [p for p in pending if p[0] == cycle]
        counter += len(now)
        for channel in range(config.channels):
            position = (cycle - channel * config.slot_spacing) % config.period_cycles
            core, revolution = position % config.cores, position // config.cores
            room = requested - counter // config.words_per_beat < config.fetch_beats
            wanted = room and requested < limit and requested % config.channels == channel
            if core in cores and revolution < config.host_revolutions - 1 and wanted:
                arrivals.append(cycle + 3 + config.channel_latency)
                requested += 1
                break
        beat = counter // config.words_per_beat
        here = beat < len(arrivals) and arrivals[beat] <= cycle
        if cycle % config.cores in cores and here and cycle != held_until:
            held_until = cycle + 1
            pending.append((cycle + 2, 1))
            sent.append((cycle + 2, cores[targets[counter]]))
        cycle += 1
    return sent


@pytest.mark.parametrize(
    ("config", "cores"),
    [(MINI, [0]), (MINI, [2, 0, 3]), (MINI, [3, 2, 1, 0]), (WIDE, [5]), (WIDE, [1, 14, 7]), (WIDE, list(range(16)))],
)
def test_instructions_arrive_in_the_cycles_that_the_contract_states(config: PoolConfig, cores: list[int]) -> None:
    random = Random(3)
    targets = [random.randrange(len(cores)) for _ in range(60)]
    program = [marked(target, index) for index, target in enumerate(targets)]
    bench = running(config, [*program, End()], cores)
    begin = bench.cycle
    assert run_to_end(bench) == TenantState.DONE
    seen = sorted(
        (cycle, core, word, address)
        for core, script in enumerate(bench.cores)
        for cycle, word, address in script.instructions
    )
    expected = contract(config, cores, targets, begin)
    assert [(cycle, core) for cycle, core, _, _ in seen] == expected
    assert [(word, address) for _, _, word, address in seen] == [
        (encode(instruction), index) for index, instruction in enumerate(program)
    ]
    done = bench.cycle - 1
    bench.write(Register.ARGUMENT_TENANT, 1)
    assert bench.read(Register.TENANT_CYCLES) == done - begin


@pytest.mark.parametrize(("config", "seed"), [*[(MINI, seed) for seed in range(6)], (WIDE, 0), (WIDE, 1)])
def test_calls_and_returns_follow_the_program_and_drop_what_was_fetched_ahead(config: PoolConfig, seed: int) -> None:
    random = Random(seed)
    frames = 4
    words: list[Instruction | int] = [ILLEGAL] * 120
    starts = sorted(random.sample(range(30, 112, 9), frames))
    bodies = [random.randrange(1, 7) for _ in range(frames)]
    for frame, (start, body) in enumerate(zip(starts, bodies, strict=True)):
        for index in range(body):
            words[start + index] = marked(0, 100 * frame + index)
        words[start + body] = Return()
    expected, at = [], random.randrange(4)
    begin = at
    for step in range(8):
        frame = random.randrange(frames)
        words[at] = Call(address=starts[frame])
        expected += [100 * frame + index for index in range(bodies[frame])]
        at += 1
        if random.random() < 0.5:
            words[at] = marked(0, 1000 + step)
            expected.append(1000 + step)
            at += 1
    words[at] = End()
    bench = running(config, words, [1, 2], begin)
    assert run_to_end(bench) == TenantState.DONE
    assert [word >> 12 for _, word, _ in bench.cores[1].instructions] == expected


FAULTS: list[tuple[list[Instruction | int], int, Fault, int]] = [
    ([marked(0, 1), 0x3F], 0, Fault.ILLEGAL_INSTRUCTION, 1),
    ([encode(marked(0, 1)) | 1 << 127], 0, Fault.ILLEGAL_INSTRUCTION, 0),
    ([0], 0, Fault.ILLEGAL_INSTRUCTION, 0),
    ([marked(0, 1), marked(0, 2), marked(2, 3)], 0, Fault.UNMAPPED_CORE, 2),
    ([marked(63, 3)], 0, Fault.UNMAPPED_CORE, 0),
    ([Call(address=5), 0, 0, 0, 0, marked(0, 1), Call(address=0)], 0, Fault.NESTED_CALL, 6),
    ([marked(0, 1), Return()], 0, Fault.RETURN_WITHOUT_CALL, 1),
    ([Call(address=4), Return(), 0, 0, Return()], 0, Fault.RETURN_WITHOUT_CALL, 1),
    ([Call(address=1 << 20)], 0, Fault.FETCH_OUTSIDE_WINDOW, 1 << 20),
    ([Call(address=(1 << 28) - 1)], 0, Fault.FETCH_OUTSIDE_WINDOW, (1 << 28) - 1),
    ([], 127, Fault.ILLEGAL_INSTRUCTION, 127),
    ([], 128, Fault.FETCH_OUTSIDE_WINDOW, 128),
    ([0] * 127 + [marked(0, 1)], 127, Fault.FETCH_OUTSIDE_WINDOW, 128),
]


@pytest.mark.parametrize(("program", "start", "cause", "address"), FAULTS)
def test_dispatch_fault_names_cause_and_instruction(
    program: list[Instruction | int], start: int, cause: Fault, address: int
) -> None:
    bench = running(MINI, program, [0, 3], start)
    assert run_to_end(bench) == TenantState.FAULTED
    assert (bench.read(Register.TENANT_FAULT), bench.read(Register.TENANT_FAULT_ADDRESS)) == (cause, address)
    count = len(bench.accesses)
    bench.run(100)
    assert len(bench.accesses) == count


def test_the_first_fault_sticks_until_stop() -> None:
    bench = running(MINI, [Return()], [0, 3])
    run_to_end(bench)
    bench.cores[3].pulses[bench.cycle] = {"fault_valid": 1, "fault_cause": Fault.BUFFER_OVERRUN, "fault_address": 9}
    bench.run(3)
    assert bench.read(Register.TENANT_FAULT) == Fault.RETURN_WITHOUT_CALL
    for core in (0, 3):
        bench.accept(Command.REVOKE, core=core)
    bench.run_until(lambda: bench.show("core3_state") == 1)
    bench.accept(Command.STOP, tenant=1)
    assert bench.read(Register.TENANT_FAULT) == Fault.NONE
    assert bench.tenant_state(1) == TenantState.STOPPED


def simultaneous(program: list[Instruction | int], request: Request, core_faults: dict[int, int], cycle: int) -> Fault:
    """The fault of tenant 1 on cores 1 and 2 when core c reports one with cause core_faults[c] in `cycle`."""
    bench = running(MINI, program, [1, 2])
    bench.cores[1].requests.append(request)
    for core, cause in core_faults.items():
        bench.cores[core].pulses[cycle] = {"fault_valid": 1, "fault_cause": cause, "fault_address": core}
    run_to_end(bench)
    assert bench.cycle - 1 <= cycle + 1 or not core_faults
    simultaneous.seen_at = bench.cycle - 1  # type: ignore[attr-defined]
    return Fault(bench.read(Register.TENANT_FAULT))


def test_of_simultaneous_faults_dispatch_wins_then_access_then_the_lowest_core() -> None:
    inside, outside = Request(0), Request(64)
    both = {2: Fault.TOKEN_OVERFLOW, 1: Fault.BUFFER_OVERRUN}
    stays = [End(barriers=1)]
    assert simultaneous(stays, inside, both, 900) == Fault.BUFFER_OVERRUN
    assert simultaneous(stays, inside, {2: Fault.TOKEN_OVERFLOW}, 900) == Fault.TOKEN_OVERFLOW
    for program, request, cause in (
        (stays, outside, Fault.ACCESS_OUTSIDE_WINDOW),
        ([Return()], inside, Fault.RETURN_WITHOUT_CALL),
    ):
        assert simultaneous(program, request, {}, 0) == cause
        cycle = simultaneous.seen_at - 1  # type: ignore[attr-defined]
        assert simultaneous(program, request, both, cycle) == cause
        assert simultaneous(program, request, both, cycle - 1) == Fault.BUFFER_OVERRUN


def test_an_engine_without_credit_holds_the_stream() -> None:
    program = [marked(1, index) for index in range(6)] + [ConfigTile(core=0), End()]
    bench = running(MINI, program, [0, 3])
    bench.cores[3].gives_credit = False
    bench.run(300)
    assert len(bench.cores[3].instructions) == MINI.queue_instructions
    assert not bench.cores[0].instructions
    # A credit visible at t counts at t + 1; core 0's and 3's turns of level 1 follow one another.
    begin = bench.cycle + -bench.cycle % 4 + 2
    bench.cores[3].pulses[begin] = {"credit": 0b100}
    bench.run(20)
    assert [cycle for cycle, _, _ in bench.cores[3].instructions[4:]] == [begin + 1 + 2]
    bench.cores[3].pulses[bench.cycle] = {"credit": 0b011}
    bench.run(40)
    assert len(bench.cores[3].instructions) == MINI.queue_instructions + 1
    bench.cores[3].pulses[bench.cycle] = {"credit": 0b100}
    assert run_to_end(bench) == TenantState.DONE
    assert len(bench.cores[0].instructions) == 1


def test_end_waits_for_its_barriers() -> None:
    bench = running(MINI, [SyncRaise(core=0), SyncWait(core=0), End(barriers=2)], [1])
    bench.run(200)
    for _ in range(2):
        assert bench.show("tenant1_progress") == TenantState.RUNNING
        bench.cores[1].pulses[bench.cycle] = {"sync_local": 1}
        bench.run(30)
    assert bench.show("tenant1_progress") == TenantState.DONE
    assert len(bench.cores[1].released) == 2


def test_two_tenants_with_the_same_virtual_index_reach_their_own_cores() -> None:
    bench = ShellBench(MINI)
    bench.settle()
    for tenant, cores in ((0, [3, 1]), (2, [0, 2])):
        bench.place(8 + 32 * tenant, words_to_bytes([marked(index % 2, 10 * tenant + index) for index in range(8)]))
        bench.admit(tenant, 8 + 32 * tenant, 8, cores)
        bench.start(tenant)
    bench.run(300)
    marks = [[word >> 12 for _, word, _ in script.instructions] for script in bench.cores]
    assert marks == [[20, 22, 24, 26], [1, 3, 5, 7], [21, 23, 25, 27], [0, 2, 4, 6]]


@pytest.mark.parametrize("offset", range(6))
def test_nothing_is_sent_once_the_tenant_shows_faulted(offset: int) -> None:
    bench = running(MINI, [marked(0, index) for index in range(100)], [0, 1, 2])
    bench.run_until(lambda: len(bench.cores[0].instructions) == 2)
    cycle = bench.cycle + offset
    bench.cores[2].pulses[cycle] = {"fault_valid": 1, "fault_cause": Fault.TOKEN_OVERFLOW}
    bench.run(30)
    assert bench.show("tenant1_progress") == TenantState.FAULTED
    sent = len(bench.cores[0].instructions)
    assert all(seen <= cycle + 1 for seen, _, _ in bench.cores[0].instructions)
    assert bench.show("tenant1_program_counter") == sent


def test_a_program_can_run_again_from_done() -> None:
    bench = running(MINI, [marked(0, 1), End(), marked(0, 2), End()], [1])
    assert run_to_end(bench) == TenantState.DONE
    first = bench.read(Register.TENANT_CYCLES)
    bench.start(1, 2)
    assert run_to_end(bench) == TenantState.DONE
    assert [word >> 12 for _, word, _ in bench.cores[1].instructions] == [1, 2]
    assert bench.read(Register.TENANT_CYCLES) - first in range(-4, 5)
