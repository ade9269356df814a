"""What the instructions of a core compute, against loops that follow the words of isa.instructions one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isa.arithmetic import AddParameters, add, add_parameters, requantise
from isa.configuration import NAMED_POOLS
from isa.core_semantics import execute
from isa.core_state import CoreState, MachineFault, WindowMemory
from isa.instructions import (
    Add,
    Buffer,
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
)
from isa.registers import Fault

TINY = NAMED_POOLS["tiny"]
WIDTH = TINY.array


def random_core(random: np.random.Generator, batch: int = 1) -> CoreState:
    """A core whose memories hold anything."""
    core = CoreState(TINY)
    for store in (*core.buffers.values(), core.output):
        store.data = random.integers(-128, 128, (store.depth, batch, WIDTH), np.int8)
    for bank in core.accumulators:
        bank.data = random.integers(-(2**31), 2**31, (bank.depth, batch, WIDTH), np.int32)
    return core


def run(core: CoreState, *instructions: CoreInstruction, memory: WindowMemory | None = None) -> None:
    window = memory or WindowMemory(TINY, np.zeros(64, np.uint8))
    for instruction in instructions:
        execute(core, window, instruction)


def wrap(value: int) -> int:
    """A sum as the 32-bit accumulator keeps it."""
    return (value + 2**31) % 2**32 - 2**31


def drained(core: CoreState, accumulator: int, channel: int, parameters: int, output: ConfigOutput, lookup: int) -> int:
    """One accumulator to one byte; the rounding is float32's own."""
    octets = [int(core.buffers[Buffer.PARAMETERS].data[parameters + i, 0, channel]) % 256 for i in range(8)]
    bias = octets[0] + (octets[1] << 8) + (octets[2] << 16) + (octets[3] << 24)
    mantissa = octets[4] + (octets[5] << 8) + (octets[6] << 16) | 1 << 23
    scale = np.float32(mantissa * 2.0 ** -min(octets[7], 100))
    value = int(np.rint(np.float32(wrap(accumulator + bias)) * scale)) + output.zero_point
    value = min(max(value, output.low), output.high)
    return int(core.buffers[Buffer.TABLE].data[value % 256, 0, 0]) if lookup else value


def expected_convolution(core: CoreState, conv: Conv) -> tuple[NDArray[Any], NDArray[Any]]:
    """(accumulators of the bank, output buffer) behind a CONV, in plain loops."""
    window, tile = core.window, core.tile
    features = core.buffers[Buffer.FEATURES].data[:, 0].astype(int).tolist()
    weights = core.buffers[Buffer.WEIGHTS].data[:, 0].astype(int).tolist()
    accumulators = core.accumulators[conv.bank].data[:, 0].astype(int).tolist()
    output = core.output.data[:, 0].copy()
    place, is_first = conv.weights, not conv.accumulate
    for block in range(window.channel_blocks):
        for i in range(window.kernel_rows):
            for j in range(window.kernel_columns):
                for y in range(tile.output_rows):
                    for x in range(tile.output_columns):
                        row = y * window.stride_rows + i * window.dilation_rows + conv.first_row
                        column = x * window.stride_columns + j * window.dilation_columns + conv.first_column
                        vector = [window.pad_value] * WIDTH
                        if 0 <= row < tile.input_rows and 0 <= column < tile.input_columns:
                            in_plane = row * tile.input_columns + column
                            vector = features[conv.features + block * tile.plane_pitch + in_plane]
                        pixel = accumulators[y * tile.output_columns + x]
                        for o in range(WIDTH):
                            gain = sum(vector[k] * weights[place + k][o] for k in range(WIDTH))
                            pixel[o] = wrap(gain + (0 if is_first else pixel[o]))
                place, is_first = place + WIDTH, False
    if conv.drain:
        for pixel_number in range(tile.output_rows * tile.output_columns):
            for o in range(WIDTH):
                total = accumulators[pixel_number][o]
                output[conv.output + pixel_number, o] = drained(
                    core, total, o, conv.parameters, core.drain, conv.lookup
                )
    return np.array(accumulators, np.int32), output


