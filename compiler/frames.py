"""Layer frames: the instructions of one layer for a number of cores, interleaved, and ready to be called.

[what does not depend on the layer before] SYNC_WAIT ... SYNC_RAISE for every core, idle ones too, then RETURN. A
program calls the prologue (SYNC_RAISE for every core), the frames, and the epilogue (SYNC_WAIT for every core). So
every SYNC_WAIT has its SYNC_RAISE, wherever a program begins; no token and no sync_global outlives a program.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from itertools import groupby, pairwise

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CompileError
from compiler.exact import ExactChoice
from compiler.geometry import depthwise_chunks, weights_limit
from compiler.machine import TENSOR_BIT, FlatLayer, MachineLayer
from compiler.schedule import CoreSequence, schedule_core
from compiler.steps import Operand, Step, flat_steps, window_steps
from compiler.tiling import Plan, best_plan, drain_cycles, plans
from isa.configuration import PoolConfig
from isa.encoding import encode
from isa.instructions import (
    OPCODE_BITS,
    PARAMETER_VECTORS,
    WORD_BYTES,
    CoreInstruction,
    Instruction,
    Load,
    Return,
    Save,
    SyncRaise,
    SyncWait,
)


@dataclass(frozen=True)
class LayerFrame:
    """Encoded words (uint64 [words][2], low half first; addresses not relocated yet) and estimated latencies."""

    words: NDArray[np.uint64]
    cycles: int
    tiles: tuple[tuple[int, int], ...]
    """(virtual core, cycles) of every tile: an instruction frame package."""


def build_frame(
    layer: MachineLayer, number: int, cores: int, config: PoolConfig, exact: ExactChoice | None = None
) -> LayerFrame:
    """The frame of a layer for `cores` cores; `number` is the layer's position in the network.

    With `exact`, several plans of a layer are timed exactly, and the best one is taken.
    """
    if isinstance(layer, FlatLayer):
        steps = _flat_work(layer, cores, config)
    elif exact:
        candidates = plans(layer, cores, config)
        frames = [partial(_plan_instructions, plan, number, config) for plan in candidates]
        steps = _window_work(candidates[exact.choose(layer, cores, frames)], config)
    else:
        steps = _window_work(best_plan(layer, cores, config), config)
    sequences = _scheduled(steps, number, config)
    tiles = tuple((core, cycles) for core, own in enumerate(steps) for cycles in _tile_cycles(own))
    words = encode_words(_instructions(sequences))
    return LayerFrame(words, max(sequence.cycles for sequence in sequences), tiles)


def _plan_instructions(plan: Plan, number: int, config: PoolConfig) -> list[Instruction]:
    return _instructions(_scheduled(_window_work(plan, config), number, config))


def _scheduled(steps: list[list[Step]], number: int, config: PoolConfig) -> list[CoreSequence]:
    return [schedule_core(own, core, number % 2, config) for core, own in enumerate(steps)]


def _instructions(sequences: Sequence[CoreSequence]) -> list[Instruction]:
    return [*_interleaved(sequences), Return()]


def prologue(cores: int) -> list[Instruction]:
    """What comes before the first frame of a program."""
    return [*(SyncRaise(core=core) for core in range(cores)), Return()]


def epilogue(cores: int) -> list[Instruction]:
    """What comes behind the last frame of a program."""
    return [*(SyncWait(core=core) for core in range(cores)), Return()]


def _window_work(plan: Plan, config: PoolConfig) -> list[list[Step]]:
    result = []
    for work in plan.work:
        blocks = [block for _, block in work]
        own = (min(blocks), max(blocks) + 1) if blocks else (0, 0)
        count = own[1] - own[0]
        fits = count * PARAMETER_VECTORS <= config.parameters_vectors // 2
        if plan.layer.depthwise:
            tiles = count * len(depthwise_chunks(plan.layer.kernel, config))
            fits = fits and tiles * config.array <= weights_limit(config)
        sums = [
            list(window_steps(plan.layer, tile, block, own if fits else (block, block + 1), config))
            for tile, block in work
        ]
        result.append([step for steps in _in_pairs(sums, config) for step in steps])
    return result


def _in_pairs(sums: list[list[Step]], config: PoolConfig) -> list[list[Step]]:
    """Two sums together, in both banks, where they read the same features and these come from memory.

    Each chunk is then read twice when it comes, and the array waits half as long for memory.
    """
    result: list[list[Step]] = []
    before: list[Operand] = []
    number = 0
    while number < len(sums):
        first, second = [*sums[number : number + 2], []][:2]
        inputs = [[step.operands[0] for step in steps] for steps in (first, second)]
        stays = sum(operand.region.vectors for operand in inputs[0]) <= config.features_vectors
        comes = number == 0 or not stays or inputs[0] != before
        before = inputs[0]
        if second and inputs[0] == inputs[1] and comes:
            result.append(_paired(first, second, number == 0, config))
            number += 2
        else:
            result.append(first)
            number += 1
    return result


def _paired(first: list[Step], second: list[Step], is_start: bool, config: PoolConfig) -> list[Step]:
    """Two sums, the second one behind the first one by as many chunks as it takes to drain the sum before in its bank.

    Nothing is drained before the start of a layer: there they begin together, and the lag comes at the end.
    """
    output = first[-1].output
    assert output is not None
    drain, cycles, lag = drain_cycles(output.vectors, config), 0, 0
    while lag < len(second) and cycles < drain:
        lag += 1
        cycles += second[-lag].cycles
    turns = len(second) - lag
    if is_start:
        alone, rest = [], first[turns:]
        together = [step for pair in zip(first[:turns], second[:turns], strict=True) for step in pair]
        alternating = range(1, 2 * turns + 1)
    else:
        alone, rest = first[:lag], []
        together = [step for pair in zip(second[:turns], first[lag:], strict=True) for step in pair]
        alternating = range(lag, lag + 2 * turns)
    steps = [*alone, *together, *rest, *second[turns:]]
    return [replace(step, changes_bank=True) if number in alternating else step for number, step in enumerate(steps)]


def _flat_work(layer: FlatLayer, cores: int, config: PoolConfig) -> list[list[Step]]:
    """Even pieces that begin at beats."""
    beats = -(-layer.vectors // config.vectors_per_beat)
    cuts = [min(beats * core // cores * config.vectors_per_beat, layer.vectors) for core in range(cores + 1)]
    return [list(flat_steps(layer, *piece, config)) if piece[1] > piece[0] else [] for piece in pairwise(cuts)]


def _tile_cycles(steps: Sequence[Step]) -> list[int]:
    """Cycles of each tile: of the steps up to and including one that drains."""
    result, cycles = [], 0
    for step in steps:
        cycles += step.cycles
        if step.drains:
            result.append(cycles)
            cycles = 0
    return result


def _interleaved(sequences: Sequence[CoreSequence]) -> list[CoreInstruction]:
    """All cores' instructions in the order of their estimated cycles; each core's own order is kept."""
    ordered = merge(*(_ranked(sequence) for sequence in sequences), key=lambda entry: entry[0])
    return [instruction for _, instruction in ordered]


def _ranked(sequence: CoreSequence) -> Iterator[tuple[tuple[int, int], CoreInstruction]]:
    """(cycle, rank among the instructions of that cycle): cores that begin together take turns, word by word."""
    for _, group in groupby(sequence.instructions, key=lambda timed: timed[0]):
        for rank, (cycle, instruction) in enumerate(group):
            yield (cycle, rank), instruction


# --- words ---------------------------------------------------------------------------------------------------


def encode_words(instructions: Sequence[Instruction]) -> NDArray[np.uint64]:
    """Instructions to uint64 [words][2], low half first. Raises CompileError for a value that does not fit a field."""
    try:
        raw = b"".join(encode(instruction).to_bytes(WORD_BYTES, "little") for instruction in instructions)
    except ValueError as error:
        raise CompileError(f"{error}; the layer is beyond what the instruction set can express") from None
    return np.frombuffer(raw, np.uint64).reshape(-1, 2)


def relocate(words: NDArray[np.uint64], activations: int) -> NDArray[np.uint64]:
    """Resolve addresses that carry TENSOR_BIT, now that the activation area is known to begin at that vector."""
    result = words.copy()
    low = result[:, 0]
    opcodes = low & np.uint64((1 << OPCODE_BITS) - 1)
    for kind in (Load, Save):
        field = kind.field_layout("address")
        assert field.offset + field.width <= 64
        marked = (opcodes == kind.opcode) & (low >> np.uint64(field.offset) & np.uint64(TENSOR_BIT) != 0)
        low[marked] += np.uint64(activations - TENSOR_BIT << field.offset & (1 << 64) - 1)
    return result
