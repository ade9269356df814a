"""Every seeded bug of isolation is refuted by the theorem that a reader would expect, with a run that PyRTL replays."""

from __future__ import annotations

import os

import pytest
from pyrtl import Register

from formal.busy_host import long_enough
from formal.host_automaton import AutomatonError, depends_on_host_alone, watch_host
from formal.induction import prove, prove_share, sharing_engine
from formal.isolation_mutants import ISOLATION_MUTANTS
from formal.monitor import Lookup, monitored
from formal.mutants import MUTANT_POOL, Mutant, hunt
from formal.mutation import mutated
from formal.relations import CONTROL_PLANE
from formal.shell import shell_block
from formal.theorems import neighbours_cannot_be_observed
from formal.transition import TransitionSystem
from formal.verdict import Refuted, demand_proof

SLOW = {
    "arrival_survives",
    "context_survives_stop",
    "taken_is_lost",
    "command_waits",
    "last_fault_stays",
    "end_does_not_wait",
}
"""Rare combinations: some ten seconds each."""
LONG = os.environ.get("TENURE_LONG") == "1"
HUNTED = [mutant for mutant in ISOLATION_MUTANTS if LONG or mutant.name not in SLOW]


@pytest.mark.parametrize("mutant", HUNTED, ids=lambda mutant: mutant.name)
def test_the_bug_is_refuted(mutant: Mutant) -> None:
    _, verdict = hunt(mutant, runs=8, cycles=1500)
    assert isinstance(verdict, Refuted), verdict
    assert verdict.theorem == mutant.theorem


def test_the_control_plane_is_shared_by_both_runs_and_a_command_that_waits_is_not() -> None:
    block = shell_block(MUTANT_POOL)
    sound = neighbours_cannot_be_observed.problem(MUTANT_POOL, block)
    control = {name for name in sound.system.registers if CONTROL_PLANE.fullmatch(name)}
    assert control <= sound.shared
    (waits,) = (mutant for mutant in ISOLATION_MUTANTS if mutant.name == "command_waits")
    leaking = neighbours_cannot_be_observed.problem(MUTANT_POOL, mutated(block, *waits.patches))
    assert not control <= leaking.shared


def test_what_others_commands_do_to_a_tenant_is_no_matter_of_equal_commands() -> None:
    """Why there are two theorems: a leak from another tenant's commands is the same in runs with equal commands."""
    (stalls,) = (mutant for mutant in ISOLATION_MUTANTS if mutant.name == "scrub_stalls")
    leaking = mutated(shell_block(MUTANT_POOL), *stalls.patches)
    equal_commands = neighbours_cannot_be_observed.problem(MUTANT_POOL, leaking)
    demand_proof(prove(equal_commands, effort=long_enough(MUTANT_POOL)))


def test_an_automaton_that_sees_a_tenant_is_refused() -> None:
    def curious(lookup: Lookup) -> None:
        watch_host(MUTANT_POOL, lookup)
        seen = Register(3, "reference_progress", reset_value=0)
        seen.next <<= lookup("tenant0_progress")

    block = shell_block(MUTANT_POOL)
    depends_on_host_alone(TransitionSystem(monitored(block, lambda lookup: watch_host(MUTANT_POOL, lookup))))
    with pytest.raises(AutomatonError, match="reference_progress"):
        depends_on_host_alone(TransitionSystem(monitored(block, curious)))


@pytest.mark.parametrize("name", ["arbiter", "fault_stalls", "answer_to_both"])
def test_definitions_do_not_prove_a_bug(name: str) -> None:
    """What agrees by hypothesis is one node in the graph of gates; so what does not must not become one."""
    (bug,) = (mutant for mutant in ISOLATION_MUTANTS if mutant.name == name)
    leaking = neighbours_cannot_be_observed.problem(MUTANT_POOL, mutated(shell_block(MUTANT_POOL), *bug.patches))
    assert "is not inductive" in prove_share(sharing_engine(leaking), 0, 1)
