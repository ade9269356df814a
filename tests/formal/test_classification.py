"""Every output of the pool is the host's or a tenant's, and what is a tenant's is in the theorems' view."""

from __future__ import annotations

import pyrtl
import pytest

from formal.classification import UnclassifiedOutput, Viewer, classified
from formal.shell import shell_block
from formal.theorems import theorem
from isa.configuration import NAMED_POOLS

TINY = NAMED_POOLS["tiny"]


@pytest.mark.parametrize("pool", ["tiny", "small"])
def test_every_output_is_classified(pool: str) -> None:
    assert set(classified(shell_block(NAMED_POOLS[pool])).values()) == set(Viewer)


def test_an_output_that_is_not_in_the_table_fails() -> None:
    block = shell_block(TINY)
    with pyrtl.set_working_block(block):
        leak = pyrtl.Output(1, "debug_leak")
        leak <<= block.wirevector_by_name["tenant0_epoch"]
    with pytest.raises(UnclassifiedOutput, match="debug_leak"):
        classified(block)


@pytest.mark.parametrize("name", ["non-interference", "independence"])
def test_both_theorems_speak_of_each_output_that_is_a_tenants(name: str) -> None:
    block = shell_block(TINY)
    claims = " ".join(claim.name for claim in theorem(name).problem(TINY, block).properties)
    for output, viewer in classified(block).items():
        wire = output.removesuffix("_o").replace("_state", "_progress")  # what the output shows
        if viewer is Viewer.TENANT and "_scrub" not in wire:
            assert f"{wire} is the same for A" in claims, output
