"""One core against the reference interpreter: every buffer and all of memory, after random programs that overlap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyrtl
import pytest

from isa.configuration import NAMED_POOLS
from isa.encoding import encode
from isa.instructions import (
    Buffer,
    ConfigTile,
    ConfigWindow,
    Conv,
    Engine,
    Load,
)
from isa.pipeline import fill_cycles
from rtl.core import core
from rtl.core_ports import core_ports
from scripts.core_bench import CoreBench, bench, build_core, compare
from scripts.core_programs import STEPS, random_memory, random_program
from scripts.core_suite import FAR_LOADS, LARGE_WALK, barriers

TINY = NAMED_POOLS["tiny"]
ODD_POOLS = {
    pool.name: pool
    for pool in (
        replace(TINY, name="a lane for each channel", lanes=4, queue_instructions=2),
        replace(TINY, name="two vectors per beat", array=8, lanes=4),
        replace(TINY, name="eight vectors per beat, two channels", beat_bytes=32, cores=4, channels=2),
        replace(TINY, name="two channels, one lane, one instruction per queue", array=2, lanes=1, queue_instructions=1),
        replace(TINY, name="a slot in every cycle, whole beats", cores=1, port_vectors=4),
        replace(TINY, name="a slot in every cycle, two channels, whole beats", channels=2, port_vectors=4),
        replace(TINY, name="a slot in every cycle, half beats", cores=1, port_vectors=2),
        replace(TINY, name="eight vectors per beat, two at a time", beat_bytes=32, port_vectors=2),
    )
}


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_agree_with_the_interpreter_in_tiny(seed: int) -> None:
    rng = np.random.default_rng(seed)
    program = random_program(TINY, rng, steps=6)
    gaps = ((0,), (0, 7, 0, 40))[seed % 2]
    compare(bench("tiny"), program, random_memory(TINY, rng), phase=seed % TINY.slot_spacing, gaps=gaps)


@pytest.mark.parametrize("kind", STEPS)
def test_random_programs_of_one_kind_agree_with_the_interpreter_in_small(kind: str) -> None:
    rng, pool = np.random.default_rng(1), NAMED_POOLS["small"]
    compare(bench("small"), random_program(pool, rng, steps=5, kinds=(kind,)), random_memory(pool, rng))


@pytest.mark.parametrize("name", ODD_POOLS)
def test_random_programs_agree_in_pools_of_other_shapes(name: str) -> None:
    pool = ODD_POOLS[name]
    tested = CoreBench(pool)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        compare(tested, random_program(pool, rng, steps=4), random_memory(pool, rng), phase=seed % pool.slot_spacing)


def test_a_large_kernel_and_large_strides_walk_as_the_interpreter_does() -> None:
    rng = np.random.default_rng(3)
    compare(bench("tiny"), LARGE_WALK, random_memory(TINY, rng))


def test_a_depthwise_conv_of_one_column_reads_a_second_one_for_its_line_buffers() -> None:
    """A line buffer must not read what is being written: in a raster of one column it would, in every cycle."""
    rng, pool = np.random.default_rng(4), NAMED_POOLS["small"]
    program = [
        Load(buffer=Buffer.FEATURES, address=64, columns=60),
        Load(buffer=Buffer.WEIGHTS, address=64, columns=8, post_compute=1),
        ConfigWindow(kernel_rows=2, pad_value=-3),
        ConfigTile(input_rows=12, input_columns=1, output_rows=11, output_columns=1),
        Conv(wait_load=1, depthwise=1, first_row=-1),
        Conv(depthwise=1, bank=1, post_load=1), Load(wait_compute=1),
    ]  # fmt: skip
    trace = compare(bench("small"), program, random_memory(pool, rng))
    last_walk = trace.issue(Engine.LOAD, 2) - 1
    assert last_walk == trace.issue(Engine.COMPUTE, 2) + fill_cycles(pool.slide_cycles) + 2 * (12 * 2 + 2)


def test_an_address_beyond_32_bits_does_not_wrap() -> None:
    tested = bench("tiny")
    tested.scrub()
    for instruction in FAR_LOADS:
        tested.step(instruction_valid=1, instruction=encode(instruction))
    addresses = []
    for _ in range(60):
        outputs = tested.step()
        if outputs["request_valid"]:
            addresses.append(outputs["request_address"])
            tested.step(request_taken=1)
    first = (1 << 32) - 1
    vectors = [first, first + 65535, first + (1 << 24) - 1, first + (1 << 24) - 1 + 65535]
    assert addresses[:4] == [vector // TINY.vectors_per_beat for vector in vectors]


def test_sync_raise_follows_the_last_acknowledgement_and_sync_wait_the_barrier() -> None:
    rng = np.random.default_rng(5)
    trace = compare(bench("tiny"), barriers(), random_memory(TINY, rng))
    assert len(trace.sync_local) == 4


def test_every_output_of_a_core_is_a_register_and_every_name_is_unique_in_verilog() -> None:
    for pool in (TINY, NAMED_POOLS["small"]):
        pyrtl.reset_working_block()
        ports = core_ports(pool)
        inputs = {name: pyrtl.Input(bits, f"{name}_i") for name, bits in ports.inputs.items()}
        with pyrtl.name_scope("core"):
            outputs = core(pool, inputs)
        assert all(isinstance(wire, pyrtl.Register) for wire in outputs.values())
        block = pyrtl.working_block()
        names = [wire.name for wire in block.wirevector_set]
        names += [net.op_param[1].name for net in block.logic_subset("@")]
        assert len({name.replace("/", "_") for name in names}) == len(names)


def test_the_core_is_one_netlist_that_pyrtl_accepts() -> None:
    build_core(TINY)
    pyrtl.working_block().sanity_check()
