"""Layers of random shapes on the RTL: the generators of the compiler's tests, run through the netlist's Verilog."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.golden import Golden, mismatches
from hypervisor.hypervisor import Hypervisor
from hypervisor.machines import open_port
from hypervisor.pool_port import PoolPort
from isa.configuration import NAMED_POOLS
from isa.registers import TenantState
from isa.timing import simulate
from tests.compiler.builder import random_int8
from tests.compiler.test_single_layers import (
    Case,
    addition,
    concatenation,
    convolution,
    pooling,
    product,
    residual,
)

CASES = {convolution: 100, residual: 40, addition: 40, pooling: 60, concatenation: 20, product: 20}
"""How many layers of each kind: the seeds from 1,000 on."""


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, PoolPort]]:
    opened = {pool: open_port("verilator", NAMED_POOLS[pool]) for pool in ("tiny", "small")}
    yield opened
    for port in opened.values():
        port.close()


@pytest.mark.xdist_group("small_verilator")
@pytest.mark.parametrize("generate", CASES, ids=lambda generate: generate.__name__)
def test_random_layers_are_exact_on_the_rtl(ports: dict[str, PoolPort], generate: Callable[[int], Case]) -> None:
    for seed in range(1000, 1000 + CASES[generate]):
        case = generate(seed)
        assert_exact_on(ports[case.pool], case, f"seed {seed}")


def assert_exact_on(port: PoolPort, case: Case, name: str) -> None:
    package = compile_model(case.model, port.config, [case.cores], True)
    assert not package.explain(), f"{name}: {package.explain()}"
    inputs = {each: random_int8(case.generator, shape) for each, shape in case.shapes.items()}
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(package.window_bytes)
    hypervisor.grant(tenant, list(np.random.default_rng(len(name)).permutation(port.config.cores)[: case.cores]))
    hypervisor.write(tenant, 0, package.image())
    inference = package.inference(inputs)

    def read(offset: int, length: int) -> bytes:
        return hypervisor.read(tenant, offset, length).tobytes()

    for number, stage in enumerate(package.stages):
        for write in inference.before(number, read):
            hypervisor.write(tenant, write.offset, write.data)
        program = package.program(case.cores, stage.first_layer)
        hypervisor.write(tenant, program.offset_bytes, program.words)
        window = hypervisor.read(tenant, 0, tenant.length_bytes)
        timing = simulate(port.config, window, program.start_word, tenant.cores)
        hypervisor.start([(tenant, program.start_word)])
        hypervisor.wait([tenant], 2_000_000)
        status = hypervisor.status(tenant)
        assert (status.state, status.cycles) == (TenantState.DONE, timing.cycles), name
    expected = Golden(case.model).tensors(inputs)
    for output, value in inference.outputs(read).items():
        assert not mismatches(expected[output], value), f"{name}: {output}"
    hypervisor.revoke(tenant)
    hypervisor.detach(tenant)
