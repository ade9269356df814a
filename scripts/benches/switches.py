"""What live switches cost: every pair of numbers of cores, and three of them on the RTL beside the prediction.

Cycles until the new program runs are those of `hypervisor.switch`, over every moment at which the barrier can come: any
position of the wheel, any distance to the host's next look. What the program then needs to warm up is timed exactly,
for some layers of the network and every number of cores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.cache import BENCHES, modules_digest, remembered, write_atomically
from benchmarks.mix.tasks import CLOCK_HERTZ
from compiler.compile import Progress, compile_model
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.backends.control_plane import SCRUB_MARGIN_CYCLES
from hypervisor.hypervisor import Hypervisor
from hypervisor.machines import open_port
from hypervisor.switch import (
    ANSWER_CYCLES,
    GRANT_CYCLES,
    NOTICE_CYCLES,
    START_DELAY,
    begin,
    free_cycles,
    lost_cycles,
    park_cycles,
    start_of_switch,
    switch,
    warm_up_cycles,
)
from isa.configuration import NAMED_POOLS, PoolConfig

SAMPLED = (0.25, 0.5, 0.75, 0.95)
"""Layers that a switch resumes with, as parts of the network's layers."""
SHOWN = (2, 4)
"""Cores before and after in the paper's demonstration of its private cloud."""
COLUMNS = ("mean", "most", "mean_microseconds", "all_pairs_median", "all_pairs_most")
NETWORKS = Path(__file__).parents[2] / "tests" / "networks"
VALIDATED = (("lenet", (0, 1), (0, 1, 2, 3), 3), ("lenet", (2, 0, 3), (1,), 5), ("resnet8", (3, 1), (1, 2, 0), 9))
"""Network, cores before and after, layer to go on with: on the Verilog of pool `small`."""


def until_running(config: PoolConfig, held: int, wanted: int) -> tuple[int, float, int]:
    """Least, mean and most cycles from the barrier until the new program is RUNNING, over all moments."""
    delays = [start_of_switch(config, noticed, held, wanted) - noticed for noticed in range(config.period_cycles)]
    least, most = ANSWER_CYCLES, NOTICE_CYCLES
    return min(delays) + least, mean(delays) + (least + most) / 2, max(delays) + most


def measure(package: Package, config: PoolConfig, report: Progress) -> dict[str, Any]:
    """All pairs of numbers of cores; written to a JSON file as well."""
    sources = modules_digest("compiler.compile", "hypervisor.switch", files=(Path(__file__),))
    key = (config, package.network_digest, sources)
    found = remembered(f"switches-{package.name}-{config.name}", key, lambda: _measure(package, config, report))
    write_atomically(BENCHES / f"switches-{package.name}-{config.name}.json", json.dumps(found, indent=1).encode())
    return found


def _measure(package: Package, config: PoolConfig, report: Progress) -> dict[str, Any]:
    stage = max(package.stages, key=lambda each: each.end_layer - each.first_layer)
    length = stage.end_layer - stage.first_layer
    layers = sorted({stage.first_layer + min(length - 1, int(part * length)) for part in SAMPLED})
    warm_up = {}
    for number, count in enumerate(package.core_counts):
        report(number / len(package.core_counts), f"{package.name}: warming up on {count} cores")
        whole = time_stage(package, stage.first_layer, range(count), config, package.window())
        warm_up[count] = [warm_up_cycles(package, config, range(count), layer, whole) for layer in layers]
    pairs = []
    for held in package.core_counts:
        for wanted in package.core_counts:
            least, average, most = until_running(config, held, wanted)
            pairs.append(
                {
                    "from": held,
                    "to": wanted,
                    "running_least": least,
                    "running_mean": round(average, 1),
                    "running_most": most,
                    "lost_least": least + min(warm_up[wanted]),
                    "lost_mean": round(average + mean(warm_up[wanted]), 1),
                    "lost_most": most + max(warm_up[wanted]),
                }
            )
    return {
        "network": package.name,
        "pool": config.name,
        "layers": layers,
        "warm_up": {str(count): cycles for count, cycles in warm_up.items()},
        "pairs": pairs,
        "parts": _parts(config, *SHOWN, mean(warm_up[SHOWN[1]])) if config.cores >= max(SHOWN) else {},
    }


