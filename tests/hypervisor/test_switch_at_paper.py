"""Live switches of ResNet-50 on pool `paper`: exact to the end, in the predicted cycles, on the model and the Verilog.

TENURE_PAPER=1 runs them. The network begins near its end, with ONNX Runtime's activations of the layers before in its
window, since its last layers take 70 thousand cycles and all of them a million.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.networks import build
from benchmarks.networks.description import INPUT
from compiler.compile import compile_model
from compiler.golden import Golden
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.hypervisor import Hypervisor, Tenant
from hypervisor.machines import open_port
from hypervisor.switch import begin, start_of_switch, switch
from isa.configuration import NAMED_POOLS
from isa.registers import TenantState
from tests.hypervisor.running import noticed_at

CONFIG = NAMED_POOLS["paper"]
FIRST_LAYER = 51
BEFORE = tuple(range(12))
SWITCHES = ((53, tuple(range(11, 3, -1))), (55, tuple(range(16))))
"""(layer to go on with, cores): it loses cores, then gains some."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("paper_verilator"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.skipif(not os.environ.get("TENURE_PAPER"), reason="two minutes of simulation: TENURE_PAPER=1"),
]


def barriers_of(package: Package, cores: tuple[int, ...], layer: int) -> tuple[int, ...]:
    timing = time_stage(package, layer, cores, CONFIG, package.window())
    return (*timing.barriers, timing.cycles)


def place(hypervisor: Hypervisor, tenant: Tenant, package: Package, golden: dict[str, np.ndarray]) -> None:
    """The package, and every activation as it is when layer FIRST_LAYER begins."""
    hypervisor.write(tenant, 0, package.image())
    for tensor in sorted(package.tensors, key=lambda tensor: tensor.layer):
        if tensor.layer < FIRST_LAYER and tensor.name in golden:
            hypervisor.write(tenant, tensor.offset, tensor.to_bytes(golden[tensor.name]))


@pytest.mark.parametrize("backend", ["model", "verilator"])
def test_resnet50_switches_cores_in_the_predicted_cycles_and_stays_exact(backend: str) -> None:
    network = build("resnet50")
    package = compile_model(network.path, CONFIG, [8, 12, 16])
    image = {INPUT: network.image(0)}
    golden = Golden(onnx.load(Path(network.path))).tensors(image)
    hypervisor = Hypervisor(open_port(backend, CONFIG))
    tenant = hypervisor.attach(package.window_bytes)
    place(hypervisor, tenant, package, golden)
    cores, first, running = BEFORE, FIRST_LAYER, begin(hypervisor, tenant, package, BEFORE, FIRST_LAYER)
    for layer, wanted in SWITCHES:
        boundary = running + barriers_of(package, cores, first)[layer - first]
        hypervisor.port.step(boundary - 1000 - hypervisor.port.cycle)
        done = switch(hypervisor, tenant, package, wanted, first)
        assert done is not None and done.layer == layer
        assert done.noticed == noticed_at(done.looked, boundary)
        assert done.running == start_of_switch(CONFIG, done.noticed, len(cores), len(wanted))
        cores, first, running = wanted, layer, done.running
    hypervisor.wait([tenant], 10_000_000)
    status = hypervisor.status(tenant)
    assert (status.state, status.cycles) == (TenantState.DONE, barriers_of(package, cores, first)[-1])
    written = [tensor for tensor in package.tensors if tensor.layer >= FIRST_LAYER and tensor.name in golden]
    assert len(written) >= 5
    for tensor in sorted(written, key=lambda tensor: tensor.layer)[-1:]:
        content = hypervisor.read(tenant, tensor.offset, tensor.byte_count)
        assert (tensor.from_bytes(content) == golden[tensor.name]).all(), tensor.name
    inference = package.inference(image)
    inference.before(0, lambda offset, length: b"")
    for name, value in inference.outputs(lambda o, n: hypervisor.read(tenant, o, n).tobytes()).items():
        assert (value == golden[name]).all(), name
    hypervisor.port.close()
