"""Trained networks through AXI alone, inside the simulator: as on the model, byte for byte and cycle for cycle."""

from __future__ import annotations

import numpy as np
from cocotb.task import bridge

from compiler.compile import compile_model
from hypervisor.machines import open_port
from hypervisor.pool_port import PoolPort
from hypervisor.run import Job, run_networks
from tests.axi.machine import CONFIG, AxiPort, Card, late
from tests.axi.scenarios import scenario
from tests.backends.test_networks import LENET, images

CORES = ((0, 2), (3, 1))


def infer(port: PoolPort) -> tuple[list[bytes], list[list[list[int]]]]:
    """Two tenants classify different digits at the same time: their outputs, and the cycles of their stages."""
    packages = [compile_model(LENET, CONFIG, core_counts=[len(CORES[0])]) for _ in CORES]
    digits = images(len(CORES))
    jobs = [
        Job(package, cores, digits[tenant::2])
        for tenant, (package, cores) in enumerate(zip(packages, CORES, strict=True))
    ]
    result = run_networks(lambda: port, jobs, alone=False)
    assert [job.fault for job in result.jobs] == [None, None]
    outputs = [output for job in result.jobs for output in job.outputs]
    return [b"".join(tensor.tobytes() for tensor in each.values()) for each in outputs], [
        job.stage_cycles for job in result.jobs
    ]


def onnx_runtime() -> list[bytes]:
    """The same outputs from ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(LENET), providers=["CPUExecutionProvider"])
    digits = images(len(CORES))
    ordered = [digit for tenant in range(len(CORES)) for digit in digits[tenant::2]]
    return [b"".join(np.asarray(tensor).tobytes() for tensor in session.run(None, dict(digit))) for digit in ordered]


@scenario
async def two_tenants_classify_digits(card: Card) -> None:
    outputs, cycles = await bridge(infer)(AxiPort(card))
    assert outputs == onnx_runtime()
    assert (outputs, cycles) == infer(open_port("model", CONFIG))
    assert await late(card) == 0
