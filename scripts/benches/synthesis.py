"""What a pool costs on an FPGA, and which part of it is virtualisation: from yosys, module by module."""

from __future__ import annotations

from typing import Any

from benchmarks.cache import BENCHES
from benchmarks.synthesis.dedicated import KEPT, REMOVED
from benchmarks.synthesis.devices import ALVEO, FAMILIES, Resources
from benchmarks.synthesis.memories import NOT_MEANT, judged
from benchmarks.synthesis.report import MODULES, Cost, instances, measure_cost
from benchmarks.synthesis.synthesise import Synthesis
from isa.configuration import PoolConfig
from scripts.benches import plots
from scripts.benches.page import add_table, note
from scripts.commands.reporting import fraction_progress

Row = dict[str, Any]


def measure(config: PoolConfig) -> list[Row]:
    """One row for each module and family, and their sums; further tables beside them."""
    with fraction_progress("synthesis") as progress:
        cost = measure_cost(config, progress)
    add_table("share of a card, per cent", _shares(cost))
    add_table("cost of virtualisation, UltraScale+", _virtualisation(cost))
    add_table("memories above 1 kbit, UltraScale+, one instance of each module", _memories(cost))
    add_table("parts, UltraScale+, each without its own parts", _parts_of(cost))
    add_table("longest combinational paths", _paths(cost))
    _notes(cost)
    plots.synthesis(_parts(cost), BENCHES / f"synthesis-{config.name}.png")
    return _rows(cost)


def _modules() -> list[str]:
    """Modules of the pool, without the baseline's."""
    return [name for name in MODULES if not name.startswith("dedicated")]


def _rows(cost: Cost) -> list[Row]:
    rows = []
    for family, meaning in FAMILIES.items():
        for name, found in cost.modules[family].items():
            rows.append(_row(name, meaning, instances(cost.config, name), found.resources, found))
        rows.append(_row("pool", meaning, 1, cost.pool(family), None))
        rows.append(_row("axi_pool", meaning, 1, cost.axi_pool(family), None))
    order = {name: place for place, name in enumerate((*MODULES, "pool", "axi_pool"))}
    return sorted(rows, key=lambda row: (list(FAMILIES.values()).index(row["family"]), order[row["module"]]))


def _row(name: str, family: str, count: int, total: Resources, found: Synthesis | None) -> Row:
    def number(*kinds: str) -> int | None:
        return None if found is None else sum(found.cells.get(kind, 0) for kind in kinds)

    return {
        "module": name,
        "family": family,
        "instances": count,
        "LUT": total.lut,
        "of these LUT RAM": total.lut_ram,
        "FF": total.ff,
        "DSP": total.dsp,
        "RAMB36": number("RAMB36E1", "RAMB36E2"),
        "RAMB18": number("RAMB18E1", "RAMB18E2"),
        "BRAM": total.bram,
        "URAM": total.uram,
        "levels": None if found is None else found.path.levels,
    }


def _shares(cost: Cost) -> list[Row]:
    """Per cent of each card that the pool takes, with and without AXI."""
    rows = []
    for card, capacity in ALVEO.items():
        for name, total in (("pool", cost.pool("xcup")), ("axi_pool", cost.axi_pool("xcup"))):
            row: Row = {"card": card, "module": name}
            for resource, field in (("LUT", "lut"), ("LUT RAM", "lut_ram"), ("FF", "ff"), ("DSP", "dsp")):
                row[resource] = _percent(getattr(total, field), getattr(capacity, field))
            rows.append(
                row | {"BRAM": _percent(total.bram, capacity.bram), "URAM": _percent(total.uram, capacity.uram)}
            )
    return rows


def _parts(cost: Cost) -> dict[str, dict[str, float]]:
    """For each card and resource, per cent taken by the cores, the shell and the AXI adapters."""
    cores = cost.modules["xcup"]["core"].resources * cost.config.cores
    whole = {"cores": cores, "shell": cost.modules["xcup"]["shell"].resources}
    whole["AXI"] = cost.axi_pool("xcup") - cost.pool("xcup")
    return {
        f"{card}: {resource}": {
            name: _percent(getattr(total, field), getattr(capacity, field)) for name, total in whole.items()
        }
        for card, capacity in ALVEO.items()
        for resource, field in (("LUT", "lut"), ("FF", "ff"), ("DSP", "dsp"), ("BRAM", "bram"))
    }


def _virtualisation(cost: Cost) -> list[Row]:
    modules = cost.modules["xcup"]
    pool, extra, scrub = cost.pool("xcup"), cost.virtualisation("xcup"), cost.scrub() * cost.config.cores
    parts = [
        ("shell", modules["shell"].resources),
        ("shell of the baseline, which shares nothing", modules["dedicated shell"].resources),
        ("cost of virtualisation: the difference", extra),
        (f"scrub inside {cost.config.cores} cores, beside it", scrub),
        ("both", extra + scrub),
    ]
    return [
        {
            "what": what, "LUT": part.lut, "FF": part.ff,
            "LUT, % of the pool": _percent(part.lut, pool.lut), "FF, % of the pool": _percent(part.ff, pool.ff),
        }
        for what, part in parts
    ]  # fmt: skip


def _parts_of(cost: Cost) -> list[Row]:
    rows = [
        {
            "module": module, "part": part.name, "instances": part.instances, "LUT, each": part.resources.lut,
            "LUT": part.instances * part.resources.lut, "FF": part.instances * part.resources.ff,
            "DSP": part.instances * part.resources.dsp, "BRAM": part.instances * part.resources.bram,
        }
        for module, parts in cost.parts.items()
        for part in parts
    ]  # fmt: skip
    return sorted(rows, key=lambda row: (row["module"], -row["LUT"]))


def _memories(cost: Cost) -> list[Row]:
    found, card = cost.modules["xcup"], ALVEO["Alveo U200"]
    rows = [row for name in _modules() if name in found for row in judged(name, found[name], card)]
    others = [row["memory"] for row in rows if row["meant"] == NOT_MEANT]
    note(
        f"Memories above 1 kbit in flip-flops or LUT RAM that are not meant so (benchmarks/synthesis/memories.py): "
        f"{', '.join(others) or 'none'}. Shares are those of an Alveo U200."
    )
    return rows


def _paths(cost: Cost) -> list[Row]:
    return [
        {
            "module": name, "family": FAMILIES[family], "levels": path.levels, "from": path.start, "to": path.end,
            "through": ", ".join(f"{count} {kind}" for kind, count in path.through.items()),
        }
        for family in FAMILIES
        for name in _modules()
        if name in cost.modules[family]
        for path in (cost.modules[family][name].path,)
    ]  # fmt: skip


def _notes(cost: Cost) -> None:
    note(
        "LUT: LUT1 to LUT6, inverters and LUT RAM, none packed two into one. BRAM: RAMB36, a RAMB18 being half of one. "
        "Each module out of context, its hierarchy flattened; pool and axi_pool are sums, without AMD's own shell."
    )
    note("levels: cells between registers as yosys maps them, each CARRY4 of a chain one; a path through a DSP too.")
    note("parts: synthesised each by itself, so that constants do not cross their ports; together more than the whole.")
    note(f"The baseline (core c works for task c, for ever) has: {'; '.join(KEPT)}.")
    note(f"It does not have: {'; '.join(REMOVED)}.")


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2)
