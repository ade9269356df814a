"""What `run` and `trace` share: packages, cores and inputs from the command line to jobs, and jobs to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from compiler.package import NetworkValue, Package
from hypervisor.backends.model_backend import ModelPort
from hypervisor.machines import open_port
from hypervisor.pool_port import PoolPort
from hypervisor.run import Job, RunResult, check_job, cycle_limit, run_networks
from isa.configuration import ConfigurationError, PoolConfig
from scripts.commands.reporting import InputError, cycle_progress, existing_file, messages

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Request:
    """One package of the command line: its path, the package, and the number of cores asked for (None: a share)."""

    path: str
    package: Package
    cores: int | None


def packages_argument(function: Any) -> Any:
    """MODEL.ifp[:CORES] ..."""
    return click.argument("packages", nargs=-1, required=True, metavar="MODEL.ifp[:CORES]...")(function)


def input_option(function: Any) -> Any:
    """--input"""
    meaning = "Input of the first, second, ... package; a leading axis of n: n images.  [default: seeded noise]"
    return click.option("--input", "inputs", multiple=True, metavar="X.npy", help=meaning)(function)


def load_requests(packages: Sequence[str]) -> list[Request]:
    """The packages of the command line. Raises InputError or PackageError."""
    requests = []
    for text in packages:
        path, separator, number = text.rpartition(":")
        if separator and number.isdigit():
            cores: int | None = int(number)
        else:
            path, cores = text, None
        if cores == 0:
            raise InputError(f"{text}: a network needs at least one core")
        requests.append(Request(path, Package.load(existing_file(path, "package")), cores))
    return requests


def pool_of(requests: Sequence[Request], pool: PoolConfig | None) -> PoolConfig:
    """The pool of --pool, or the one that the packages were compiled for. Raises ConfigurationError."""
    if pool is not None:
        return pool
    first = dict(requests[0].package.pool)
    try:
        return PoolConfig(**first)
    except TypeError:
        raise ConfigurationError(
            f"{requests[0].path} does not say for which pool it was compiled; give --pool"
        ) from None


def make_jobs(requests: Sequence[Request], inputs: Sequence[str], pool: PoolConfig) -> list[Job]:
    """Disjoint cores, lowest first, for every package, and its images. Raises InputError or HypervisorError."""
    if len(inputs) > len(requests):
        raise InputError(f"--input {inputs[-1]}: there are {len(inputs)} inputs for {len(requests)} packages")
    if len(requests) > pool.tenants:
        raise InputError(
            f"pool {pool.name!r} has {pool.tenants} tenant contexts; {len(requests)} packages are too many"
        )
    jobs = []
    free = list(range(pool.cores))
    for index, (request, count) in enumerate(zip(requests, _shares(requests, pool), strict=True)):
        given = inputs[index] if index < len(inputs) else None
        images = noise(request.package) if given is None else load_images(given, request.package)
        job = Job(request.package, tuple(free[:count]), images)
        del free[:count]
        check_job(job, request.path, pool)
        jobs.append(job)
    return jobs


def _shares(requests: Sequence[Request], pool: PoolConfig) -> list[int]:
    """Cores of every package; those without a number share what the others leave, as evenly as it goes."""
    asked = sum(request.cores or 0 for request in requests)
    open_requests = sum(request.cores is None for request in requests)
    left = pool.cores - asked
    if left < open_requests:
        wish = ", ".join(f"{request.path}:{request.cores or 1}" for request in requests)
        raise InputError(f"pool {pool.name!r} has {pool.cores} cores; {wish} need {asked + open_requests}")
    shares = []
    for request in requests:
        if request.cores is not None:
            shares.append(request.cores)
        else:
            share = -(-left // open_requests)
            left, open_requests = left - share, open_requests - 1
            shares.append(share)
    return shares


def noise(package: Package) -> list[Arrays]:
    """One image of seeded noise: 0 to 1 for a float input, every value for an integer one."""
    generator = np.random.default_rng(0)
    image: dict[str, NDArray[Any]] = {}
    for value in package.inputs:
        dtype = np.dtype(value.dtype)
        if dtype.kind == "f":
            image[value.name] = generator.random(value.shape).astype(dtype)
        else:
            limits = np.iinfo(dtype)
            image[value.name] = generator.integers(limits.min, limits.max, value.shape, dtype, endpoint=True)
    return [image]


def load_images(path: str, package: Package) -> list[Arrays]:
    """The images of a .npy file, or of an .npz file with one array for every input. Raises InputError."""
    try:
        content = np.load(existing_file(path, "--input"), allow_pickle=False)
        if isinstance(content, np.ndarray):
            arrays = {package.inputs[0].name: content}
        else:
            arrays = {name: content[name] for name in content.files}
    except (OSError, ValueError, EOFError) as problem:
        raise InputError(f"--input {path} is no .npy or .npz file of numbers: {problem}") from None
    wanted = [value.name for value in package.inputs]
    if set(arrays) != set(wanted):
        raise InputError(f"--input {path} has {', '.join(arrays)}; {package.name} wants {', '.join(wanted)} (.npz)")
    stacks = [_images(path, arrays[value.name], value) for value in package.inputs]
    if len({len(stack) for stack in stacks}) != 1:
        raise InputError(f"--input {path}: its arrays hold different numbers of images")
    return [dict(zip(wanted, image, strict=True)) for image in zip(*stacks, strict=True)]


def _images(path: str, array: NDArray[Any], value: NetworkValue) -> list[NDArray[Any]]:
    where = f"--input {path}"
    dtype = np.dtype(value.dtype)
    if array.dtype != dtype and not (array.dtype.kind == "f" and dtype.kind == "f"):
        raise InputError(f"{where} holds {array.dtype}; input {value.name!r} is {dtype}: convert it first")
    shape = tuple(value.shape)
    if array.shape == shape:
        images = [array]
    elif array.shape[1:] == shape:
        images = list(array)
    elif shape[:1] == (1,) and array.shape[1:] == shape[1:]:
        images = list(array[:, None])
    else:
        raise InputError(
            f"{where} has shape {list(array.shape)}; input {value.name!r} has shape {list(shape)}, or [n, ...] for n "
            "images"
        )
    if not images:
        raise InputError(f"{where} holds no image")
    return [np.ascontiguousarray(image, dtype) for image in images]


def run_jobs(
    jobs: Sequence[Job], pool: PoolConfig, backend: str, *, capture: bool, vcd: Path | None = None, alone: bool = True
) -> RunResult:
    """Run the jobs with a progress bar; says so when the backend's cycles are estimates."""
    opened: list[PoolPort] = []
    expected = max((cycle_limit(job) - 1_000_000) // 20 * len(job.images) for job in jobs)
    preparing, running = f"{backend}: building pool {pool.name}", f"{backend}: pool {pool.name}"
    with cycle_progress(preparing, running, expected) as progress:

        def open_one() -> PoolPort:
            first = not opened
            port = open_port(backend, pool, progress, vcd if first else None)
            opened.append(port)
            return port

        result = run_networks(open_one, jobs, capture=capture, alone=alone)
    if any(isinstance(port, ModelPort) and not port.cycles_are_exact for port in opened):
        messages.print("note: cycles of backend model are estimates", highlight=False)
    return result
