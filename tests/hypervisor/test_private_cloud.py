"""A policy moves cores between tenants while they run, and every output stays exact, through crashes, too."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from hypervisor.backends.model_backend import ModelPort
from hypervisor.cloud import Cloud
from hypervisor.lifecycle import Stage, TaskState
from hypervisor.policies import POLICIES, Load
from hypervisor.private_cloud import PrivateCloud
from tests.hypervisor.crashing import SMALL, Crash, Machine, networks

LIMIT = 400_000


def machine(directory: Path, policy: Callable[[Load], dict[int, int]], at_layers: bool = True) -> Machine:
    kind = partial(PrivateCloud, policy=policy, at_layers=at_layers)
    return Machine(ModelPort(SMALL), directory, kind)  # type: ignore[arg-type]


def turns(counts: Iterator[int]) -> Callable[[Load], dict[int, int]]:
    """A policy that gives the first of its tasks another number of cores whenever it is asked."""

    def policy(load: Load) -> dict[int, int]:
        return {task.number: next(counts) for task in load.tasks[:1]}

    return policy


def assert_exact(cloud: Cloud, tenant: str, task: str, image: int) -> None:
    outputs = networks()["chain"].outputs
    assert outputs is not None
    for name, value in cloud.collect(tenant, task).items():
        np.testing.assert_array_equal(value, outputs[image][name])


@pytest.mark.parametrize("name", POLICIES)
def test_tenants_share_the_cores_and_every_output_is_exact(tmp_path: Path, name: str) -> None:
    cloud = machine(tmp_path, POLICIES[name]).cloud
    made = networks()["chain"]
    for tenant in "abc":
        assert cloud.admit(tenant, made.package, 0) == ()
    for tenant, image in zip("abc", (0, 1, 2), strict=True):
        cloud.submit(tenant, "t", made.inputs[image], deadline=cloud.port.cycle + LIMIT)
    for tenant in "abc":
        assert cloud.wait(tenant, "t", LIMIT).state is TaskState.FINISHED
    for tenant, image in zip("abc", (0, 1, 2), strict=True):
        assert_exact(cloud, tenant, "t", image)
    cloud.poll()
    assert cloud.free_cores() == [0, 1, 2, 3]
    cloud.close()


def test_a_running_task_shrinks_for_one_that_comes(tmp_path: Path) -> None:
    cloud = machine(tmp_path, POLICIES["fairness"]).cloud
    made = networks()["chain"]
    for tenant in "ab":
        cloud.admit(tenant, made.package, 0)
    cloud.submit("a", "t", made.inputs[0])
    cloud.poll()
    alone = len(cloud.tenants()["a"].cores)
    cloud.submit("b", "t", made.inputs[1])
    shared = []
    while cloud.task("a", "t").state is TaskState.RUNNING:
        cloud.poll(64)
        shared.append((len(cloud.tenants()["a"].cores), len(cloud.tenants()["b"].cores)))
    assert any(0 < a < alone and b > 0 for a, b in shared)
    cloud.wait("b", "t", LIMIT)
    assert_exact(cloud, "a", "t", 0)
    assert_exact(cloud, "b", "t", 1)
    cloud.close()


def test_between_tasks_only_a_running_task_keeps_its_cores(tmp_path: Path) -> None:
    made = networks()["chain"]
    for at_layers in (True, False):
        counts = cycle([1, 2, 3, 4])
        cloud = machine(tmp_path / str(at_layers), turns(counts), at_layers).cloud
        cloud.admit("a", made.package, 0)
        cloud.submit("a", "t", made.inputs[0])
        stages = set()
        for _ in range(1000):
            cloud.poll(64)
            stages.add(cloud.tenants()["a"].stage)
        assert (Stage.PAUSING in stages) == at_layers
        assert_exact(cloud, "a", "t", 0)
        cloud.close()


def test_crashes_while_cores_move_lose_nothing(tmp_path: Path) -> None:
    made = networks()["chain"]
    for crash_after in range(0, 3000, 151):
        pool = machine(tmp_path / str(crash_after), POLICIES["fairness"])
        pool.fuse.left = crash_after
        for tenant, image in zip("ab", (0, 1), strict=True):
            commands: list[Callable[[Cloud], object]] = [
                lambda cloud, tenant=tenant: tenant in cloud.tenants() or cloud.admit(tenant, made.package, 0),
                lambda cloud, tenant=tenant, image=image: cloud.submit(tenant, "t", made.inputs[image]),
                lambda cloud: cloud.poll(200),
            ]
            for command in commands:
                give(pool, command)
        for tenant, image in zip("ab", (0, 1), strict=True):
            give(pool, lambda cloud, tenant=tenant: cloud.wait(tenant, "t", LIMIT))
            assert_exact(pool.cloud, tenant, "t", image)
        pool.cloud.close()
        if pool.fuse.left is not None:
            return


def give(pool: Machine, command: Callable[[Cloud], object]) -> None:
    try:
        command(pool.cloud)
    except Crash:
        pool.restart()
        command(pool.cloud)
