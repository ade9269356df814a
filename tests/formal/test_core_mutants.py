"""Random bugs of a core's control: who notices them."""

from __future__ import annotations

import re

import pytest

from formal.core_mutants import ARITHMETIC, control_nets, episodes, judged_core
from formal.mutants import MUTANT_POOL
from formal.mutation import Patch, drop_operand, mutated, tie
from formal.random_mutants import draw
from formal.recording import Recording
from formal.simulator import Simulator
from formal.structure import core_block
from formal.transition import TransitionSystem
from isa.encoding import encode
from isa.instructions import ConfigLoad
from rtl.core_ports import core_ports

PITCH = "load/ConfigLoad_row_pitch"


@pytest.fixture(scope="module")
def recording() -> Recording:
    """A core gets one instruction, does what it says, and is taken away."""
    ports = core_ports(MUTANT_POOL)
    simulator = Simulator(TransitionSystem(core_block(MUTANT_POOL)), [f"{port}_o" for port in ports.outputs])
    state = simulator.system.reset_state()
    inputs: dict[str, list[int]] = {}
    outputs: dict[str, list[int]] = {}
    for cycle in range(MUTANT_POOL.scrub_cycles + 60):
        given = dict.fromkeys(ports.inputs, 0)
        if cycle == 3:
            given |= {"instruction_valid": 1, "instruction": encode(ConfigLoad(core=0, row_pitch=5))}
        if 0 <= cycle - 50 < MUTANT_POOL.scrub_cycles:
            given |= {"scrub": 1, "scrub_address": cycle - 50}
        shown, state = simulator.cycle(state, given)
        for port, value in given.items():
            inputs.setdefault(port, []).append(value)
        for port, value in shown.items():
            outputs.setdefault(port, []).append(value)
    return Recording(inputs, outputs)


def test_an_episode_is_from_the_first_instruction_to_behind_the_scrub(recording: Recording) -> None:
    (episode,) = episodes(recording)
    assert episode[0]["instruction_valid"]
    assert len(episode) == recording.cycles - 3 - 6
    assert [given["scrub"] for given in episode[-5:]] == [1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("patch", "wire", "verdict", "shown"),
    [
        (drop_operand("clears_core", PITCH, "x", 2), PITCH, "KILLED", ""),
        (tie("credit", 0), "credit", "BLIND", "credit_o in cycle 5"),
        (tie("compute_to_save/tokens", 0), "compute_to_save/tokens", "BLIND", ""),
        (lambda block: None, "credit", "EQUIVALENT", ""),
    ],
    ids=["outlives the scrub", "shows at a port", "shows nothing", "is none"],
)
def test_a_bug_is_noticed_by_the_scrub_or_by_the_run(
    recording: Recording, patch: Patch, wire: str, verdict: str, shown: str
) -> None:
    original = core_block(MUTANT_POOL)
    found = judged_core(MUTANT_POOL, original, mutated(original, patch), wire, recording)
    assert (found.verdict, found.shown) == (verdict, shown)
    assert found.theorem == ("L4" if verdict == "KILLED" else "")


def test_what_is_drawn_is_control() -> None:
    block, control = control_nets(MUTANT_POOL)
    assert 0.3 < len(control) / len(block.logic) < 0.9
    for seed in range(20):
        drawn = draw(block, seed, control)
        assert not any(f"{module}/" in drawn.wire for module in ("array/product", *ARITHMETIC))


def test_the_same_bug_is_drawn_however_temporary_names_are_counted() -> None:
    def drawn() -> list[str]:
        block, control = control_nets(MUTANT_POOL)
        return [re.sub(r"(tmp|const_)\d+", "", draw(block, seed, control).change) for seed in range(20)]

    assert drawn() == drawn()
