"""Runs networks to be traced: several tenants beside each other, one of which may go on with other cores at layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypervisor.hypervisor import ENDED, POLL_CYCLES, Hypervisor, HypervisorError, Tenant
from hypervisor.pool_port import PoolPort
from hypervisor.run import Job, cycle_limit
from hypervisor.switch import begin, switch
from hypervisor.trace_file import Mark, ProgramRun
from isa.registers import TenantState


@dataclass(frozen=True)
class Resize:
    """From layer `layer` on, the first tenant holds `cores` cores."""

    layer: int
    cores: int


@dataclass
class TracedRun:
    """Programs that ran and marks, in their order; `fault` of the first tenant that has one."""

    runs: list[ProgramRun] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    fault: str | None = None


def run_with_resizes(port: PoolPort, jobs: Sequence[Job], names: Sequence[str], resizes: Sequence[Resize]) -> TracedRun:
    """One image of every job, all at the same time; the first job is resized in the order of its layers.

    Raises HypervisorError for networks of several stages, several images of one, layers that do not ascend, cores that
    are not there, or a network that has ended before its resize.
    """
    for job, name in zip(jobs, names, strict=True):
        if len(job.package.stages) != 1:
            raise HypervisorError(f"{name} runs in {len(job.package.stages)} stages; only one stage can be resized")
        if len(job.images) != 1:
            raise HypervisorError(f"{name} has {len(job.images)} images; with resizes every network runs one: give one")
    layers = [resize.layer for resize in resizes]
    if layers != sorted(set(layers)) or not all(0 < layer < len(jobs[0].package.layers) for layer in layers):
        raise HypervisorError(
            f"resizes at layers {layers}: give ascending ones from 1..{len(jobs[0].package.layers) - 1}"
        )
    hypervisor = Hypervisor(port)
    traced = TracedRun()
    tenants = [_begin(hypervisor, job, name, traced) for job, name in zip(jobs, names, strict=True)]
    for resize in resizes:
        _resize(hypervisor, tenants[0], jobs[0], names[0], resize, traced)
    hypervisor.wait(tenants, sum(cycle_limit(job) for job in jobs))
    for tenant, name in zip(tenants, names, strict=True):
        status = hypervisor.status(tenant)
        if status.state is not TenantState.DONE:
            traced.fault = traced.fault or f"{name}: {status.describe_fault() or status.state.name}"
    return traced


def _begin(hypervisor: Hypervisor, job: Job, name: str, traced: TracedRun) -> Tenant:
    package = job.package
    tenant = hypervisor.attach(package.window_bytes)
    hypervisor.write(tenant, 0, package.image())
    for write in package.quantise_input(job.images[0]):
        hypervisor.write(tenant, write.offset, write.data)
    traced.runs.append(ProgramRun(name, package, job.cores, begin(hypervisor, tenant, package, job.cores, 0)))
    return tenant


def _resize(hypervisor: Hypervisor, tenant: Tenant, job: Job, name: str, resize: Resize, traced: TracedRun) -> None:
    """Wait for the layer before the resize, then switch at its end."""
    (index,) = (i for i, run in enumerate(traced.runs) if run.tenant == name and run.end_layer is None)
    present = traced.runs[index]
    limit = hypervisor.port.cycle + cycle_limit(job)
    while (status := hypervisor.status(tenant)).barriers < resize.layer - present.first_layer:
        if hypervisor.port.cycle > limit or status.state in ENDED:
            raise _too_late(hypervisor, tenant, name, resize)
        hypervisor.port.step(POLL_CYCLES)
    available = sorted(hypervisor.free_cores)
    if resize.cores - len(tenant.cores) > len(available):
        raise HypervisorError(f"{name} cannot get {resize.cores} cores: {len(available)} are free beside its own")
    cores = (*tenant.cores, *available)[: resize.cores]
    asked = hypervisor.port.cycle
    found = switch(hypervisor, tenant, job.package, cores, present.first_layer)
    if found is None:
        raise _too_late(hypervisor, tenant, name, resize)
    traced.runs[index] = ProgramRun(
        name, present.package, present.cores, present.start, present.first_layer, end_layer=found.layer
    )
    traced.runs.append(ProgramRun(name, present.package, cores, found.running, found.layer))
    traced.marks += [
        Mark(name, asked, f"PAUSE for {resize.cores} cores"),
        Mark(name, found.noticed, f"switch: REVOKE, STOP, GRANT, START; {found.running - found.noticed} cycles"),
    ]


def _too_late(hypervisor: Hypervisor, tenant: Tenant, name: str, resize: Resize) -> HypervisorError:
    status = hypervisor.status(tenant)
    found = status.describe_fault() or f"it is {status.state.name} after {status.barriers} barriers"
    return HypervisorError(f"{name} cannot be resized at layer {resize.layer}: {found}")
