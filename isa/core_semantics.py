"""What each instruction of a core does to the core and to memory: plain numpy, in the words of isa.instructions.

Arrays of vectors are [vectors, images, channels]; the image axis is 1 long while all images of a batch agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import arithmetic
from isa.core_state import CoreState, MachineFault, VectorStore, WindowMemory
from isa.instructions import (
    PARAMETER_VECTORS,
    Add,
    Buffer,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Load,
    Lookup,
    Pool,
    Reduction,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.registers import Fault
from isa.walks import raster, tap_vector, window_shape

_EXACT_FLOAT32 = 1 << 24
"""Sums of 8-bit products up to this magnitude are exact in float32, which BLAS multiplies fastest."""
_LARGEST_PRODUCT = 128 * 128
_CHUNK_VALUES = 1 << 18
"""Values of one intermediate array: small enough for the cache, large enough to make numpy's overhead small."""


def execute(state: CoreState, memory: WindowMemory, instruction: CoreInstruction) -> None:
    """Carry out one instruction completely, tokens apart. Raises MachineFault."""
    _ACTIONS[type(instruction)](state, memory, instruction)


def _configure(register: str) -> Callable[[CoreState, WindowMemory, Any], None]:
    def action(state: CoreState, memory: WindowMemory, instruction: CoreInstruction) -> None:
        setattr(state, register, instruction)

    return action


def _synchronise(state: CoreState, memory: WindowMemory, instruction: CoreInstruction) -> None:
    """Barriers belong to the machine; the core itself keeps nothing."""


def _check_buffer(name: str, store: VectorStore, first: int, count: int) -> None:
    if first + count > store.depth:
        raise MachineFault(
            Fault.BUFFER_OVERRUN, f"vectors {first}..{first + count - 1} of the {name} buffer, which has {store.depth}"
        )


# --- load and save -------------------------------------------------------------------------------------------


def _load(state: CoreState, memory: WindowMemory, load: Load) -> None:
    if load.buffer not in state.buffers:
        raise MachineFault(Fault.BUFFER_OVERRUN, f"LOAD names buffer {load.buffer}, which a core does not have")
    store = state.buffers[Buffer(load.buffer)]
    count = load.planes * load.rows * load.columns
    # Vectors go in order and each one is checked for its place in the buffer before memory is asked for it, so an
    # access outside the window is only met in front of the end of the buffer.
    number = np.arange(min(count, max(store.depth - load.destination, 0)), dtype=np.int64)
    row, column = np.divmod(number, load.columns)
    plane, row = np.divmod(row, load.rows)
    addresses = load.address + plane * state.load.plane_pitch + row * state.load.row_pitch + column
    _check_window(memory, addresses)
    _check_buffer(Buffer(load.buffer).name.lower(), store, load.destination, count)
    store.write(load.destination, memory.gather(addresses))


def _save(state: CoreState, memory: WindowMemory, save: Save) -> None:
    count = save.rows * save.columns
    number = np.arange(min(count, max(state.output.depth - save.source, 0)), dtype=np.int64)
    row, column = np.divmod(number, save.columns)
    addresses = save.address + row * state.save.row_pitch + column
    _check_window(memory, addresses)
    _check_buffer("output", state.output, save.source, count)
    memory.scatter(addresses, state.output.data[save.source : save.source + count])


def _check_window(memory: WindowMemory, addresses: NDArray[np.int64]) -> None:
    outside = addresses[addresses >= memory.vectors]
    if outside.size:
        raise MachineFault(
            Fault.ACCESS_OUTSIDE_WINDOW, f"vector {outside[0]} of the window, which has {memory.vectors} vectors"
        )


# --- the sliding window --------------------------------------------------------------------------------------


def _axis(kernel: int, stride: int, dilation: int, first: int, outputs: int, inputs: int) -> NDArray[np.int64]:
    """Input row (or column) of every kernel row and output row, int64 [kernel, outputs]; -1 outside the tile."""
    position = np.arange(outputs) * stride + np.arange(kernel)[:, None] * dilation + first
    return np.where((position >= 0) & (position < inputs), position, -1)