def expected_depthwise(core: CoreState, conv: Conv) -> tuple[NDArray[Any], NDArray[Any]]:
    """(accumulators of the bank, output buffer) behind a depthwise CONV in TINY, whose window is 1 x 4."""
    window, tile = core.window, core.tile
    features = core.buffers[Buffer.FEATURES].data[:, 0].astype(int)
    weights = core.buffers[Buffer.WEIGHTS].data[conv.weights : conv.weights + WIDTH, 0].astype(int)
    accumulators, output = core.accumulators[conv.bank].data[:, 0].copy(), core.output.data[:, 0].copy()
    for y in range(tile.output_rows):
        for x in range(tile.output_columns):
            number = y * tile.output_columns + x
            for o in range(WIDTH):
                total = int(accumulators[number, o]) if conv.accumulate else 0
                for i in range(window.kernel_rows):
                    for j in range(window.kernel_columns):
                        row = y * window.stride_rows + i + conv.first_row
                        column = x * window.stride_columns + j + conv.first_column
                        inside = 0 <= row < tile.input_rows and 0 <= column < tile.input_columns
                        value = features[conv.features + row * tile.input_columns + column, o] if inside else None
                        vector = (window.kernel_rows - 1 - i) * 4 + window.kernel_columns - 1 - j
                        total += int(window.pad_value if value is None else value) * int(weights[vector, o])
                accumulators[number, o] = wrap(total)
                if conv.drain:
                    sums = wrap(total)
                    output[conv.output + number, o] = drained(core, sums, o, conv.parameters, core.drain, conv.lookup)
    return accumulators, output


def expected_pooling(core: CoreState, pool: Pool) -> tuple[NDArray[Any], NDArray[Any]]:
    """(accumulators of the bank, output buffer) behind a POOL, in plain loops."""
    window, tile = core.window, core.tile
    features = core.buffers[Buffer.FEATURES].data[:, 0].astype(int)
    accumulators, output = core.accumulators[pool.bank].data[:, 0].copy(), core.output.data[:, 0].copy()
    for y in range(tile.output_rows):
        for x in range(tile.output_columns):
            number = y * tile.output_columns + x
            for o in range(WIDTH):
                seen = [int(accumulators[number, o])] if pool.accumulate else []
                for i in range(window.kernel_rows):
                    for j in range(window.kernel_columns):
                        row = y * window.stride_rows + i * window.dilation_rows + pool.first_row
                        column = x * window.stride_columns + j * window.dilation_columns + pool.first_column
                        inside = 0 <= row < tile.input_rows and 0 <= column < tile.input_columns
                        place = pool.features + row * tile.input_columns + column
                        seen.append(int(features[place, o]) if inside else window.pad_value)
                total = max(seen) if pool.reduction == Reduction.MAXIMUM else wrap(sum(seen))
                accumulators[number, o] = total
                if pool.drain:
                    output[pool.output + number, o] = drained(core, total, o, pool.parameters, core.drain, pool.lookup)
    return accumulators, output


