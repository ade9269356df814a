"""The bench of pools: ratios are those of the cycles measured beside each other."""

from math import prod
from types import SimpleNamespace

import pytest

from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.benches import pools

CYCLES = {("one", "paper"): 100, ("one", "single"): 150, ("two", "paper"): 400, ("two", "single"): 300}


class Bench:
    """Stands for the measurements, which take minutes."""

    def __init__(self, network: SimpleNamespace, config: PoolConfig, counts: list[int], report: object) -> None:
        assert counts == [config.cores]
        self._cycles = CYCLES[network.name, config.name]

    def measure(self, cores: int) -> SimpleNamespace:
        return SimpleNamespace(cycles=self._cycles, utilisation=0.5)


def test_the_ratio_is_that_of_throughputs_and_their_mean_is_geometric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "NetworkBench", Bench)
    monkeypatch.setattr(pools, "build", lambda name, progress: SimpleNamespace(name=name))
    *rows, mean = pools.measure(NAMED_POOLS["paper"], ["one", "two"])
    ratios = [row["ratio"] for row in rows]
    assert ratios == [1.5, 0.75]
    assert mean["ratio"] == pytest.approx(prod(ratios) ** 0.5, abs=0.001)
