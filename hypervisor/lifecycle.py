"""What can happen to a tenant, and to a task: every state, every event, and which event is legal in which state.

The table is the only place that knows. A command that is not in it is refused, a journal that is not in it is corrupt,
and the diagrams of docs/hypervisor.md are drawn from it (`python -m hypervisor.reference`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from hypervisor.hypervisor import HypervisorError


class IllegalCommand(HypervisorError):
    """An event that does not apply to a tenant or task in its state; the message says in which it would."""


class Stage(StrEnum):
    """Where a tenant is. The hardware's `TenantState` says what its context does; this says what is meant by it."""

    ABSENT = "absent"
    ATTACHED = "attached"
    LOADED = "loaded"
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    STOPPED = "stopped"
    DRAINING = "draining"
    DIRTY = "dirty"


STAGE_MEANINGS: dict[Stage, str] = {
    Stage.ABSENT: "not known, or gone for good",
    Stage.ATTACHED: "admitted: context, window and cores are its own; its network is being written to the window",
    Stage.LOADED: "its network lies in the window and nothing runs: the next task can start",
    Stage.STARTING: "a task is about to start: whether START has been given, only the pool's registers can tell",
    Stage.RUNNING: "a task runs, or has ended and its result is about to be read",
    Stage.PAUSING: "a task runs to the end of its layer and stops there",
    Stage.STOPPED: "a task waits at the beginning of a layer, held by its layer's number and its window alone",
    Stage.DRAINING: "evicted: its cores are drained and scrubbed, its context is reset",
    Stage.DIRTY: "its window is being zeroed; nobody else gets it before that is done",
}


class Event(StrEnum):
    """What a line of the journal says has happened, or will be made to happen whatever comes."""

    ADMIT = "admit"
    LOAD = "load"
    SUBMIT = "submit"
    START = "start"
    STARTED = "started"
    CONTINUE = "continue"
    PAUSE = "pause"
    RESUME = "resume"
    RESIZE = "resize"
    BOUNDARY = "boundary"
    FINISH = "finish"
    FAIL = "fail"
    AGAIN = "again"
    ACKNOWLEDGE = "acknowledge"
    EVICT = "evict"
    DRAINED = "drained"
    SWEPT = "swept"


EVENT_MEANINGS: dict[Event, str] = {
    Event.ADMIT: "a client's tenant gets a context, a window and cores",
    Event.LOAD: "the network has been written to the window",
    Event.SUBMIT: "a client hands in a task",
    Event.START: "a task starts, or goes on at a layer",
    Event.STARTED: "the pool has accepted START",
    Event.CONTINUE: "a stage of the network has ended; the next one starts after the host's part",
    Event.PAUSE: "a client stops the tenant: at the end of the layer if a task runs; no other task starts",
    Event.RESUME: "a client lets the tenant go on",
    Event.RESIZE: "the tenant is to have other cores: at once if nothing runs, else at the end of the layer",
    Event.BOUNDARY: "the pool has paused the task at the end of a layer",
    Event.FINISH: "the result of the task has been read out and stored",
    Event.FAIL: "the task was stopped by a fault; the window has to be written anew",
    Event.AGAIN: "what was lost with a process cannot be told from the registers: the task begins anew",
    Event.ACKNOWLEDGE: "a client has the result; it is forgotten",
    Event.EVICT: "a client gives its place up; tasks without a result are cancelled",
    Event.DRAINED: "the context is reset and detached, its cores are free",
    Event.SWEPT: "the window is zeroed and can be given away",
}

CLIENT_EVENTS = (
    Event.ADMIT, Event.SUBMIT, Event.PAUSE, Event.RESUME, Event.RESIZE, Event.ACKNOWLEDGE, Event.EVICT,
)  # fmt: skip
"""Events that clients ask for; the hypervisor sees or decides the others."""

