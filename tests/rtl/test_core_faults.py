"""Precise faults of a core: cause and address as the interpreter's, one pulse, and the engine stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from isa.configuration import NAMED_POOLS
from isa.encoding import encode
from isa.instructions import (
    WORD_BYTES,
    Add,
    ConfigTile,
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
from scripts.core_bench import Trace, bench, interpreted
from scripts.core_programs import random_memory, random_program
from scripts.core_suite import FAULTS, FITS, faults_alike

TINY = NAMED_POOLS["tiny"]
FULL_TILE = ConfigTile(input_rows=1, input_columns=8, output_columns=8)


def _faults_alike(program: Sequence[CoreInstruction]) -> Trace:
    return faults_alike(bench("tiny"), program, np.zeros(1 << 16, np.uint8))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_its_cause_and_its_instruction(name: str) -> None:
    _faults_alike(FAULTS[name])


@pytest.mark.parametrize("program", FITS)
def test_what_fits_exactly_does_not_fault(program: Sequence[CoreInstruction]) -> None:
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
