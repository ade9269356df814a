"""L0, L1, L3 and L4 hold on the netlists of every pool, and a netlist that breaks one of them is found out."""

from __future__ import annotations

import os
from dataclasses import replace

import pyrtl
import pytest

from formal.check_mutants import CHECK_MUTANTS, CheckMutant
from formal.mutation import drop_operand, mutated, nets_between, replace_net
from formal.shell import shell_block
from formal.structure import (
    collisions,
    combinational_paths,
    control_plane_leaks,
    core_block,
    leaves_reset,
    left_by_scrub,
)
from isa.configuration import NAMED_POOLS, PoolConfig

TINY = NAMED_POOLS["tiny"]
STREAM = replace(TINY, name="stream", cores=1, tenants=1, port_vectors=4)
POOLS = [TINY, NAMED_POOLS["small"], NAMED_POOLS["paper"], STREAM]
LARGE = pytest.param(
    NAMED_POOLS["single"],
    marks=[
        pytest.mark.long,
        pytest.mark.skipif(os.environ.get("TENURE_LONG") != "1", reason="a minute: TENURE_LONG=1"),
    ],
)


@pytest.mark.parametrize("config", [*POOLS, NAMED_POOLS["static"], LARGE], ids=lambda config: config.name)
def test_the_real_core_is_a_function_without_combinational_path_and_stays_clean_after_a_scrub(
    config: PoolConfig,
) -> None:
    block = core_block(config)
    assert combinational_paths(config, block) == []
    assert left_by_scrub(config, block) == []
    assert leaves_reset(block) == []
    assert collisions(block) == []


@pytest.mark.parametrize("config", POOLS, ids=lambda config: config.name)
def test_the_control_plane_is_out_of_reach(config: PoolConfig) -> None:
    assert control_plane_leaks(shell_block(config)) == []


@pytest.mark.parametrize("mutant", CHECK_MUTANTS, ids=lambda mutant: mutant.name)
def test_the_check_refutes_its_bug(mutant: CheckMutant) -> None:
    assert mutant.found()


def test_a_register_that_scrub_misses_is_found() -> None:
    block = core_block(TINY)
    register = min(wire.name for wire in block.wirevector_subset(pyrtl.Register) if "walker" in wire.name)
    missed = mutated(block, drop_operand("compute/clears_engine", register, "x", 2))
    assert left_by_scrub(TINY, missed) == [f"register {register} need not become 0"]


def test_a_memory_that_is_not_written_while_scrubbed_is_found() -> None:
    block = core_block(TINY)
    assert nets_between(block, "scrub", "output", "|")
    missed = mutated(block, drop_operand("scrub", "output", "|", 0))
    assert left_by_scrub(TINY, missed) == ["memory output need not write 0 while scrubbed"]


@pytest.mark.parametrize("memory", ["features", "save_queue/waiting"])
def test_a_memory_that_would_keep_what_registers_or_inputs_hold_in_a_cycle_of_the_scrub_is_found(memory: str) -> None:
    block = core_block(TINY)
    zeroed = next(
        net for net in nets_between(block, "sleeps", memory, "x") if isinstance(net.args[2], pyrtl.Const)
    )  # the multiplexer that puts 0 in front of the data
    missed = mutated(block, lambda copy: replace_net(copy, same_net(copy, zeroed), "w", same_net(copy, zeroed).args[1]))
    assert left_by_scrub(TINY, missed) == [f"memory {memory} need not write 0 while scrubbed"]


def same_net(block: pyrtl.Block, net: pyrtl.LogicNet) -> pyrtl.LogicNet:
    """The net of a copy of a block that drives the wire of that name."""
    return next(each for each in block.logic if each.dests and each.dests[0].name == net.dests[0].name)