def _parts(config: PoolConfig, held: int, wanted: int, warm_up: float) -> dict[str, float]:
    """What a switch consists of, on average."""
    _, average, _ = until_running(config, held, wanted)
    scrub = config.scrub_cycles + SCRUB_MARGIN_CYCLES
    revoke = free_cycles(config, held) - config.drain_cycles - scrub
    notice = (ANSWER_CYCLES + NOTICE_CYCLES) / 2
    orders = park_cycles(config, held) - free_cycles(config, held) + 2 + wanted * GRANT_CYCLES + START_DELAY
    known = notice + revoke + config.drain_cycles + scrub + orders
    return {
        "until the host looks": notice,
        "REVOKE": revoke,
        "drain": config.drain_cycles,
        "scrub": scrub,
        "STOP, GRANT, START": orders,
        "until the wheel's period begins": average - known,
        "fetch, first barrier, first weights": warm_up,
    }


def columns(found: dict[str, Any] | None) -> dict[str, Any]:
    """What the bench's table says of a network's switches; nothing for one that was not measured.

    On a pool with fewer cores than SHOWN, only what is of all pairs.
    """
    if found is None:
        return {f"switch_{name}": None for name in COLUMNS}
    shown = [pair for pair in found["pairs"] if (pair["from"], pair["to"]) == SHOWN]
    of_shown = [
        (pair["lost_mean"], pair["lost_most"], round(pair["lost_mean"] / CLOCK_HERTZ * 1e6, 2)) for pair in shown
    ]
    values = (
        *(of_shown[0] if of_shown else (None, None, None)),
        round(median(pair["lost_mean"] for pair in found["pairs"]), 1),
        max(pair["lost_most"] for pair in found["pairs"]),
    )
    return {f"switch_{name}": value for name, value in zip(COLUMNS, values, strict=True)}


def validate(report: Progress) -> list[str]:
    """Switches on the Verilog of pool `small`, measured there and predicted: a sentence for each."""
    lines = []
    for number, (name, before, after, layer) in enumerate(VALIDATED):
        report(number / len(VALIDATED), f"verilator, pool small: {name}")
        measured, predicted = switch_on_rtl(name, before, after, layer)
        verdict = "as predicted" if measured == predicted else f"PREDICTED WERE {predicted}"
        lines.append(
            f"RTL (verilator, pool small): {name} from cores {list(before)} to {list(after)} at layer {layer} loses "
            f"{measured} cycles, {verdict}"
        )
    return lines


def switch_on_rtl(
    name: str, before: Sequence[int], after: Sequence[int], layer: int, backend: str = "verilator"
) -> tuple[int, int]:
    """Cycles that a switch loses on pool `small`: measured on the machine, and predicted.

    Measured: registers of the run that switches and of one that is on the new cores throughout; only the moments of
    their barriers are the timing model's. The window holds no image: cycles do not depend on data.
    """
    config = NAMED_POOLS["small"]
    package = compile_model(NETWORKS / f"{name}.int8.onnx", config)
    stage = package.stages[0]
    old, new = (time_stage(package, stage.first_layer, cores, config, package.window()) for cores in (before, after))
    port = open_port(backend, config)
    try:
        hypervisor = Hypervisor(port)
        tenant = hypervisor.attach(package.window_bytes)
        hypervisor.write(tenant, 0, package.image())
        boundary = begin(hypervisor, tenant, package, before, 0) + old.barriers[layer]
        port.step(boundary - 100 - port.cycle)
        done = switch(hypervisor, tenant, package, after)
        assert done is not None and done.layer == layer
        hypervisor.wait([tenant], 10_000_000)
        end = done.running + hypervisor.status(tenant).cycles
        begin(hypervisor, tenant, package, after, 0)
        hypervisor.wait([tenant], 10_000_000)
        ideal = hypervisor.status(tenant).cycles - new.barriers[layer]
    finally:
        port.close()
    return end - boundary - ideal, lost_cycles(package, config, after, layer, boundary, done.running)