def _axes(
    window: ConfigWindow, tile: ConfigTile, first_row: int, first_column: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows = _axis(
        window.kernel_rows, window.stride_rows, window.dilation_rows, first_row, tile.output_rows, tile.input_rows
    )
    columns = _axis(
        window.kernel_columns,
        window.stride_columns,
        window.dilation_columns,
        first_column,
        tile.output_columns,
        tile.input_columns,
    )
    return rows, columns


def _places(rows: NDArray[np.int64], columns: NDArray[np.int64], pitch: int) -> NDArray[np.int64]:
    """Vector of the tile for every (row, column) of two broadcast axes; -1 outside."""
    return np.where((rows >= 0) & (columns >= 0), rows * pitch + columns, -1)


@lru_cache(maxsize=256)
def _walk(window: ConfigWindow, tile: ConfigTile, first_row: int, first_column: int) -> NDArray[np.int64]:
    """Vector of the tile, without its block, for each output pixel and kernel tap, [pixels, taps]; -1 outside."""
    rows, columns = _axes(window, tile, first_row, first_column)
    places = _places(rows.T[:, None, :, None], columns.T[None, :, None, :], tile.input_columns)
    return places.reshape(tile.output_rows * tile.output_columns, -1)


def _pixels(state: CoreState) -> int:
    """Pixels of the output tile, checked against the accumulators."""
    pixels = state.tile.output_rows * state.tile.output_columns
    _check_buffer("accumulator", state.accumulators[0], 0, pixels)
    return pixels


def _convolve(state: CoreState, memory: WindowMemory, conv: Conv) -> None:
    if conv.depthwise:
        _convolve_depthwise(state, conv)
        return
    width = state.output.data.shape[2]
    features, weights = state.buffers[Buffer.FEATURES], state.buffers[Buffer.WEIGHTS]
    pixels = _pixels(state)
    taps = state.window.kernel_rows * state.window.kernel_columns
    tiles = state.window.channel_blocks * taps
    _check_buffer("weights", weights, conv.weights, tiles * width)
    _check_drain(state, conv, pixels)
    walk = _walk(state.window, state.tile, conv.first_row, conv.first_column)
    highest = int(walk.max())
    if highest >= 0:
        last_block = (state.window.channel_blocks - 1) * state.tile.plane_pitch
        _check_buffer("features", features, conv.features, last_block + highest + 1)

    matrix = weights.data[conv.weights : conv.weights + tiles * width].astype(np.float32)
    accumulator = state.accumulators[conv.bank]
    group = max(1, _EXACT_FLOAT32 // (_LARGEST_PRODUCT * width))  # weight tiles that one float32 sum may take
    images = features.data.shape[1]
    step = max(1, _CHUNK_VALUES // (min(group, tiles) * width * images))
    for start in range(0, pixels, step):
        part = walk[start : start + step]
        total = np.zeros((), np.int32)
        for first in range(0, tiles, group):
            block, tap = np.divmod(np.arange(first, min(first + group, tiles)), taps)
            outside = part[:, tap] < 0
            places = np.where(outside, 0, part[:, tap] + block * state.tile.plane_pitch + conv.features)
            inputs = _gather(features.data, places, outside, state.window.pad_value)
            products = _multiply(inputs, matrix[first * width : (first + group) * width])
            total = total + products.astype(np.int32)  # wraps, as the accumulators do
        if conv.accumulate:
            total = total + accumulator.data[start : start + len(part)]
        accumulator.write(start, total)
    _drain(state, conv, pixels)


def _convolve_depthwise(state: CoreState, conv: Conv) -> None:
    """Each channel by itself: taps one after another, multiplied channel by channel."""
    width = state.output.data.shape[2]
    features, weights = state.buffers[Buffer.FEATURES], state.buffers[Buffer.WEIGHTS]
    window, tile = replace(state.window, dilation_rows=1, dilation_columns=1), state.tile
    kernel = (window.kernel_rows, window.kernel_columns)
    pixels = _pixels(state)
    read_rows, read_columns = raster(window, tile)
    for name, count, limit in (
        ("rows of the kernel", kernel[0], window_shape(width)[0]),
        ("columns of the kernel", kernel[1], window_shape(width)[1]),
        ("input columns", read_columns, state.line_vectors),
    ):
        if count > limit:
            raise MachineFault(Fault.BUFFER_OVERRUN, f"{count} {name} of a depthwise CONV, which may have {limit}")
    _check_buffer("weights", weights, conv.weights, width)
    _check_drain(state, conv, pixels)
    last_row = min(conv.first_row + read_rows, tile.input_rows) - 1
    last_column = min(conv.first_column + read_columns, tile.input_columns) - 1
    if last_row >= max(conv.first_row, 0) and last_column >= max(conv.first_column, 0):
        _check_buffer("features", features, conv.features, last_row * tile.input_columns + last_column + 1)

    accumulator = state.accumulators[conv.bank]
    total = accumulator.data[:pixels] if conv.accumulate else np.zeros((), np.int32)
    walk = _walk(window, tile, conv.first_row, conv.first_column)
    for tap, (row, column) in enumerate(np.ndindex(kernel)):
        outside = walk[:, tap] < 0
        inputs = features.data[np.where(outside, 0, walk[:, tap] + conv.features)].astype(np.int32)
        inputs[outside] = window.pad_value
        factors = weights.data[conv.weights + tap_vector(width, kernel, row, column)].astype(np.int32)
        total = total + inputs * factors  # wraps, as the accumulators do
    accumulator.write(0, total)
    _drain(state, conv, pixels)


def _gather(
    features: NDArray[np.int8], places: NDArray[np.int64], outside: NDArray[np.bool_], pad_value: int
) -> NDArray[np.float32]:
    """The inputs of some taps side by side: places [pixels, taps] to [pixels, images, taps * width]."""
    images, width = features.shape[1:]
    pixels, taps = places.shape
    if images == 1:
        gathered: NDArray[np.float32] = features[places, 0].astype(np.float32)
        gathered[outside] = pad_value
        return gathered.reshape(pixels, 1, taps * width)
    result = np.empty((pixels, images, taps, width), np.float32)
    for tap in range(taps):  # one tap at a time: this keeps the copies contiguous
        taken = features[places[:, tap]]
        if outside[:, tap].any():
            taken[outside[:, tap]] = pad_value
        result[:, :, tap] = taken
    return result.reshape(pixels, images, taps * width)


def _multiply(inputs: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """inputs [pixels, images, k] times matrix [k, images, width], exactly: [pixels, images, width]."""
    pixels, images, depth = inputs.shape
    product: NDArray[np.float32]
    if matrix.shape[1] == 1:
        product = inputs.reshape(pixels * images, depth) @ matrix[:, 0]
        return product.reshape(pixels, images, -1)
    product = np.matmul(inputs.transpose(1, 0, 2), matrix.transpose(1, 0, 2))
    return product.transpose(1, 0, 2)


def _pool(state: CoreState, memory: WindowMemory, pool: Pool) -> None:
    features, accumulator = state.buffers[Buffer.FEATURES], state.accumulators[pool.bank]
    pixels = _pixels(state)
    _check_drain(state, pool, pixels)
    rows, columns = _axes(state.window, state.tile, pool.first_row, pool.first_column)
    if rows.max() >= 0 and columns.max() >= 0:
        highest = int(rows.max()) * state.tile.input_columns + int(columns.max())
        _check_buffer("features", features, pool.features, highest + 1)
    reduce = np.maximum if pool.reduction == Reduction.MAXIMUM else np.add
    total = accumulator.data[:pixels] if pool.accumulate else None
    for row in rows:
        for column in columns:
            places = _places(row[:, None], column, state.tile.input_columns).reshape(-1)
            taken = features.data[np.where(places < 0, 0, places + pool.features)].astype(np.int32)
            taken[places < 0] = state.window.pad_value
            total = taken if total is None else reduce(total, taken)
    assert total is not None  # a window has at least one tap
    accumulator.write(0, total)
    _drain(state, pool, pixels)


# --- drain ---------------------------------------------------------------------------------------------------


def _check_drain(state: CoreState, instruction: Conv | Pool, pixels: int) -> None:
    if instruction.drain:
        _check_buffer("parameters", state.buffers[Buffer.PARAMETERS], instruction.parameters, PARAMETER_VECTORS)
        _check_buffer("output", state.output, instruction.output, pixels)
        if isinstance(instruction, Conv) and instruction.add:
            _check_buffer("residual", state.buffers[Buffer.RESIDUAL], instruction.residual, pixels)


def _drain(state: CoreState, instruction: Conv | Pool, pixels: int) -> None:
    """Accumulators plus bias, requantised, clipped, added to and looked up, to the output buffer."""
    if not instruction.drain:
        return
    planes = state.buffers[Buffer.PARAMETERS].data[instruction.parameters :][:PARAMETER_VECTORS]
    octets = planes.view(np.uint8).astype(np.int64)
    bias = (octets[0] | octets[1] << 8 | octets[2] << 16 | octets[3] << 24).astype(np.int32)
    mantissa = octets[4] | octets[5] << 8 | octets[6] << 16
    accumulator = state.accumulators[instruction.bank].data
    step = max(1, _CHUNK_VALUES // accumulator[0].size)
    for start in range(0, pixels, step):
        biased = accumulator[start : min(start + step, pixels)] + bias  # int32: wraps
        adds = isinstance(instruction, Conv) and instruction.add
        low, high = (arithmetic.LOWEST, arithmetic.HIGHEST) if adds else (state.drain.low, state.drain.high)
        result = arithmetic.requantise(biased, mantissa, octets[7], state.drain.zero_point, low, high)
        if isinstance(instruction, Conv) and instruction.add:
            result = _with_residual(state, instruction, result, start)
        state.output.write(instruction.output + start, _look_up(state, result) if instruction.lookup else result)


def _with_residual(state: CoreState, conv: Conv, pixels: NDArray[np.int8], start: int) -> NDArray[np.int8]:
    """Requantised pixels [vectors, images, width], from pixel `start` on, plus their residual."""
    first = conv.residual + start
    residual = state.buffers[Buffer.RESIDUAL].data[first : first + len(pixels)]
    a, b = (residual, pixels) if conv.residual_is_a else (pixels, residual)
    parameters = arithmetic.AddParameters.from_instructions(state.add_factors, state.add_offset)
    return arithmetic.add(a, b, parameters, state.drain.low, state.drain.high)


def _look_up(state: CoreState, values: NDArray[np.int8]) -> NDArray[np.int8]:
    """values [vectors, images, width] through the table: byte 0 of the vector that each byte, taken unsigned, names."""
    table = state.buffers[Buffer.TABLE].data[:, :, 0]
    images = np.arange(table.shape[1])[:, None]
    result: NDArray[np.int8] = table[values.view(np.uint8), images]
    return result


def _add(state: CoreState, memory: WindowMemory, add: Add) -> None:
    features = state.buffers[Buffer.FEATURES]
    _check_buffer("features", features, add.features, add.vectors)
    _check_buffer("features", features, add.features_b, add.vectors)
    _check_buffer("output", state.output, add.output, add.vectors)
    parameters = arithmetic.AddParameters.from_instructions(state.add_factors, state.add_offset)
    result = arithmetic.add(
        features.data[add.features : add.features + add.vectors],
        features.data[add.features_b : add.features_b + add.vectors],
        parameters,
        state.drain.low,
        state.drain.high,
    )
    state.output.write(add.output, _look_up(state, result) if add.lookup else result)


def _lookup(state: CoreState, memory: WindowMemory, lookup: Lookup) -> None:
    features = state.buffers[Buffer.FEATURES]
    _check_buffer("features", features, lookup.features, lookup.vectors)
    _check_buffer("output", state.output, lookup.output, lookup.vectors)
    state.output.write(lookup.output, _look_up(state, features.data[lookup.features :][: lookup.vectors]))


_ACTIONS: dict[type[CoreInstruction], Callable[[CoreState, WindowMemory, Any], None]] = {
    Load: _load,
    ConfigLoad: _configure("load"),
    SyncWait: _synchronise,
    ConfigWindow: _configure("window"),
    ConfigTile: _configure("tile"),
    ConfigOutput: _configure("drain"),
    ConfigAddFactors: _configure("add_factors"),
    ConfigAddOffset: _configure("add_offset"),
    Conv: _convolve,
    Pool: _pool,
    Add: _add,
    Lookup: _lookup,
    Save: _save,
    ConfigSave: _configure("save"),
    SyncRaise: _synchronise,
}
