"""Random commands of random clients, with crashes anywhere: nothing is lost or shared, and every output is exact."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from hypervisor.backends.model_backend import ModelPort
from hypervisor.backends.verilator_backend import VerilatorPort
from hypervisor.cloud import AdmissionRefused, Cloud, TaskFailed
from hypervisor.hypervisor import HypervisorError
from hypervisor.lifecycle import TENANT_TRANSITIONS, Event, IllegalCommand, Stage, TaskState
from hypervisor.pool_port import PoolPort
from isa.registers import CoreState, Register, TenantState
from tests.hypervisor.crashing import IMAGES, SMALL, Crash, Machine, networks

NAMES = st.sampled_from(["a", "b", "c", "d"])
CRASHES = st.none() | st.integers(0, 20) | st.integers(0, 100) | st.integers(0, 400)
CORES = st.lists(st.integers(0, SMALL.cores - 1), unique=True, max_size=SMALL.cores)
STEADY = (Stage.LOADED, Stage.STOPPED)
MODEL_COMMANDS, RTL_COMMANDS = 2000, 200


class Clients(RuleBasedStateMachine):
    """Clients remember what they handed in and saw; the hypervisor may forget nothing of it."""

    open_port: Callable[[], PoolPort] = staticmethod(lambda: ModelPort(SMALL))
    commands = 0
    crashes = 0
    results = 0

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="tenure-")
        self.port = self.open_port()
        self.machine = Machine(self.port, Path(self.directory))
        self.networks: dict[str, str] = {}
        self.submitted: dict[tuple[str, str], tuple[str, int]] = {}
        self.evicted: set[tuple[str, str]] = set()
        self.finished: set[tuple[str, str]] = set()
        self.acknowledged: set[tuple[str, str]] = set()

    @property
    def cloud(self) -> Cloud:
        return self.machine.cloud

    def give(self, command: Callable[[Cloud], object], crash: int | None, again: int | None) -> None:
        """A command, of a process that may die on the way; who was not answered asks the next process once more."""
        type(self).commands += 1
        self.machine.fuse.left = crash
        try:
            command(self.cloud)
        except Crash:
            type(self).crashes += 1
            self.machine.restart(again)
            command(self.cloud)
        finally:
            self.machine.fuse.left = None

    def legal(self, name: str, event: Event, command: Callable[[Cloud], object], *crashes: int | None) -> bool:
        """Give a command that the table of states may forbid, and only that; whether it was carried out."""
        try:
            self.give(command, *crashes)
        except IllegalCommand:
            stage = self.cloud.tenants()[name].stage if name in self.cloud.tenants() else Stage.ABSENT
            assert event not in TENANT_TRANSITIONS[stage]
            return False
        return True

    @rule(
        name=NAMES,
        network=st.sampled_from(["chain", "chain", "divided", "broken"]),
        cores=st.integers(0, 3),
        crash=CRASHES,
        again=CRASHES,
    )
    def admit(self, name: str, network: str, cores: int, crash: int | None, again: int | None) -> None:
        package = networks()[network].package
        before = self.cloud.tenants()
        free = len(self.cloud.free_cores())
        try:
            self.give(lambda cloud: name in cloud.tenants() or cloud.admit(name, package, cores), crash, again)
        except AdmissionRefused as refusal:
            assert refusal.reasons
            assert cores > free or len(before) == SMALL.tenants
        else:
            if name not in before:
                assert len(self.cloud.tenants()[name].cores) == cores <= free
                self.networks[name] = network

    @rule(name=NAMES, image=st.integers(0, IMAGES - 1), crash=CRASHES, again=CRASHES)
    def submit(self, name: str, image: int, crash: int | None, again: int | None) -> None:
        if name not in self.networks:
            return
        task, network = f"t{len(self.submitted)}", networks()[self.networks[name]]
        command: Callable[[Cloud], object] = lambda cloud: cloud.submit(name, task, network.inputs[image])  # noqa: E731
        if self.legal(name, Event.SUBMIT, command, crash, again):
            self.submitted[name, task] = self.networks[name], image

    @rule(name=NAMES, crash=CRASHES, again=CRASHES)
    def pause(self, name: str, crash: int | None, again: int | None) -> None:
        self.legal(name, Event.PAUSE, lambda cloud: cloud.pause(name), crash, again)

    @rule(name=NAMES, crash=CRASHES, again=CRASHES)
    def resume(self, name: str, crash: int | None, again: int | None) -> None:
        self.legal(name, Event.RESUME, lambda cloud: cloud.resume(name), crash, again)

    @rule(name=NAMES, cores=CORES, crash=CRASHES, again=CRASHES)
    def resize(self, name: str, cores: list[int], crash: int | None, again: int | None) -> None:
        others = [tenant.reserved for other, tenant in self.cloud.tenants().items() if other != name]
        try:
            self.legal(name, Event.RESIZE, lambda cloud: cloud.resize(name, cores), crash, again)
        except HypervisorError:
            assert not all(reserved.isdisjoint(cores) for reserved in others)

    @rule(name=NAMES, is_meant=st.sampled_from([False, False, True]), crash=CRASHES, again=CRASHES)
    def evict(self, name: str, is_meant: bool, crash: int | None, again: int | None) -> None:
        if not is_meant or name not in self.cloud.tenants():
            return
        waiting = {(name, task) for task in self.cloud.tenants()[name].tasks}

        def command(cloud: Cloud) -> None:
            if cloud.tenants().get(name) and cloud.tenants()[name].stage not in (Stage.DRAINING, Stage.DIRTY):
                cloud.evict(name)

        self.give(command, crash, again)
        self.evicted |= waiting
        self.networks.pop(name, None)

    @rule(cycles=st.sampled_from([0, 10, 100, 1000, 10_000]), crash=CRASHES, again=CRASHES)
    def poll(self, cycles: int, crash: int | None, again: int | None) -> None:
        self.give(lambda cloud: cloud.poll(cycles), crash, again)

    @rule(data=st.data(), crash=CRASHES, again=CRASHES)
    def acknowledge(self, data: st.DataObject, crash: int | None, again: int | None) -> None:
        ready = sorted(self.finished - self.acknowledged)
        if not ready:
            return
        key = data.draw(st.sampled_from(ready))

        def command(cloud: Cloud) -> None:
            if cloud.task(*key).state is not TaskState.ACKNOWLEDGED:
                cloud.acknowledge(*key)

        self.give(command, crash, again)
        self.acknowledged.add(key)

    @invariant()
    def every_result_is_kept_and_exact(self) -> None:
        for key, (network, image) in getattr(self, "submitted", {}).items():
            state = self.cloud.task(*key).state
            assert (state is TaskState.ACKNOWLEDGED) == (key in self.acknowledged)
            assert key not in self.finished or state in (TaskState.FINISHED, TaskState.FAILED, TaskState.ACKNOWLEDGED)
            if state is TaskState.CANCELLED:
                assert key in self.evicted
            if state in (TaskState.FINISHED, TaskState.FAILED) and key not in self.finished:
                self.finished.add(key)
                type(self).results += 1
                self.check_result(key, network, image)

    def check_result(self, key: tuple[str, str], network: str, image: int) -> None:
        outputs = networks()[network].outputs
        try:
            found = self.cloud.collect(*key)
        except TaskFailed:
            assert outputs is None
            return
        assert outputs is not None and set(found) == set(outputs[image])
        for name, expected in outputs[image].items():
            np.testing.assert_array_equal(found[name], expected)

    @invariant()
    def no_core_and_no_memory_has_two_owners(self) -> None:
        if not hasattr(self, "machine"):
            return
        tenants = self.cloud.tenants()
        for one, other in combinations(tenants.values(), 2):
            assert one.reserved.isdisjoint(other.reserved)
            assert one.window.end <= other.window.base or other.window.end <= one.window.base
        names = {tenant.context: name for name, tenant in tenants.items()}
        places = (Register.TENANT_STATE, Register.TENANT_BASE, Register.TENANT_LIMIT)
        for context, (state, base, limit) in enumerate(
            self.machine.registers(Register.ARGUMENT_TENANT, SMALL.tenants, places)
        ):
            if state == TenantState.DETACHED:
                assert context not in names or tenants[names[context]].stage is Stage.DIRTY
            else:
                window = tenants[names[context]].window
                assert (window.base, window.beats) == (base, limit)
        held: dict[str, dict[int, int]] = {name: {} for name in tenants}
        owners = (Register.CORE_STATE, Register.CORE_OWNER, Register.CORE_VIRTUAL)
        for core, (state, owner, virtual) in enumerate(
            self.machine.registers(Register.ARGUMENT_CORE, SMALL.cores, owners)
        ):
            if state == CoreState.HELD:
                held[names[owner]][virtual] = core
        for name, tenant in tenants.items():
            if tenant.stage in (*STEADY, Stage.RUNNING, Stage.PAUSING):
                assert tuple(held[name][virtual] for virtual in sorted(held[name])) == tenant.cores

    def teardown(self) -> None:
        """Whoever waits gets cores: every task that was not cancelled comes to its result."""
        if not hasattr(self, "machine"):
            return
        for _ in range(400):
            tenants = self.cloud.tenants()
            if not any(tenant.tasks for tenant in tenants.values()):
                break
            for name, tenant in tenants.items():
                if tenant.is_paused and tenant.stage not in (Stage.DRAINING, Stage.DIRTY):
                    self.cloud.resume(name)
                if not tenant.tasks and tenant.cores and tenant.stage in STEADY:
                    self.cloud.resize(name, [])
                if tenant.tasks and not tenant.reserved and self.cloud.free_cores():
                    self.cloud.resize(name, self.cloud.free_cores()[:1])
            self.cloud.poll(2000)
        self.every_result_is_kept_and_exact()
        lost = set(self.submitted) - self.finished - self.evicted
        assert not lost, f"no result of {sorted(lost)}"
        self.cloud.close()
        self.port.close()
        shutil.rmtree(self.directory)


def give_commands(kind: type[Clients], commands: int, steps: int) -> None:
    """Sessions of at most `steps` commands until there were `commands`, and among them enough crashes and results."""
    kind.commands = kind.crashes = kind.results = 0
    checks = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
    while kind.commands < commands or kind.crashes < commands // 20 or kind.results < commands // 40:
        run_state_machine_as_test(
            kind,
            settings=settings(
                max_examples=10, stateful_step_count=steps, deadline=None, suppress_health_check=checks,
                phases=[Phase.explicit, Phase.generate, Phase.shrink], database=None,
            ),
        )  # fmt: skip
    print(f"{kind.commands} commands, {kind.crashes} crashes, {kind.results} results")


def test_two_thousand_commands_with_crashes_on_the_model() -> None:
    give_commands(Clients, MODEL_COMMANDS, 100)


def test_two_hundred_commands_with_crashes_on_the_verilog() -> None:
    class OnVerilog(Clients):
        open_port = staticmethod(lambda: VerilatorPort(SMALL))

    give_commands(OnVerilog, RTL_COMMANDS, 100)
