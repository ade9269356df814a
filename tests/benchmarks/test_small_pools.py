"""Benches on pools with fewer cores than the default one: each works, or refuses in one paragraph."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import cache
from benchmarks.experiments import isolation as experiment
from benchmarks.latency_tables import LatencyTable
from benchmarks.networks import BuiltNetwork
from benchmarks.synthesis import report
from benchmarks.synthesis.mapped import LongestPath
from benchmarks.synthesis.parts import Part
from benchmarks.synthesis.synthesise import Memory, Synthesis
from compiler.package import Package
from hypervisor.machines import open_port
from isa.configuration import NAMED_POOLS, PoolConfig
from scripts.benches import (
    isolation,
    mix,
    networks,
    pools,
    private,
    recompile,
    scaling,
    simulators,
    switches,
    synthesis,
)
from scripts.command_line import call
from scripts.commands.bench import BENCHES

LENET = Path(__file__).parents[1] / "networks" / "lenet.int8.onnx"
BUILD_A_NETWORK = (isolation, networks, pools, private, recompile, scaling)


@pytest.fixture(autouse=True)
def small_measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """LeNet for every network, the model for the Verilog, made-up tables for the mix."""

    def lenet(name: str, progress: object = None) -> BuiltNetwork:
        return BuiltNetwork(name, LENET, 0.0, 0.0)

    def on_model(backend: str, config: PoolConfig, report: object = None) -> object:
        return open_port("model", config)

    def run(port: object, split: experiment.Split, package: Package, first: int, limit: int, alone: int | None):  # type: ignore[no-untyped-def]
        return experiment.Run((1,) * len(split.tenants), 0, 0)

    def tables(config: PoolConfig, progress: object) -> mix.Mix:
        def table(name: str, cores: int) -> LatencyTable:
            counts = range(1, cores + 1)
            layer = {count: 1_000_000 // count for count in counts}
            zeros = dict.fromkeys(counts, 0)
            return LatencyTable(name, config.name, ("a", "b"), (layer, layer), zeros, zeros)

        own = {kind.network: table(kind.network, config.cores) for kind in mix.KINDS}
        single = {kind.network: table(kind.network, 1) for kind in mix.KINDS}
        return mix.Mix(config, own, single, {name: each.cycles(config.cores) for name, each in own.items()})

    def exported(config: PoolConfig, directory: Path) -> None:
        for module in report.MODULES.values():
            if config.name == "tiny" or not module.file.startswith("axi"):
                (directory / module.file).write_text(f"module {module.top}; endmodule")

    def synthesised(files: object, top: str, family: str) -> dict[str, object]:
        return asdict(Synthesis({"LUT6": 6, "FDRE": 2}, [Memory("deep", 64, 64, {})], LongestPath(1, "first", "last")))

    for module in BUILD_A_NETWORK:
        monkeypatch.setattr(module, "build", lenet)
    for module in (cache, isolation, mix, networks, private, recompile, scaling, switches, synthesis):
        monkeypatch.setattr(module, "BENCHES", tmp_path)
    for module in (private, simulators):
        monkeypatch.setattr(module, "open_port", on_model)
    monkeypatch.setattr(isolation, "open_port", lambda backend, config, report: None)
    monkeypatch.setattr(isolation, "run_split", run)
    monkeypatch.setattr(isolation, "ALONE_ON_RTL", ())
    monkeypatch.setattr(switches, "validate", lambda progress: [])
    monkeypatch.setattr(simulators, "SECONDS", 0.0)
    monkeypatch.setattr(mix, "tables", tables)
    monkeypatch.setattr(mix, "validate", lambda found, progress: "")
    monkeypatch.setattr(mix, "LOADS", (1.0,))
    monkeypatch.setattr(mix, "TASKS", 5)
    monkeypatch.setattr(mix, "SEEDS", 1)
    monkeypatch.setattr(pools, "BASELINE", "tiny")
    monkeypatch.setattr(report, "export", exported)
    monkeypatch.setattr(report, "write_baseline", exported)
    monkeypatch.setattr(report, "synthesise", synthesised)
    monkeypatch.setattr(report, "synthesise_parts", lambda files, top, family: [asdict(Part(top, 1, {"LUT6": 1}))])


@pytest.mark.parametrize("pool", ["tiny", "single"])
@pytest.mark.parametrize("name", [name for name in BENCHES if name not in ("accuracy", "place-and-route")])
def test_a_bench_works_on_a_small_pool_or_refuses_it(name: str, pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All but `accuracy`, which takes what any network takes, and `place-and-route`, which has tests of its own."""
    options = [] if name in ("mix", "simulators", "private", "synthesis") else ["--network", "resnet50"]
    if (name, pool) == ("mix", "single"):
        assert call(["bench", name, "--pool", pool]) == 2
        assert capsys.readouterr().err.strip().endswith("--pool: the bench 'mix' needs at least two cores")
        return
    assert call(["bench", name, "--pool", pool, *options]) == 0
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert f"{name}, pool {pool}" in captured.out


def test_as_many_tasks_are_shared_out_as_the_pool_has_cores_for() -> None:
    for name in ("tiny", "small", "single"):
        config = NAMED_POOLS[name]
        rows = private.measure(config, ["resnet50"])
        assert [row["tasks"] for row in rows if row["virtualised"]] == [
            count for count in (1, 2, 4, 8) if count <= config.cores
        ]
