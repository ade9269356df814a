"""Runs compiled networks: several tenants at the same time on disjoint cores, each with its images, stage by stage.

`run_networks` also tells how long each tenant takes *alone*: on the same physical cores of a fresh pool, with every
command given in the same cycle, and nobody else there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypervisor.hypervisor import POLL_CYCLES, Hypervisor, HypervisorError, Tenant, TenantStatus
from hypervisor.pool_port import ActivityInterval, PoolPort
from isa.configuration import PoolConfig
from isa.registers import TenantState

if TYPE_CHECKING:
    from compiler.host import Inference
    from compiler.package import Package

Arrays = Mapping[str, NDArray[Any]]
PortFactory = Callable[[], PoolPort]


@dataclass(frozen=True)
class Job:
    """A network to run: `cores` physical cores (virtual order), and the network's inputs, one mapping an image."""

    package: Package
    cores: tuple[int, ...]
    images: Sequence[Arrays]


@dataclass(frozen=True)
class LayerEnd:
    """A layer of one image has been seen complete at `cycle`, at most one poll after it was."""

    image: int
    layer: int
    cycle: int


@dataclass
class JobResult:
    """What became of a job. `stage_cycles[image]` are the cycles of its stages, START to END."""

    outputs: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    captured: list[dict[str, NDArray[np.int8]]] = field(default_factory=list)
    stage_cycles: list[list[int]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    layer_ends: list[LayerEnd] = field(default_factory=list)
    fault: str | None = None

    @property
    def cycles(self) -> int:
        """Cycles on the cores, for all images together."""
        return sum(map(sum, self.stage_cycles))


@dataclass
class RunResult:
    """The joint run of all jobs: `cycles` from the first START to the last END seen on the cores."""

    jobs: list[JobResult]
    cycles: int
    cycles_alone: list[int]
    activity: list[ActivityInterval]


@dataclass
class Marks:
    """Cycles in which a job's commands were given, in their order; empty while they are being recorded."""

    recorded: dict[int, list[int]] = field(default_factory=dict)
    replayed: dict[int, list[int]] = field(default_factory=dict)

    def reach(self, port: PoolPort, job: int) -> None:
        """Before a command of `job`: wait for the cycle of the recording, if there is one, or record this one."""
        if job in self.replayed:
            cycle = self.replayed[job].pop(0)
            if port.cycle > cycle:
                raise HypervisorError(f"a command comes {port.cycle - cycle} cycles later than in the recorded run")
            port.step(cycle - port.cycle)
        self.recorded.setdefault(job, []).append(port.cycle)


def run_networks(
    open_port: PortFactory,
    jobs: Sequence[Job],
    *,
    capture: bool = False,
    alone: bool = True,
    limit_cycles: int | None = None,
) -> RunResult:
    """Run all jobs at the same time. `capture` collects every tensor at its layer's end.

    Raises HypervisorError for cores or windows that do not fit, or when a job needs more than `limit_cycles` cycles.
    """
    numbers = list(range(len(jobs)))
    marks = Marks()
    joint, activity = _run(open_port, jobs, numbers, marks, capture, limit_cycles)
    cycles_alone = [result.cycles for result in joint]
    if alone and len(jobs) > 1:
        for number in numbers:
            replay = Marks(replayed={number: list(marks.recorded[number])})
            (result,), _ = _run(open_port, jobs, [number], replay, False, limit_cycles)
            cycles_alone[number] = result.cycles
    ends = [start + cycles for result in joint for start, cycles in _stages(result)]
    first = min((start for result in joint for start, _ in _stages(result)), default=0)
    return RunResult(joint, max(ends, default=0) - first, cycles_alone, activity)


def _stages(result: JobResult) -> list[tuple[int, int]]:
    cycles = [stage for image in result.stage_cycles for stage in image]
    return list(zip(result.starts, cycles, strict=False))


class _Runner:
    """One job on its tenant: which image and stage is next, and what has come out."""

    def __init__(self, hypervisor: Hypervisor, tenant: Tenant, number: int, job: Job, capture: bool) -> None:
        self.hypervisor = hypervisor
        self.tenant = tenant
        self.number = number
        self.job = job
        self.capture = capture
        self.result = JobResult()
        self.image = -1
        self.stage = 0
        self._inference: Inference | None = None

    def prepare(self) -> int | None:
        """Write what the next stage needs; its start word, or None when all images are done."""
        if self._inference is None:
            self.image += 1
            self.stage = 0
            if self.image == len(self.job.images):
                return None
            self._inference = self.job.package.inference(self.job.images[self.image])
            self.result.stage_cycles.append([])
            self.result.captured.append({})
        for write in self._inference.before(self.stage, self._read):
            self.hypervisor.write(self.tenant, write.offset, write.data)
        program = self.job.package.program(len(self.job.cores), self._first_layer)
        self.hypervisor.write(self.tenant, program.offset_bytes, program.words)
        return program.start_word

    def finish(self, status: TenantStatus) -> bool:
        """Take the results of a stage that has ended; whether the job goes on."""
        self.result.stage_cycles[-1].append(status.cycles)
        if status.state is not TenantState.DONE:
            self.result.fault = status.describe_fault() or f"stopped in state {status.state.name}"
            return False
        assert self._inference is not None
        self.stage += 1
        if self.stage == len(self.job.package.stages):
            self.result.outputs.append(dict(self._inference.outputs(self._read)))
            self._inference = None
        return True

    def barrier(self, count: int) -> None:
        """Note which layer is complete after `count` barriers, and capture its tensors."""
        package = self.job.package
        stage = package.stages[self.stage]
        for layer in range(stage.first_layer, stage.end_layer):
            if package.barriers_until(layer, stage.first_layer) == count:
                self.result.layer_ends.append(LayerEnd(self.image, layer, self.hypervisor.port.cycle))
                if self.capture:
                    self._capture_layer(layer)

    @property
    def _first_layer(self) -> int:
        return self.job.package.stages[self.stage].first_layer

    def _capture_layer(self, layer: int) -> None:
        for tensor in self.job.package.tensors:
            if tensor.layer == layer:
                content = self.hypervisor.read(self.tenant, tensor.offset, tensor.byte_count)
                self.result.captured[-1][tensor.name] = tensor.from_bytes(content)

    def _read(self, offset: int, length: int) -> bytes:
        return self.hypervisor.read(self.tenant, offset, length).tobytes()


def _run(
    open_port: PortFactory,
    jobs: Sequence[Job],
    numbers: Sequence[int],
    marks: Marks,
    capture: bool,
    limit_cycles: int | None,
) -> tuple[list[JobResult], list[ActivityInterval]]:
    port = open_port()
    try:
        hypervisor = Hypervisor(port)
        runners = {}
        for number in numbers:
            marks.reach(port, number)
            runner = _place(hypervisor, number, jobs[number], capture)
            runners[runner.tenant.number] = runner
        _run_all(hypervisor, runners, marks, limit_cycles)
        return [runner.result for runner in runners.values()], port.activity()
    finally:
        port.close()


def _place(hypervisor: Hypervisor, number: int, job: Job, capture: bool) -> _Runner:
    tenant = hypervisor.attach(job.package.window_bytes)
    hypervisor.write(tenant, 0, job.package.image())
    hypervisor.grant(tenant, job.cores)
    return _Runner(hypervisor, tenant, number, job, capture)


def _run_all(hypervisor: Hypervisor, runners: dict[int, _Runner], marks: Marks, limit_cycles: int | None) -> None:
    """All jobs start together; each goes on to its next stage or image as soon as it has ended the one before."""
    seen: dict[int, int] = {}

    def watch(tenant: Tenant, count: int) -> None:
        runners[tenant.number].barrier(count)

    running = _start(hypervisor, list(runners.values()), marks)
    while running:
        limit = limit_cycles or max(cycle_limit(runner.job) for runner in running)
        tenants = [runner.tenant for runner in running]
        ended = [runners[t.number] for t in hypervisor.wait_for_any(tenants, limit, watch, POLL_CYCLES, seen)]
        for runner in ended:
            seen.pop(runner.tenant.number)
        going = [runner for runner in ended if runner.finish(hypervisor.status(runner.tenant))]
        if not marks.replayed:  # alone, an end may be noticed up to one look later than here: leave time for that
            hypervisor.port.step(2 * POLL_CYCLES)
        running = [runner for runner in running if runner not in ended] + _start(hypervisor, going, marks)


def _start(hypervisor: Hypervisor, runners: Sequence[_Runner], marks: Marks) -> list[_Runner]:
    """Start the next stage of each job, all in the same period of the wheel; those that have one."""
    words = [(runner, runner.prepare()) for runner in runners]
    programs = [(runner.tenant, word) for runner, word in words if word is not None]
    starting = [runner for runner, word in words if word is not None]
    if not starting:
        return []
    if not marks.replayed:
        hypervisor.align_start(len(starting))
    for runner in starting:
        marks.reach(hypervisor.port, runner.number)
    hypervisor.start(programs)
    period = hypervisor.config.period_cycles
    for runner in starting:
        runner.result.starts.append(-(-hypervisor.port.cycle // period) * period)
    return starting


def cycle_limit(job: Job) -> int:
    """Cycles after which a stage of the job is given up: twenty times its estimate, and a million."""
    cores = len(job.cores)
    return 1_000_000 + 20 * sum(layer.frames[cores].cycles for layer in job.package.layers)


def check_job(job: Job, name: str, config: PoolConfig) -> None:
    """Raises HypervisorError when a package does not fit the pool or its number of cores."""
    package = job.package
    different = package.differences(config)
    if different:
        key = different[0]
        raise HypervisorError(
            f"{name} was compiled for pool {package.pool.get('name')!r}, whose {key} is {package.pool[key]}; pool "
            f"{config.name!r} has {getattr(config, key)}: compile it again with --pool {config.name}"
        )
    if len(job.cores) not in package.core_counts:
        raise HypervisorError(
            f"{name} has frames for {', '.join(map(str, package.core_counts))} cores, not for {len(job.cores)}"
        )
