"""The table of the bench `mix`, from tables that are made up, and on the real ones its acceptance."""

from __future__ import annotations

import os

import pytest

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.points import Point
from benchmarks.mix.tasks import poisson_tasks
from hypervisor.hypervisor import HypervisorError
from isa.configuration import NAMED_POOLS
from scripts.benches import mix
from scripts.benches.page import collecting

PAPER = NAMED_POOLS["paper"]
LAYERS = 20


def scaling(name: str, cycles: int, loss: float, single: float) -> tuple[LatencyTable, LatencyTable]:
    """A network that loses `loss` of its speed-up on all cores, and takes `single` times as long on `single`."""

    def table(pool: str, by_count: dict[int, float]) -> LatencyTable:
        layer = {count: round(total / LAYERS) for count, total in by_count.items()}
        names = tuple(map(str, range(LAYERS)))
        zeros = dict.fromkeys(layer, 0)
        return LatencyTable(name, pool, names, (layer,) * LAYERS, zeros, zeros)

    pool = {count: cycles * 16 / count * (1 - loss * (16 - count) / 15) for count in mix.CORE_COUNTS}
    return table("paper", pool), table("single", {1: cycles * single})


@pytest.fixture
def invented() -> mix.Mix:
    both = {
        "resnet50": scaling("resnet50", 1_000_000, 0.05, 1.02),
        "inception_v1": scaling("inception_v1", 500_000, 0.2, 1.5),
        mix.DETECTOR: scaling(mix.DETECTOR, 4_000_000, 0.03, 1.02),
    }
    isolated = {name: pool.cycles(16) for name, (pool, _) in both.items()}
    return mix.Mix(PAPER, {n: own for n, (own, _) in both.items()}, {n: own for n, (_, own) in both.items()}, isolated)


def test_our_policy_meets_more_deadlines_than_time_sharing_and_partitions(invented: mix.Mix) -> None:
    workloads = [poisson_tasks(mix.KINDS, invented.isolated, 1.2, 50, seed) for seed in range(2)]
    rows = {row["schedule"]: row for row in mix.rows_of(invented, workloads, 1.2)}
    assert len({tuple(row) for row in rows.values()}) == 1, "all rows have the same columns"
    bound = rows.pop("clairvoyant bound")["SLA"]
    assert all(row["SLA"] <= bound for row in rows.values())
    for other in ("static", "static, one core each", "single, in order", "single, preemptive"):
        assert rows["elastic"]["SLA"] > rows[other]["SLA"]
    assert rows["elastic"]["SLA"] >= 0.95 * bound
    assert rows["static"]["parts"]


def test_partitions_use_all_cores_and_leave_every_network_a_part() -> None:
    found = mix.partitions(PAPER)
    assert (8, 8) in found
    assert (4, 4, 4, 4) in found
    assert all(sum(parts) == 16 and 2 <= len(parts) <= mix.MOST_PARTS for parts in found)
    for parts in found:
        for _, homes in mix.homes_of(parts):
            assert all(len(home) for home in homes.values())


def test_a_simulation_that_the_rtl_disagrees_with_is_an_error(
    invented: mix.Mix, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Built:
        digest = "none"

    def answered(cycles: int) -> None:
        monkeypatch.setattr(mix, "remembered", lambda kind, key, compute: {"cycles": cycles})

    monkeypatch.setattr(mix, "build", lambda name: Built())
    whole = invented.tables["resnet50"].cycles(16)
    monkeypatch.setattr(mix, "sampled_points", lambda config: (Point("resnet50", 16),))
    answered(whole)
    assert f"{whole:,} cycles" in mix.validate(invented, lambda fraction, what: None)
    for wrong in (whole - 1, whole + 1):
        answered(wrong)
        with pytest.raises(HypervisorError, match="one of them is wrong"):
            mix.validate(invented, lambda fraction, what: None)


@pytest.mark.long
@pytest.mark.skipif(not os.environ.get("TENURE_LONG"), reason="TENURE_LONG: latency tables of three networks, 15 min")
def test_the_acceptance_of_the_mix() -> None:
    with collecting() as content:
        rows = mix.measure(PAPER)
    assert content.figures
    assert content.notes
    by_load = {load: {row["schedule"]: row for row in rows if row["load"] == load} for load in mix.LOADS}
    for found in by_load.values():
        ours = found["elastic"]
        assert ours["SLA"] >= max(found[other]["SLA"] for other in ("static", "single, in order", mix.SINGLE))
        assert ours["SLA / bound"] >= 0.95
    for load in mix.LOADS[-6:]:
        found = by_load[load]
        assert found["elastic"]["SLA"] > max(found[other]["SLA"] for other in ("static", mix.SINGLE))
