"""A picture of who used which engine of which core when: one colour a tenant, three thin rows a core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hypervisor.pool_port import ActivityInterval

ENGINE_NAMES = ("load", "compute", "save")
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#000000")
"""Okabe and Ito's palette, which colour-blind readers can tell apart; it repeats from the ninth tenant on."""
ENGINE_STRENGTH = (0.55, 1.0, 0.35)
ROW_HEIGHT = 0.26
COLUMNS = 4000
"""Gaps shorter than this fraction of the picture are drawn over: nobody could see them."""
ZOOM_SHARE = 0.02


def draw_timeline(
    file: BinaryIO,
    file_format: str,
    activity: Sequence[ActivityInterval],
    owners: Mapping[int, str],
    first: int,
    end: int,
) -> None:
    """Write cycles first..end-1 as a picture of `file_format` (svg, png, pdf); `owners` names each core's tenant.

    The lower panel shows a fiftieth of the time, where the engines are busiest, so that their overlap can be seen.
    Raises ValueError for a format that matplotlib does not know.
    """
    cores = sorted(owners)
    names = list(dict.fromkeys(owners.values()))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    figure = Figure(figsize=(11, 2.2 + 0.5 * len(cores) * 2), layout="constrained")
    whole, zoomed = figure.subplots(2, 1)
    _draw(whole, activity, owners, cores, colours, first, end)
    span = max(200, round((end - first) * ZOOM_SHARE))
    zoom_first = _busiest(activity, first, end, span)
    zoom_end = min(end, zoom_first + span)
    whole.axvspan(zoom_first, zoom_end, color="0.85", zorder=0)
    _draw(zoomed, activity, owners, cores, colours, zoom_first, zoom_end)
    zoomed.set_xlabel("cycle")
    whole.set_title("Engines of the cores: load, compute, save (top to bottom)", fontsize=10)
    zoomed.set_title("the grey part", fontsize=9)
    handles = [Patch(color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    figure.savefig(file, format=file_format, dpi=150)


def _busiest(activity: Sequence[ActivityInterval], first: int, end: int, span: int) -> int:
    """The start of the stretch of `span` cycles in which the engines are busy for the most cycles together."""
    starts = range(first, max(first + 1, end - span), max(1, span // 2))

    firsts = np.array([item.first for item in activity])
    ends = np.array([item.end for item in activity])

    def busy(start: int) -> int:
        return int(np.maximum(0, np.minimum(ends, start + span) - np.maximum(firsts, start)).sum())

    return max(starts, key=busy)


def _draw(
    axes: Axes,
    activity: Sequence[ActivityInterval],
    owners: Mapping[int, str],
    cores: Sequence[int],
    colours: Mapping[str, str],
    first: int,
    end: int,
) -> None:
    for row, core in enumerate(cores):
        for engine, strength in enumerate(ENGINE_STRENGTH):
            bars = _bars(activity, core, engine, first, end)
            bottom = -row - ROW_HEIGHT * (engine + 1)
            colour = colours[owners[core]]
            axes.broken_barh(bars, (bottom, ROW_HEIGHT * 0.9), facecolors=colour, alpha=strength, linewidth=0)
    axes.set_yticks([-row - 1.5 * ROW_HEIGHT for row in range(len(cores))], [f"core {core}" for core in cores])
    axes.set_xlim(first, max(end, first + 1))
    axes.set_ylim(-len(cores) - 0.1, 0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def _bars(
    activity: Sequence[ActivityInterval], core: int, engine: int, first: int, end: int
) -> list[tuple[float, float]]:
    """(start, length) of the bars of one engine, with invisible gaps closed."""
    chosen = [(item.first, item.end) for item in activity if item.core == core and item.engine == engine]
    if not chosen:
        return []
    limits = np.clip(np.array(sorted(chosen)), first, end)
    limits = limits[limits[:, 1] > limits[:, 0]]
    if not len(limits):
        return []
    breaks = np.flatnonzero(limits[1:, 0] - limits[:-1, 1] > (end - first) / COLUMNS)
    starts = limits[np.concatenate([[0], breaks + 1]), 0]
    ends = limits[np.concatenate([breaks, [len(limits) - 1]]), 1]
    return [(float(start), float(stop - start)) for start, stop in zip(starts, ends, strict=True)]


def engine_shares(
    activity: Sequence[ActivityInterval], cores: Sequence[int], first: int, end: int
) -> dict[int, tuple[float, float, float]]:
    """For each core, the share of cycles first..end-1 in which load, compute and save were busy."""
    span = max(1, end - first)
    shares = {}
    for core in cores:
        busy = [0, 0, 0]
        for item in activity:
            if item.core == core:
                busy[item.engine] += max(0, min(item.end, end) - max(item.first, first))
        shares[core] = (busy[0] / span, busy[1] / span, busy[2] / span)
    return shares
