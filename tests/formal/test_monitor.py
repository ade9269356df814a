"""Delivery on the toy dispatcher: a ghost follows one freely chosen instruction through each queue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyrtl
import pytest
from pyrtl import Input, Register, WireVector, select

from formal.induction import decide
from formal.monitor import monitored
from formal.mutation import drop_operand, mutated, redirect, swap_arms
from formal.problem import Candidate, Claim, Formula, Problem
from formal.trace import replay
from formal.transition import TransitionSystem
from formal.verdict import Refuted, demand_proof
from tests.formal.netlists import dispatcher

DEPTH = 2


def _follow_one_instruction(cores: int, tenants: int) -> Callable[[Callable[[str], WireVector]], None]:
    """Per core: an input picks an accepted instruction; its payload and place in the queue are remembered."""

    def monitor(lookup: Callable[[str], WireVector]) -> None:
        for c in range(cores):
            chosen = Input(1, f"core{c}_ghost_chosen")
            pending, place = Register(1, f"core{c}_ghost_pending"), Register(1, f"core{c}_ghost_place")
            data = Register(8, f"core{c}_ghost_data")
            accepted = [lookup(f"tenant{t}_accepted{c}") for t in range(tenants)]
            begin = chosen & pyrtl.rtl_any(*accepted) & ~pending
            payload = pyrtl.tree_reduce(
                lambda a, b: a | b,
                [select(accepted[t], lookup(f"tenant{t}_held_data"), pyrtl.Const(0, 8)) for t in range(tenants)],
            )
            receive = lookup(f"core{c}_receive")
            arrives = receive & pending & (place == 0)
            pending.next <<= ((pending & ~arrives) | begin) & ~lookup(f"core{c}_flush")
            data.next <<= select(begin, payload, data)
            # An accepted instruction finds at most one other ahead of it, unless that one leaves just now.
            place.next <<= select(begin, lookup(f"core{c}_full0") & ~receive, select(receive, pyrtl.Const(0, 1), place))

    return monitor


def _delivery(block: pyrtl.Block, cores: int, tenants: int) -> Problem:
    watched = monitored(block, _follow_one_instruction(cores, tenants))
    system = TransitionSystem(watched)

    def arrives_intact(core: int) -> Formula:
        def formula(logic: Any, view: Any) -> Any:
            at_head = logic.all([view[f"core{core}_ghost_pending"] == 1, view[f"core{core}_ghost_place"] == 0])
            intact = logic.equal(view[f"core{core}_data"], view[f"core{core}_ghost_data"])
            present = view[f"core{core}_full0"] == 1
            arrived = logic.implies(view[f"core{core}_receive"] == 1, intact)
            return logic.implies(at_head, logic.all([present, arrived]))

        return formula

    def stored(core: int, place: int) -> Formula:
        def formula(logic: Any, view: Any) -> Any:
            here = logic.all([view[f"core{core}_ghost_pending"] == 1, view[f"core{core}_ghost_place"] == place])
            same = logic.equal(view[f"core{core}_data{place}"], view[f"core{core}_ghost_data"])
            filled = [view[f"core{core}_full{slot}"] == 1 for slot in range(place + 1)]
            return logic.implies(here, logic.all([same, *filled]))

        return formula

    return Problem(
        name="delivery",
        system=system,
        properties=[Claim(f"core{c} receives what was accepted", arrives_intact(c), f"core{c}") for c in range(cores)],
        candidates=[
            Candidate(f"the ghost's place {place} holds its payload", stored(c, place), f"core{c}")
            for c in range(cores)
            for place in range(DEPTH)
        ],
        covers=[
            Claim(
                "one arrives from the second place",
                lambda logic, view: logic.any(view[f"core{c}_ghost_place"] == 1 for c in range(cores)),
            )
        ],
    )


def test_every_accepted_instruction_arrives_in_order_and_intact() -> None:
    demand_proof(decide(_delivery(dispatcher(3, 2), 3, 2)))


@pytest.mark.parametrize(
    "patch",
    [
        swap_arms("tenant1_held_data", "core0_data0"),
        redirect("core0_data", "core0_data1"),
        drop_operand("core0_full1", "tenant0_accepted0", "&", 1),
    ],
    ids=["slot keeps its old payload", "head and second swapped", "sends into a full queue"],
)
def test_a_dispatcher_that_loses_or_mixes_instructions_is_refuted(patch: Any) -> None:
    block = mutated(dispatcher(3, 2), patch)
    problem = _delivery(block, 3, 2)
    verdict = decide(problem)
    assert isinstance(verdict, Refuted)
    replay(monitored(block, _follow_one_instruction(3, 2)), problem, verdict.trace)
