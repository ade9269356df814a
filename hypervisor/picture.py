"""What a journal adds up to: every tenant and task, as its events say. Pure: no pool, no files.

The same events give the same picture, so a process that reads the journal of a dead one knows what that one knew.
Two things are checked here for every event, whoever asks: that it is legal (`hypervisor.lifecycle`), and that no core,
context or beat of memory is given to two tenants.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hypervisor.hypervisor import HypervisorError
from hypervisor.journal import JournalError, Record
from hypervisor.lifecycle import Event, Stage, TaskState, next_stage, next_task_state
from hypervisor.windows import Window


@dataclass
class Position:
    """Where a run of a task starts: at `layer` of stage `stage`; its context's state in front of that is `origin`."""

    stage: int = 0
    layer: int = 0
    origin: str = ""


@dataclass
class TaskPicture:
    """One task. `inputs` and `result` name files."""

    tenant: str
    name: str
    inputs: str
    digest: str
    arrival: int
    deadline: int | None = None
    state: TaskState = TaskState.QUEUED
    result: str | None = None
    reason: str | None = None


@dataclass
class TenantPicture:
    """One tenant: its place in the pool, what is meant by it, and its tasks without a result, in their order.

    `target` are the cores that it is to have from the end of the layer on; `position` is that of its running or
    stopped task, which is the first of `tasks`.
    """

    name: str
    context: int
    window: Window
    package: str
    cores: tuple[int, ...]
    priority: float = 1.0
    stage: Stage = Stage.ATTACHED
    target: tuple[int, ...] | None = None
    is_paused: bool = False
    position: Position = field(default_factory=Position)
    tasks: list[str] = field(default_factory=list)

    @property
    def reserved(self) -> set[int]:
        """Cores that nobody else may get: those it has and those it is to have."""
        return {*self.cores, *(self.target or ())}


class Picture:
    """Tenants by name, and tasks by tenant and name. `apply` makes an event part of it."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.tenants: dict[str, TenantPicture] = {}
        self.tasks: dict[tuple[str, str], TaskPicture] = {}
        self.events = 0
        for record in records:
            try:
                self.apply(record)
            except (HypervisorError, KeyError, ValueError, TypeError) as problem:
                raise JournalError(f"event {self.events + 1} of the journal makes no sense: {problem}") from None

    def stage(self, name: str) -> Stage:
        """The stage of a tenant; ABSENT when there is none of that name."""
        return self.tenants[name].stage if name in self.tenants else Stage.ABSENT

    def task_state(self, tenant: str, task: str) -> TaskState:
        """The state of a task; UNKNOWN when there is none."""
        known = self.tasks.get((tenant, task))
        return TaskState.UNKNOWN if known is None else known.state

    def free_cores(self, cores: int) -> list[int]:
        """Those of cores 0..cores-1 that no tenant has or is to have."""
        reserved = {core for tenant in self.tenants.values() for core in tenant.reserved}
        return [core for core in range(cores) if core not in reserved]

    def check(self, record: Record) -> None:
        """Raises HypervisorError when an event is not legal now, or would give away what somebody else has."""
        event, name = Event(record["event"]), str(record["tenant"])
        for task in self._tasks_of(event, name, record):
            next_task_state(f"{name}/{task}", self.task_state(name, task), event)
        if event is not Event.ACKNOWLEDGE:
            next_stage(name, self.stage(name), event)
        if event in (Event.ADMIT, Event.RESIZE):
            self._check_cores(name, record["cores"])
        if event is Event.ADMIT:
            self._check_place(name, int(record["context"]), Window(*record["window"]))

    def apply(self, record: Record) -> None:
        """Make an event part of the picture. Raises as `check` does, with the picture unchanged."""
        self.check(record)
        event, name = Event(record["event"]), str(record["tenant"])
        for task in self._tasks_of(event, name, record):
            self._apply_to_task(event, name, task, record)
        if event is Event.ADMIT:
            self.tenants[name] = TenantPicture(
                name, record["context"], Window(*record["window"]), record["package"], tuple(record["cores"]),
                record["priority"],
            )  # fmt: skip
        elif event is Event.SWEPT:
            del self.tenants[name]
        elif event not in (Event.SUBMIT, Event.ACKNOWLEDGE):
            self._apply_to_tenant(event, self.tenants[name], record)
        self.events += 1

    def _tasks_of(self, event: Event, name: str, record: Record) -> list[str]:
        """The tasks that an event is about."""
        if event in (Event.SUBMIT, Event.ACKNOWLEDGE):
            return [str(record["task"])]
        tenant = self.tenants.get(name)
        if tenant is None:
            return []
        if event is Event.EVICT:
            return list(tenant.tasks)
        return tenant.tasks[:1] if event in (Event.START, Event.FINISH, Event.FAIL, Event.AGAIN) else []

    def _apply_to_task(self, event: Event, tenant: str, name: str, record: Record) -> None:
        if event is Event.SUBMIT:
            self.tasks[tenant, name] = TaskPicture(
                tenant, name, record["inputs"], record["digest"], record["arrival"], record["deadline"]
            )
            self.tenants[tenant].tasks.append(name)
            return
        task = self.tasks[tenant, name]
        task.state = next_task_state(name, task.state, event)
        if event is Event.FINISH:
            task.result = record["result"]
        elif event in (Event.FAIL, Event.EVICT):
            task.reason = record.get("reason", "its tenant was evicted")
        elif event is Event.ACKNOWLEDGE:
            task.result = None
        if event in (Event.FINISH, Event.FAIL, Event.EVICT):
            self.tenants[tenant].tasks.remove(name)

    def _apply_to_tenant(self, event: Event, tenant: TenantPicture, record: Record) -> None:
        before, tenant.stage = tenant.stage, next_stage(tenant.name, tenant.stage, event)
        if event in (Event.PAUSE, Event.RESUME):
            tenant.is_paused = event is Event.PAUSE
        elif event is Event.RESIZE and tenant.stage is Stage.PAUSING:
            tenant.target = tuple(record["cores"])
        elif event is Event.RESIZE:
            tenant.cores = tuple(record["cores"])
        elif event is Event.START:
            tenant.position = Position(record["stage"], record["layer"], record["origin"])
        elif event in (Event.BOUNDARY, Event.CONTINUE):
            tenant.position = Position(record["stage"], record["layer"], record.get("origin", ""))
        elif event is Event.DRAINED:
            tenant.cores, tenant.target = (), None
        leaves = before is Stage.PAUSING and tenant.stage not in (Stage.PAUSING, Stage.DRAINING)
        if leaves and tenant.target is not None:
            tenant.cores, tenant.target = tenant.target, None

    def _check_cores(self, name: str, cores: Iterable[Any]) -> None:
        wanted = list(cores)
        if len(set(wanted)) < len(wanted):
            raise HypervisorError(f"tenant {name!r} cannot have one core twice: {wanted}")
        for other in self.tenants.values():
            if other.name != name and not other.reserved.isdisjoint(wanted):
                core = min(other.reserved.intersection(wanted))
                raise HypervisorError(f"core {core} belongs to tenant {other.name!r}, not to {name!r}")

    def _check_place(self, name: str, context: int, window: Window) -> None:
        for other in self.tenants.values():
            if other.context == context:
                raise HypervisorError(f"context {context} belongs to tenant {other.name!r}, not to {name!r}")
            if window.base < other.window.end and other.window.base < window.end:
                raise HypervisorError(f"the window of tenant {name!r} overlaps that of {other.name!r}")