windows = st.builds(
    ConfigWindow,
    kernel_rows=st.integers(1, 3), kernel_columns=st.integers(1, 3),
    stride_rows=st.integers(1, 3), stride_columns=st.integers(1, 3),
    dilation_rows=st.integers(1, 3), dilation_columns=st.integers(1, 3),
    channel_blocks=st.integers(1, 3), pad_value=st.integers(-128, 127),
)  # fmt: skip
tiles = st.builds(
    ConfigTile,
    input_rows=st.integers(1, 6), input_columns=st.integers(1, 6), plane_pitch=st.integers(0, 40),
    output_rows=st.integers(1, 4), output_columns=st.integers(1, 4),
)  # fmt: skip
outputs = st.builds(
    ConfigOutput, zero_point=st.integers(-128, 127), low=st.integers(-128, 127), high=st.integers(-128, 127)
)
flags = st.integers(0, 1)
walks = dict(
    accumulate=flags, bank=flags, drain=flags, lookup=flags, features=st.integers(0, 500),
    first_row=st.integers(-7, 7), first_column=st.integers(-7, 7), output=st.integers(0, 200),
    parameters=st.integers(0, 50),
)  # fmt: skip
convolutions = st.builds(Conv, weights=st.integers(0, 500), **walks)
depthwise_convolutions = st.builds(Conv, weights=st.integers(0, 500), depthwise=st.just(1), **walks)
poolings = st.builds(Pool, reduction=flags, **walks)
seeds = st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(seeds, windows, tiles, outputs, convolutions)
def test_convolution(seed: int, window: ConfigWindow, tile: ConfigTile, output: ConfigOutput, conv: Conv) -> None:
    core = random_core(np.random.default_rng(seed))
    run(core, window, tile, output)
    other_bank = core.accumulators[1 - conv.bank].data.copy()
    accumulators, outputs = expected_convolution(core, conv)
    run(core, conv)
    np.testing.assert_array_equal(core.accumulators[conv.bank].data[:, 0], accumulators)
    np.testing.assert_array_equal(core.output.data[:, 0], outputs)
    np.testing.assert_array_equal(core.accumulators[1 - conv.bank].data, other_bank)


@settings(deadline=None)
@given(seeds, windows, tiles, outputs, depthwise_convolutions, st.integers(1, 4))
def test_depthwise_convolution(
    seed: int, window: ConfigWindow, tile: ConfigTile, output: ConfigOutput, conv: Conv, columns: int
) -> None:
    core = random_core(np.random.default_rng(seed))
    run(core, dataclasses.replace(window, kernel_rows=1, kernel_columns=columns), tile, output)
    accumulators, outputs = expected_depthwise(core, conv)
    run(core, conv)
    np.testing.assert_array_equal(core.accumulators[conv.bank].data[:, 0], accumulators)
    np.testing.assert_array_equal(core.output.data[:, 0], outputs)


def test_the_window_of_a_depthwise_convolution_has_rows_too() -> None:
    """The window of `small` is 2 x 4: the taps of row 0 lie behind those of row 1, each row in reverse."""
    core = CoreState(NAMED_POOLS["small"])
    core.buffers[Buffer.FEATURES].data[:6] = np.arange(1, 7).reshape(6, 1, 1)  # rows 1 2 3 and 4 5 6
    core.buffers[Buffer.WEIGHTS].data[:] = 99  # vectors without a tap do nothing
    core.buffers[Buffer.WEIGHTS].data[[5, 4, 1, 0]] = np.array([1, 10, 20, 40]).reshape(4, 1, 1)
    window = ConfigWindow(kernel_rows=2, kernel_columns=2)
    run(core, window, ConfigTile(input_rows=2, input_columns=3, output_columns=2), Conv(depthwise=1))
    sums = [1 + 2 * 10 + 4 * 20 + 5 * 40, 2 + 3 * 10 + 5 * 20 + 6 * 40]
    assert core.accumulators[0].data[:2, 0].tolist() == [[total] * 8 for total in sums]


@settings(deadline=None)
@given(seeds, windows, tiles, outputs, poolings)
def test_pooling(seed: int, window: ConfigWindow, tile: ConfigTile, output: ConfigOutput, pool: Pool) -> None:
    core = random_core(np.random.default_rng(seed))
    run(core, window, tile, output)
    accumulators, outputs = expected_pooling(core, pool)
    run(core, pool)
    np.testing.assert_array_equal(core.accumulators[pool.bank].data[:, 0], accumulators)
    np.testing.assert_array_equal(core.output.data[:, 0], outputs)


