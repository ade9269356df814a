"""Plots of the benches, written without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from benchmarks.experiments.private import Curve
from benchmarks.measurement import Measurement
from isa.configuration import PoolConfig
from scripts.benches import page

matplotlib.use("Agg")

BOUND_COLOURS = {
    "compute": "#2b6cb0",
    "channel": "#c05621",
    "dispatch": "#6b46c1",
    "barrier": "#b83280",
    "fill": "#718096",
}


def utilisation(results: Sequence[Measurement], path: Path) -> None:
    """A bar for each network, divided by what its layers are bound by."""
    figure = Figure(figsize=(7, 1 + 0.6 * len(results)), layout="constrained")
    axes = figure.subplots()
    for place, result in enumerate(results):
        left = 0.0
        for bound, colour in BOUND_COLOURS.items():
            macs = sum(layer.macs for layer in result.layers if layer.bound == bound)
            width = macs / max(result.macs, 1) * result.utilisation
            axes.barh(place, width, left=left, color=colour, label=bound if place == 0 else None)
            left += width
        axes.text(left + 0.01, place, f"{result.utilisation:.3f}", va="center")
    axes.set_yticks(range(len(results)), [result.network for result in results])
    axes.set_xlim(0, 1.1)
    axes.set_xlabel("MAC utilisation; colours: what the layers are bound by")
    axes.invert_yaxis()
    axes.legend(loc="lower right", fontsize="small")
    _save(figure, path, "MAC utilisation of each network, by what its layers are bound by")


def roofline(result: Measurement, config: PoolConfig, path: Path) -> None:
    """Multiply-accumulates a cycle against multiply-accumulates a byte, a point for each layer."""
    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.subplots()
    peak = result.cores * config.macs_per_cycle
    bandwidth = result.cores * config.beat_bytes / config.beat_spacing
    layers = [layer for layer in result.layers if layer.macs and layer.bytes_moved]
    if not layers:
        return
    for bound, colour in BOUND_COLOURS.items():
        chosen = [layer for layer in layers if layer.bound == bound]
        intensity = [layer.macs / layer.bytes_moved for layer in chosen]
        axes.scatter(intensity, [layer.macs / layer.cycles for layer in chosen], s=18, color=colour, label=bound)
    span = sorted(layer.macs / layer.bytes_moved for layer in layers)
    corners = [span[0] / 2, peak / bandwidth, max(span[-1] * 2, peak / bandwidth)]
    axes.plot(corners, [min(peak, bandwidth * corner) for corner in corners], color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("MAC / byte moved")
    axes.set_ylabel("MAC / cycle")
    axes.set_title(f"{result.network} on {result.cores} cores of {result.pool}")
    axes.legend(title="bound by", fontsize="small")
    _save(
        figure,
        path,
        f"{result.network} on {result.cores} cores of {result.pool}: a point for each layer, and the roofline",
    )


def scaling(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Speed-up over one core, a line for each network, and the ideal one."""
    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.subplots()
    most = max(row["cores"] for row in rows)
    axes.plot([1, most], [1, most], color="black", linestyle=":", label="ideal")
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        axes.plot([row["cores"] for row in own], [row["speedup"] for row in own], marker="o", label=network)
    axes.set_xlabel("cores")
    axes.set_ylabel("throughput / that of one core")
    axes.legend()
    _save(figure, path, "Throughput against the number of cores, over that of one core")


MIX_STYLES = {
    "elastic": ("#0072b2", "o", "-"),
    "elastic, throughput": ("#56b4e9", ".", ":"),
    "elastic, fairness": ("#009e73", ".", ":"),
    "static": ("#d55e00", "s", "-"),
    "static, one core each": ("#e69f00", "s", "--"),
    "single, in order": ("#cc79a7", "^", "-"),
    "single, preemptive": ("#882255", "v", "-"),
    "pool, preemptive": ("#777777", "x", ":"),
    "clairvoyant bound": ("black", "", "--"),
}
"""Colour, marker and line of every schedule of the bench `mix`."""


