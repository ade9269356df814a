"""Bugs of a core's control that make no difference: in any state, or in those that can be reached."""

from __future__ import annotations

import pyrtl
import pytest

from formal.core_equivalence import is_equivalent_core
from formal.mutants import MUTANT_POOL
from formal.mutation import Patch, drop_operand, mutated, tie
from formal.structure import core_block, leaves_reset, left_by_scrub


@pytest.fixture(scope="module")
def core() -> pyrtl.Block:
    return core_block(MUTANT_POOL)


@pytest.mark.parametrize(
    ("patch", "equivalent"),
    [
        (drop_operand("compute/clears_engine", "compute/drain/adds_residual", "x", 2), True),
        (drop_operand("clears_core", "credit", "x", 2), False),
        (tie("compute_to_save/tokens", 0), False),
    ],
    ids=["needs no clearing", "is shown in the cycle in which it is cleared", "counts no tokens"],
)
def test_a_register_need_not_be_cleared_that_loads_0_when_the_others_have_been(
    core: pyrtl.Block, patch: Patch, equivalent: bool
) -> None:
    changed = mutated(core, patch)
    known = {str(net) for net in core.logic}
    (wire,) = (net.dests[0].name for net in changed.logic if str(net) not in known)
    assert is_equivalent_core(core, changed, wire) == equivalent
    assert not [*left_by_scrub(MUTANT_POOL, changed), *leaves_reset(changed)], "what the proof starts from"
