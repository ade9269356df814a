"""Which memories may lie in LUT RAM although they have more than 1 kbit, and why."""

from __future__ import annotations

import re
from typing import Any

from benchmarks.synthesis.devices import Resources, resources
from benchmarks.synthesis.synthesise import LARGE_MEMORY_BITS, Memory, Synthesis

NOT_MEANT = "NOT MEANT"
MEANT_FOR_LUT_RAM = {
    r"core\.(load|compute|save)_queue\.waiting\.words": "a queue of few, wide words",
    r"core\.load\.outstanding\.words": "a queue of few, wide words",
    r"core\.compute\.(\w+\.)*table_\d+\.words": "256 bytes, one table for each lane, all read in the same cycle",
    r"core\.parameters\.words": "2 kbit in pool `tiny`; block RAM in larger ones",
    r"shell\.prefetch_write\.channel\d+_prefetch": "few, wide words: one beat of a program in a cycle",
    r"axi_(channel|host)\.(answers|requests)_memory": "as many wide words as beats are in flight",
}
"""Regular expressions for `module.memory`, with the path to it, and why: all of them have few words, of which block RAM
has 512 at least, so that they would take a larger share of the card there (the table of the bench gives both)."""

_SHAPES = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
"""Words and bits of a RAMB18 with a write port and a read port."""


def reason(module: str, memory: str) -> str | None:
    """Why a memory is meant to lie in LUT RAM; None if it is not."""
    return next((why for name, why in MEANT_FOR_LUT_RAM.items() if re.fullmatch(name, f"{module}.{memory}")), None)


def in_block_ram(memory: Memory) -> float:
    """RAMB36 that a memory takes as block RAM."""
    return min(-(-memory.words // words) * -(-memory.bits // bits) for words, bits in _SHAPES) / 2


def judged(module: str, found: Synthesis, card: Resources) -> list[dict[str, Any]]:
    """A row for each memory of a module above 1 kbit; `meant` is empty for one that lies where nobody meant it to."""
    rows = []
    for memory in found.memories:
        if memory.words * memory.bits <= LARGE_MEMORY_BITS:
            continue
        taken = resources(memory.cells)
        share = max(taken.lut / card.lut, taken.bram / card.bram, taken.uram / card.uram)
        is_block_ram = memory.place in ("block RAM", "URAM")
        rows.append(
            {
                "memory": f"{module}.{memory.name}",
                "words": memory.words,
                "bits": memory.bits,
                "kbit": round(memory.words * memory.bits / 1024, 2),
                "place": memory.place,
                "cells": ", ".join(f"{count} {kind}" for kind, count in memory.cells.items()),
                "millionths of the card": round(1e6 * share),
                "as block RAM": round(1e6 * in_block_ram(memory) / card.bram),
                "meant": "block RAM" if is_block_ram else reason(module, memory.name) or NOT_MEANT,
            }
        )
    return rows
