"""`scripts/demo`: two trained networks, two tenants, one pool, on the RTL; then what the proof is good for.

ResNet-8 and LeNet run at the same time on the PyRTL simulator of pool `small`, first on 1 + 3 cores, then on 2 + 2.
Every tensor is compared with ONNX Runtime, and every tenant's cycles with those of running alone. At the end
the ownership compare is broken in a copy of the netlist, and the proof shows who reached whose core.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import numpy as np
from rich.console import Console

from compiler.compile import compile_model
from compiler.package import Package
from formal.demonstration import break_ownership_and_show
from hypervisor.check import compare
from hypervisor.machines import BACKENDS
from hypervisor.run import Job, RunResult
from hypervisor.timeline import draw_timeline
from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.commands.reporting import fraction_progress, print_table, replacing
from scripts.commands.running import run_jobs

NETWORKS = Path(__file__).parent.parent / "tests" / "networks"
TENANTS = (("A", "lenet"), ("B", "resnet8"))
ROUNDS = (((1, 3), 3), ((2, 2), 1))
"""(cores of tenant A and B, images each)."""


def test_images(count: int) -> list[dict[str, np.ndarray]]:
    """The first `count` MNIST test images as the networks want them: float32 [1, 1, 28, 28], 0 to 1."""
    pixels = np.load(NETWORKS / "mnist_test.npz")["images"][:count]
    images = pixels.astype(np.float32)[:, None, None] / np.float32(255)
    return [{"image": image} for image in images]


def compile_networks(pool: PoolConfig, console: Console) -> list[Package]:
    """Both networks for every number of cores."""
    packages = []
    for tenant, name in TENANTS:
        began = time.monotonic()
        with fraction_progress(f"compiling {name}") as progress:
            package = compile_model(NETWORKS / f"{name}.int8.onnx", pool, progress=progress)
        packages.append(package)
        seconds = time.monotonic() - began
        console.print(f"tenant {tenant}: {name}, {package.macs:,} MACs, compiled in {seconds:.1f} s", highlight=False)
    return packages


def run_round(
    packages: list[Package], shares: tuple[int, ...], images: int, pool: PoolConfig, backend: str
) -> tuple[list[Job], RunResult]:
    """Both tenants at the same time, and each alone."""
    jobs, first = [], 0
    for package, cores in zip(packages, shares, strict=True):
        jobs.append(Job(package, tuple(range(first, first + cores)), test_images(images)))
        first += cores
    return jobs, run_jobs(jobs, pool, backend, capture=True)


def report(jobs: list[Job], result: RunResult, title: str, pool: PoolConfig) -> int:
    """Print the table of a round; the number of things that are not as they must be."""
    rows: list[list[object]] = []
    wrong = 0
    for (tenant, name), job, outcome, alone in zip(TENANTS, jobs, result.jobs, result.cycles_alone, strict=True):
        check = compare(job.package, NETWORKS / f"{name}.int8.onnx", job.images, outcome.captured)
        macs = job.package.macs * len(job.images)
        utilisation = macs / (outcome.cycles * len(job.cores) * pool.macs_per_cycle)
        difference = outcome.cycles - alone
        rows.append(
            [
                f"{tenant}: {name}", len(job.cores), outcome.cycles, utilisation, check.compared, check.mismatches,
                difference,
            ]
        )  # fmt: skip
        wrong += check.mismatches + len(check.missing) + abs(difference) + (outcome.fault is not None)
    columns = (
        "tenant", "cores", "cycles", "MAC utilisation", "bytes compared", "bytes that differ",
        "cycles - cycles alone",
    )  # fmt: skip
    print_table(title, columns, rows)
    return wrong


@click.command()
@click.option("--backend", type=click.Choice(list(BACKENDS)), default="pyrtl", show_default=True)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), default=Path("build/demo"), show_default=True, help="Pictures."
)
def main(backend: str, output: Path) -> None:
    """Two trained networks, two tenants, one pool, on the RTL, bit for bit."""
    console = Console()
    pool = NAMED_POOLS["small"]
    output.mkdir(parents=True, exist_ok=True)
    packages = compile_networks(pool, console)
    wrong = 0
    for shares, images in ROUNDS:
        jobs, result = run_round(packages, shares, images, pool, backend)
        split = " + ".join(map(str, shares))
        wrong += report(
            jobs, result, f"{split} cores, {images} image(s) each, at the same time, backend {backend}", pool
        )
        picture = output / f"timeline-{'-'.join(map(str, shares))}.png"
        owners = {
            core: f"{tenant}: {name}" for (tenant, name), job in zip(TENANTS, jobs, strict=True) for core in job.cores
        }
        first = min(start for outcome in result.jobs for start in outcome.starts)
        with replacing(picture) as file:
            draw_timeline(file, "png", result.activity, owners, first, first + result.cycles)
        console.print(f"timeline: {picture}", highlight=False)
    if wrong:
        raise SystemExit("the demonstration FAILED: see the tables above")
    console.print(
        "every byte of every tensor is ONNX Runtime's; neither tenant lost a cycle to the other", style="green"
    )
    console.print()
    break_ownership_and_show(console)


if __name__ == "__main__":
    main()
