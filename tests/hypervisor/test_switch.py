"""Live switching: a network goes on with other cores at a layer boundary, exact, for a cost that is known beforehand,
and its neighbour does not notice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypervisor.hypervisor import Hypervisor, HypervisorError, Tenant
from hypervisor.machines import BACKENDS, open_port
from hypervisor.pool_port import PoolPort, Read, Write
from hypervisor.switch import (
    END_DELAY_CYCLES,
    begin,
    lost_cycles,
    park,
    park_cycles,
    start_of_switch,
    switch,
)
from isa.registers import Register, TenantState
from tests.hypervisor.running import SMALL, Cores, Running, barriers_of, first_withheld, noticed_at, package_of

pytestmark = pytest.mark.xdist_group("small_rtl")
NEIGHBOUR_CORE = 0


@dataclass(frozen=True)
class Case:
    """A network, its first cores, and switches: (layer to go on with, cores)."""

    network: str
    cores: Cores
    switches: tuple[tuple[int, Cores], ...]


CASES = {
    "lenet gains and loses": Case(
        "lenet", (1, 2), ((0, (1, 2, 3)), (1, (3,)), (2, (3, 1)), (4, (2,)), (5, (1, 2, 3)), (6, (2, 3)))
    ),
    "lenet moves and comes back": Case("lenet", (1,), ((3, (2,)), (5, (1,)), (6, (3, 2)))),
    "resnet8 gains and loses": Case("resnet8", (2, 1, 3), ((2, (1, 2)), (4, (3, 1, 2)), (7, (3, 2)), (10, (1, 2, 3)))),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_switches_cores_in_the_predicted_cycles_and_stays_exact(backend: str, name: str) -> None:
    case = CASES[name]
    port = open_port(backend, SMALL)
    hypervisor = Hypervisor(port)
    neighbour = Running(hypervisor, "resnet8").begin((NEIGHBOUR_CORE,))
    tenant = Running(hypervisor, case.network).begin(case.cores)
    for layer, cores in case.switches:
        before, barriers = tenant.cores, tenant.barriers
        index = layer - tenant.layer
        port.step(max(0, barriers[index] - 100 - port.cycle))
        done = tenant.switch(cores)
        assert done is not None and done.layer == layer
        assert done.noticed == noticed_at(done.looked, barriers[index])
        assert done.running == start_of_switch(SMALL, done.noticed, len(before), len(cores))
        assert tenant.measured_start() == done.running
        program = package_of(case.network).program(len(cores), layer)
        assert len(program.words) == (package_of(case.network).stages[0].end_layer - layer + 3) * 16
    assert tenant.assert_exact() == barriers_of(case.network, tenant.cores, tenant.layer)[-1]
    assert hypervisor.status(neighbour.tenant).state is TenantState.RUNNING
    assert neighbour.assert_exact() == barriers_of("resnet8", (NEIGHBOUR_CORE,))[-1]
    port.close()


def watched_barrier(port: PoolPort, tenant: Tenant, number: int) -> int:
    """The cycle in which the tenant's count shows `number` barriers, by reading it in every cycle."""
    port.transfer([Write(Register.ARGUMENT_TENANT, tenant.number)])
    while True:
        began = port.cycle
        counts = port.transfer([Read(Register.TENANT_BARRIERS)] * 1024)
        if counts[-1] >= number:
            first = next(index for index, count in enumerate(counts) if count >= number)
            assert first or began == 0, "it may have come between two looks: look from another cycle on"
            return began + first


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("before", "after", "layer"), [((1, 2), (1, 2, 3, 0), 3), ((3, 2, 1), (2,), 4)])
def test_the_cycles_that_a_switch_loses_are_those_predicted(
    backend: str, before: Cores, after: Cores, layer: int
) -> None:
    """Three runs on the machine: one that switches, one on the old cores until the barrier, one on the new ones."""
    ends = []
    for cores in (before, after):
        port = open_port(backend, SMALL)
        whole = Running(Hypervisor(port), "lenet").begin(cores)
        barrier = watched_barrier(port, whole.tenant, layer + 1) - whole.running
        ends.append((barrier, whole.assert_exact() - barrier))
        port.close()
    (until_boundary, _), (_, from_boundary) = ends
    port = open_port(backend, SMALL)
    tenant = Running(Hypervisor(port), "lenet").begin(before)
    boundary = tenant.running + until_boundary
    port.step(boundary - 50 - port.cycle)
    done = tenant.switch(after)
    assert done is not None and done.layer == layer
    measured = tenant.measured_start() + tenant.assert_exact() - boundary - from_boundary
    assert measured == lost_cycles(package_of("lenet"), SMALL, after, layer, boundary, done.running)
    assert 0 < measured <= 2000
    port.close()