@settings(deadline=None)
@given(seeds, windows, tiles, outputs, st.one_of(convolutions, poolings), st.sets(st.sampled_from(range(6))))
def test_a_batch_computes_what_each_image_computes(
    seed: int, window: ConfigWindow, tile: ConfigTile, output: ConfigOutput, instruction: Conv | Pool, alike: set[int]
) -> None:
    """Whichever of the memories the images share."""
    batch = 3
    core = random_core(np.random.default_rng(seed), batch)
    for number, store in enumerate((*core.buffers.values(), core.output, core.accumulators[instruction.bank])):
        if number in alike:
            store.data = store.data[:, :1]
    singles = []
    for image in range(batch):
        single = CoreState(TINY)
        for target, source in zip(_memories(single), _memories(core), strict=True):
            target.data = source.data[:, image % source.data.shape[1]][:, None].copy()
        run(single, window, tile, output, instruction)
        singles.append(single)
    run(core, window, tile, output, instruction)
    for image, single in enumerate(singles):
        for target, source in zip(_memories(core), _memories(single), strict=True):
            np.testing.assert_array_equal(target.data[:, image % target.data.shape[1]], source.data[:, 0])


def _memories(core: CoreState) -> list[Any]:
    return [*core.buffers.values(), core.output, *core.accumulators]


def test_long_sums_are_exact() -> None:
    """More taps than one float32 sum can take, all products as large as they can be."""
    core = CoreState(dataclasses.replace(TINY, weights_vectors=4096))
    core.buffers[Buffer.FEATURES].data[:] = -128
    core.buffers[Buffer.WEIGHTS].data[:] = -128
    core.buffers[Buffer.WEIGHTS].data[17, 0, 0] = -127
    run(core, ConfigWindow(kernel_rows=32, kernel_columns=32), ConfigTile(input_rows=32, input_columns=32), Conv())
    assert core.accumulators[0].data[0, 0].tolist() == [4 * 1024 * 2**14 - 128] + [4 * 1024 * 2**14] * 3


def test_accumulators_wrap() -> None:
    core = CoreState(TINY)
    core.buffers[Buffer.FEATURES].data[0] = core.buffers[Buffer.WEIGHTS].data[:4] = -128
    core.accumulators[1].data[0] = 2**31 - 1
    run(core, Conv(accumulate=1, bank=1), Pool(accumulate=1, reduction=1))
    assert core.accumulators[1].data[0, 0].tolist() == [-(2**31) - 1 + 2**16] * 4
    core.accumulators[0].data[0] = -(2**31)
    run(core, Pool(accumulate=1, reduction=1))
    assert core.accumulators[0].data[0, 0].tolist() == [2**31 - 128] * 4


@given(seeds, st.integers(0, 900), st.integers(0, 900), st.integers(0, 190), st.integers(1, 60), outputs, flags)
def test_addition(seed: int, a: int, b: int, output: int, vectors: int, clip: ConfigOutput, lookup: int) -> None:
    core = random_core(np.random.default_rng(seed))
    parameters = add_parameters(0.031, 3, 0.047, -9, 0.06, 5)
    features, table = core.buffers[Buffer.FEATURES].data[:, 0], core.buffers[Buffer.TABLE].data[:, 0, 0]
    expected, before = core.output.data[:, 0].copy(), core.output.data[:, 0].copy()
    sums = add(features[a : a + vectors], features[b : b + vectors], parameters, clip.low, clip.high)
    expected[output : output + vectors] = table[sums.astype(int) % 256] if lookup else sums
    run(core, clip, *parameters.instructions(0))
    run(core, Add(features=a, features_b=b, output=output, vectors=vectors, lookup=lookup))
    np.testing.assert_array_equal(core.output.data[:, 0], expected)
    assert (core.output.data[:output, 0] == before[:output]).all()


def test_any_constants_of_addition_are_harmless() -> None:
    core = random_core(np.random.default_rng(1))
    most = AddParameters(2**24 - 1, 63, 2**24 - 1, 63, 2**24 - 1, 1, 63, 63)
    with np.errstate(all="raise"):
        run(core, ConfigOutput(low=-128, high=127), *most.instructions(0), Add(vectors=16))


@given(seeds, st.integers(0, 900), st.integers(0, 190), st.integers(1, 60))
def test_lookup(seed: int, features: int, output: int, vectors: int) -> None:
    core = random_core(np.random.default_rng(seed))
    table = core.buffers[Buffer.TABLE].data[:, 0, 0]
    expected = core.output.data[:, 0].copy()
    for vector in range(vectors):
        for channel in range(WIDTH):
            byte = int(core.buffers[Buffer.FEATURES].data[features + vector, 0, channel])
            expected[output + vector, channel] = table[byte % 256]
    run(core, Lookup(features=features, output=output, vectors=vectors))
    np.testing.assert_array_equal(core.output.data[:, 0], expected)


