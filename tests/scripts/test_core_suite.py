"""The functional test of a core alone passes on the core, and shows what is wrong with broken ones."""

from __future__ import annotations

import pytest

from formal.mutation import Patch, mutated, tie
from formal.recording import Recording, first_difference
from formal.structure import core_block
from scripts.core_suite import POOL, record_core


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record_core()


@pytest.mark.parametrize(
    ("patch", "is_shown"),
    [
        (lambda block: None, False),
        (tie("compute/drain/adds_residual", 0), True),
        (tie("compute/walk_instruction", 0), True),
    ],
    ids=["the core itself", "no residual", "a fault at address 0"],
)
def test_a_broken_core_shows_something_else(recording: Recording, patch: Patch, is_shown: bool) -> None:
    difference = first_difference(mutated(core_block(POOL), patch), recording)
    assert (difference is not None) == is_shown