def mix(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Over the load: service level, throughput, turnaround, tail; a line for each schedule."""
    figure = Figure(figsize=(12, 8.5), layout="constrained")
    columns = ("SLA", "STP / tasks", "ANTT", "p99 / deadline", "fairness, equal", "fairness")
    for axes, column in zip(figure.subplots(2, 3).flat, columns, strict=True):
        for schedule, (colour, marker, line) in MIX_STYLES.items():
            own = [row for row in rows if row["schedule"] == schedule and row[column] is not None]
            if own:
                loads = [row["load"] for row in own]
                values = [row[column] for row in own]
                axes.plot(loads, values, color=colour, marker=marker, linestyle=line, markersize=5, label=schedule)
        axes.set_title(column, fontsize=10)
        axes.set_xlabel("offered load")
        axes.grid(alpha=0.3)
        if column in ("ANTT", "p99 / deadline", "fairness", "fairness, equal"):
            axes.set_yscale("log")
        if column == "p99 / deadline":
            axes.axhline(1, color="black", linewidth=0.7)
        if column == "SLA":
            axes.set_ylim(0, 1.02)
            handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    _save(
        figure, path, "Every schedule against the offered load: deadlines met, throughput, turnaround, tail, fairness"
    )


def isolation(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A bar for each tenant of each split: its cycles beside the others, with those alone as a line across it."""
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        axes.bar(place, row["RTL together"], color="#2b6cb0", label="together, RTL" if place == 0 else None)
        alone = row["model alone"]
        axes.plot(
            [place - 0.4, place + 0.4], [alone, alone], color="black", label="alone, model" if place == 0 else None
        )
        axes.text(place, row["RTL together"], f"{row['deviation']}", ha="center", va="bottom")
    names = [f"{row['network']}\n{row['split']}\n{row['cores']} cores" for row in rows]
    axes.set_xticks(range(len(rows)), names, fontsize="x-small", rotation=45, ha="right")
    axes.set_ylabel("cycles; above the bars: deviation")
    axes.legend()
    _save(figure, path, "Cycles of each tenant beside its neighbours on the RTL, and alone in the model")


def private(curves: Sequence[Curve], path: Path) -> None:
    """Throughput of the virtualised pool against both baselines, by the number of tasks, a line for each workload."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    against_single, against_static = figure.subplots(1, 2)
    for each in curves:
        tasks = [point.tasks for point in each.points]
        against_single.plot(tasks, [point.against_single for point in each.points], marker="o", label=each.workload)
        against_static.plot(tasks, [point.against_static for point in each.points], marker="o", label=each.workload)
    for axes, name in ((against_single, "one core, time-shared"), (against_static, "one core for each task")):
        axes.axhline(1, color="black", linestyle=":")
        axes.set_xlabel("tasks")
        axes.set_ylabel(f"throughput / that of {name}")
        axes.set_ylim(bottom=0)
    against_static.legend()
    _save(figure, path, "Throughput of the shared pool against both baselines, by the number of tasks")


def switches(found: Mapping[str, Any], config: PoolConfig, path: Path) -> None:
    """Cycles lost by a switch: over the cores before and after, and what those from 2 to 4 cores consist of.

    The parts stay empty on a pool with fewer cores.
    """
    caption = f"{found['network']} on {config.name}: cycles lost by a switch of cores, and what they consist of"
    figure = Figure(figsize=(12, 5), layout="constrained")
    whole, parts = figure.subplots(1, 2, width_ratios=(3, 2))
    counts = range(1, config.cores + 1)
    lost = {(pair["from"], pair["to"]): pair["lost_mean"] for pair in found["pairs"]}
    picture = whole.imshow(
        [[lost[held, wanted] for wanted in counts] for held in counts], origin="lower", cmap="viridis"
    )
    places = range(0, config.cores, max(1, config.cores // 8))
    whole.set_xticks(places, [str(place + 1) for place in places])
    whole.set_yticks(places, [str(place + 1) for place in places])
    whole.set_xlabel("cores after the switch")
    whole.set_ylabel("cores before")
    whole.set_title(f"{found['network']} on {config.name}: mean of the cycles lost", fontsize=10)
    figure.colorbar(picture, ax=whole)
    names, cycles = list(found["parts"]), list(found["parts"].values())
    if not names:
        parts.set_axis_off()
        _save(figure, path, caption)
        return
    parts.barh(names, cycles, color=BOUND_COLOURS["compute"])
    for place, value in enumerate(cycles):
        parts.text(value + max(cycles) * 0.01, place, f"{value:,.0f}", va="center", fontsize=9)
    parts.set_xlim(0, max(cycles) * 1.2)
    parts.invert_yaxis()
    parts.set_xlabel("cycles")
    parts.set_title(f"from 2 to 4 cores: {sum(cycles):,.0f} cycles", fontsize=10)
    _save(figure, path, caption)


def synthesis(parts: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A bar for each resource of each card, divided by the modules that take it."""
    figure = Figure(figsize=(8, 1 + 0.4 * len(parts)), layout="constrained")
    axes = figure.subplots()
    colours = ("#2b6cb0", "#c05621", "#718096")
    for place, shares in enumerate(parts.values()):
        left = 0.0
        for colour, (module, share) in zip(colours, shares.items(), strict=True):
            axes.barh(place, share, left=left, color=colour, label=module if place == 0 else None)
            left += share
        axes.text(left + 1, place, f"{left:.1f} %", va="center", fontsize=9)
    axes.set_yticks(range(len(parts)), list(parts))
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of the card")
    axes.legend(loc="lower right", fontsize="small")
    _save(figure, path, "What the pool behind AXI takes of each card, by module")


def _save(figure: Figure, path: Path, caption: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    page.add_figure(caption, figure)
