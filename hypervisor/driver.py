"""Makes a pool do what a journal says, and goes on from any point at which its process may die.

Every decision is an event that is in the journal before the pool sees anything of it; `Driver.drive` then makes it
do what the events say, step by step, and looks at the pool's registers for what is done already. The same function
serves a command, the passing of time and the recovery after a crash, so there is no recovery code that only crashes
exercise. Whatever is kept in memory beside the journal's picture and what the registers say is a cache.

Where registers cannot tell, the journal says what was about to happen: START of a STOPPED context shows, of a DONE one
it does not (the run may have ended since), so a task whose START is in doubt begins anew.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compiler.host import Inference
from compiler.package import Package
from hypervisor.hypervisor import Hypervisor, HypervisorError, Tenant
from hypervisor.journal import Files, Journal
from hypervisor.lifecycle import Event, Stage, TaskState
from hypervisor.picture import Picture, TenantPicture
from hypervisor.pool_port import PoolPort
from hypervisor.switch import ask, begin, next_layer, park
from isa.registers import TenantState

Arrays = Mapping[str, NDArray[Any]]
QUIET = (TenantState.STOPPED, TenantState.DONE)
JOURNAL = "journal.jsonl"
WAITING = (TaskState.QUEUED, TaskState.RUNNING)
"""States of a task that has no end yet."""


class Driver:
    """A pool, its journal in `directory`, and the `picture` that the journal adds up to. Not thread-safe.

    Raises JournalError when the journal cannot be used.
    """

    def __init__(self, port: PoolPort, directory: Path, open_journal: type[Journal] = Journal) -> None:
        self.port = port
        self.files = Files(directory / "files")
        self._journal = open_journal(directory / JOURNAL, dataclasses.asdict(port.config))
        try:
            self._recover()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the journal back."""
        self._journal.close()

    def record(self, event: Event, name: str, **fields: Any) -> None:
        """Write an event to the journal and make it part of the picture. Raises as `Picture.check` does."""
        record = {"event": str(event), "tenant": name, **fields}
        self.picture.check(record)
        self._journal.append(record)
        self.picture.apply(record)

    def _recover(self) -> None:
        """Journal and registers to the picture; then everything that was begun is carried on."""
        self.picture = Picture(self._journal.records)
        self._packages: dict[str, Package] = {}
        self._inferences: dict[tuple[str, str], Inference] = {}
        self.files.keep_only(self._live_files())
        self.hypervisor = Hypervisor(self.port)
        contexts = {tenant.context for tenant in self.picture.tenants.values()}
        for number in set(self.hypervisor.tenants) - contexts:
            stranger = self.hypervisor.tenants[number]
            park(self.hypervisor, stranger)
            self.hypervisor.detach(stranger)
        for tenant in list(self.picture.tenants.values()):
            self._resolve_start(tenant)
        for tenant in list(self.picture.tenants.values()):
            self._release(tenant)
        for name in list(self.picture.tenants):
            self.drive(name)

    def _live_files(self) -> set[str]:
        names = {tenant.package for tenant in self.picture.tenants.values()}
        for task in self.picture.tasks.values():
            if task.state in WAITING:
                names.add(task.inputs)
            if task.result is not None:
                names.add(task.result)
        return names

    def _resolve_start(self, tenant: TenantPicture) -> None:
        """Whether a START that the dead process was about to give has been given."""
        if tenant.stage is Stage.STARTING:
            state = self.hypervisor.status(self.hypervisor.tenants[tenant.context]).state
            if state is TenantState.DONE and tenant.position.origin == TenantState.DONE.name:
                self.record(Event.AGAIN, tenant.name)
            elif state is not TenantState.STOPPED and state.name != tenant.position.origin:
                self.record(Event.STARTED, tenant.name)

    # --- driving the pool ----------------------------------------------------------------------------------------

    def drive(self, name: str) -> None:
        """Do what the events say of a tenant, until there is nothing more to do but wait."""
        while name in self.picture.tenants:
            tenant = self.picture.tenants[name]
            before = self.picture.events
            match tenant.stage:
                case Stage.ATTACHED:
                    self._attach_and_load(tenant)
                case Stage.LOADED | Stage.STOPPED:
                    self._fit_and_start(tenant)
                case Stage.STARTING:
                    self._start(tenant)
                case Stage.RUNNING | Stage.PAUSING:
                    self._look(tenant)
                case Stage.DRAINING | Stage.DIRTY:
                    self._take_down(tenant)
            if self.picture.events == before:
                return

    def _attach_and_load(self, tenant: TenantPicture) -> None:
        held = self.hypervisor.tenants.get(tenant.context)
        if held is None:
            held = self.hypervisor.attach_at(tenant.context, tenant.window)
        self._quieten(held)
        self.hypervisor.write(held, 0, self.package(tenant).window())
        self.record(Event.LOAD, tenant.name)

    def _fit_and_start(self, tenant: TenantPicture) -> None:
        held = self.hypervisor.tenants[tenant.context]
        self._release(tenant)
        self.hypervisor.grant(held, tenant.cores[len(held.cores) :])
        if tenant.is_paused or not tenant.cores or not tenant.tasks:
            return
        if tenant.stage is Stage.LOADED:
            stage, layer = 0, 0
        elif self._knows_host_values(tenant):
            stage, layer = tenant.position.stage, tenant.position.layer
        else:
            self.record(Event.AGAIN, tenant.name)
            return
        origin = self.hypervisor.status(held).state.name
        self.record(Event.START, tenant.name, task=tenant.tasks[0], stage=stage, layer=layer, origin=origin)

    def _release(self, tenant: TenantPicture) -> None:
        """Take from a tenant that does not run what it shall not have; from one that was paused, everything."""
        if tenant.stage in (Stage.LOADED, Stage.STOPPED):
            held = self.hypervisor.tenants[tenant.context]
            self._quieten(held)
            kept = 0
            while held.cores[kept : kept + 1] and held.cores[kept] in tenant.cores[kept : kept + 1]:
                kept += 1
            self.hypervisor.revoke(held, keep=kept)

    def _quieten(self, held: Tenant) -> None:
        if self.hypervisor.status(held).state not in QUIET:
            park(self.hypervisor, held)

    def _start(self, tenant: TenantPicture) -> None:
        held = self.hypervisor.tenants[tenant.context]
        package, position = self.package(tenant), tenant.position
        if position.layer == package.stages[position.stage].first_layer:
            inference = self._inference(tenant, anew=position.stage == 0)
            for write in inference.before(position.stage, lambda offset, length: self._read(held, offset, length)):
                self.hypervisor.write(held, write.offset, write.data)
        begin(self.hypervisor, held, package, tenant.cores, position.layer)
        self.record(Event.STARTED, tenant.name)

    def _look(self, tenant: TenantPicture) -> None:
        held = self.hypervisor.tenants[tenant.context]
        status = self.hypervisor.status(held)
        package, position = self.package(tenant), tenant.position
        match status.state:
            case TenantState.DONE if not self._knows_host_values(tenant):
                self.record(Event.AGAIN, tenant.name)
            case TenantState.DONE if position.stage + 1 < len(package.stages):
                stage = position.stage + 1
                event = Event.CONTINUE if tenant.stage is Stage.RUNNING else Event.BOUNDARY
                fields = {"stage": stage, "layer": package.stages[stage].first_layer}
                self.record(event, tenant.name, **fields, origin=status.state.name)
            case TenantState.DONE:
                self._finish(tenant, held)
            case TenantState.FAULTED:
                task = tenant.tasks[0]
                self.record(Event.FAIL, tenant.name, reason=status.describe_fault())
                self.end_task(tenant.name, task)
            case TenantState.PAUSED:
                layer = next_layer(package, position.layer, status.barriers)
                if layer is None or tenant.stage is Stage.RUNNING:
                    self.hypervisor.resume(held)
                else:
                    self.record(Event.BOUNDARY, tenant.name, stage=position.stage, layer=layer)
            case _ if tenant.stage is Stage.PAUSING:
                ask(self.hypervisor, held)

    def _finish(self, tenant: TenantPicture, held: Tenant) -> None:
        inference = self._inference(tenant)
        outputs = inference.outputs(lambda offset, length: self._read(held, offset, length))
        file = f"result-{self.picture.events}.npz"
        self.files.write(file, to_bytes(outputs))
        task = tenant.tasks[0]
        self.record(Event.FINISH, tenant.name, result=file)
        self.end_task(tenant.name, task)

    def _take_down(self, tenant: TenantPicture) -> None:
        held = self.hypervisor.tenants.get(tenant.context)
        if held is not None and tenant.stage is Stage.DRAINING:
            if held.cores or self.hypervisor.status(held).state is not TenantState.STOPPED:
                park(self.hypervisor, held)
            self.hypervisor.begin_detach(held)
        if tenant.stage is Stage.DRAINING:
            self.record(Event.DRAINED, tenant.name)
            return
        if held is not None and self.hypervisor.status(held).state is TenantState.DIRTY:
            return
        if held is not None:
            self.hypervisor.forget(held)
        self.record(Event.SWEPT, tenant.name)
        self._packages.pop(tenant.package, None)
        self.files.remove(tenant.package)

    # --- caches --------------------------------------------------------------------------------------------------

    def package(self, tenant: TenantPicture) -> Package:
        """The network of a tenant."""
        if tenant.package not in self._packages:
            self._packages[tenant.package] = Package.load(self.files.directory / tenant.package)
        return self._packages[tenant.package]

    def _inference(self, tenant: TenantPicture, anew: bool = False) -> Inference:
        """The host's part of a tenant's task; `anew`, or with another process, as it is before the first stage."""
        key = (tenant.name, tenant.tasks[0])
        if anew or key not in self._inferences:
            inputs = to_arrays(self.files.read(self.picture.tasks[key].inputs))
            self._inferences[key] = self.package(tenant).inference(inputs)
            if not anew:
                self._inferences[key].before(0, _nothing_to_read)
        return self._inferences[key]

    def _knows_host_values(self, tenant: TenantPicture) -> bool:
        """Whether what host segments behind the first stage have computed is still known."""
        return tenant.position.stage == 0 or (tenant.name, tenant.tasks[0]) in self._inferences

    def end_task(self, name: str, task: str) -> None:
        """Drop files and values that only a task without an end needs."""
        self._inferences.pop((name, task), None)
        self.files.remove(self.picture.tasks[name, task].inputs)

    def _read(self, held: Tenant, offset: int, length: int) -> bytes:
        return self.hypervisor.read(held, offset, length).tobytes()


def _nothing_to_read(offset: int, length: int) -> bytes:
    raise HypervisorError(f"the host's part before the first stage reads the window at {offset}")


def to_bytes(arrays: Arrays) -> bytes:
    """Arrays by name as the content of an .npz file; the same arrays give the same bytes."""
    file = io.BytesIO()
    np.savez(file, **dict(sorted(arrays.items())))  # type: ignore[arg-type]
    return file.getvalue()


def to_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """What `to_bytes` has written."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
