"""`tenure trace`: who used which core when, as a trace file for Perfetto or as a picture."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from hypervisor.machines import open_port
from hypervisor.run import Job, RunResult
from isa.configuration import PoolConfig
from scripts.commands.reporting import (
    InputError,
    backend_option,
    chosen_backend,
    cycle_progress,
    json_option,
    messages,
    pool_option,
    print_json,
    replacing,
)
from scripts.commands.running import input_option, load_requests, make_jobs, packages_argument, pool_of, run_jobs

if TYPE_CHECKING:
    from hypervisor.trace_file import Mark, TimedRun
    from hypervisor.trace_run import Resize

PICTURES = (".svg", ".png", ".pdf")
TRACES = (".pftrace", ".pftrace.gz")


@click.command()
@packages_argument
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="A trace: .pftrace, .pftrace.gz; or a picture: .svg, .png, .pdf.",
)
@click.option(
    "--resize",
    "resizes",
    multiple=True,
    metavar="LAYER:CORES",
    help="From this layer on the first network holds so many cores (may be repeated; traces only).",
)
@input_option
@pool_option(default=None)
@backend_option
@json_option
def trace(
    packages: tuple[str, ...],
    output: Path,
    resizes: tuple[str, ...],
    inputs: tuple[str, ...],
    pool: PoolConfig | None,
    backend: str | None,
    as_json: bool,
) -> int:
    """Run compiled networks as `tenure run` does, and write down what the cores did.

    A trace (.pftrace) opens in https://ui.perfetto.dev: cores as tracks, instructions as slices, tenants as colours,
    layers and switches as marks; 1 ns there is 1 cycle. A picture shows when each engine was busy.
    """
    if not output.name.endswith(PICTURES + TRACES):
        raise InputError(f"--output {output}: the name must end in {', '.join(TRACES + PICTURES)}")
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no directory {output.parent}")
    requests = load_requests(packages)
    pool = pool_of(requests, pool)
    backend = chosen_backend(backend, pool)
    jobs = make_jobs(requests, inputs, pool)
    if resizes:
        return _trace_resized(output, pool, backend, jobs, resizes, as_json)
    result = run_jobs(jobs, pool, backend, capture=False, alone=False)
    faults = [job_result.fault for job_result in result.jobs]
    answer = {"pool": pool.name, "backend": backend, "cycles": result.cycles}
    with replacing(output) as file:
        if output.name.endswith(TRACES):
            if any(faults):
                raise InputError(f"no trace: {next(filter(None, faults))}; use a picture instead (-o trace.svg)")
            answer |= {"trace": str(output), "events": _write_trace(file, output, pool, jobs, result)}
        else:
            _draw(file, output, jobs, result)
            answer |= {"picture": str(output)}
    if as_json:
        print_json(answer)
    else:
        messages.print(f"{output}: {result.cycles:,} cycles of pool {pool.name}", highlight=False)
    return int(any(faults))


def _tenants(jobs: list[Job]) -> list[str]:
    """Names of the tenants, for tracks, colours and legends."""
    if len(jobs) == 1:
        return [jobs[0].package.name]
    return [f"{job.package.name} ({chr(ord('A') + index)})" for index, job in enumerate(jobs)]


def _draw(file: BinaryIO, output: Path, jobs: list[Job], result: RunResult) -> None:
    from hypervisor.timeline import draw_timeline

    owners = {core: name for name, job in zip(_tenants(jobs), jobs, strict=True) for core in job.cores}
    first = min((start for job_result in result.jobs for start in job_result.starts), default=0)
    draw_timeline(file, output.suffix[1:], result.activity, owners, first, first + result.cycles)


def _write_trace(file: BinaryIO, output: Path, pool: PoolConfig, jobs: list[Job], result: RunResult) -> int:
    """The trace of all programs that ran, once it is certain that the machine did what the timing model says."""
    from hypervisor.trace_file import ProgramRun, check_activity, time_runs

    runs = []
    for tenant, job, job_result in zip(_tenants(jobs), jobs, result.jobs, strict=True):
        stages = [stage.first_layer for stage in job.package.stages] * len(job.images)
        for start, first_layer in zip(job_result.starts, stages, strict=True):
            runs.append(ProgramRun(tenant, job.package, job.cores, start, first_layer))
    timed = time_runs(pool, runs)
    check_activity(timed, result.activity)
    return _write(file, output, timed)


def _write(file: BinaryIO, output: Path, timed: Sequence[TimedRun], marks: Sequence[Mark] = ()) -> int:
    from hypervisor.trace_file import write_trace

    if output.suffix != ".gz":
        return write_trace(file, timed, marks)
    with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
        return write_trace(packed, timed, marks)


def _trace_resized(
    output: Path, pool: PoolConfig, backend: str, jobs: list[Job], resizes: Sequence[str], as_json: bool
) -> int:
    """One image of each network, the first one resized, as a trace."""
    from hypervisor.trace_file import check_activity, time_runs
    from hypervisor.trace_run import run_with_resizes

    if not output.name.endswith(TRACES):
        raise InputError(f"--output {output}: with --resize the name must end in {', '.join(TRACES)}")
    changes = [_resize(text) for text in resizes]
    with cycle_progress(f"{backend}: building pool {pool.name}", f"{backend}: pool {pool.name}") as progress:
        port = open_port(backend, pool, progress)
        try:
            traced = run_with_resizes(port, jobs, _tenants(jobs), changes)
            activity, cycles = port.activity(), port.cycle
        finally:
            port.close()
    if traced.fault:
        raise InputError(f"no trace: {traced.fault}")
    timed = time_runs(pool, traced.runs)
    check_activity(timed, activity)
    with replacing(output) as file:
        events = _write(file, output, timed, traced.marks)
    if as_json:
        answer = {"pool": pool.name, "backend": backend, "cycles": cycles, "trace": str(output), "events": events}
        print_json(answer | {"switches": len(changes)})
    else:
        messages.print(f"{output}: {cycles:,} cycles of pool {pool.name}, {len(changes)} switches", highlight=False)
    return 0


def _resize(text: str) -> Resize:
    from hypervisor.trace_run import Resize

    layer, _, cores = text.partition(":")
    if not (layer.isdigit() and cores.isdigit() and int(cores)):
        raise InputError(f"--resize {text}: give LAYER:CORES, two numbers, at least one core")
    return Resize(int(layer), int(cores))
