"""The functional test of the pool passes on netlist and model alike, and shows what is wrong with broken shells."""

from __future__ import annotations

import pytest

from formal.mutation import mutated, tie
from formal.recording import Recording, first_difference
from formal.shell import shell_block
from hypervisor.machines import open_port
from scripts.functional_suite import POOL, play, record

pytestmark = pytest.mark.xdist_group("tiny_rtl")
Log = list[tuple[int, ...]]


@pytest.fixture(scope="module")
def recorded() -> tuple[Recording, Log]:
    return record()


def test_the_host_reads_the_same_in_the_same_cycles_on_the_model(recorded: tuple[Recording, Log]) -> None:
    port = open_port("model", POOL)
    assert play(port) == recorded[1]


@pytest.mark.parametrize("register", ["tenant1_fault_address", "tenant0_cycles", "core1_credits_save"])
def test_a_broken_shell_shows_something_else(recorded: tuple[Recording, Log], register: str) -> None:
    recording, _ = recorded
    broken = mutated(shell_block(POOL), tie(register, 0))
    difference = first_difference(broken, recording)
    assert difference is not None
    assert difference[0] < recording.cycles


def test_the_shell_itself_shows_what_was_recorded(recorded: tuple[Recording, Log]) -> None:
    assert first_difference(shell_block(POOL), recorded[0]) is None
