"""A fleet of pools on Dask: the same result from any number of workers, and clusters that cannot be used."""

from __future__ import annotations

import socket

import pytest

from benchmarks.mix.fleet import FleetError, route, run_fleet, simulate_pool, workers
from benchmarks.mix.tasks import MixTask, TaskKind, poisson_tasks
from isa.configuration import NAMED_POOLS
from tests.benchmarks.test_mix import table

SMALL = NAMED_POOLS["small"]
TABLES = {
    "a": table("a", {1: 400_000, 2: 210_000, 4: 120_000}, {1: 300_000, 2: 160_000, 4: 90_000}, start=300, tail=5),
    "b": table("b", *[{1: 900_000, 2: 450_000, 4: 250_000}] * 3, start=300, tail=5),
}
ISOLATED = {name: own.cycles(4) for name, own in TABLES.items()}
KINDS = [TaskKind("a", 2, 0.7), TaskKind("b", 15, 0.3)]
POOLS = 6


def tasks(seed: int = 1) -> list[MixTask]:
    return poisson_tasks(KINDS, ISOLATED, 1.2, 150, seed, POOLS)


def test_tasks_go_to_the_pool_that_is_done_first() -> None:
    a, b = ISOLATED["a"], ISOLATED["b"]
    arrivals = [("b", 0), ("a", 0), ("a", 1), ("a", a), ("a", a + 1), ("a", b + a + a)]
    sent = route([MixTask(n, network, at, at + 10**6, 1.0) for n, (network, at) in enumerate(arrivals)], ISOLATED, 3)
    assert [[each.number for each in own] for own in sent] == [[0, 5], [1, 3], [2, 4]]


def test_every_number_of_workers_gives_the_same_result() -> None:
    mixed = tasks()
    alone = [simulate_pool(SMALL, TABLES, "deadlines", ISOLATED, own) for own in route(mixed, ISOLATED, POOLS)]
    expected = sorted((each for result in alone for each in result.finished), key=lambda each: each.task.number)
    assert [each.task for each in expected] == mixed
    for processes in (1, 2):
        with workers(None, processes) as client:
            finished, switches = run_fleet(client, SMALL, TABLES, "deadlines", ISOLATED, mixed, POOLS)
            assert finished == expected
            assert switches == sum(result.switches for result in alone) > 0
            if processes == 2:
                address = client.scheduler.address
                with workers(address, 1) as other:
                    again, _ = run_fleet(other, SMALL, TABLES, "deadlines", ISOLATED, mixed, POOLS)
                assert again == expected


def test_one_pool_gets_every_task() -> None:
    mixed = tasks()[:20]
    assert route(mixed, ISOLATED, 1) == [mixed]


def test_a_scheduler_that_does_not_answer_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(FleetError, match=address), workers(address, 1):
            pass
