"""Patches change a copy, in the way they say, and never the design."""

from __future__ import annotations

import pyrtl
import pytest

from formal.monitor import MonitorError, monitored
from formal.mutation import (
    PatchError,
    change_operation,
    copy_netlist,
    drop_operand,
    invert,
    mutated,
    nets_between,
    random_patch,
    redirect,
    reset_to,
    shift_constant,
    swap_arms,
    tie,
)
from formal.transition import INTEGERS, TransitionSystem
from tests.formal.netlists import dispatcher, memories


def _names(block: pyrtl.Block) -> list[str]:
    return sorted(str(net) for net in block.logic)


def test_a_copy_has_the_same_behaviour_including_reset_values_and_memories() -> None:
    block = memories()
    original, copied = TransitionSystem(block), TransitionSystem(copy_netlist(block))
    assert copied.reset_state() == original.reset_state()
    assert copied.registers["counter"] == (4, 9)
    assert copied.roms == original.roms
    assert len(copied.nets) == len(original.nets)


def test_mutation_leaves_the_design_alone() -> None:
    block = dispatcher(2, 2)
    before = _names(block)
    mutated(block, tie("core0_flush", 0), reset_to("core0_owner", 0), invert("tenant0_fault"))
    assert _names(block) == before
    assert block.wirevector_by_name["core0_owner"].reset_value == 2


@pytest.mark.parametrize(
    ("patch", "wire", "value"),
    [
        (tie("wheel", 1), "wheel", 1),
        (invert("core0_flush"), "core0_flush", 1),
        (redirect("core0_flush", "core0_running"), "core0_flush", 1),
        (reset_to("core1_owner", 1), "core1_owned_by", 1),
        (shift_constant("core0_timer", "core0_flush", "=", 3), "core0_flush", 0),
        (swap_arms("wheel", "wheel"), "wheel", 0),
    ],
)
def test_patches_do_what_they_say(patch: object, wire: str, value: int) -> None:
    system = TransitionSystem(mutated(dispatcher(2, 2), patch))  # type: ignore[arg-type]
    inputs = dict.fromkeys(system.inputs, 0)
    state = system.step(INTEGERS, system.reset_state(), inputs)[1]
    assert system.step(INTEGERS, state, inputs)[0][wire] == value


def test_nets_are_found_between_named_wires() -> None:
    block = dispatcher(3, 2)
    (compare,) = nets_between(block, "core1_owner", "tenant1_accepted1", "=")
    assert {argument.name for argument in compare.args} & {"core1_owner"}
    assert nets_between(block, "core2_owner", "tenant1_accepted1", "=") == []
    assert nets_between(memories(), "address", "bank", "s")
    assert nets_between(memories(), "bank", "held", "m") == []


def test_a_patch_that_finds_nothing_is_an_error() -> None:
    block = dispatcher(2, 2)
    for patch in (
        tie("nonsense", 0),
        change_operation("core0_owner", "tenant0_accepted0", "=", "<", which=7),
        drop_operand("core0_owner", "wheel", "&", 0),
        redirect("core0_flush", "core0_owner"),
    ):
        with pytest.raises(PatchError):
            mutated(block, patch)


def test_random_patches_are_well_formed_and_repeatable() -> None:
    block = dispatcher(2, 2)
    different = 0
    for seed in range(30):
        mutant = mutated(block, random_patch(seed, "core0_full0"))
        system, again = TransitionSystem(mutant), TransitionSystem(mutated(block, random_patch(seed, "core0_full0")))
        assert [n.operation for n in system.nets] == [n.operation for n in again.nets]
        different += [n.operation for n in system.nets] != [n.operation for n in TransitionSystem(block).nets]
    assert different > 15


def test_a_monitor_may_watch_but_not_drive() -> None:
    block = dispatcher(2, 2)

    def counts(lookup: object) -> None:
        seen = pyrtl.Register(4, "ghost_seen")
        seen.next <<= pyrtl.select(lookup("core0_receive"), (seen + 1)[:4], seen)  # type: ignore[operator]

    def meddles(lookup: object) -> None:
        net = pyrtl.LogicNet("w", None, (pyrtl.Const(1, 1),), (lookup("core0_flush"),))  # type: ignore[operator]
        pyrtl.working_block().add_net(net)

    watched = TransitionSystem(monitored(block, counts))
    assert "ghost_seen" in watched.registers
    assert "ghost_seen" not in TransitionSystem(block).registers
    with pytest.raises(MonitorError, match="drives core0_flush"):
        monitored(block, meddles)
