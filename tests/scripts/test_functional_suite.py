"""The functional test of the pool passes on netlist and model alike, and shows what is wrong with broken shells."""

from __future__ import annotations

import pyrtl
import pytest

from formal.mutation import Patch, constant, driver, mutated, replace_net, tie
from formal.recording import Recording, first_difference
from formal.shell import shell_block
from hypervisor.machines import open_port
from isa.instructions import INSTRUCTIONS, CoreInstruction
from rtl.decoder import TRAITS
from scripts.functional_suite import POOL, play, record
from scripts.functional_words import full_word

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


@pytest.mark.parametrize("core", range(POOL.cores))
def test_each_core_gets_a_word_of_each_of_its_kinds_with_all_bits_set(
    recorded: tuple[Recording, Log], core: int
) -> None:
    valid, words = (recorded[0].outputs[f"core{core}_instruction{name}_o"] for name in ("_valid", ""))
    arrived = {word for is_valid, word in zip(valid, words, strict=True) if is_valid}
    assert arrived >= {full_word(kind) for kind in INSTRUCTIONS if issubclass(kind, CoreInstruction)}


@pytest.mark.parametrize("opcodes", ["those that there are", "those that end before the last bits of any"])
def test_a_decoder_with_an_opcode_too_many_in_a_list_shows_something_else(
    recorded: tuple[Recording, Log], opcodes: str
) -> None:
    """One takes words that are none, as their fields are; the other refuses a legal word with these bits."""
    longest = max(kind.used_bits() for kind in INSTRUCTIONS)
    (last,) = (place for place, trait in enumerate(TRAITS) if trait.stretch and trait.stretch[1] == longest)
    broken = mutated(shell_block(POOL), _said_of_all(0 if opcodes == "those that there are" else last - 1))
    assert first_difference(broken, recorded[0]) is not None


def _said_of_all(trait: int) -> Patch:
    """This trait is said of every word."""

    def patch(block: pyrtl.Block) -> None:
        net = driver(block, "dispatch_traits", through_copies=False)
        stuck = pyrtl.WireVector(len(TRAITS), block=block)
        block.add_net(pyrtl.LogicNet("|", None, (net.args[0], constant(block, 1 << trait, len(TRAITS))), (stuck,)))
        replace_net(block, net, "r", stuck)

    return patch
