"""`tenure trace`: a picture of who used which engine of which core when."""

from __future__ import annotations

from pathlib import Path

import click

from isa.configuration import PoolConfig
from scripts.commands.reporting import (
    InputError,
    backend_option,
    chosen_backend,
    json_option,
    messages,
    pool_option,
    print_json,
    replacing,
)
from scripts.commands.running import input_option, load_requests, make_jobs, packages_argument, pool_of, run_jobs

SUFFIXES = (".svg", ".png", ".pdf")


@click.command()
@packages_argument
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The picture: .svg, .png or .pdf.")
@input_option
@pool_option(default=None)
@backend_option
@json_option
def trace(
    packages: tuple[str, ...],
    output: Path,
    inputs: tuple[str, ...],
    pool: PoolConfig | None,
    backend: str | None,
    as_json: bool,
) -> int:
    """Run compiled networks as `tenure run` does, and draw when each engine of each core was busy."""
    if output.suffix not in SUFFIXES:
        raise InputError(f"--output {output}: the name must end in {', '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise InputError(f"cannot write {output}: there is no directory {output.parent}")
    requests = load_requests(packages)
    pool = pool_of(requests, pool)
    backend = chosen_backend(backend, pool)
    jobs = make_jobs(requests, inputs, pool)
    result = run_jobs(jobs, pool, backend, capture=False, alone=False)
    from hypervisor.timeline import draw_timeline

    owners = {
        core: f"{job.package.name} ({index})" if len(jobs) > 1 else job.package.name
        for index, job in enumerate(jobs)
        for core in job.cores
    }
    first = min((start for job_result in result.jobs for start in job_result.starts), default=0)
    with replacing(output) as file:
        draw_timeline(file, output.suffix[1:], result.activity, owners, first, first + result.cycles)
    faults = [job_result.fault for job_result in result.jobs]
    if as_json:
        print_json({"pool": pool.name, "backend": backend, "cycles": result.cycles, "picture": str(output)})
    else:
        messages.print(f"{output}: {result.cycles:,} cycles of pool {pool.name}", highlight=False)
    return int(any(faults))
