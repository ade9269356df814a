"""Tenants and their tasks on one pool, for several clients, through crashes of the process that serves them.

A `Cloud` takes clients' commands one after another and has a `Driver` carry them out. Every tenant has cores of its
own: what it requested is what it has, and a tenant for whom there is no place is told everything that is short. (A
private cloud, whose policy moves cores between tenants, is built on top: `hypervisor.private_cloud`.)
"""

from __future__ import annotations

import dataclasses
import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from compiler.package import Package
from hypervisor.driver import WAITING, Arrays, Driver, to_arrays, to_bytes
from hypervisor.hypervisor import POLL_CYCLES, HypervisorError
from hypervisor.journal import Journal
from hypervisor.lifecycle import Event, IllegalCommand, Stage, TaskState
from hypervisor.picture import Picture, TaskPicture, TenantPicture
from hypervisor.pool_port import PoolPort
from hypervisor.windows import OutOfMemory


class AdmissionRefused(HypervisorError):
    """There is no place for a tenant; `reasons` say everything that stands against it."""

    def __init__(self, name: str, reasons: Sequence[str]) -> None:
        super().__init__(f"tenant {name!r} is not admitted: {'; '.join(reasons)}")
        self.reasons = tuple(reasons)


class TaskFailed(HypervisorError):
    """A task that came to no result, with the reason."""