def test_a_table_may_differ_between_images() -> None:
    core = CoreState(TINY)
    table = np.zeros((256, 2, WIDTH), np.int8)
    table[5, 0, 0], table[5, 1, 0] = 7, 9
    core.buffers[Buffer.TABLE].data = table
    core.buffers[Buffer.FEATURES].data[0] = 5
    run(core, Lookup())
    assert core.output.data[0].tolist() == [[7] * WIDTH, [9] * WIDTH]


@given(seeds, st.sampled_from(Buffer), st.integers(0, 10), st.integers(0, 500), st.integers(1, 6), st.integers(1, 4),
       st.integers(1, 3), st.integers(0, 40), st.integers(0, 90))  # fmt: skip
def test_load(
    seed: int, buffer: Buffer, destination: int, address: int,
    columns: int, rows: int, planes: int, row_pitch: int, plane_pitch: int,
) -> None:  # fmt: skip
    random = np.random.default_rng(seed)
    memory = WindowMemory(TINY, random.integers(0, 256, 4096, np.uint8))
    image = memory.read(0, 4096)[0].view(np.int8).reshape(-1, WIDTH).copy()
    core = random_core(random)
    before = [core.buffers[other].data.copy() for other in Buffer]
    expected = core.buffers[buffer].data.copy()
    if destination + planes * rows * columns > len(expected):
        return
    for p in range(planes):
        for r in range(rows):
            for c in range(columns):
                source = image[address + p * plane_pitch + r * row_pitch + c]
                expected[destination + (p * rows + r) * columns + c, 0] = source
    load = Load(buffer=int(buffer), destination=destination, address=address, columns=columns, rows=rows, planes=planes)
    run(core, ConfigLoad(row_pitch=row_pitch, plane_pitch=plane_pitch), load, memory=memory)
    for other in Buffer:
        np.testing.assert_array_equal(
            core.buffers[other].data, expected if other is buffer else before[other], err_msg=other.name
        )


@given(seeds, st.integers(0, 100), st.integers(0, 500), st.integers(1, 9), st.integers(1, 9), st.integers(0, 40))
def test_save(seed: int, source: int, address: int, columns: int, rows: int, row_pitch: int) -> None:
    random = np.random.default_rng(seed)
    memory = WindowMemory(TINY, random.integers(0, 256, 4096, np.uint8))
    expected = memory.read(0, 4096)[0].copy()
    core = random_core(random)
    for r in range(rows):
        for c in range(columns):
            first = (address + r * row_pitch + c) * WIDTH
            expected[first : first + WIDTH] = core.output.data[source + r * columns + c, 0].view(np.uint8)
    save = Save(source=source, address=address, columns=columns, rows=rows)
    run(core, ConfigSave(row_pitch=row_pitch), save, memory=memory)
    np.testing.assert_array_equal(memory.read(0, 4096)[0], expected)


