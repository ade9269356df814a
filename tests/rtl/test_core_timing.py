"""The cycle table of the core, engine by engine, as docs/microarchitecture.md states it."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest

from isa.configuration import NAMED_POOLS, PoolConfig
from isa.instructions import (
    Add,
    Buffer,
    ConfigLoad,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Engine,
    Load,
    Lookup,
    Pool,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.pipeline import (
    ADD_READ_TO_LANE,
    DRAIN_READ_TO_LANE,
    DRAIN_SETUP,
    ISSUE_TO_REQUEST,
    LANE_LATENCY,
    LOOKUP_READ_TO_RESULT,
    RESPONSE_TO_WRITE,
    RESULT_TO_WRITE,
    SAVE_ISSUE_TO_READ,
    SAVE_READ_TO_REQUEST,
    SYNC_ISSUE_TO_RAISE,
    add_cycles,
    drain_groups,
    fill_cycles,
    pass_cycles,
)
from isa.walks import window_shape
from scripts.core_bench import CoreBench, Trace, bench

POOLS = ("tiny", "small")
DRAIN_OVERHEAD = DRAIN_SETUP + DRAIN_READ_TO_LANE + LANE_LATENCY + RESULT_TO_WRITE
ADD_OVERHEAD = 1 + ADD_READ_TO_LANE + LANE_LATENCY + RESULT_TO_WRITE
LOOKUP_OVERHEAD = 1 + LOOKUP_READ_TO_RESULT + RESULT_TO_WRITE


def _run(pool: str, program: list[CoreInstruction], tested: CoreBench | None = None, **options: int) -> Trace:
    tested = tested or bench(pool)
    memory = np.zeros(4096 * tested.config.array, np.uint8)
    trace = tested.run(program, memory, **options)  # type: ignore[arg-type]
    assert not trace.faults
    return trace


def _walk_end(config: PoolConfig, issue: int, passes: int, pixels: int) -> int:
    """Last cycle of a CONV that nothing holds back."""
    return issue + fill_cycles(config.slide_cycles) + passes * pass_cycles(config.slide_cycles, pixels)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("rows", "columns", "kernel", "blocks"), [(1, 1, 1, 1), (1, 3, 2, 2), (4, 9, 3, 1), (2, 2, 1, 5)]
)
def test_a_walk_and_its_drain_take_their_cycles(pool: str, rows: int, columns: int, kernel: int, blocks: int) -> None:
    config = NAMED_POOLS[pool]
    tile = ConfigTile(input_rows=6, input_columns=12, output_rows=rows, output_columns=columns)
    program = [
        ConfigWindow(kernel_rows=kernel, kernel_columns=kernel, channel_blocks=blocks), tile,
        Conv(post_load=1, post_save=1, drain=1),
        Load(wait_compute=1), Save(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    pixels = rows * columns
    end = _walk_end(config, trace.issue(Engine.COMPUTE, 2), kernel * kernel * blocks, pixels)
    assert trace.issue(Engine.LOAD, 0) == end + 1
    assert trace.issue(Engine.SAVE, 0) == end + pixels * drain_groups(config.array, config.lanes) + DRAIN_OVERHEAD


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("rows", "columns", "stride"), [(1, 1, 1), (1, 2, 1), (4, 9, 1), (3, 6, 2), (2, 1, 3)])
def test_a_depthwise_conv_reads_its_input_once(pool: str, rows: int, columns: int, stride: int) -> None:
    config = NAMED_POOLS[pool]
    kernel = window_shape(config.array)
    program = [
        ConfigWindow(kernel_rows=kernel[0], kernel_columns=kernel[1], stride_rows=stride, stride_columns=stride,
                     channel_blocks=3),
        ConfigTile(input_rows=6, input_columns=20, output_rows=rows, output_columns=columns),
        Conv(post_load=1, post_save=1, drain=1, depthwise=1),
        Load(wait_compute=1), Save(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    pixels = rows * columns
    positions = ((rows - 1) * stride + kernel[0]) * ((columns - 1) * stride + kernel[1])
    end = trace.issue(Engine.COMPUTE, 2) + fill_cycles(config.slide_cycles) + max(config.slide_cycles, positions + 2)
    assert trace.issue(Engine.LOAD, 0) == end + 1
    assert trace.issue(Engine.SAVE, 0) == end + pixels * drain_groups(config.array, config.lanes) + DRAIN_OVERHEAD


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("rows", "columns", "kernel"), [(1, 1, 7), (1, 3, 2), (3, 5, 3)])
def test_a_pool_waits_for_no_weights(pool: str, rows: int, columns: int, kernel: int) -> None:
    config = NAMED_POOLS[pool]
    program = [
        ConfigWindow(kernel_rows=kernel, kernel_columns=kernel, channel_blocks=9),
        ConfigTile(input_rows=9, input_columns=9, output_rows=rows, output_columns=columns),
        Pool(post_load=1, reduction=1), Load(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    passes = kernel * kernel * max(3, rows * columns)
    assert trace.issue(Engine.LOAD, 0) == trace.issue(Engine.COMPUTE, 2) + fill_cycles(config.slide_cycles) + passes + 1


@pytest.mark.parametrize("pool", POOLS)
def test_one_conv_follows_another_without_a_bubble(pool: str) -> None:
    config = NAMED_POOLS[pool]
    program = [
        ConfigWindow(kernel_rows=2), ConfigTile(output_columns=20),
        Conv(), Conv(), Pool(reduction=1), Conv(post_load=1), Load(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    first = trace.issue(Engine.COMPUTE, 2)
    start_of_last_pass = first + fill_cycles(config.slide_cycles) + 20 + 1
    assert trace.issue(Engine.COMPUTE, 3) == start_of_last_pass
    assert trace.issue(Engine.LOAD, 0) == _walk_end(config, first, 2 * 4, 20) + 1


@pytest.mark.parametrize("pool", POOLS)
def test_a_conv_starts_beside_a_drain_of_the_other_bank_and_waits_for_one_of_its_own(pool: str) -> None:
    config, pixels = NAMED_POOLS[pool], 40
    drain = pixels * drain_groups(config.array, config.lanes) + DRAIN_OVERHEAD
    program = [
        ConfigTile(output_columns=pixels),
        Conv(drain=1), Conv(bank=1, post_load=1), Conv(bank=0, post_load=1), Load(wait_compute=1), Load(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    end = _walk_end(config, trace.issue(Engine.COMPUTE, 1), 1, pixels)
    assert trace.issue(Engine.LOAD, 0) == end + pixels + 1
    assert trace.issue(Engine.LOAD, 1) == end + drain + pixels + 1


@pytest.mark.parametrize("pool", POOLS)
def test_drains_follow_one_another_and_hold_back_walks(pool: str) -> None:
    config, pixels = NAMED_POOLS[pool], 40
    drain = pixels * drain_groups(config.array, config.lanes) + DRAIN_OVERHEAD
    program = [
        ConfigTile(output_columns=pixels),
        Conv(drain=1), Conv(bank=1, drain=1, post_save=1), Conv(bank=0, drain=1, post_save=1), ConfigWindow(),
        Save(wait_compute=1), Save(wait_compute=1),
    ]  # fmt: skip
    trace = _run(pool, program)
    end = _walk_end(config, trace.issue(Engine.COMPUTE, 1), 1, pixels)
    assert trace.issue(Engine.SAVE, 0) == end + 2 * drain
    assert trace.issue(Engine.SAVE, 1) == end + 3 * drain
    assert trace.issue(Engine.COMPUTE, 4) == end + 2 * drain + 1, "free once the third bank has been handed over"


@pytest.mark.parametrize("pool", POOLS)
def test_add_and_lookup_take_their_cycles(pool: str) -> None:
    config, vectors = NAMED_POOLS[pool], 17
    steps, groups = add_cycles(config.array, config.lanes), drain_groups(config.array, config.lanes)
    program = [
        Add(vectors=vectors, post_load=1, post_save=1), ConfigTile(), Lookup(vectors=vectors, post_load=1, post_save=1),
        Conv(),
        *[Load(wait_compute=1)] * 2, *[Save(wait_compute=1)] * 2,
    ]  # fmt: skip
    trace = _run(pool, program)
    add, config_tile, lookup, conv = (trace.issue(Engine.COMPUTE, number) for number in range(4))
    assert trace.issue(Engine.LOAD, 0) == config_tile == add + vectors * steps + 1
    assert trace.issue(Engine.SAVE, 0) == lookup == add + (vectors - 1) * steps + groups + ADD_OVERHEAD
    assert trace.issue(Engine.LOAD, 1) == conv == lookup + vectors * groups + 1
    assert trace.issue(Engine.SAVE, 1) == lookup + vectors * groups + LOOKUP_OVERHEAD


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("phase", range(4))
def test_a_load_requests_a_beat_per_slot_and_gives_its_token_behind_the_last_vector(pool: str, phase: int) -> None:
    config = NAMED_POOLS[pool]
    vectors, spacing = config.vectors_per_beat, max(config.vectors_per_beat, config.slot_spacing)
    program = [
        Load(address=1, columns=3 * vectors), Load(address=0, columns=2 * vectors - 1, post_compute=1), ConfigLoad(),
        Conv(wait_load=1),
    ]  # fmt: skip
    trace = _run(pool, program, phase=phase % config.slot_spacing)
    assert trace.requests[0][0] == trace.issue(Engine.LOAD, 0) + ISSUE_TO_REQUEST
    assert np.diff(trace.taken).tolist() == [spacing] * 5, "also from one LOAD to the next"
    assert [request[2] for request in trace.requests] == [0, 1, 2, 3, 0, 1]
    assert trace.responses[-1] == trace.taken[-1] + config.channel_latency + 3
    assert trace.issue(Engine.COMPUTE, 0) == trace.responses[-1] + RESPONSE_TO_WRITE + (vectors - 2) + 1
    last_request = trace.requests[3][0]
    assert trace.issue(Engine.LOAD, 1) == last_request - 1, "when its last beat moves to the port"


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("phase", range(4))
def test_a_save_fills_every_slot_and_sync_raise_waits_for_the_last_acknowledgement(pool: str, phase: int) -> None:
    config = NAMED_POOLS[pool]
    vectors, spacing = config.vectors_per_beat, max(config.vectors_per_beat, config.slot_spacing)
    program = [
        ConfigSave(row_pitch=4 * vectors), Save(address=0, columns=4 * vectors, rows=3, post_compute=1), SyncRaise(),
        SyncWait(), Conv(wait_save=1),
    ]  # fmt: skip
    trace = _run(pool, program, phase=phase % config.slot_spacing)
    issue = trace.issue(Engine.SAVE, 1)
    assert trace.requests[0][0] == issue + SAVE_ISSUE_TO_READ + vectors - 1 + SAVE_READ_TO_REQUEST
    assert np.diff(trace.taken).tolist() == [spacing] * 11
    acknowledged = trace.taken[-1] + config.channel_latency + 3
    assert trace.issue(Engine.SAVE, 2) == acknowledged + 1
    assert trace.sync_local == [acknowledged + 1 + SYNC_ISSUE_TO_RAISE]
    assert trace.issue(Engine.LOAD, 0) == trace.sync_local[0] + 3 + 1
    # The last vector is read when the last beat but one leaves for the port, and its own beat needs 2 more cycles.
    assert trace.issue(Engine.COMPUTE, 0) == trace.requests[-1][0] - 2


def _layer(config: PoolConfig, channels: int, rows: int, columns: int, tiles: int) -> list[CoreInstruction]:
    """A 3x3 layer, tile after tile: halves of features, weights and output take turns."""
    blocks, halo = channels // config.array, (rows + 2) * (columns + 2)
    weights = 9 * blocks * config.array
    features_half, output_half = config.features_vectors // 2, config.output_vectors // 2
    assert blocks * halo <= features_half and rows * columns <= output_half and 2 * weights <= config.weights_vectors
    program: list[CoreInstruction] = [
        ConfigLoad(row_pitch=columns + 2, plane_pitch=halo), ConfigSave(row_pitch=columns),
        ConfigWindow(kernel_rows=3, kernel_columns=3, channel_blocks=blocks),
        ConfigTile(input_rows=rows + 2, input_columns=columns + 2, plane_pitch=halo, output_rows=rows,
                   output_columns=columns),
    ]  # fmt: skip
    for number in range(tiles * blocks):
        tile, block = divmod(number, blocks)
        features, place = tile % 2 * features_half, number % 2
        waits = number >= 2  # one token per CONV: its weights, and with them its features, are there
        if block == 0:
            program.append(
                Load(destination=features, columns=columns + 2, rows=rows + 2, planes=blocks, wait_compute=waits)
            )
        program += [
            Load(buffer=Buffer.WEIGHTS, destination=place * weights, columns=weights, wait_compute=waits and block > 0),
            Load(buffer=Buffer.PARAMETERS, destination=place * 8, columns=8, post_compute=1),
            Conv(wait_load=1, wait_save=waits, post_load=1, post_save=1, drain=1, bank=place, features=features,
                 first_row=0, first_column=0, weights=place * weights, parameters=place * 8,
                 output=place * output_half),
            Save(source=place * output_half, columns=columns, rows=rows, wait_compute=1, post_compute=1),
        ]  # fmt: skip
    return program


@cache
def _roomy_core() -> CoreBench:
    """A core of `small` with buffers that hold these layers twice."""
    sizes = {"features_vectors": 2048, "weights_vectors": 2048, "output_vectors": 1024, "accumulator_pixels": 512}
    return CoreBench(dataclasses.replace(NAMED_POOLS["small"], **sizes))


@pytest.mark.parametrize(("channels", "rows", "columns", "tiles"), [(16, 16, 16, 4), (32, 8, 16, 2), (64, 8, 8, 1)])
def test_layers_like_resnet_8_keep_the_array_more_than_nine_tenths_busy(
    channels: int, rows: int, columns: int, tiles: int
) -> None:
    config = _roomy_core().config
    trace = _run("small", _layer(config, channels, rows, columns, tiles), _roomy_core())
    passes = tiles * (channels // config.array) ** 2 * 9
    first = trace.issue(Engine.COMPUTE, 2)  # the first inputs and weights have to be loaded before anything else
    assert passes * rows * columns > 0.9 * (trace.cycles - first)
