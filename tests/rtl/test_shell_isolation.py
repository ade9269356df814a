"""Non-interference on random runs: what another tenant and its cores do moves no bit of A's view by a cycle."""

from __future__ import annotations

from random import Random

import pytest

from isa.encoding import encode
from isa.instructions import Call, ConfigSave, End, Instruction, Return, Save, SyncRaise
from isa.registers import Command, CoreState
from rtl.core_ports import core_ports
from tests.rtl.shell_bench import MINI, WIDE, PoolConfig, Request, ShellBench

TENANT_A, TENANT_B = 1, 2


def program(random: Random, cores: int) -> list[Instruction]:
    """Any program, most likely one that faults in the end."""
    kinds = [lambda: ConfigSave(core=random.randrange(cores), row_pitch=random.randrange(1 << 16))] * 6
    kinds += [lambda: SyncRaise(core=random.randrange(cores)), lambda: Save(core=random.randrange(cores))]
    kinds += [lambda: Call(address=random.randrange(40)), Return, lambda: End(barriers=random.randrange(3))]
    return [random.choice(kinds)() for _ in range(40)]


def stir(bench: ShellBench, random: Random, core: int, limit: int, wild: bool) -> None:
    """Now and then a request or a pulse of one core."""
    script = bench.cores[core]
    if random.random() < 0.2 and len(script.requests) < 3:
        beat = random.randrange(limit + (20 if wild else 0))
        script.requests.append(Request(beat, random.random() < 0.5, random.getrandbits(64), random.getrandbits(4)))
    if random.random() < 0.02:
        script.pulses.setdefault(bench.cycle, {})["sync_local"] = 1
    if wild and random.random() < 0.002:
        script.pulses.setdefault(bench.cycle, {}).update(fault_valid=1, fault_cause=random.randrange(16))


def view_of_a(config: PoolConfig, seed: int, others: int, cores_a: list[int], cores_b: list[int]) -> list[object]:
    """Everything that A sees, cycle by cycle. `others` seeds B's program, data, requests, faults and memory noise."""
    bench = ShellBench(config, seed=others)
    bench.settle()
    half = config.memory_beats // 2
    calm, wild = Random(seed), Random(others)
    a_words = [encode(instruction) for instruction in program(calm, len(cores_a))]
    b_words = [encode(instruction) for instruction in program(wild, len(cores_b))]
    for base, words in ((0, a_words), (half, b_words)):
        bench.place(base, b"".join(word.to_bytes(16, "little") for word in words))
    bench.admit(TENANT_A, 0, half, cores_a)
    bench.admit(TENANT_B, half, half, cores_b)
    bench.accept(Command.START, tenant=TENANT_B, start=wild.randrange(8))
    bench.accept(Command.START, tenant=TENANT_A, start=0)
    context = [name for name in bench.registers if name.startswith(f"tenant{TENANT_A}_")]
    ports = [f"core{core}_{port}_o" for core in cores_a for port in core_ports(config).inputs]
    view: list[object] = []
    for cycle in range(700):
        for core in cores_a:
            stir(bench, calm, core, half, wild=False)
        for core in cores_b:
            if bench.core_state(core) == CoreState.HELD:
                stir(bench, wild, core, half, wild=True)
        # The host's commands are the same in both runs; one takes a core from B while A runs.
        inputs = {}
        if cycle == 200:
            inputs = {"control_write": 1, "control_address": 5, "control_write_data": cores_b[0]}
        elif cycle == 201:
            inputs = {"control_write": 1, "control_address": 10, "control_write_data": int(Command.REVOKE)}
        count = len(bench.accesses)
        bench.step(**inputs)
        writes = [access for access in bench.accesses[count:] if access[3] < half]
        view.append(([bench.show(name) for name in context + ports], writes))
    return view


@pytest.mark.parametrize(
    ("config", "seed", "cores_a", "cores_b"),
    [*[(MINI, seed, [2, 1], [0, 3]) for seed in range(4)], (WIDE, 0, [0, 5, 10], [4, 15, 1, 6])],
)
def test_another_tenant_is_never_observed(
    config: PoolConfig, seed: int, cores_a: list[int], cores_b: list[int]
) -> None:
    first = view_of_a(config, seed, 100 + seed, cores_a, cores_b)
    second = view_of_a(config, seed, 200 + seed, cores_a, cores_b)
    for cycle, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one == other, f"the views differ in cycle {cycle}"
    assert len({str(shown) for shown, _ in first}) > 50 and any(writes for _, writes in first)