@pytest.mark.parametrize(
    ("instructions", "problem"),
    [
        ([Load(destination=1000, columns=25)], r"vectors 1000\.\.1024 of the features buffer, which has 1024"),
        ([Load(buffer=Buffer.TABLE, destination=65535)], "of the table buffer, which has 256"),
        ([Load(columns=4096, rows=1024, planes=1024)], "features buffer"),
        ([Save(source=256)], "output buffer"),
        ([ConfigTile(output_columns=129), Conv()], r"vectors 0\.\.128 of the accumulator buffer, which has 128"),
        ([ConfigTile(output_rows=1024, output_columns=4096), Pool()], "accumulator buffer"),
        ([ConfigWindow(channel_blocks=4096, kernel_rows=256, kernel_columns=256), Conv()], "weights buffer"),
        ([Conv(weights=1021)], "weights buffer"),
        ([Conv(features=1024)], "features buffer"),
        ([ConfigWindow(channel_blocks=2), ConfigTile(plane_pitch=1000), Conv(features=24)], "features buffer"),
        ([Conv(weights=1021, depthwise=1)], "weights buffer"),
        (
            [ConfigWindow(kernel_rows=2), Conv(depthwise=1)],
            "2 rows of the kernel of a depthwise CONV, which may have 1",
        ),
        ([ConfigWindow(kernel_columns=5), Conv(depthwise=1)], "5 columns of the kernel"),
        ([ConfigTile(output_columns=33), Conv(depthwise=1)], "33 input columns of a depthwise CONV, which may have 32"),
        ([ConfigTile(output_columns=129), Conv(depthwise=1)], "accumulator buffer"),
        ([ConfigTile(input_columns=2), Conv(features=1023, depthwise=1)], "features buffer"),
        ([Conv(drain=1, parameters=57, depthwise=1)], "parameters buffer"),
        ([Conv(drain=1, parameters=57)], "parameters buffer"),
        ([Conv(drain=1, output=256)], "output buffer"),
        ([Pool(features=1024)], "features buffer"),
        ([Pool(drain=1, parameters=57)], "parameters buffer"),
        ([Pool(drain=1, output=256)], "output buffer"),
        ([Add(features=1024)], "features buffer"),
        ([Add(features_b=1020, vectors=5)], "features buffer"),
        ([Add(output=255, vectors=2)], "output buffer"),
        ([Lookup(features=1024)], "features buffer"),
        ([Lookup(output=256)], "output buffer"),
    ],
)
def test_an_index_behind_a_buffer_is_a_fault(instructions: list[CoreInstruction], problem: str) -> None:
    with pytest.raises(MachineFault, match=problem) as caught:
        run(CoreState(TINY), *instructions, memory=WindowMemory(TINY, np.zeros(1 << 16, np.uint8)))
    assert caught.value.cause is Fault.BUFFER_OVERRUN


def test_what_lies_outside_the_tile_is_never_read() -> None:
    """Padding is no access, and without drain neither parameters nor output are touched."""
    core = CoreState(TINY)
    run(core, ConfigWindow(pad_value=3), Conv(features=65535, first_row=-1), Pool(features=65535, first_column=1))
    run(core, Conv(output=65535, parameters=4095), Pool(output=65535, parameters=4095))
    assert not core.output.data.any()


@pytest.mark.parametrize(
    "instructions",
    [
        [Load(address=16)],
        [Load(address=2**32 - 1)],
        [Load(address=15, columns=2)],
        [ConfigLoad(row_pitch=16), Load(rows=2)],
        [ConfigLoad(plane_pitch=2**24 - 1), Load(planes=2)],
        [Save(address=16)],
        [ConfigSave(row_pitch=16), Save(rows=2)],
        [Load(address=16, destination=1023, columns=2)],
    ],
)
def test_an_access_behind_the_window_is_a_fault(instructions: list[CoreInstruction]) -> None:
    with pytest.raises(MachineFault, match="of the window, which has 16 vectors") as caught:
        run(CoreState(TINY), *instructions)
    assert caught.value.cause is Fault.ACCESS_OUTSIDE_WINDOW


def test_the_drain_is_the_requantiser() -> None:
    """The same drain against isa.arithmetic, for parameters that differ between images."""
    random = np.random.default_rng(5)
    core = random_core(random, batch=2)
    run(core, ConfigOutput(zero_point=3, low=-100, high=99))
    core.buffers[Buffer.PARAMETERS].data[7] = random.integers(20, 60, (2, WIDTH))
    run(core, Conv(drain=1))
    octets = core.buffers[Buffer.PARAMETERS].data[:8].view(np.uint8).astype(np.int64)
    bias = sum(octets[i] << 8 * i for i in range(4)).astype(np.int32)
    mantissa = sum(octets[4 + i] << 8 * i for i in range(3))
    expected = requantise(core.accumulators[0].data[0] + bias, mantissa, octets[7], 3, -100, 99)
    np.testing.assert_array_equal(core.output.data[0], expected)
