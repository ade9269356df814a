"""Which core computes what, in which tiles and in which order: chosen by estimated cycles.

The output of a layer is a box of rows x columns x blocks of channels. It is cut into one part for each core, either
as a grid or along one line through all rows of all blocks (so that 3, 11 or 13 cores are balanced too); a core's part
is a few boxes. A box is cut into tiles evenly, and walked either tile by tile (features stay, weights come again
unless they all fit) or block by block (weights stay).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

from compiler.geometry import (
    COLUMN_LIMIT,
    ROW_LIMIT,
    Tile,
    even_pieces,
    in_short_rows,
    raster_of_tile,
    reduction_chunks,
    weights_zone,
)
from compiler.machine import OutputPart, WindowLayer, shape_of
from isa.configuration import PoolConfig
from isa.pipeline import pass_cycles, pool_pass_cycles, raster_cycles

_DRAIN_CYCLES = 32
"""Cycles of a drain besides its pixels."""
_INSTRUCTION_CYCLES = 3
"""Cycles that one compute instruction costs besides its passes: issue, pipeline, hand-over to the drain."""
_WRITE_SPACING = 2
"""Cycles from one write to the next at least: the request port holds one."""
_WORDS_OF_A_STEP = 5
"""Instruction words of one step on average: loads, configuration, compute, save."""
_LEAST_CHUNKS = 60
"""Chunks that a core works off in a layer at least, if they would otherwise be longer than the layer's own."""
_CHUNK_CYCLES = (160, 512, 2048)
"""Lengths of chunks that exact timing chooses from..."""
_LIKELY = 1.25
"""...among plans whose estimates are at most so many times the best one,..."""
_MOST_PLANS = 8
"""...and at most so many."""
_MEMORY_LOSS = 1.1
"""Slots that pass for each one that is used, for loads, saves and fetches disturb each other."""
_RESIDUALS_IN_USE = 4
"""Tiles whose residuals are in the buffer: of the walk, of the drain, of the drain before it, and the next one."""
_MOST_ROW_CUTS = 12
"""Numbers of row cuts that are tried beyond the smallest that fits."""