class Cloud:
    """The hypervisor of one pool. Its state is the files in `directory`; a new one goes on where a dead one stopped.

    Every method may be called from any thread: commands are carried out one after another. Time passes in `poll` and
    `wait` only (and while a command waits for the pool). Raises JournalError when the journal cannot be used.
    """

    def __init__(self, port: PoolPort, directory: Path, open_journal: type[Journal] = Journal) -> None:
        self.port = port
        self.config = port.config
        self._lock = threading.RLock()
        self._driver = Driver(port, directory, open_journal)

    @property
    def _picture(self) -> Picture:
        return self._driver.picture

    def close(self) -> None:
        """Give the journal back. The pool goes on with what it does; a new Cloud takes over."""
        with self._lock:
            self._driver.close()

    # --- clients' commands ---------------------------------------------------------------------------------------

    def admit(self, name: str, package: Package, cores: int, priority: float = 1.0) -> tuple[int, ...]:
        """Give a new tenant a context, a window and `cores` cores of its own, and load its network; the cores.

        Raises AdmissionRefused with everything that stands against it, IllegalCommand for a name that is in use.
        """
        with self._lock:
            chosen = self._place(name, package, cores)
            context, window = (
                self._driver.hypervisor.free_context(),
                self._driver.hypervisor.find_window(package.window_bytes),
            )
            file = f"package-{self._picture.events}.ifp"
            package.save(self._driver.files.directory / file)
            self._driver.record(
                Event.ADMIT, name, context=context, window=[window.base, window.beats], package=file, cores=chosen,
                priority=priority,
            )  # fmt: skip
            self._driver.drive(name)
            return tuple(chosen)

    def submit(self, name: str, task: str, inputs: Arrays, deadline: int | None = None) -> None:
        """Hand in a task, to be run after those before it; it is on disk when this returns.

        A repetition with the same inputs does nothing, so a client that was not answered can ask again. `deadline` is
        a cycle of the pool, for policies. Raises HypervisorError for inputs that are not the network's.
        """
        with self._lock:
            content = to_bytes(inputs)
            digest = hashlib.sha256(content).hexdigest()
            known = self._picture.tasks.get((name, task))
            if known is not None and known.digest == digest:
                return
            file = f"inputs-{self._picture.events}.npz"
            fields = {"inputs": file, "digest": digest, "arrival": self.port.cycle, "deadline": deadline}
            self._picture.check({"event": Event.SUBMIT, "tenant": name, "task": task, **fields})
            try:
                self._driver.package(self._picture.tenants[name]).inference(inputs)
            except ValueError as problem:
                raise HypervisorError(f"task {name}/{task}: {problem}") from None
            self._driver.files.write(file, content)
            self._driver.record(Event.SUBMIT, name, task=task, **fields)
            self._driver.drive(name)

    def collect(self, name: str, task: str) -> dict[str, NDArray[Any]]:
        """The outputs of a finished task, as often as asked until it is acknowledged.

        Raises TaskFailed for one that failed or was cancelled, IllegalCommand for one without a result.
        """
        with self._lock:
            known = self.task(name, task)
            if known.state in (TaskState.FAILED, TaskState.CANCELLED):
                raise TaskFailed(f"task {name}/{task} was {known.state}: {known.reason}")
            if known.result is None:
                raise IllegalCommand(f"task {name}/{task} is {known.state}: there is no result to collect")
            return to_arrays(self._driver.files.read(known.result))

    def acknowledge(self, name: str, task: str) -> None:
        """The client has the result and wants nothing more of the task: it is forgotten, once."""
        with self._lock:
            result = self.task(name, task).result
            self._driver.record(Event.ACKNOWLEDGE, name, task=task)
            if result is not None:
                self._driver.files.remove(result)

    def pause(self, name: str) -> None:
        """Stop a tenant, in the middle of a task at the end of its layer; its cores stay its own."""
        with self._lock:
            self._driver.record(Event.PAUSE, name)
            self._driver.drive(name)

    def resume(self, name: str) -> None:
        """Let a tenant go on that was paused."""
        with self._lock:
            self._driver.record(Event.RESUME, name)
            self._driver.drive(name)

    def resize(self, name: str, cores: Sequence[int]) -> None:
        """Let a tenant have physical `cores`, in virtual order: at once, or from the end of its layer on.

        None at all: its task waits where it is. Raises HypervisorError for cores that others have, and for a number of
        cores that its network was not compiled for.
        """
        with self._lock:
            if name in self._picture.tenants:
                counts = self._driver.package(self._picture.tenants[name]).core_counts
                if cores and len(cores) not in counts:
                    raise HypervisorError(f"tenant {name!r} has frames for {_list(counts)} cores, not for {len(cores)}")
            if not set(cores) <= set(range(self.config.cores)):
                raise HypervisorError(f"pool {self.config.name!r} has cores 0..{self.config.cores - 1}, not {cores}")
            self._driver.record(Event.RESIZE, name, cores=list(cores))
            self._driver.drive(name)

    def evict(self, name: str) -> None:
        """Take everything from a tenant. Results that there are can still be collected; other tasks are cancelled."""
        with self._lock:
            self._driver.drive(name)
            tasks = list(self._picture.tenants[name].tasks) if name in self._picture.tenants else []
            self._driver.record(Event.EVICT, name)
            for task in tasks:
                self._driver.end_task(name, task)
            self._driver.drive(name)

    # --- time and state ------------------------------------------------------------------------------------------

    def poll(self, cycles: int = 0) -> None:
        """Let time pass, then read out what has ended and start what can start."""
        with self._lock:
            self.port.step(cycles)
            for name in list(self._picture.tenants):
                self._driver.drive(name)

    def wait(self, name: str, task: str, limit_cycles: int) -> TaskPicture:
        """Poll until a task has ended; other threads' commands come in between. Raises HypervisorError at the limit."""
        end = self.port.cycle + limit_cycles
        while (known := self.task(name, task)).state in WAITING:
            if self.port.cycle >= end:
                raise HypervisorError(f"task {name}/{task} is {known.state} after {limit_cycles} cycles")
            self.poll(POLL_CYCLES)
        return known

    def task(self, name: str, task: str) -> TaskPicture:
        """A copy of what is known of a task. Raises IllegalCommand for one that was never handed in."""
        with self._lock:
            if (name, task) not in self._picture.tasks:
                raise IllegalCommand(f"task {name}/{task} was never handed in")
            return dataclasses.replace(self._picture.tasks[name, task])

    def tenants(self) -> dict[str, TenantPicture]:
        """Copies of what is known of the tenants that are there, by name."""
        with self._lock:
            return {
                name: dataclasses.replace(tenant, tasks=list(tenant.tasks))
                for name, tenant in self._picture.tenants.items()
            }

    def free_cores(self) -> list[int]:
        """Cores that no tenant has or is to have."""
        with self._lock:
            return self._picture.free_cores(self.config.cores)

    def _place(self, name: str, package: Package, cores: int) -> list[int]:
        """Cores for a new tenant. Raises AdmissionRefused."""
        if name in self._picture.tenants:
            raise IllegalCommand(f"tenant {name!r} is {self._picture.stage(name)}: choose another name")
        reasons = []
        for key in package.differences(self.config):
            wanted, present = package.pool[key], getattr(self.config, key)
            reasons.append(f"its network was compiled for {key} {wanted}, the pool has {present}")
        free = self._picture.free_cores(self.config.cores)
        if cores > len(free):
            reasons.append(f"{cores} cores are requested and {len(free)} of {self.config.cores} are free")
        if cores and cores not in package.core_counts:
            reasons.append(f"its network has frames for {_list(package.core_counts)} cores, not for {cores}")
        if self._driver.hypervisor.free_context() is None:
            waiting = sum(t.stage in (Stage.DRAINING, Stage.DIRTY) for t in self._picture.tenants.values())
            reasons.append(f"all {self.config.tenants} contexts are in use ({waiting} of them are being cleaned)")
        try:
            self._driver.hypervisor.find_window(package.window_bytes)
        except OutOfMemory as problem:
            reasons.append(str(problem))
        if reasons:
            raise AdmissionRefused(name, reasons)
        return free[:cores]


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
