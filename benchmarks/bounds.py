"""What a layer is bound by: the least cycles that array, memory slots, dispatcher and barrier each need for it.

Whatever a layer takes beyond the largest of them goes into the barrier, the filling of buffers and pipelines, and
waiting. The bounds are read off the instructions that were dispatched, so they hold for every tiling.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isa.configuration import PoolConfig
from isa.instructions import (
    Add,
    ConfigLoad,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Load,
    Lookup,
    Pool,
    Save,
)
from isa.pipeline import RAISE_TO_RELEASE, SYNC_ISSUE_TO_RAISE, add_cycles, drain_groups
from isa.timing_memory import load_beats, response_cycles, save_beats
from isa.walks import passes

DISPATCH_CYCLES = 2
"""Cycles from one instruction of a tenant to its next, if its cores have a turn in every second cycle."""


@dataclass
class CoreWork:
    """What one core does in one layer: cycles of its compute engine, beats through its slots."""

    compute: int = 0
    beats: int = 0


@dataclass
class LayerWork:
    """What the cores do in one layer, and how many instructions tell them so."""

    cores: list[CoreWork]
    instructions: int = 0
    tiles: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Blocks of output channels of a tile, by the rows and columns of the tile."""
    chunks: int = 0
    """CONVs and POOLs, which are the chunks of all reductions."""

    @property
    def tiling(self) -> str:
        """How many blocks of which tiles, and in how many chunks each is reduced; nothing for elementwise layers."""
        count = self.tiles.total()
        if not count:
            return ""
        (rows, columns), _ = self.tiles.most_common(1)[0]
        others = f" and {len(self.tiles) - 1} other sizes" if len(self.tiles) > 1 else ""
        return f"{count} of {rows} x {columns}{others}, {self.chunks / count:.3g} chunks"

    def bounds(self, config: PoolConfig) -> dict[str, float]:
        """Least cycles by resource."""
        share = (config.host_revolutions - 1) / config.host_revolutions
        slot = config.beat_spacing / share
        fetched = self.instructions / config.words_per_beat / len(self.cores)
        turns = config.cores / len(self.cores)
        return {
            "compute": max(core.compute for core in self.cores),
            "channel": (max(core.beats for core in self.cores) + fetched) * slot,
            "dispatch": self.instructions * max(DISPATCH_CYCLES, turns),
            "barrier": response_cycles(config) + 1 + SYNC_ISSUE_TO_RAISE + RAISE_TO_RELEASE,
        }

    @property
    def beats(self) -> int:
        """Beats of all cores."""
        return sum(core.beats for core in self.cores)


@dataclass
class _Registers:
    """Configuration that instructions refer to."""

    window: ConfigWindow = field(default_factory=ConfigWindow)
    tile: ConfigTile = field(default_factory=ConfigTile)
    load: ConfigLoad = field(default_factory=ConfigLoad)
    save: ConfigSave = field(default_factory=ConfigSave)


def layer_works(
    config: PoolConfig,
    cores: int,
    frames: Sequence[tuple[int, int]],
    dispatched: Iterable[tuple[int, int, CoreInstruction]],
) -> list[LayerWork]:
    """The work of each layer, whose frame is the words first..end-1, from everything that went to the cores."""
    works = [LayerWork([CoreWork() for _ in range(cores)]) for _ in frames]
    registers = [_Registers() for _ in range(cores)]
    owner = {word: number for number, (first, end) in enumerate(frames) for word in range(first, end)}
    for _, word, instruction in dispatched:
        number = owner.get(word)
        if number is None:
            continue  # prologue and epilogue
        works[number].instructions += 1
        _count(config, instruction, registers[instruction.core], works[number].cores[instruction.core])
        if isinstance(instruction, Conv | Pool):
            tile = registers[instruction.core].tile
            works[number].chunks += 1
            works[number].tiles[tile.output_rows, tile.output_columns] += instruction.drain
    return works


def _count(config: PoolConfig, instruction: CoreInstruction, registers: _Registers, work: CoreWork) -> None:
    match instruction:
        case ConfigWindow():
            registers.window = instruction
        case ConfigTile():
            registers.tile = instruction
        case ConfigLoad():
            registers.load = instruction
        case ConfigSave():
            registers.save = instruction
        case Load():
            work.beats += len(load_beats(config, instruction, registers.load))
        case Save():
            work.beats += len(save_beats(config, instruction, registers.save))
        case Conv() | Pool():
            walked = passes(config, registers.window, registers.tile, instruction)
            work.compute += walked.count * walked.cycles
        case Add():
            work.compute += instruction.vectors * add_cycles(config.array, config.lanes)
        case Lookup():
            work.compute += instruction.vectors * drain_groups(config.array, config.lanes)
        case _:
            pass
