"""The same program gives the same bytes in the same cycles on the netlist, on its Verilog and on the model."""

from collections.abc import Iterator

import numpy as np
import pytest

from hypervisor.hypervisor import Hypervisor, TenantStatus
from hypervisor.machines import BACKENDS, open_port
from hypervisor.pool_port import ActivityInterval, Bytes, Idle, PoolPort, Read, Write
from isa.instructions import VIRTUAL_CORE_BITS
from isa.registers import COMMAND_CYCLES, Command, Register, Result, TenantState
from tests.backends.small_programs import CONFIG, WINDOW_BYTES, window

pytestmark = pytest.mark.xdist_group("tiny_rtl")
RTL = ("pyrtl", "verilator")


def run(
    port: PoolPort, cores: list[int], seed: int, virtual: list[int] | None = None
) -> tuple[Bytes, TenantStatus, list[ActivityInterval]]:
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    if virtual is None:
        hypervisor.grant(tenant, cores)
    else:
        grant_as(port, tenant.number, cores, virtual)
    hypervisor.write(tenant, 0, window(len(cores), seed, virtual))
    hypervisor.start([(tenant, 0)])
    began = -(-port.cycle // CONFIG.period_cycles) * CONFIG.period_cycles
    hypervisor.wait([tenant], 20_000)
    activity = [ActivityInterval(i.core, i.engine, i.first - began, i.end - began) for i in port.activity()]
    return hypervisor.read(tenant, 0, tenant.length_bytes), hypervisor.status(tenant), activity


def grant_as(port: PoolPort, tenant: int, cores: list[int], virtual: list[int]) -> None:
    """Cores with virtual indices that a hypervisor would not give: the pool takes any."""
    for core, index in zip(cores, virtual, strict=True):
        arguments = [Write(Register.ARGUMENT_TENANT, tenant), Write(Register.ARGUMENT_CORE, core)]
        arguments += [Write(Register.ARGUMENT_VIRTUAL, index), Write(Register.COMMAND, Command.GRANT)]
        assert port.transfer([*arguments, Idle(COMMAND_CYCLES), Read(Register.COMMAND_RESULT)]) == [Result.ACCEPTED]


HIGHEST = (1 << VIRTUAL_CORE_BITS) - 1
CASES = [([0], 1, None), ([1], 2, None), ([0, 1], 3, None), ([1, 0], 4, None), ([0, 1], 5, [HIGHEST, 2])]


@pytest.fixture(params=CASES, ids=lambda case: f"cores {case[0]}" + (f" as {case[2]}" if case[2] else ""))
def results(request: pytest.FixtureRequest) -> Iterator[dict[str, tuple[Bytes, TenantStatus, list[ActivityInterval]]]]:
    cores, seed, virtual = request.param
    found = {}
    for backend in BACKENDS:
        port = open_port(backend, CONFIG)
        found[backend] = run(port, cores, seed, virtual)
        port.close()
    yield found


def test_bytes_cycles_and_activity_are_the_same(
    results: dict[str, tuple[Bytes, TenantStatus, list[ActivityInterval]]],
) -> None:
    content, status, activity = results["pyrtl"]
    assert status.state is TenantState.DONE
    assert status.barriers == 2
    for backend in ("verilator", "model"):
        other_content, other_status, other_activity = results[backend]
        differing = np.flatnonzero(content != other_content)
        assert not len(differing), f"{backend}: first difference at byte {differing[0]} of the window"
        assert other_status == status, backend
        assert other_activity == activity, backend


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_neighbour_changes_neither_bytes_nor_cycles(backend: str) -> None:
    seen = []
    for neighbour in (False, True):
        port = open_port(backend, CONFIG)
        hypervisor = Hypervisor(port)
        tenants = [hypervisor.attach(WINDOW_BYTES) for _ in range(2 if neighbour else 1)]
        for index, tenant in enumerate(tenants):
            hypervisor.grant(tenant, [index])
            hypervisor.write(tenant, 0, window(1, seed=index))
        hypervisor.start([(tenant, 0) for tenant in tenants])
        hypervisor.wait(tenants, 20_000)
        first = tenants[0]
        seen.append((hypervisor.read(first, 0, first.length_bytes).tobytes(), hypervisor.status(first)))
        port.close()
    assert seen[0] == seen[1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tenant_that_was_paused_and_resumed_ends_with_the_same_bytes(backend: str) -> None:
    port = open_port(backend, CONFIG)
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [1, 0])
    hypervisor.write(tenant, 0, window(2, seed=7))
    hypervisor.start([(tenant, 0)])
    port.step(CONFIG.period_cycles)
    hypervisor.pause(tenant)
    hypervisor.wait([tenant], 20_000)
    paused = hypervisor.status(tenant)
    assert (paused.state, paused.barriers) == (TenantState.PAUSED, 1)
    port.step(1000)
    hypervisor.resume(tenant)
    hypervisor.wait([tenant], 20_000)
    assert hypervisor.status(tenant).state is TenantState.DONE
    content = hypervisor.read(tenant, 0, tenant.length_bytes)
    port.close()
    undisturbed, *_ = run(open_port("model", CONFIG), [1, 0], 7)
    assert (content == undisturbed).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_cores_change_hands_and_nothing_is_left_behind(backend: str) -> None:
    """The second tenant gets the first one's cores and part of its memory; it computes what it would on a new pool."""
    port = open_port(backend, CONFIG)
    hypervisor = Hypervisor(port)
    for seed in (8, 9):
        tenant = hypervisor.attach(WINDOW_BYTES)
        hypervisor.grant(tenant, [0, 1])
        hypervisor.write(tenant, 0, window(2, seed))
        hypervisor.start([(tenant, 0)])
        hypervisor.wait([tenant], 20_000)
        status, content = hypervisor.status(tenant), hypervisor.read(tenant, 0, tenant.length_bytes)
        hypervisor.revoke(tenant)
        hypervisor.detach(tenant)
    port.close()
    fresh_content, fresh_status, _ = run(open_port("model", CONFIG), [0, 1], 9)
    assert status == fresh_status
    assert (content == fresh_content).all()