@dataclass(frozen=True)
class Box:
    """Output rows, columns and blocks of one core's work: (first, end) each."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    blocks: tuple[int, int]


@dataclass(frozen=True)
class Walk:
    """A box cut into tiles: pieces of rows and columns, and whether all blocks of a tile come before the next tile."""

    row_pieces: int
    column_pieces: int
    tile_first: bool


@dataclass(frozen=True)
class Cost:
    """Estimated cycles: of the array and of memory in each phase, and of what overlaps with nothing.

    In the first phase comes what stays for the second one. The edges are the first load and the last save.
    """

    compute: tuple[float, float]
    memory: tuple[float, float]
    edges: float

    @property
    def cycles(self) -> float:
        """Compute and memory overlap within a phase."""
        return sum(map(max, self.compute, self.memory)) + self.edges


Work = list[list[tuple[Tile, int]]]
"""For each core the (tile, block of output channels) pairs in their order."""


@dataclass(frozen=True)
class Plan:
    """A way to compute a layer: the layer, or another view of it, the work of each core, and the estimated cycles."""

    layer: WindowLayer
    work: Work
    cycles: float


def best_plan(layer: WindowLayer, cores: int, config: PoolConfig) -> Plan:
    """The layer, or its view in short rows if that is estimated to cost less."""
    view = in_short_rows(layer, config)
    forms = [layer] if view is None else [layer, view]
    length = _chunk_length(layer, cores)
    found = (plan for form in forms for plan in _plans(_with_chunks(form, length), cores, config, 1))
    return min(found, key=lambda plan: plan.cycles)


def _chunk_length(layer: WindowLayer, cores: int) -> int:
    """Cycles of a chunk: the layer's own, doubled as long as that is a small part of what each core has to do.

    The array waits for the first chunk only, and every chunk costs instructions.
    """
    depth = sum(block.end - block.first for block in layer.blocks)
    cycles = depth * layer.kernel[0] * layer.kernel[1] * layer.target.rows * layer.target.columns // cores
    length = layer.chunk_cycles
    while 2 * length * _LEAST_CHUNKS <= cycles:
        length *= 2
    return length


def plans(layer: WindowLayer, cores: int, config: PoolConfig) -> list[Plan]:
    """The best plan by estimate, then some others that may turn out better when they are timed exactly."""
    view = in_short_rows(layer, config)
    forms = [layer] if view is None else [layer, view]
    found = [
        plan
        for form in forms
        for chunk_cycles in _CHUNK_CYCLES
        for plan in _plans(_with_chunks(form, chunk_cycles), cores, config, 2)
    ]
    first = best_plan(layer, cores, config)
    found.sort(key=lambda plan: plan.cycles)
    likely = [plan for plan in found if plan.cycles < _LIKELY * found[0].cycles]
    different: dict[Hashable, Plan] = {}
    for plan in (first, *likely):
        different.setdefault(_outline(plan, config), plan)
    return list(different.values())[:_MOST_PLANS]


def _outline(plan: Plan, config: PoolConfig) -> Hashable:
    """Equal for plans of equal instructions: the pixels of each tile, the blocks, and the chunks."""
    layer, columns = plan.layer, plan.layer.target.columns
    outline: list[Hashable] = []
    for own in plan.work:
        for tile, block in own:
            whole = tile.end_column - tile.first_column == columns
            rows = (tile.first_row * columns, tile.end_row * columns) if whole else (tile.first_row, tile.end_row)
            depth = layer.blocks[block].end - layer.blocks[block].first
            chunks = len(reduction_chunks(layer, tile, depth, config))
            outline.append((rows, whole or (tile.first_column, tile.end_column), block, chunks))
        outline.append(((0, 0), True, -1, 0))
    return tuple(outline)


@lru_cache(maxsize=1 << 8)
def _with_chunks(layer: WindowLayer, chunk_cycles: int) -> WindowLayer:
    return layer if layer.chunk_cycles == chunk_cycles else replace(layer, chunk_cycles=chunk_cycles)


def window_work(layer: WindowLayer, cores: int, config: PoolConfig) -> Work:
    """The work of each core; every output exactly once."""
    return _plans(layer, cores, config, 1)[0].work


def _plans(layer: WindowLayer, cores: int, config: PoolConfig, count: int) -> list[Plan]:
    """The best ways by estimate. A layer with several parts (average pooling at borders) is divided part by part."""
    shape = shape_of(layer)
    by_part = [_best_divisions(shape, part, cores, config, count) for part in shape.parts]
    result = []
    for choice in range(min(len(divisions) for divisions in by_part)):
        work: Work = [[] for _ in range(cores)]
        for part, divisions in zip(layer.parts, by_part, strict=True):
            for core, boxes in enumerate(divisions[choice][1]):
                for box, walk in boxes:
                    work[core].extend(_walk_box(box, walk, part.parameters))
        result.append(Plan(layer, work, sum(divisions[choice][0] for divisions in by_part)))
    return result


def can_tile(layer: WindowLayer, config: PoolConfig) -> bool:
    """Whether a tile of one pixel fits the buffers: then every layer of this kind can be tiled."""
    most_blocks = max(work.end - work.first for work in layer.blocks)
    return bool(reduction_chunks(layer, Tile(0, 1, 0, 1), most_blocks, config))


@lru_cache(maxsize=1 << 14)
def _best_divisions(
    layer: WindowLayer, part: OutputPart, cores: int, config: PoolConfig, count: int
) -> list[tuple[float, list[list[tuple[Box, Walk]]]]]:
    """The cheapest `count` divisions with their estimated cycles, the best one first."""
    best: list[tuple[float, list[list[tuple[Box, Walk]]]]] = []
    for division in _divisions(part, len(layer.blocks), cores):
        worst = best[-1][0] if len(best) == count else float("inf")
        slowest = 0.0
        chosen = []
        for boxes in division:
            cycles = 0.0
            walks = []
            for box in boxes:
                walk, cost = _best_walk(layer, box, config)
                walks.append((box, walk))
                cycles += cost.cycles
            chosen.append(walks)
            slowest = max(slowest, cycles)
            if slowest >= worst:
                break
        if slowest < worst:
            best.append((slowest, chosen))
            best.sort(key=lambda entry: entry[0])
            del best[count:]
    return best


def _divisions(part: OutputPart, blocks: int, cores: int) -> Iterator[list[list[Box]]]:
    """Ways to cut a part of the output for so many cores; each gives a list of boxes for every core."""
    row_span, column_span = (part.first_row, part.end_row), (part.first_column, part.end_column)
    rows, columns = row_span[1] - row_span[0], column_span[1] - column_span[0]
    for row_parts in range(1, min(cores, rows) + 1):
        for block_parts in range(1, min(cores // row_parts, blocks) + 1):
            most = min(cores // (row_parts * block_parts), columns)
            for column_parts in sorted({1, most}):
                boxes = [
                    [Box(row_piece, column_piece, block_piece)]
                    for block_piece in even_pieces(0, blocks, block_parts)
                    for row_piece in even_pieces(*row_span, row_parts)
                    for column_piece in even_pieces(*column_span, column_parts)
                ]
                yield boxes + [[]] * (cores - len(boxes))
    if cores > 1:
        line = even_pieces(0, rows * blocks, cores)
        by_block = [[Box((r0, r1), column_span, (b0, b1)) for b0, b1, r0, r1 in _line_boxes(*p, rows)] for p in line]
        by_row = [[Box((r0, r1), column_span, (b0, b1)) for r0, r1, b0, b1 in _line_boxes(*p, blocks)] for p in line]
        for division in (by_block, by_row):
            shifted = [[_shifted(box, row_span[0]) for box in boxes] for boxes in division]
            yield shifted + [[]] * (cores - len(shifted))


def _shifted(box: Box, rows: int) -> Box:
    return Box((box.rows[0] + rows, box.rows[1] + rows), box.columns, box.blocks)


def _line_boxes(first: int, end: int, inner: int) -> Iterator[tuple[int, int, int, int]]:
    """Units first..end-1 of a line (unit = outer * length + inner) as boxes (outer, outer end, inner, inner end)."""
    while first < end:
        outer, offset = divmod(first, inner)
        if offset == 0 and end - first >= inner:
            whole = (end - first) // inner
            yield outer, outer + whole, 0, inner
            first += whole * inner
        else:
            stop = min(end, (outer + 1) * inner)
            yield outer, outer + 1, offset, offset + stop - first
            first = stop


def _walk_box(box: Box, walk: Walk, parameters: int | None) -> Iterator[tuple[Tile, int]]:
    tiles = [
        Tile(*rows, *columns, parameters)
        for rows in even_pieces(*box.rows, walk.row_pieces)
        for columns in even_pieces(*box.columns, walk.column_pieces)
    ]
    blocks = range(*box.blocks)
    if walk.tile_first:
        return ((tile, block) for tile in tiles for block in blocks)
    return ((tile, block) for block in blocks for tile in tiles)


# --- the cost of a walk --------------------------------------------------------------------------------------


def _best_walk(layer: WindowLayer, box: Box, config: PoolConfig) -> tuple[Walk, Cost]:
    """The cheapest way through a box; only its extents and the first block decide, so equal boxes share it."""
    extent = (box.rows[1] - box.rows[0], box.columns[1] - box.columns[0])
    return _best_walk_of(layer, extent, box.blocks, config)


@lru_cache(maxsize=1 << 15)
def _best_walk_of(
    layer: WindowLayer, extent: tuple[int, int], blocks: tuple[int, int], config: PoolConfig
) -> tuple[Walk, Cost]:
    best: tuple[Walk, Cost] | None = None
    rows, columns = extent
    for column_pieces in _piece_counts(columns, COLUMN_LIMIT):
        tried = 0
        for row_pieces in range(1, rows + 1):
            tile = Tile(0, ceil(rows / row_pieces), 0, ceil(columns / column_pieces))
            if row_pieces > 1 and ceil(rows / (row_pieces - 1)) == tile.end_row:
                continue
            if not _tile_fits(layer, tile, blocks, config):
                continue
            for tile_first in (False, True) if row_pieces * column_pieces > 1 else (True,):
                walk = Walk(row_pieces, column_pieces, tile_first)
                cost = _walk_cost(layer, tile, blocks, walk, config)
                if best is None or cost.cycles < best[1].cycles:
                    best = walk, cost
            tried += 1
            if tried > _MOST_ROW_CUTS:
                break
        if best is not None:
            break
    assert best is not None, "can_tile has shown that a tile of one pixel fits"
    return best


def _piece_counts(length: int, limit: int) -> Iterator[int]:
    """Numbers of pieces to try: the smallest allowed, then ever more."""
    count = ceil(length / limit)
    while count < length:
        yield count
        count = max(count + 1, count * 5 // 4)
    yield length


def _tile_fits(layer: WindowLayer, tile: Tile, blocks: tuple[int, int], config: PoolConfig) -> bool:
    pixels = min(config.accumulator_pixels, max(1, config.output_vectors // 2))
    if layer.residual is not None:
        pixels = min(pixels, max(1, config.residual_vectors // _RESIDUALS_IN_USE))
    work = layer.blocks[blocks[0]]
    return (
        tile.pixels <= pixels
        and tile.end_row <= ROW_LIMIT
        and tile.end_column <= COLUMN_LIMIT
        and bool(reduction_chunks(layer, tile, work.end - work.first, config))
    )


def _walk_cost(layer: WindowLayer, tile: Tile, blocks: tuple[int, int], walk: Walk, config: PoolConfig) -> Cost:
    """Estimate for a box whose tiles all have the size of `tile`."""
    work = layer.blocks[blocks[0]]
    depth = work.end - work.first
    kernel = layer.kernel
    taps = kernel[0] * kernel[1]
    block_count, tile_count = blocks[1] - blocks[0], walk.row_pieces * walk.column_pieces
    chunks = reduction_chunks(layer, tile, depth, config)
    if layer.depthwise:
        raster_rows, raster_columns = raster_of_tile(layer, (tile.end_row, tile.end_column), config)
        cycles_of_chunks = len(chunks) * raster_cycles(config.slide_cycles, raster_rows * raster_columns)
    elif layer.reduction is None:
        cycles_of_chunks = depth * taps * pass_cycles(config.slide_cycles, tile.pixels)
    else:
        cycles_of_chunks = taps * pool_pass_cycles(tile.pixels)
    reduction = cycles_of_chunks + _INSTRUCTION_CYCLES * len(chunks)
    drain = drain_cycles(tile.pixels, config)
    compute = max(reduction + 20, drain)

    input_rows = min(
        (tile.end_row - 1) * layer.strides[0] + (kernel[0] - 1) * layer.dilations[0] + 1, layer.source.rows
    )
    if layer.loads_strided_rows:
        input_rows = tile.end_row
    input_columns = min(
        (tile.end_column - 1) * layer.strides[1] + (kernel[1] - 1) * layer.dilations[1] + 1, layer.source.columns
    )
    features = input_rows * input_columns * depth
    source = layer.source
    row_pitch = source.columns * (layer.strides[0] if layer.loads_strided_rows else 1)
    offset = 0 if tile.end_column == layer.target.columns else _least_aligned(layer, tile, config)
    extent, pitches = (input_columns, input_rows, depth), (row_pitch, source.rows * source.columns)
    feature_beats = _slots(extent, pitches, config, offset)
    weight_tiles = len(chunks) if layer.depthwise else depth * taps
    weights = 0 if layer.reduction is not None else weight_tiles * config.array
    shares_input = block_count == 1 or layer.blocks[blocks[0] + 1].first == work.first
    resident = config.weights_vectors - weights_zone(config)
    if walk.tile_first:
        features_stay = shares_input and features <= config.features_vectors
        weights_stay = weights * block_count <= resident
    else:
        features_stay = shares_input and features * tile_count <= config.features_vectors
        weights_stay = weights <= resident
    save_offset = -1 if tile.end_column % config.vectors_per_beat and offset else 0
    save_beats = _slots((tile.end_column, tile.end_row, 1), (layer.target.columns, 0), config, save_offset)
    save_runs = 1 if tile.end_column == layer.target.columns else tile.end_row
    save_beats += save_runs * (config.channels - 1)  # the loads, too, lose their place on the channels
    weight_beats = weights / config.vectors_per_beat
    step_beats = save_beats * (1 if layer.residual is None else 2)
    step_beats += _WORDS_OF_A_STEP * len(chunks) / config.words_per_beat
    spacing = cycles_per_beat(config)
    pairs = walk.tile_first and shares_input and block_count > 1  # see compiler.frames
    prefetched = min(weights, weights_zone(config))
    if walk.tile_first:  # the first tile brings the weights
        inner, outer = block_count, tile_count
        times = 1 if features_stay else ceil(inner / 2) if pairs else inner
        first = feature_beats * times + inner * weight_beats
        later = feature_beats * times + (0 if weights_stay else inner * weight_beats)
    else:  # the first block brings the features
        inner, outer = tile_count, block_count
        first = weight_beats * (1 if weights_stay else inner) + inner * feature_beats
        later = weight_beats * (1 if weights_stay else inner) + (0 if features_stay else inner * feature_beats)
    phases = (
        (first + inner * step_beats) * spacing * _MEMORY_LOSS,
        (outer - 1) * (later + inner * step_beats) * spacing * _MEMORY_LOSS,
    )
    first_chunk = (feature_beats + (weights - prefetched) / config.vectors_per_beat) * spacing / len(chunks)
    together = 2 if pairs else 1
    first_sums = (feature_beats + together * weight_beats) * spacing * _MEMORY_LOSS
    in_time = first_chunk + together * reduction + prefetched / config.vectors_per_beat * spacing
    starved = max(0.0, first_sums - in_time)
    later_starved = 0.0
    if walk.tile_first and features_stay:  # what has no room comes while the tile's last sum gives it room
        late = min(1.0, max(0.0, 2 - config.features_vectors / features))
        late_beats = late * feature_beats + (1 if weights_stay else together + 1) * weight_beats
        later_starved = max(0.0, late_beats * spacing * _MEMORY_LOSS - (together + 1) * reduction)
    edges = 2 * config.channel_latency + first_chunk + save_beats * max(spacing, _WRITE_SPACING) + drain
    return Cost((inner * compute + starved, (outer - 1) * (inner * compute + later_starved)), phases, edges)


def drain_cycles(pixels: int, config: PoolConfig) -> float:
    """Cycles, about, of a drain of so many pixels."""
    return pixels * config.array / config.lanes + _DRAIN_CYCLES


def _least_aligned(layer: WindowLayer, tile: Tile, config: PoolConfig) -> int:
    """Where the input rows of a tile among others in a row begin in their beats; of several places the worst one."""
    distance = tile.end_column * layer.strides[1]
    return -1 if distance % config.vectors_per_beat else -layer.padding[1]


@lru_cache(maxsize=1 << 14)
def _slots(extent: tuple[int, int, int], pitches: tuple[int, int], config: PoolConfig, offset: int = 0) -> float:
    """Slots of a core in which columns x rows x planes vectors pass: a run of beats waits for its first channel.

    The first vector lies `offset` vectors behind the start of its beat.
    """
    columns, rows, planes = extent
    if columns == pitches[0] or rows == 1:
        columns, rows = columns * rows, 1
    if rows == 1 and columns == pitches[1]:
        columns, planes = columns * planes, 1
    width, channels = config.vectors_per_beat, config.channels
    sampled_planes, sampled_rows = min(planes, 4), min(rows, 4)
    slots, behind = 0, 0
    for plane in range(sampled_planes):
        for row in range(sampled_rows):
            start = offset % width + plane * pitches[1] + row * pitches[0]
            first, end = start // width, (start + columns - 1) // width + 1
            slots += (first - behind) % channels + end - first
            behind = end
    return slots * (planes / sampled_planes) * (rows / sampled_rows)


def cycles_per_beat(config: PoolConfig) -> float:
    """Cycles between two beats of one core: its slots, without the host's; or the unpacking."""
    share = (config.host_revolutions - 1) / config.host_revolutions if config.host_revolutions > 1 else 1.0
    return max(config.vectors_per_beat // config.port_vectors, config.slot_spacing / share)
