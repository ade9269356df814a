"""Random programs end alike on every backend: same bytes, same cycles, same activity of every engine."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from hypervisor.hypervisor import Hypervisor, TenantStatus
from hypervisor.machines import open_port
from hypervisor.pool_port import ActivityInterval, Bytes, PoolPort
from isa.configuration import NAMED_POOLS
from isa.registers import TenantState
from tests.backends.random_programs import RandomProgram, random_program

TINY = NAMED_POOLS["tiny"]
POOLS = {
    config.name: config
    for config in (
        TINY,
        NAMED_POOLS["small"],
        replace(TINY, name="tiny single", cores=1, tenants=1, lanes=4, port_vectors=4),
        replace(TINY, name="two channels", channels=2, port_vectors=4),
        replace(TINY, name="half beats", cores=1, tenants=1, port_vectors=2),
    )
}
TINY_PROGRAMS = range(30)
OTHER_PROGRAMS = range(8)


def run(port: PoolPort, program: RandomProgram, cores: list[int]) -> tuple[Bytes, TenantStatus, list[ActivityInterval]]:
    """Bytes of the window, status and activity (from START on) of one run; the port is as before afterwards."""
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(len(program.window))
    hypervisor.grant(tenant, cores)
    hypervisor.write(tenant, 0, program.window)
    hypervisor.start([(tenant, 0)])
    period = port.config.period_cycles
    began = -(-port.cycle // period) * period
    hypervisor.wait([tenant], 100_000)
    status = hypervisor.status(tenant)
    content = hypervisor.read(tenant, 0, tenant.length_bytes)
    hypervisor.revoke(tenant)
    hypervisor.detach(tenant)
    activity = [
        ActivityInterval(each.core, each.engine, each.first - began, each.end - began)
        for each in port.activity()
        if began <= each.first < began + status.cycles  # what END leaves behind in the queues has no model
    ]
    return content, status, activity


@pytest.mark.parametrize(
    ("pool", "backend"),
    [
        pytest.param("tiny", "pyrtl", marks=pytest.mark.xdist_group("tiny_rtl")),
        pytest.param("tiny", "verilator", marks=pytest.mark.xdist_group("tiny_rtl")),
        pytest.param("small", "pyrtl", marks=pytest.mark.xdist_group("small_pyrtl")),
        pytest.param("small", "verilator", marks=pytest.mark.xdist_group("small_verilator")),
        pytest.param("tiny single", "pyrtl", marks=pytest.mark.xdist_group("single_rtl")),
        pytest.param("two channels", "pyrtl", marks=pytest.mark.xdist_group("single_rtl")),
        pytest.param("half beats", "pyrtl", marks=pytest.mark.xdist_group("single_rtl")),
    ],
)
def test_random_programs_give_the_bytes_and_cycles_of_the_model(pool: str, backend: str) -> None:
    config = POOLS[pool]
    rtl, model = open_port(backend, config), open_port("model", config)
    for seed in TINY_PROGRAMS if pool == "tiny" else OTHER_PROGRAMS:
        random = Random(seed)
        cores = random.sample(range(config.cores), random.randint(1, config.cores))
        program = random_program(config, seed, len(cores))
        content, status, activity = run(rtl, program, cores)
        model_content, model_status, model_activity = run(model, program, cores)
        assert status.state is TenantState.DONE, f"seed {seed}"
        assert status == model_status, f"seed {seed}"
        wrong = np.flatnonzero(content != model_content)
        assert not len(wrong), f"seed {seed}: first difference at byte {wrong[0]}"
        assert activity == model_activity, f"seed {seed}"
    rtl.close()
    model.close()
