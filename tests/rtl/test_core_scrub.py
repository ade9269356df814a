"""Nothing of a tenant is left in a core after a sweep: neither in a register nor in a word of memory."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace

import pyrtl
import pytest

from isa.configuration import NAMED_POOLS, PoolConfig
from rtl.core_ports import core_ports
from scripts.core_bench import build_core

SHALLOW = replace(
    NAMED_POOLS["tiny"],
    name="shallow",
    features_vectors=64,
    weights_vectors=32,
    parameters_vectors=16,
    output_vectors=32,
    accumulator_pixels=16,
)


def _memories(block: pyrtl.Block) -> list[pyrtl.MemBlock]:
    return sorted({net.op_param[1] for net in block.logic_subset("@")}, key=lambda memory: memory.name)


def _changed(registers: Iterable[pyrtl.Register], simulation: pyrtl.FastSimulation) -> list[str]:
    """Names of registers that are not at reset."""
    return [each.name for each in registers if simulation.inspect(each.name) != (each.reset_value or 0)]


@pytest.mark.parametrize("seed", range(2))
def test_a_sweep_clears_every_register_and_every_word_from_any_state(seed: int) -> None:
    chance = random.Random(seed)
    build_core(SHALLOW)
    block = pyrtl.working_block()
    registers = sorted(block.wirevector_subset(pyrtl.Register), key=lambda register: register.name)
    memories = _memories(block)
    simulation = pyrtl.FastSimulation(
        register_value_map={register: chance.getrandbits(len(register)) for register in registers},
        memory_value_map={
            memory: {address: chance.getrandbits(memory.bitwidth) for address in range(1 << memory.addrwidth)}
            for memory in memories
        },
    )
    widths = core_ports(SHALLOW).inputs
    for address in range(SHALLOW.scrub_cycles):
        inputs = {f"{name}_i": chance.getrandbits(bits) for name, bits in widths.items()}
        simulation.step(inputs | {"scrub_i": 1, "scrub_address_i": address})
    # The last step has computed what the registers show in the next one.
    simulation.step({f"{name}_i": 0 for name in widths})
    assert [name for name in core_ports(SHALLOW).outputs if simulation.inspect(f"{name}_o")] == []
    assert _changed(registers, simulation) == []
    for memory in memories:
        assert not any(simulation.inspect_mem(memory).values()), memory.name


def test_a_core_sleeps_at_reset_until_its_first_instruction_whatever_else_comes() -> None:
    chance = random.Random(1)
    build_core(SHALLOW)
    registers = pyrtl.working_block().wirevector_subset(pyrtl.Register)
    simulation = pyrtl.FastSimulation()
    widths = core_ports(SHALLOW).inputs
    for _ in range(50):
        noise = {f"{name}_i": chance.getrandbits(bits) for name, bits in widths.items()}
        simulation.step(noise | {"instruction_valid_i": 0, "scrub_i": 0})
        assert _changed(registers, simulation) == []
    simulation.step(dict.fromkeys(noise, 0) | {"instruction_valid_i": 1})
    simulation.step(dict.fromkeys(noise, 0))
    assert _changed(registers, simulation) != []


@pytest.mark.parametrize("pool", [SHALLOW, NAMED_POOLS["small"]], ids=lambda pool: pool.name)
def test_every_memory_has_one_port_of_each_kind_and_is_no_deeper_than_the_sweep(pool: PoolConfig) -> None:
    build_core(pool)
    block = pyrtl.working_block()
    reads = [net.op_param[1] for net in block.logic_subset("m")]
    writes = [net.op_param[1] for net in block.logic_subset("@")]
    assert len(set(reads)) == len(reads) and len(set(writes)) == len(writes) and set(reads) == set(writes)
    assert max(1 << memory.addrwidth for memory in writes) <= pool.scrub_cycles
