"""Trained networks on every backend: ONNX Runtime's bytes, the same cycles, and a neighbour that changes nothing."""

from pathlib import Path

import numpy as np
import pytest

from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.check import compare
from hypervisor.machines import BACKENDS, open_port
from hypervisor.run import Job, RunResult, run_networks
from isa.configuration import NAMED_POOLS

pytestmark = pytest.mark.xdist_group("small_rtl")
NETWORKS = Path(__file__).parent.parent / "networks"
LENET = NETWORKS / "lenet.int8.onnx"
MOBILENET = NETWORKS / "mobilenet.int8.onnx"
SMALL = NAMED_POOLS["small"]


def images(count: int) -> list[dict[str, np.ndarray]]:
    pixels = np.load(NETWORKS / "mnist_test.npz")["images"][:count]
    return [{"image": image[None, None].astype(np.float32) / np.float32(255)} for image in pixels]


@pytest.fixture(scope="module")
def packages() -> list[Package]:
    return [compile_model(model, SMALL, core_counts=[1, 3]) for model in (LENET, MOBILENET)]


@pytest.fixture(scope="module")
def results(packages: list[Package]) -> dict[str, tuple[list[Job], RunResult]]:
    """Two images of LeNet on core 0 while MobileNet runs on cores 3, 1 and 2."""
    jobs = [Job(packages[0], (0,), images(2)), Job(packages[1], (3, 1, 2), images(1))]
    return {
        backend: (jobs, run_networks(lambda backend=backend: open_port(backend, SMALL), jobs, capture=True))
        for backend in BACKENDS
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_tensor_is_onnx_runtimes(backend: str, results: dict[str, tuple[list[Job], RunResult]]) -> None:
    jobs, result = results[backend]
    for job, job_result, model in zip(jobs, result.jobs, (LENET, MOBILENET), strict=True):
        comparison = compare(job.package, model, job.images, job_result.captured)
        assert comparison.wrong == []
        assert comparison.missing == ()
        assert comparison.compared > 0
        assert job_result.fault is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tenant_takes_as_long_as_alone(backend: str, results: dict[str, tuple[list[Job], RunResult]]) -> None:
    _, result = results[backend]
    assert [job.cycles for job in result.jobs] == result.cycles_alone


def test_all_backends_agree_on_cycles_and_activity(results: dict[str, tuple[list[Job], RunResult]]) -> None:
    (_, expected), *others = results.values()
    for _, other in others:
        assert [job.stage_cycles for job in other.jobs] == [job.stage_cycles for job in expected.jobs]
        assert [job.layer_ends for job in other.jobs] == [job.layer_ends for job in expected.jobs]
        assert other.activity == expected.activity


def test_a_tenant_that_runs_again_takes_the_same_cycles(results: dict[str, tuple[list[Job], RunResult]]) -> None:
    first, second = results["pyrtl"][1].jobs[0].stage_cycles
    assert first == second
