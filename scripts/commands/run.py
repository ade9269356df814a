"""`tenure run`: networks on a pool, several tenants at the same time."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from hypervisor.check import CheckResult, compare
from hypervisor.run import Job, JobResult, RunResult
from hypervisor.timeline import engine_shares
from isa.configuration import PoolConfig
from scripts.commands.reporting import (
    InputError,
    backend_option,
    chosen_backend,
    existing_file,
    fraction_progress,
    json_option,
    messages,
    pool_option,
    print_json,
    print_table,
    replacing,
    replacing_path,
)
from scripts.commands.running import input_option, load_requests, make_jobs, packages_argument, pool_of, run_jobs

WORST_TENSORS = 5


@click.command()
@packages_argument
@input_option
@click.option("--output", "outputs", multiple=True, metavar="Y.npy", help="Where the first, second, ... output goes.")
@click.option("--check", "checks", multiple=True, metavar="MODEL.onnx", help="Compare every tensor with ONNX Runtime.")
@click.option(
    "--profile",
    is_flag=True,
    help="Every layer: cycles, what it is bound by, its tiling; and how busy the engines were.",
)
@click.option("--vcd", type=click.Path(path_type=Path), help="Waveforms of the pool's ports (backend pyrtl).")
@pool_option(default=None)
@backend_option
@json_option
def run(
    packages: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    checks: tuple[str, ...],
    profile: bool,
    vcd: Path | None,
    pool: PoolConfig | None,
    backend: str | None,
    as_json: bool,
) -> int:
    """Run compiled networks: each package is a tenant on cores of its own, all at the same time.

    The pool is the one that the packages were compiled for, unless --pool says otherwise. Exit code 1: a tenant
    faulted, or a byte differs from ONNX Runtime's.
    """
    for option, given in (("--output", outputs), ("--check", checks)):
        if len(given) > len(packages):
            raise InputError(f"{option} {given[-1]}: it is given {len(given)} times for {len(packages)} packages")
    for path in (*map(Path, outputs), *([vcd] if vcd else [])):
        if not path.parent.is_dir():
            raise InputError(f"cannot write {path}: there is no directory {path.parent}")
    models = [existing_file(check, "--check") for check in checks]
    requests = load_requests(packages)
    pool = pool_of(requests, pool)
    backend = chosen_backend(backend, pool)
    jobs = make_jobs(requests, inputs, pool)
    with contextlib.nullcontext() if vcd is None else replacing_path(vcd) as waveforms:
        result = run_jobs(jobs, pool, backend, capture=bool(checks), vcd=waveforms)
    for path, job_result in zip(map(Path, outputs), result.jobs, strict=False):
        _save_output(path, job_result)
    comparisons = _compare(jobs, result, models)
    tenants = [
        _tenant(job, job_result, alone, comparison, pool)
        for job, job_result, alone, comparison in zip(jobs, result.jobs, result.cycles_alone, comparisons, strict=True)
    ]
    summary = {"pool": pool.name, "backend": backend, "cycles": result.cycles, "tenants": tenants}
    if as_json:
        print_json(summary)
    else:
        columns = [key for key in tenants[0] if key != "fault" or any(tenant["fault"] for tenant in tenants)]
        title = f"pool {pool.name}, backend {backend}: {result.cycles:,} cycles"
        print_table(title, columns, [[tenant[column] for column in columns] for tenant in tenants])
    if profile and not as_json:
        _print_profile(jobs, result, pool)
    for comparison in comparisons:
        if comparison is not None:
            _report_wrong(comparison)
    failed = any(tenant["fault"] or tenant["mismatches"] for tenant in tenants)
    incomplete = any(comparison is not None and comparison.missing for comparison in comparisons)
    return int(failed or incomplete)


def _tenant(
    job: Job, result: JobResult, alone: int, comparison: CheckResult | None, pool: PoolConfig
) -> dict[str, Any]:
    images = len(result.stage_cycles)
    possible = result.cycles * len(job.cores) * pool.macs_per_cycle
    return {
        "network": job.package.name,
        "cores": len(job.cores),
        "images": images,
        "cycles": result.cycles,
        "cycles_alone": alone,
        "utilisation": round(job.package.macs * images / possible, 4) if possible else 0.0,
        "compared": None if comparison is None else comparison.compared,
        "mismatches": None if comparison is None else comparison.mismatches,
        "fault": result.fault,
    }


def _save_output(path: Path, result: JobResult) -> None:
    if not result.outputs:
        messages.print(f"note: no output for {path}: the tenant faulted", highlight=False)
        return
    first = [next(iter(output.values())) for output in result.outputs]
    stacked = first[0] if len(first) == 1 else np.stack(first)
    with replacing(path) as file:
        np.save(file, stacked)


def _compare(jobs: Sequence[Job], result: RunResult, models: Sequence[Path]) -> list[CheckResult | None]:
    comparisons: list[CheckResult | None] = [None] * len(jobs)
    for index, model in enumerate(models):
        captured = result.jobs[index].captured
        comparisons[index] = compare(jobs[index].package, model, jobs[index].images[: len(captured)], captured)
    return comparisons


def _report_wrong(comparison: CheckResult) -> None:
    for tensor in comparison.wrong[:WORST_TENSORS]:
        share = f"{tensor.mismatches:,} of {tensor.compared:,} bytes differ"
        messages.print(f"mismatch: image {tensor.image}, tensor {tensor.name}: {share}", highlight=False)
    if comparison.missing:
        names = ", ".join(comparison.missing[:WORST_TENSORS])
        messages.print(f"not compared: {len(comparison.missing)} tensors ({names})", highlight=False)


def _print_profile(jobs: Sequence[Job], result: RunResult, pool: PoolConfig) -> None:
    """Layers of one image by the exact timing model, then how busy the engines were in this run."""
    from benchmarks.measurement import measure_stage

    for job in jobs:
        package, window, layers = job.package, job.package.window(), []
        with fraction_progress(f"timing {package.name}") as progress:
            for number, stage in enumerate(package.stages):
                progress(number / len(package.stages), f"stage {number + 1} of {len(package.stages)}")
                layers += measure_stage(pool, package, stage, job.cores, window)[2]
        columns = ("layer", "operation", "MACs", "cycles", "utilisation", "bound by", "tiling")
        rows: list[list[object]] = [
            [each.name, each.operation, each.macs, each.cycles, each.utilisation, each.bound, each.tiling]
            for each in layers
        ]
        print_table(f"{package.name} on {len(job.cores)} cores", columns, rows)
    first = min((start for job_result in result.jobs for start in job_result.starts), default=0)
    owners = {core: job.package.name for job in jobs for core in job.cores}
    shares = engine_shares(result.activity, sorted(owners), first, first + result.cycles)
    rows = [[f"core {core}", owners[core], *busy] for core, busy in shares.items()]
    print_table("share of cycles in which an engine was busy", ("core", "network", "load", "compute", "save"), rows)
