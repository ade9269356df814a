"""Tiles cover every output once; tokens suffice in any order of execution, and never more than they must."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.compile import compile_model
from compiler.frames import build_frame
from compiler.golden import Golden
from compiler.machine import BlockWork, Drain, FeatureMap, OutputPart, WindowLayer
from compiler.package import Package
from compiler.tiling import window_work
from isa.configuration import NAMED_POOLS, PoolConfig
from isa.core_state import WindowMemory
from isa.encoding import decode
from isa.instructions import Buffer, Conv, CoreInstruction, Instruction, Load, SyncRaise, SyncWait
from isa.interpreter import tokens_given, tokens_taken
from tests.compiler.adversary import Adversary, dispatched
from tests.compiler.test_networks import image, network, package
from tests.compiler.test_single_layers import addition, concatenation, convolution, pooling


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_tiles_cover_every_output_exactly_once(data: st.DataObject) -> None:
    draw = data.draw
    config = NAMED_POOLS[draw(st.sampled_from(["tiny", "small", "paper"]))]
    rows, columns, inputs, outputs = (draw(st.integers(1, top)) for top in (40, 40, 9, 9))
    kernel, stride = (draw(st.integers(1, 5)), draw(st.integers(1, 5))), draw(st.integers(1, 2))
    source = FeatureMap(0, inputs, rows * stride + kernel[0], columns * stride + kernel[1])
    layer = WindowLayer(
        "layer", source, FeatureMap(0, outputs, rows, columns), kernel, (stride, stride), (1, 1), (0, 0), 0, None,
        tuple(BlockWork(0, inputs, 0, 0) for _ in range(outputs)), (OutputPart(0, rows, 0, columns),), Drain(),
    )  # fmt: skip
    cores = draw(st.integers(1, config.cores))
    covered: Counter[tuple[int, int, int]] = Counter()
    for work in window_work(layer, cores, config):
        for tile, block in work:
            assert tile.pixels <= config.accumulator_pixels
            for row in range(tile.first_row, tile.end_row):
                for column in range(tile.first_column, tile.end_column):
                    covered[block, row, column] += 1
    assert len(covered) == rows * columns * outputs and set(covered.values()) == {1}


def run_adversary(compiled: Package, model: onnx.ModelProto, config: PoolConfig, cores: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    inputs = {
        value.name: image(seed % 10)
        if value.dtype == "float32"
        else generator.integers(-128, 128, value.shape, np.int8)
        for value in compiled.inputs
    }
    window = compiled.window()
    for write in compiled.quantise_input(inputs):
        window[write.offset : write.offset + len(write.data)] = np.frombuffer(write.data, np.uint8)
    memory = WindowMemory(config, window)
    Adversary(compiled, config, cores, memory, seed).run()
    found = compiled.read_outputs(np.ascontiguousarray(memory.read(0, compiled.window_bytes)[0]))
    expected = Golden(model).tensors(inputs)
    assert all((found[name] == expected[name]).all() for name in found)


@pytest.mark.parametrize(("pool", "cores"), [("small", 1), ("small", 3), ("tiny", 2)])
@pytest.mark.parametrize("name", ["lenet", "resnet8", "mobilenet"])
def test_networks_survive_any_order_of_execution(name: str, pool: str, cores: int) -> None:
    run_adversary(package(name, pool), network(name), NAMED_POOLS[pool], cores, cores)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([convolution, pooling, addition, concatenation]))
def test_layers_survive_any_order_of_execution(seed: int, generate: object) -> None:
    assert callable(generate)
    case = generate(seed)
    config = NAMED_POOLS[case.pool]
    compiled = compile_model(case.model, config, [case.cores])
    run_adversary(compiled, case.model, config, case.cores, seed)


def instructions_of(inputs: int) -> list[Instruction]:
    """Those of one core for a layer of one tile and four blocks, whose chunks have two input blocks of 49 pixels."""
    layer = WindowLayer(
        "layer", FeatureMap(0, inputs, 7, 7), FeatureMap(0, 4, 7, 7), (1, 1), (1, 1), (1, 1), (0, 0), 0, None,
        tuple(BlockWork(0, inputs, 16 * inputs * block, 8 * block) for block in range(4)),
        (OutputPart(0, 7, 0, 7),), Drain(), chunk_cycles=100,
    )  # fmt: skip
    frame = build_frame(layer, 0, 1, NAMED_POOLS["paper"])
    return [decode(int(low) | int(high) << 64) for low, high in frame.words]


def test_the_first_two_blocks_of_a_layer_share_each_chunk_of_their_input_but_those_of_a_drain() -> None:
    convolutions = [each for each in instructions_of(8) if isinstance(each, Conv)]
    assert [conv.bank for conv in convolutions] == [0, 1, 0, 1, 0, 0, 1, 1] + [0] * 4 + [1] * 4
    assert [conv.drain for conv in convolutions] == [0] * 5 + [1, 0, 1] + [0, 0, 0, 1] * 2
    assert [conv.accumulate for conv in convolutions] == [0, 0] + [1] * 6 + [0, 1, 1, 1] * 2
    assert [conv.features // 98 for conv in convolutions[:8]] == [0, 0, 1, 1, 2, 3, 2, 3]


def test_every_two_blocks_share_their_input_where_the_buffer_does_not_hold_it() -> None:
    """86 input blocks of 49 vectors are more than 4096; with chunks of two, two chunks last as long as a drain."""
    instructions = instructions_of(86)
    loads = [each for each in instructions if isinstance(each, Load) and each.buffer == Buffer.FEATURES]
    convolutions = [each for each in instructions if isinstance(each, Conv)]
    assert len(convolutions) == 4 * 43 and len(loads) == 2 * 43
    assert [conv.bank for conv in convolutions[:86]] == [0, 1] * 41 + [0, 0, 1, 1]
    assert [conv.bank for conv in convolutions[86:]] == [0, 0] + [1, 0] * 41 + [1, 1]
    assert [number for number, conv in enumerate(convolutions) if conv.drain] == [83, 85, 169, 171]


@pytest.mark.parametrize(("pool", "cores"), [("small", 1), ("small", 4), ("tiny", 2), ("paper", 11)])
@pytest.mark.parametrize("name", ["lenet", "resnet8", "mobilenet"])
def test_every_token_and_barrier_is_given_before_it_is_taken(name: str, pool: str, cores: int) -> None:
    """In the order of dispatch: then no queue, however short, and no order of the engines can deadlock."""
    tokens: Counter[object] = Counter()
    raised: Counter[int] = Counter()
    waited: Counter[int] = Counter()
    for instruction in dispatched(package(name, pool), cores):
        if not isinstance(instruction, CoreInstruction):
            continue
        for edge in tokens_taken(instruction):
            tokens[instruction.core, edge] -= 1
            assert tokens[instruction.core, edge] >= 0
        for edge in tokens_given(instruction):
            tokens[instruction.core, edge] += 1
            assert tokens[instruction.core, edge] < 64
        if isinstance(instruction, SyncRaise):
            raised[instruction.core] += 1
        if isinstance(instruction, SyncWait):
            assert min(raised[core] for core in range(cores)) > waited[instruction.core]
            waited[instruction.core] += 1
    assert not any(tokens.values()) and raised == waited
