"""Clock of a pool on an ECP5, seed by seed, and the path that limits it."""

from __future__ import annotations

from typing import Any

from benchmarks.place_and_route import DEVICE, TARGET_MHZ, PlaceAndRoute, Routed
from isa.configuration import PoolConfig
from scripts.benches.page import add_table, note
from scripts.commands.reporting import fraction_progress

Row = dict[str, Any]
DEFAULT_SEEDS = 4
RESOURCES = {
    "LUT": "TRELLIS_COMB", "LUT RAM": "TRELLIS_RAMW", "FF": "TRELLIS_FF", "MULT18X18D": "MULT18X18D",
    "DP16KD": "DP16KD",
}  # fmt: skip
"""Columns, and what nextpnr calls them. A LUT has four inputs, or is half a carry or a part of a LUT RAM."""


def measure(config: PoolConfig, seeds: int = DEFAULT_SEEDS) -> list[Row]:
    """One row for each seed, the fastest one's critical path and what is in use beside them."""
    with fraction_progress("place and route") as progress:
        results: list[Routed] = []
        flow = PlaceAndRoute(config, lambda fraction, step: progress((len(results) + fraction) / seeds, step))
        for seed in range(1, seeds + 1):
            results.append(flow.seed(seed))
    best = max(results, key=lambda result: result.fmax)
    add_table(f"critical path of seed {best.seed}", _path(best))
    add_table(f"in use, {DEVICE}", _use(best))
    note(
        f"Fmax: what nextpnr finds after routing on {DEVICE}, aiming at {TARGET_MHZ} MHz. The pool lies behind a "
        "harness of four pins (shift registers in and out): paths to a board are not in it, nor is the AXI top."
    )
    note(f"Bitstreams: {', '.join(result.bitstream for result in results)}. They show that it fits; no board ran them.")
    return [_row(result) for result in results]


def _row(result: Routed) -> Row:
    hops = result.path
    named = [hop.signal for hop in hops if hop.signal]
    routing = sum(hop.nanoseconds for hop in hops if hop.kind == "routing")
    return {
        "seed": result.seed,
        "Fmax MHz": round(result.fmax, 2),
        "critical path ns": round(sum(hop.nanoseconds for hop in hops), 2),
        "of this routing ns": round(routing, 2),
        "cells": sum(hop.kind == "logic" for hop in hops),
        "from": named[0] if named else "",
        "to": named[-1] if named else "",
        "bitstream bytes": result.bitstream_bytes,
    }


def _path(result: Routed) -> list[Row]:
    """The path, cut where a signal of ours is passed: what lies before it, and its name."""
    rows: list[Row] = []
    passed, cells, nanoseconds = 0.0, 0, 0.0
    for place, hop in enumerate(result.path):
        nanoseconds += hop.nanoseconds
        cells += hop.kind == "logic"
        is_last = place == len(result.path) - 1
        if is_last or (hop.signal and (not rows or hop.signal != rows[-1]["signal"])):
            passed += nanoseconds
            rows.append({"signal": hop.signal, "at ns": round(passed, 2), "cells": cells, "ns": round(nanoseconds, 2)})
            cells, nanoseconds = 0, 0.0
    return rows


def _use(result: Routed) -> list[Row]:
    return [
        {
            "resource": name,
            "in use": result.used[key],
            "there are": result.available[key],
            "per cent": round(100 * result.used[key] / result.available[key], 1),
        }
        for name, key in RESOURCES.items()
    ]
