"""Tenants are admitted, run, paused, resized and evicted; a hypervisor that dies anywhere loses nothing."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hypervisor.backends.model_backend import ModelPort
from hypervisor.cloud import AdmissionRefused, Cloud, TaskFailed
from hypervisor.hypervisor import HypervisorError
from hypervisor.lifecycle import IllegalCommand, Stage, TaskState
from tests.hypervisor.crashing import SMALL, Crash, Machine, networks

LIMIT = 200_000


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(ModelPort(SMALL), tmp_path)
    yield made
    made.cloud.close()


def assert_exact(machine: Machine, network: str, tenant: str, task: str, image: int) -> None:
    outputs = networks()[network].outputs
    assert outputs is not None
    found = machine.cloud.collect(tenant, task)
    assert set(found) == set(outputs[image])
    for name, expected in outputs[image].items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("network", ["chain", "divided"])
@pytest.mark.parametrize("cores", [1, 3])
def test_a_task_gives_what_onnx_runtime_gives(machine: Machine, network: str, cores: int) -> None:
    cloud, made = machine.cloud, networks()[network]
    assert cloud.admit("a", made.package, cores) == tuple(range(cores))
    for image in (0, 1):
        cloud.submit("a", f"task{image}", made.inputs[image])
    for image in (0, 1):
        assert cloud.wait("a", f"task{image}", LIMIT).state is TaskState.FINISHED
        assert_exact(machine, network, "a", f"task{image}", image)


def test_a_paused_task_goes_on_with_other_cores_where_it_stopped(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 1)
    cloud.submit("a", "t", made.inputs[0])
    cloud.pause("a")
    while cloud.tenants()["a"].stage is Stage.PAUSING:
        cloud.poll(64)
    tenant = cloud.tenants()["a"]
    assert tenant.stage is Stage.STOPPED
    assert 0 <= tenant.position.layer < 3
    cloud.poll(10_000)
    assert cloud.tenants()["a"].stage is Stage.STOPPED
    cloud.resize("a", [3, 1])
    cloud.resume("a")
    cloud.wait("a", "t", LIMIT)
    assert_exact(machine, "chain", "a", "t", 0)


def test_a_running_task_gets_other_cores_at_the_end_of_its_layer(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 1)
    cloud.submit("a", "t", made.inputs[1])
    cloud.resize("a", [2, 3, 0])
    assert cloud.tenants()["a"].reserved == {0, 2, 3}
    cloud.wait("a", "t", LIMIT)
    assert cloud.tenants()["a"].cores == (2, 3, 0)
    assert_exact(machine, "chain", "a", "t", 1)


def test_a_refusal_names_everything_that_is_short(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 3)
    with pytest.raises(AdmissionRefused, match="2 cores are requested and 1 of 4 are free") as refusal:
        cloud.admit("b", made.package, 2)
    assert len(refusal.value.reasons) == 1
    sizes = {**made.package.pool, "name": "other", "channels": 9}
    with pytest.raises(AdmissionRefused, match="its network was compiled for channels 9, the pool has") as refusal:
        cloud.admit("b", dataclasses.replace(made.package, pool=sizes), 1)
    assert len(refusal.value.reasons) == 1
    for name in "bcd":
        cloud.admit(name, made.package, 0)
    with pytest.raises(AdmissionRefused, match="all 4 contexts are in use") as refusal:
        cloud.admit("e", made.package, 2)
    assert len(refusal.value.reasons) == 2
    with pytest.raises(IllegalCommand, match="'a' is loaded: choose another name"):
        cloud.admit("a", made.package, 1)


def test_a_window_that_does_not_fit_is_refused_with_what_is_left(machine: Machine) -> None:
    large = dataclasses.replace(networks()["chain"].package, window_bytes=SMALL.memory_bytes // 2 + 4096)
    machine.cloud.admit("a", large, 1)
    with pytest.raises(AdmissionRefused, match="the largest gap in the"):
        machine.cloud.admit("b", large, 1)


def test_illegal_commands_say_when_they_would_be_legal(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    with pytest.raises(IllegalCommand, match="tenant 'a' is absent: pause applies to a tenant that is loaded or"):
        cloud.pause("a")
    cloud.admit("a", made.package, 1)
    with pytest.raises(IllegalCommand, match="never handed in"):
        cloud.collect("a", "t")
    with pytest.raises(HypervisorError, match="frames for 1, 2, 3, 4 cores, not for 5"):
        cloud.resize("a", [0, 1, 2, 3, 4])
    cloud.admit("b", made.package, 1)
    with pytest.raises(HypervisorError, match="core 1 belongs to tenant 'b'"):
        cloud.resize("a", [0, 1])
    cloud.submit("a", "t", made.inputs[0])
    with pytest.raises(IllegalCommand, match="there is no result to collect"):
        cloud.collect("a", "t")
    with pytest.raises(IllegalCommand, match="task 'a/t' is running: acknowledge applies to a task that is finished"):
        cloud.acknowledge("a", "t")
    with pytest.raises(HypervisorError, match="task a/u: input 'x' is"):
        cloud.submit("a", "u", {"x": np.zeros((1, 1), np.int8)})


def test_a_result_is_there_until_it_is_acknowledged_and_never_again(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 2)
    cloud.submit("a", "t", made.inputs[0])
    cloud.wait("a", "t", LIMIT)
    cloud.evict("a")
    machine.restart()
    assert_exact(machine, "chain", "a", "t", 0)
    assert_exact(machine, "chain", "a", "t", 0)
    machine.cloud.acknowledge("a", "t")
    machine.restart()
    with pytest.raises(IllegalCommand, match="acknowledged"):
        machine.cloud.collect("a", "t")
    with pytest.raises(IllegalCommand, match="acknowledged"):
        machine.cloud.acknowledge("a", "t")
    assert not list((machine.directory / "files").glob("[ir]*"))


def test_a_fault_fails_its_task_only_and_the_window_is_written_anew(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()
    cloud.admit("a", made["broken"].package, 1)
    cloud.admit("b", made["chain"].package, 1)
    for tenant in "ab":
        cloud.submit(tenant, "t", made["chain"].inputs[0])
    assert cloud.wait("a", "t", LIMIT).state is TaskState.FAILED
    with pytest.raises(TaskFailed, match="ILLEGAL_INSTRUCTION at instruction word"):
        cloud.collect("a", "t")
    cloud.wait("b", "t", LIMIT)
    assert_exact(machine, "chain", "b", "t", 0)
    assert cloud.tenants()["a"].stage is Stage.LOADED


def test_eviction_cancels_what_has_no_result_and_frees_everything(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 4)
    cloud.submit("a", "t", made.inputs[0])
    cloud.evict("a")
    with pytest.raises(TaskFailed, match="cancelled: its tenant was evicted"):
        cloud.collect("a", "t")
    while cloud.tenants():
        assert cloud.tenants()["a"].stage is Stage.DIRTY
        cloud.poll(1000)
    assert cloud.free_cores() == [0, 1, 2, 3]
    assert not machine.port.read_memory(0, SMALL.memory_bytes).any()


def test_what_has_ended_while_nobody_looked_is_not_run_again(machine: Machine) -> None:
    """The result lies in the window of a context that is DONE; START was given and noted."""
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 1)
    for image in (0, 1):
        cloud.submit("a", f"t{image}", made.inputs[image])
    machine.cloud.close()
    machine.port.step(LIMIT)
    machine.cloud = machine.open()
    assert machine.cloud.task("a", "t0").state is TaskState.FINISHED
    assert_exact(machine, "chain", "a", "t0", 0)


@pytest.mark.parametrize("passes", [0, LIMIT])
@pytest.mark.parametrize("earlier", [0, 1])
def test_a_start_whose_event_was_never_written_is_found_out(machine: Machine, earlier: int, passes: int) -> None:
    """START of a STOPPED context shows in the registers; that of a DONE one does not once it is DONE again."""
    cloud, made = machine.cloud, networks()["chain"]
    cloud.admit("a", made.package, 1)
    for image in range(earlier):
        cloud.submit("a", f"t{image}", made.inputs[image])
        cloud.wait("a", f"t{image}", LIMIT)
    machine.fuse.event = "started"
    with pytest.raises(Crash):
        cloud.submit("a", "t", made.inputs[2])
    machine.port.step(passes)
    machine.restart()
    machine.cloud.wait("a", "t", LIMIT)
    assert_exact(machine, "chain", "a", "t", 2)
    lines = (machine.directory / "journal.jsonl").read_text()
    assert ('"event": "again"' in lines) == (earlier > 0 and passes > 0)


@pytest.mark.parametrize("network", ["chain", "divided"])
def test_a_crash_after_any_operation_loses_nothing(tmp_path: Path, network: str) -> None:
    """The same session again and again, with a crash one operation later each time, until it needs none."""
    made = networks()[network]
    for crash_after in range(0, 100_000, 7 if network == "chain" else 13):
        machine = Machine(ModelPort(SMALL), tmp_path / str(crash_after))
        session: list[Callable[[Cloud], object]] = [
            lambda cloud: cloud.tenants() or cloud.admit("a", made.package, 1),
            lambda cloud: cloud.submit("a", "t", made.inputs[0]),
            lambda cloud: cloud.resize("a", [3, 2]),
            lambda cloud: cloud.submit("a", "u", made.inputs[1]),
            lambda cloud: cloud.wait("a", "t", LIMIT),
            lambda cloud: cloud.wait("a", "u", LIMIT),
        ]
        machine.fuse.left = crash_after
        for command in session:
            try:
                command(machine.cloud)
            except Crash:
                machine.restart()
                command(machine.cloud)
        assert machine.cloud.tenants()["a"].cores == (3, 2)
        assert_exact(machine, network, "a", "t", 0)
        assert_exact(machine, network, "a", "u", 1)
        machine.cloud.close()
        if machine.fuse.left is not None:
            return
    raise AssertionError("the session never came to its end")


def test_commands_of_many_threads_are_carried_out_one_after_another(machine: Machine) -> None:
    cloud, made = machine.cloud, networks()["chain"]
    problems: list[BaseException] = []

    def client(name: str) -> None:
        try:
            cloud.admit(name, made.package, 1)
            for image in range(3):
                cloud.submit(name, f"t{image}", made.inputs[image])
                cloud.wait(name, f"t{image}", 10 * LIMIT)
                assert_exact(machine, "chain", name, f"t{image}", image)
                cloud.acknowledge(name, f"t{image}")
            cloud.evict(name)
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=client, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
