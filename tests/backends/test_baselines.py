"""The baselines, one large core and a core for each task, are pools like any other: RTL and model agree on them."""

import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.check import compare
from hypervisor.machines import open_port
from hypervisor.run import Job, RunResult, run_networks
from isa.configuration import NAMED_POOLS, PoolConfig

pytestmark = pytest.mark.xdist_group("baselines")
MODEL = Path(__file__).parent.parent / "networks" / "lenet.int8.onnx"
SMALL = NAMED_POOLS["small"]
LITTLE_SINGLE = replace(SMALL, name="little single", cores=1, tenants=1, lanes=8, port_vectors=4)
"""`single` in small: a slot and a beat of four vectors in every cycle, a lane for each channel."""
LITTLE_STATIC = replace(SMALL, name="little static", cores=2, tenants=2)


@cache
def package(config: PoolConfig) -> Package:
    return compile_model(MODEL, config, core_counts=[1])


def one_core_for_each_task(config: PoolConfig, tasks: int) -> list[Job]:
    images = np.load(MODEL.parent / "mnist_test.npz")["images"][:tasks]
    return [
        Job(package(config), (core,), [{"image": image[None, None].astype(np.float32) / np.float32(255)}])
        for core, image in enumerate(images)
    ]


def run(backend: str, config: PoolConfig, tasks: int) -> RunResult:
    jobs = one_core_for_each_task(config, tasks)
    result = run_networks(lambda: open_port(backend, config), jobs, capture=True, alone=False)
    for job, job_result in zip(jobs, result.jobs, strict=True):
        comparison = compare(job.package, MODEL, job.images, job_result.captured)
        assert (comparison.wrong, comparison.missing, job_result.fault) == ([], (), None)
        assert comparison.compared > 0
    return result


def agree(config: PoolConfig, tasks: int, backends: tuple[str, ...]) -> None:
    model = run("model", config, tasks)
    for backend in backends:
        rtl = run(backend, config, tasks)
        assert [job.stage_cycles for job in rtl.jobs] == [job.stage_cycles for job in model.jobs], backend
        assert rtl.activity == model.activity, backend


def test_a_core_with_a_whole_beat_in_every_cycle_agrees_with_its_verilog() -> None:
    agree(LITTLE_SINGLE, 1, ("verilator",))


def test_a_core_for_each_task_agrees_with_the_model() -> None:
    agree(LITTLE_STATIC, 2, ("pyrtl",))


@pytest.mark.long
@pytest.mark.skipif(os.environ.get("TENURE_LONG") != "1", reason="builds simulators of 4096 multipliers: TENURE_LONG=1")
@pytest.mark.parametrize("pool", ["single", "static"])
def test_the_baselines_at_full_size_agree_with_their_verilog(pool: str) -> None:
    config = NAMED_POOLS[pool]
    agree(config, config.cores, ("verilator",))
