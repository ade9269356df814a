"""Channels: slots, windows, latencies, whose response it is; the host's port."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from isa.encoding import encode_program
from isa.instructions import End
from isa.registers import Fault, Register, TenantState
from tests.rtl.shell_bench import MINI, WIDE, PoolConfig, Request, ShellBench

WINDOWS = {1: (64, 64), 2: (128, 128)}


def two_tenants(config: PoolConfig, cores: dict[int, list[int]], windows: dict[int, tuple[int, int]]) -> ShellBench:
    """Tenants that wait at END for a barrier that never comes, so that their cores may move data for ever."""
    bench = ShellBench(config)
    bench.settle()
    for tenant, held in cores.items():
        base, limit = windows[tenant]
        bench.place(base, [End(barriers=9)])
        bench.admit(tenant, base, limit, held)
        bench.start(tenant)
    bench.run(2 * config.period_cycles + 2 * config.channel_latency)
    bench.accesses.clear()
    return bench


def slot_core(config: PoolConfig, cycle: int, channel: int) -> int | None:
    """Core whose slot it is; None for the host."""
    position = (cycle - channel * config.slot_spacing) % config.period_cycles
    core, revolution = position % config.cores, position // config.cores
    return None if revolution == config.host_revolutions - 1 else core


def test_reads_and_writes_reach_their_own_window_and_answer_their_own_core() -> None:
    held = {1: [0, 3, 9, 15], 2: [1, 2, 4, 14]}
    bench = two_tenants(WIDE, held, WINDOWS)
    random = Random(5)
    bits = 8 * WIDE.beat_bytes
    shadow = list(bench.memory)
    expected: dict[int, list[int]] = {}
    for tenant, cores in held.items():
        base, limit = WINDOWS[tenant]
        share = (limit - 8) // len(cores)
        for index, core in enumerate(cores):
            expected[core] = []
            for _ in range(25):
                beat = 8 + index * share + random.randrange(share)
                if random.random() < 0.5:
                    data, strobe = random.getrandbits(bits), random.randrange(1 << WIDE.vectors_per_beat)
                    mask = sum(
                        0xFFFFFFFF << 32 * vector for vector in range(WIDE.vectors_per_beat) if strobe >> vector & 1
                    )
                    shadow[base + beat] = shadow[base + beat] & ~mask | data & mask
                    bench.cores[core].requests.append(Request(beat, True, data, strobe))
                else:
                    expected[core].append(shadow[base + beat])
                    bench.cores[core].requests.append(Request(beat, data=random.getrandbits(bits), strobe=1))
    sizes = {core: len(bench.cores[core].requests) for core in expected}
    bench.run_until(lambda: not any(bench.cores[core].requests for core in expected))
    bench.run(WIDE.channel_latency + 4)
    assert bench.memory == shadow
    owners = {core: tenant for tenant, cores in held.items() for core in cores}
    for core, script in enumerate(bench.cores):
        assert [data for _, data in script.responses] == expected.get(core, [])
        answers = sorted([cycle for cycle, _ in script.responses] + script.acknowledged)
        assert answers == [taken + 2 + WIDE.channel_latency for taken in script.taken]
        assert len(answers) == sizes.get(core, 0)
    for cycle, channel, _, beat in bench.accesses:
        core = slot_core(WIDE, cycle - 2, channel)
        assert core is not None and beat % WIDE.channels == channel
        base, limit = WINDOWS[owners[core]]
        assert base <= beat < base + limit


@pytest.mark.parametrize("core", [0, 1, 3])
def test_a_request_is_taken_in_the_next_slot_of_its_core(core: int) -> None:
    bench = two_tenants(MINI, {1: [core]}, {1: (8, 32)})
    bench.run_until(lambda: bench.cycle % MINI.period_cycles == 0)
    begin = bench.cycle
    bench.cores[core].requests.extend(Request(beat) for beat in range(10))
    bench.run(100)
    slots = [cycle for cycle in range(begin, begin + 100) if slot_core(MINI, cycle, 0) == core][:10]
    assert bench.cores[core].taken == [cycle + 1 for cycle in slots]
    assert [(cycle, beat) for cycle, _, _, beat in bench.accesses] == [
        (cycle + 2, 8 + index) for index, cycle in enumerate(slots)
    ]


def test_with_a_slot_in_every_cycle_no_request_is_taken_twice() -> None:
    sizes = {name: getattr(MINI, name) for name in PoolConfig.__dataclass_fields__}
    for cores in (1, 2):
        config = PoolConfig(**sizes | {"name": "dense", "cores": cores, "channels": cores, "host_revolutions": 16})
        bench = two_tenants(config, {1: list(range(cores))}, {1: (8, 32)})
        for index, script in enumerate(bench.cores):
            script.requests.extend(Request(beat, instruction=index) for beat in range(20))
        bench.run(8 * config.period_cycles)
        for script in bench.cores:
            assert len(script.taken) == 20 and len(script.responses) == 20
            assert all(later - earlier >= 2 for earlier, later in pairwise(script.taken))
        assert sorted(beat for _, _, _, beat in bench.accesses) == sorted([*range(8, 28)] * cores)


@pytest.mark.parametrize("cores", [1, 2])
def test_a_core_that_shows_its_next_request_uses_slots_in_a_row(cores: int) -> None:
    config = replace(
        MINI, name="stream", cores=cores, channels=cores, beat_bytes=16, port_vectors=4, host_revolutions=16
    )
    bench = two_tenants(config, {1: [0]}, {1: (8, 32)})
    bench.run_until(lambda: bench.cycle % config.period_cycles == 0)
    requests = [Request(beat, write=beat % 3 == 1, data=beat, strobe=1, instruction=beat) for beat in range(24)]
    bench.cores[0].requests.extend(requests)
    bench.memory[8:32] = [0x100 + beat for beat in range(24)]
    bench.run(8 * config.period_cycles)
    taken = bench.cores[0].taken
    gaps = [later - earlier for earlier, later in pairwise(taken)]
    assert len(taken) == 24 and gaps.count(1) >= 20, "but for the host's slots"
    assert [(write, beat) for _, _, write, beat in bench.accesses] == [
        (each.write, 8 + each.address) for each in requests
    ]
    assert [data for _, data in bench.cores[0].responses] == [0x100 + beat for beat in range(24) if beat % 3 != 1]
    assert bench.memory[8:32] == [beat if beat % 3 == 1 else 0x100 + beat for beat in range(24)]


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("address", [32, 33, 120, (1 << 33) - 1, 1 << 32, (1 << 33) - 8])
def test_an_access_beyond_the_window_is_taken_suppressed_and_faults(address: int, write: bool) -> None:
    bench = two_tenants(MINI, {1: [2], 2: [1]}, {1: (8, 32), 2: (40, 80)})
    before = list(bench.memory)
    bench.cores[2].requests.extend(
        [Request(31, instruction=1), Request(address, write, 1, 1, instruction=77), Request(0, instruction=78)]
    )
    bench.run_until(lambda: len(bench.cores[2].taken) == 2)
    bench.step()
    assert bench.show("tenant1_progress") == TenantState.FAULTED
    bench.run(200)
    assert [beat for _, _, _, beat in bench.accesses] == [39]
    assert bench.memory == before and len(bench.cores[2].responses) == 1 and not bench.cores[2].acknowledged
    bench.write(Register.ARGUMENT_TENANT, 1)
    assert bench.read(Register.TENANT_FAULT) == Fault.ACCESS_OUTSIDE_WINDOW
    assert bench.read(Register.TENANT_FAULT_ADDRESS) == 77
    assert bench.tenant_state(2) == TenantState.RUNNING


def test_a_fetch_goes_before_the_request_of_the_core() -> None:
    bench = ShellBench(MINI)
    bench.settle()
    bench.admit(1, 8, 32, [2])
    bench.cores[2].requests.append(Request(20))
    begin = bench.start(1)
    bench.run(100)
    slots = [cycle for cycle in range(begin, begin + 100) if slot_core(MINI, cycle, 0) == 2]
    assert [(cycle - 2, beat) for cycle, _, _, beat in bench.accesses[-5:]] == list(
        zip(slots, [8, 9, 10, 11, 28], strict=False)
    )


def test_nothing_is_fetched_beyond_the_window() -> None:
    bench = ShellBench(MINI)
    bench.settle()
    bench.place(8, bytes(96) + encode_program([End(barriers=1)]))
    bench.admit(1, 8, 4, [2])
    bench.cores[2].requests.extend(Request(beat) for beat in range(3))
    begin = bench.start(1, 6)
    bench.run(100)
    slots = [cycle for cycle in range(begin, begin + 100) if slot_core(MINI, cycle, 0) == 2]
    assert [(cycle - 2, beat) for cycle, _, _, beat in bench.accesses[-4:]] == list(
        zip(slots, [11, 8, 9, 10], strict=False)
    )


@pytest.mark.parametrize("config", [MINI, WIDE])
def test_the_host_moves_data_in_its_own_slots(config: PoolConfig) -> None:
    bench = ShellBench(config)
    bench.settle()
    bench.accesses.clear()
    random = Random(2)
    full = (1 << config.vectors_per_beat) - 1
    written: dict[int, int] = {}
    for beat in random.sample(range(config.memory_beats), 12):
        written[beat] = random.getrandbits(8 * config.beat_bytes)
        host_access(bench, host_request_write=1, host_request_address=beat, host_request_data=written[beat],
                    host_request_strobe=full)  # fmt: skip
    for beat, data in written.items():
        assert bench.memory[beat] == data
        assert host_access(bench, host_request_address=beat) == data
    for cycle, channel, _, beat in bench.accesses:
        assert slot_core(config, cycle - 2, channel) is None and beat in written


def host_access(bench: ShellBench, **request: int) -> int:
    """Hold a request until it is taken; its answer, checked to come L + 2 cycles later."""
    bench.host = {"host_request_valid": 1, **request}
    bench.run_until(lambda: bench.show("host_request_taken") == 1, 4 * bench.config.period_cycles)
    taken = bench.cycle - 1
    bench.host = {}
    bench.step()
    bench.run_until(lambda: bench.show("host_response_valid") == 1, 2 * bench.config.channel_latency)
    assert bench.cycle - 1 == taken + 2 + bench.config.channel_latency
    return bench.show("host_response_data")