cores_of_small = st.permutations(range(SMALL.cores)).flatmap(
    lambda order: st.integers(1, SMALL.cores).map(lambda count: tuple(order[:count]))
)


@settings(max_examples=25, deadline=None)
@example(before=(0,), after=(0,), moment=0.984375)  # paused behind the last layer
@given(before=cores_of_small, after=cores_of_small, moment=st.floats(0, 1))
def test_any_cores_at_any_moment_become_any_others(before: Cores, after: Cores, moment: float) -> None:
    port = open_port("model", SMALL)
    tenant = Running(Hypervisor(port), "lenet").begin(before)
    *barriers, end = tenant.barriers
    port.step(round(moment * (end - port.cycle)))
    done = tenant.switch(after)
    if done is None:
        assert tenant.tenant.cores == list(before)
    else:
        index = first_withheld(done.looked, barriers)
        assert index == done.layer
        assert done.noticed == noticed_at(done.looked, barriers[index])
        assert done.running == start_of_switch(SMALL, done.noticed, len(before), len(after))
        assert tenant.tenant.cores == list(after)
    delay = tenant.assert_exact() - barriers_of("lenet", tenant.cores, tenant.layer)[-1]
    assert 0 <= delay <= (END_DELAY_CYCLES if done is None else 0)


@pytest.fixture
def port() -> PoolPort:
    return open_port("model", SMALL)


def test_a_program_that_executes_its_last_layer_ends_where_it_is(port: PoolPort) -> None:
    tenant = Running(Hypervisor(port), "lenet").begin((1, 2))
    port.step(tenant.barriers[-3] + 100 - port.cycle)
    assert tenant.switch((3,)) is None
    assert tenant.tenant.cores == [1, 2]
    tenant.assert_exact()
    assert tenant.switch((3,)) is None


def test_a_tenant_that_is_done_gains_cores_without_a_scrub(port: PoolPort) -> None:
    hypervisor = Hypervisor(port)
    tenant = Running(hypervisor, "lenet").begin((1, 2))
    tenant.assert_exact()
    asked = port.cycle
    tenant.cores = (1, 2, 3)
    tenant.running = begin(hypervisor, tenant.tenant, tenant.package, tenant.cores, 0)
    assert tenant.running - asked <= 2 * SMALL.period_cycles
    assert tenant.measured_start() == tenant.running


def test_a_tenant_is_parked_in_any_state_and_goes_on_later(port: PoolPort) -> None:
    hypervisor = Hypervisor(port)
    tenant = Running(hypervisor, "lenet").begin((1, 2))
    port.step(2000)
    began = port.cycle
    park(hypervisor, tenant.tenant)
    assert port.cycle - began == park_cycles(SMALL, 2)
    assert hypervisor.free_cores == frozenset(range(4))
    began = port.cycle
    park(hypervisor, tenant.tenant)
    assert port.cycle - began == park_cycles(SMALL, 0)
    tenant.running = begin(hypervisor, tenant.tenant, tenant.package, (3,), 0)
    tenant.assert_exact()


def refused(cores: Sequence[int], hypervisor: Hypervisor, tenant: Running) -> str:
    with pytest.raises(HypervisorError) as problem:
        switch(hypervisor, tenant.tenant, tenant.package, cores)
    return str(problem.value)


def test_a_switch_to_cores_that_cannot_be_had_changes_nothing(port: PoolPort) -> None:
    hypervisor = Hypervisor(port)
    neighbour = Running(hypervisor, "lenet").begin((0,))
    tenant = Running(hypervisor, "lenet").begin((1, 2))
    for cores in ((0, 1), (1, 1), (), (9,)):
        assert "name different ones of its own ([1, 2]) or free ones ([3])" in refused(cores, hypervisor, tenant)
    with pytest.raises(HypervisorError, match="park it first"):
        begin(hypervisor, tenant.tenant, tenant.package, (2, 1), 0)
    with pytest.raises(HypervisorError, match=r"START \(start \d+\) was refused: .*a tenant in this state"):
        begin(hypervisor, tenant.tenant, tenant.package, (1, 2), 0)
    with pytest.raises(HypervisorError, match="came to no barrier within 10 cycles"):
        switch(hypervisor, tenant.tenant, tenant.package, (1, 2, 3), limit_cycles=10)
    tenant.assert_exact()
    neighbour.assert_exact()