TENANT_TRANSITIONS: dict[Stage, dict[Event, Stage]] = {
    Stage.ABSENT: {Event.ADMIT: Stage.ATTACHED},
    Stage.ATTACHED: {Event.SUBMIT: Stage.ATTACHED, Event.LOAD: Stage.LOADED, Event.EVICT: Stage.DRAINING},
    Stage.LOADED: {
        Event.SUBMIT: Stage.LOADED,
        Event.START: Stage.STARTING,
        Event.PAUSE: Stage.LOADED,
        Event.RESUME: Stage.LOADED,
        Event.RESIZE: Stage.LOADED,
        Event.EVICT: Stage.DRAINING,
    },
    Stage.STARTING: {Event.STARTED: Stage.RUNNING, Event.AGAIN: Stage.LOADED},
    Stage.RUNNING: {
        Event.SUBMIT: Stage.RUNNING,
        Event.FINISH: Stage.LOADED,
        Event.FAIL: Stage.ATTACHED,
        Event.CONTINUE: Stage.STARTING,
        Event.AGAIN: Stage.LOADED,
        Event.PAUSE: Stage.PAUSING,
        Event.RESIZE: Stage.PAUSING,
        Event.EVICT: Stage.DRAINING,
    },
    Stage.PAUSING: {
        Event.SUBMIT: Stage.PAUSING,
        Event.BOUNDARY: Stage.STOPPED,
        Event.FINISH: Stage.LOADED,
        Event.FAIL: Stage.ATTACHED,
        Event.AGAIN: Stage.LOADED,
        Event.PAUSE: Stage.PAUSING,
        Event.RESUME: Stage.PAUSING,
        Event.RESIZE: Stage.PAUSING,
        Event.EVICT: Stage.DRAINING,
    },
    Stage.STOPPED: {
        Event.SUBMIT: Stage.STOPPED,
        Event.START: Stage.STARTING,
        Event.AGAIN: Stage.LOADED,
        Event.PAUSE: Stage.STOPPED,
        Event.RESUME: Stage.STOPPED,
        Event.RESIZE: Stage.STOPPED,
        Event.EVICT: Stage.DRAINING,
    },
    Stage.DRAINING: {Event.DRAINED: Stage.DIRTY},
    Stage.DIRTY: {Event.SWEPT: Stage.ABSENT},
}
"""The stage after each event that is legal in a stage. ACKNOWLEDGE is an event of tasks alone."""


class TaskState(StrEnum):
    """Where a task is; it is run by its tenant's events."""

    UNKNOWN = "unknown"
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    ACKNOWLEDGED = "acknowledged"


TASK_MEANINGS: dict[TaskState, str] = {
    TaskState.UNKNOWN: "never handed in",
    TaskState.QUEUED: "stored, with its inputs; nothing of it has run, or it begins anew",
    TaskState.RUNNING: "its tenant has started it; it may be stopped at a layer",
    TaskState.FINISHED: "its result is stored, and can be collected as often as its client likes",
    TaskState.FAILED: "a fault stopped it; the reason is stored",
    TaskState.CANCELLED: "its tenant was evicted before there was a result",
    TaskState.ACKNOWLEDGED: "its client has the result; it is stored no more",
}

TASK_TRANSITIONS: dict[TaskState, dict[Event, TaskState]] = {
    TaskState.UNKNOWN: {Event.SUBMIT: TaskState.QUEUED},
    TaskState.QUEUED: {Event.START: TaskState.RUNNING, Event.EVICT: TaskState.CANCELLED},
    TaskState.RUNNING: {
        Event.START: TaskState.RUNNING,
        Event.AGAIN: TaskState.QUEUED,
        Event.FINISH: TaskState.FINISHED,
        Event.FAIL: TaskState.FAILED,
        Event.EVICT: TaskState.CANCELLED,
    },
    TaskState.FINISHED: {Event.ACKNOWLEDGE: TaskState.ACKNOWLEDGED},
    TaskState.FAILED: {Event.ACKNOWLEDGE: TaskState.ACKNOWLEDGED},
    TaskState.CANCELLED: {Event.ACKNOWLEDGE: TaskState.ACKNOWLEDGED},
    TaskState.ACKNOWLEDGED: {},
}
"""The state after each event that is legal in a state of a task."""


State = TypeVar("State", Stage, TaskState)


def next_stage(name: str, stage: Stage, event: Event) -> Stage:
    """The stage of tenant `name` after an event. Raises IllegalCommand."""
    return _next("tenant", TENANT_TRANSITIONS, name, stage, event)


def next_task_state(name: str, state: TaskState, event: Event) -> TaskState:
    """The state of task `name` after an event. Raises IllegalCommand."""
    return _next("task", TASK_TRANSITIONS, name, state, event)


def _next(kind: str, table: Mapping[State, Mapping[Event, State]], name: str, state: State, event: Event) -> State:
    if event not in table[state]:
        legal = [str(known) for known, events in table.items() if event in events]
        raise IllegalCommand(
            f"{kind} {name!r} is {state}: {event} applies to a {kind} that is {' or '.join(legal) or 'another'}"
        )
    return table[state][event]
