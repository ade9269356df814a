"""A fleet of pools: tasks are sent to pools as they arrive, and every pool is simulated by itself, anywhere.

The router knows what a front end knows: what it sent where and how long that takes alone on a pool, not how the pools
get on. So its choices depend on the tasks alone, and pools can be simulated in any order, by any number of processes
and machines (Dask, docs/decisions/0030), with the same result.
"""

from __future__ import annotations

import heapq
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.cache import modules_digest
from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.elastic import ElasticPool, ElasticResult
from benchmarks.mix.metrics import Finished
from benchmarks.mix.tasks import MixTask
from hypervisor.policies import POLICIES
from isa.configuration import PoolConfig

if TYPE_CHECKING:
    from distributed import Client


class FleetError(RuntimeError):
    """A cluster that cannot be reached or runs other sources, with what to do about it."""


def route(tasks: Sequence[MixTask], isolated: Mapping[str, int], pools: int) -> list[list[MixTask]]:
    """The tasks of every pool: each goes to the pool that, by the router's estimate, is done first; ties to the lowest.

    The estimate: a pool does one task after the other, each in the cycles that it takes alone.
    """
    done = [(0, pool) for pool in range(pools)]
    sent: list[list[MixTask]] = [[] for _ in range(pools)]
    for task in sorted(tasks, key=lambda each: (each.arrival, each.number)):
        idle: list[int] = []
        while done and done[0][0] <= task.arrival:
            idle.append(heapq.heappop(done)[1])
        for pool in idle:
            heapq.heappush(done, (task.arrival, pool))
        at, pool = heapq.heappop(done)
        sent[pool].append(task)
        heapq.heappush(done, (at + isolated[task.network], pool))
    return sent


def simulate_pool(
    config: PoolConfig,
    tables: Mapping[str, LatencyTable],
    policy: str,
    isolated: Mapping[str, int],
    tasks: Sequence[MixTask],
) -> ElasticResult:
    """One pool of the fleet; runs in a worker."""
    return ElasticPool(config, tables, POLICIES[policy], isolated).run(tasks)


@contextmanager
def workers(scheduler: str | None, processes: int) -> Iterator[Client]:
    """A client of the cluster at `scheduler` ("tcp://host:8786"), or of `processes` processes on this machine.

    Raises FleetError when nobody answers, or when the workers' sources differ from ours.
    """
    from distributed import Client, LocalCluster

    if scheduler is None:
        with _children_ignore_interrupts():
            cluster = LocalCluster(
                n_workers=processes,
                threads_per_worker=1,
                dashboard_address=None,
                memory_limit=0,
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client
        return
    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as problem:
        raise FleetError(
            f"no Dask scheduler answers at {scheduler} ({problem}); start one with `dask scheduler`, and workers with "
            "`dask worker ADDRESS` in the same checkout"
        ) from None
    with client:
        try:
            digests = client.run(modules_digest, __name__)
        except (ImportError, ModuleNotFoundError) as problem:
            raise FleetError(
                f"the workers at {scheduler} cannot import this project ({problem}); start `dask worker` in a checkout"
            ) from None
        if not digests:
            raise FleetError(f"the scheduler at {scheduler} has no workers; start some with `dask worker {scheduler}`")
        different = [worker for worker, digest in digests.items() if digest != modules_digest(__name__)]
        if different:
            raise FleetError(f"worker {different[0]} runs other sources than this process: update its checkout")
        yield client


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Processes that are started in the block leave Ctrl-C to this one, which ends them in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_fleet(
    client: Client,
    config: PoolConfig,
    tables: Mapping[str, LatencyTable],
    policy: str,
    isolated: Mapping[str, int],
    tasks: Sequence[MixTask],
    pools: int,
    report: Callable[[float, str], None] = lambda fraction, what: None,
) -> tuple[list[Finished], int]:
    """All tasks on `pools` pools under a policy: those that have ended, by number, and how often one was resized."""
    from distributed import as_completed

    routed = route(tasks, isolated, pools)
    common = client.scatter((config, dict(tables), policy, dict(isolated)), broadcast=True)
    pending = [client.submit(_simulate, common, own, pure=False) for own in routed]
    finished: list[Finished] = []
    switches = 0
    for number, (_, result) in enumerate(as_completed(pending, with_results=True), 1):
        finished += result.finished
        switches += result.switches
        report(number / pools, f"{number} of {pools} pools")
    return sorted(finished, key=lambda each: each.task.number), switches


def _simulate(
    common: tuple[PoolConfig, Mapping[str, LatencyTable], str, Mapping[str, int]], tasks: Sequence[MixTask]
) -> ElasticResult:
    return simulate_pool(*common, tasks)
