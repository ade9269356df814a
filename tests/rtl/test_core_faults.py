"""Precise faults of a core: cause and address as the interpreter's, one pulse, and the engine stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from isa.configuration import NAMED_POOLS
from isa.encoding import encode
from isa.instructions import (
    TOKEN_BITS,
    WORD_BYTES,
    Add,
    Buffer,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Engine,
    Load,
    Lookup,
    Pool,
    Save,
)
from isa.pipeline import drain_groups, fill_cycles
from isa.registers import Fault
from tests.rtl.core_bench import Trace, bench, interpreted
from tests.rtl.core_programs import random_memory, random_program

TINY = NAMED_POOLS["tiny"]
FULL_TILE = ConfigTile(input_rows=1, input_columns=8, output_columns=8)


def _faults_alike(program: Sequence[CoreInstruction]) -> Trace:
    memory = np.zeros(1 << 16, np.uint8)
    first = len(memory) // WORD_BYTES
    _, result, _ = interpreted(TINY, program, memory)
    assert result.fault is not None, result
    trace = bench("tiny").run(program, memory, first_address=first, settle=400)
    assert [fault[1:] for fault in trace.faults] == [(result.fault.cause, result.fault.address)]
    return trace


@pytest.mark.parametrize(
    "program",
    [
        pytest.param([Load(buffer=Buffer.FEATURES, destination=TINY.features_vectors - 3, columns=4)], id="features"),
        pytest.param([Load(buffer=Buffer.WEIGHTS, destination=65535, columns=2)], id="weights at the last index"),
        pytest.param([Load(buffer=Buffer.PARAMETERS, columns=4, rows=5, planes=4)], id="parameters"),
        pytest.param([Load(buffer=Buffer.TABLE, destination=250, columns=7)], id="table"),
        pytest.param([Save(source=TINY.output_vectors - 1, columns=2)], id="save"),
        pytest.param([Save(source=65535)], id="save at the last index"),
        pytest.param([FULL_TILE, Conv(features=TINY.features_vectors - 7)], id="the last pixel of a conv"),
        pytest.param([FULL_TILE, Conv(features=TINY.features_vectors - 7, first_column=-2), Conv(features=65535)],
                     id="a conv behind one that pads in time"),
        pytest.param([FULL_TILE, ConfigWindow(channel_blocks=3), Conv(weights=TINY.weights_vectors - 11)],
                     id="the last weight tile"),
        pytest.param([FULL_TILE, ConfigWindow(channel_blocks=4096), Conv()], id="very many weight tiles"),
        pytest.param([FULL_TILE, Conv(), Conv(weights=TINY.weights_vectors - 3)], id="a prefetched weight tile"),
        pytest.param([replace(FULL_TILE, output_rows=17), Conv(first_row=5)], id="accumulators"),
        pytest.param([replace(FULL_TILE, output_rows=1024, output_columns=4096), Conv(first_row=5)], id="all pixels"),
        pytest.param([FULL_TILE, Conv(drain=1, output=TINY.output_vectors - 7)], id="the output of a drain"),
        pytest.param([FULL_TILE, Conv(drain=1, parameters=TINY.parameters_vectors - 7)], id="parameter block"),
        pytest.param([FULL_TILE, ConfigWindow(channel_blocks=4096, kernel_columns=2),
                      Pool(features=TINY.features_vectors - 8), Pool(features=TINY.features_vectors - 7)], id="pool"),
        pytest.param([FULL_TILE, Conv(weights=7), ConfigTile(plane_pitch=65535), ConfigWindow(channel_blocks=2),
                      Conv()], id="second block of channels"),
        pytest.param([FULL_TILE, Conv(depthwise=1, features=TINY.features_vectors - 7)], id="raster"),
        pytest.param([replace(FULL_TILE, output_columns=1), Conv(depthwise=1, features=TINY.features_vectors - 1)],
                     id="second column of a raster"),
        pytest.param([FULL_TILE, Conv(depthwise=1, weights=TINY.weights_vectors - 3)], id="taps"),
        pytest.param([FULL_TILE, ConfigWindow(kernel_rows=2), Conv(depthwise=1)], id="rows of a window"),
        pytest.param([FULL_TILE, ConfigWindow(kernel_columns=5), Conv(), Conv(depthwise=1)], id="columns of a window"),
        pytest.param([replace(FULL_TILE, output_columns=TINY.line_vectors + 1), Conv(first_row=5),
                      Conv(first_row=5, depthwise=1)], id="line buffers"),
        pytest.param([ConfigTile(output_rows=1, output_columns=9), ConfigWindow(stride_columns=16),
                      Conv(first_row=5, depthwise=1)], id="line buffers of strides"),
        pytest.param([Add(vectors=4, features=TINY.features_vectors - 3)], id="operand a"),
        pytest.param([Add(vectors=4, features_b=TINY.features_vectors - 3)], id="operand b"),
        pytest.param([Add(vectors=4, output=TINY.output_vectors - 3)], id="sum"),
        pytest.param([Lookup(vectors=4096)], id="lookup"),
        pytest.param([Lookup(vectors=4, output=65535)], id="output of a lookup"),
        pytest.param([Load(post_compute=1)] * (1 << TOKEN_BITS), id="tokens for compute"),
        pytest.param([FULL_TILE] + [Conv(post_load=1)] * (1 << TOKEN_BITS), id="tokens for load"),
        pytest.param([FULL_TILE] + [Conv(post_save=1, drain=1)] * (1 << TOKEN_BITS), id="tokens of drains"),
        pytest.param([Lookup(post_save=1)] * (1 << TOKEN_BITS), id="tokens for save"),
        pytest.param([Lookup(post_load=1)] * (1 << TOKEN_BITS), id="tokens of operands"),
        pytest.param([Save(post_compute=1)] * (1 << TOKEN_BITS), id="tokens of saves"),
    ],
)  # fmt: skip
def test_a_fault_names_its_cause_and_its_instruction(program: list[CoreInstruction]) -> None:
    _faults_alike(program)


@pytest.mark.parametrize(
    "program",
    [
        [Load(buffer=Buffer.TABLE, destination=255), Load(destination=TINY.features_vectors - 4, columns=4)],
        [Save(source=TINY.output_vectors - 5, columns=5)],
        [FULL_TILE, Conv(features=TINY.features_vectors - 8, weights=TINY.weights_vectors - 4, drain=1,
                         parameters=TINY.parameters_vectors - 8, output=TINY.output_vectors - 8)],
        [FULL_TILE, Conv(depthwise=1, features=TINY.features_vectors - 8, weights=TINY.weights_vectors - 4)],
        [replace(FULL_TILE, output_columns=TINY.line_vectors - 3), ConfigWindow(kernel_columns=4),
         Conv(first_row=5, depthwise=1)],
        [replace(FULL_TILE, output_rows=16), Conv(features=65535, first_row=1, drain=1, output=128)],
        [Add(vectors=4, features=TINY.features_vectors - 4, features_b=TINY.features_vectors - 4,
             output=TINY.output_vectors - 4)],
        [Load(post_compute=1)] * ((1 << TOKEN_BITS) - 1) + [Conv(wait_load=1), Load(post_compute=1)],
    ],
)  # fmt: skip
def test_what_fits_exactly_does_not_fault(program: list[CoreInstruction]) -> None:
    memory = np.zeros(1 << 16, np.uint8)
    assert interpreted(TINY, program, memory)[1].outcome.name == "DONE"
    assert not bench("tiny").run(program, memory).faults


def test_a_fault_is_on_the_port_when_the_cycle_table_says_so() -> None:
    trace = _faults_alike([FULL_TILE, Conv(drain=1, output=255)])
    assert trace.faults[0][0] == trace.issue(Engine.COMPUTE, 1) + fill_cycles(TINY.slide_cycles) + 3
    trace = _faults_alike([Add(features=65535)])
    assert trace.faults[0][0] == trace.issue(Engine.COMPUTE, 0) + 3
    trace = _faults_alike([Load(destination=65535)])
    assert trace.faults[0][0] == trace.issue(Engine.LOAD, 0) + 3
    trace = _faults_alike([Save(source=65535)])
    assert trace.faults[0][0] == trace.issue(Engine.SAVE, 0) + 3


@pytest.mark.parametrize("bad", [Load(destination=65535), Conv(features=65535), Add(output=65535), Save(source=65535)])
def test_an_engine_that_faulted_executes_nothing_more(bad: CoreInstruction) -> None:
    engine = bad.engine()
    trace = _faults_alike([bad] + [type(bad)(core=0)] * 3)
    assert len(trace.credits[engine]) <= 2, "at most the instruction that faulted, and one that was prefetched"


@pytest.mark.parametrize(("other", "named"), [(Load(destination=65535), 2), (Save(source=65535), 1)])
def test_of_engines_that_fault_together_the_lowest_is_named(other: CoreInstruction, named: int) -> None:
    tested = bench("tiny")
    tested.scrub()
    vectors = 6
    idle = 1 + vectors * drain_groups(TINY.array, TINY.lanes) + 5  # then the ADD behind the LOOKUP issues, and faults
    arrivals = {0: Lookup(vectors=vectors), 1: Add(features=65535), idle - 1: other}
    addresses = {0: 0, 1: 1, idle - 1: 2}
    seen = []
    for cycle in range(idle + 20):
        inputs = {}
        if cycle in arrivals:
            word, address = encode(arrivals[cycle]), addresses[cycle]
            inputs = {"instruction_valid": 1, "instruction": word, "instruction_address": address}
        outputs = tested.step(**inputs)
        if outputs["fault_valid"]:
            seen.append((cycle, outputs["fault_address"]))
    assert seen == [(idle + 3, named)]


@pytest.mark.parametrize("seed", range(25))
def test_programs_with_one_wrong_field_fault_as_in_the_interpreter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(TINY, rng, steps=3)
    memory = random_memory(TINY, rng)
    wrong = {Load: "destination", Conv: "output", Pool: "output", Add: "features_b", Lookup: "output", Save: "source"}
    places = [place for place, instruction in enumerate(program) if type(instruction) in wrong]
    place = int(rng.choice(places))
    program[place] = replace(program[place], **{wrong[type(program[place])]: 65535 - int(rng.integers(64))})
    first = len(memory) // WORD_BYTES
    _, result, _ = interpreted(TINY, program, memory)
    if result.fault is None:
        assert not getattr(program[place], "drain", 1), "only a walk that does not drain ignores its output"
        return
    trace = bench("tiny").run(program, memory, first_address=first)
    assert trace.faults[0][1:] == (Fault.BUFFER_OVERRUN, result.fault.address)
