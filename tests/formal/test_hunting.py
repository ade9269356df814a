"""Runs that kill: of a host that does rare things, of a recording, and from states in which damage was just done."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pyrtl
import pytest

from formal.hunting import Effort, replayed, runnable, searched
from formal.isolation_mutants import ISOLATION_MUTANTS, reload
from formal.mutants import MUTANT_POOL
from formal.mutation import mutated
from formal.problem import Inputs
from formal.recording import Recording
from formal.refute import explore
from formal.restless_host import restless_host
from formal.shell import shell_block
from formal.simulator import Simulator
from formal.trace import Trace, replay

CYCLES = 2 * MUTANT_POOL.scrub_cycles + 20 * MUTANT_POOL.channel_latency


@pytest.fixture(scope="module")
def shell() -> pyrtl.Block:
    return shell_block(MUTANT_POOL)


@pytest.fixture(scope="module")
def lost_while_pausing(shell: pyrtl.Block) -> pyrtl.Block:
    """Core 0 loses an instruction while its tenant is to pause, which a busy host does not order."""
    patch = reload("core0_instruction_valid", lambda old, look: old & ~look("tenant0_pause_pending"))
    return mutated(shell, patch)


@pytest.fixture(scope="module")
def killing(lost_while_pausing: pyrtl.Block) -> Trace:
    problem = runnable(MUTANT_POOL, lost_while_pausing, "delivery")
    restless = replace(problem, stimulus=restless_host(MUTANT_POOL, problem.system))
    for seed in range(3):
        trace = explore(restless, 1, CYCLES, seed, keep_samples=False).violation
        if trace is not None:
            return trace
    raise AssertionError("a restless host pauses programs at work")


def test_a_restless_host_refutes_what_the_usual_one_does_not_come_to(
    lost_while_pausing: pyrtl.Block, killing: Trace
) -> None:
    problem = runnable(MUTANT_POOL, lost_while_pausing, "delivery")
    assert explore(problem, 1, CYCLES, 0, keep_samples=False).violation is None
    replay(problem.system.block, problem, killing)
    assert "core0" in killing.claim


def test_a_restless_host_refutes_nothing_of_the_design(shell: pyrtl.Block) -> None:
    for name in ("delivery", "barrier"):
        problem = runnable(MUTANT_POOL, shell, name)
        restless = replace(problem, stimulus=restless_host(MUTANT_POOL, problem.system))
        assert explore(restless, 1, CYCLES, 1, keep_samples=False).violation is None


def test_a_recorded_run_kills_where_it_comes_to_the_damage(lost_while_pausing: pyrtl.Block, killing: Trace) -> None:
    recording = _recorded(killing.inputs)
    problem = runnable(MUTANT_POOL, lost_while_pausing, "delivery")
    found = replayed(MUTANT_POOL, problem, recording, recording.cycles)
    assert found is not None
    assert found.cycles <= killing.cycles
    replay(problem.system.block, problem, found)
    assert replayed(MUTANT_POOL, problem, recording, 0) is None, "the first cycles are those of reset and scrub"


def test_of_a_recorded_run_what_is_not_the_observers_is_drawn_anew(shell: pyrtl.Block) -> None:
    bug = next(mutant for mutant in ISOLATION_MUTANTS if mutant.name == "arbiter")
    block = mutated(shell, *bug.patches)
    single = runnable(MUTANT_POOL, block, "memory")
    states, inputs, generator = single.initial_states(random.Random(1)), [], random.Random(1)
    simulator = Simulator(single.system, observed=())
    for _ in range(CYCLES // 2):
        inputs.append(single.draw_inputs(generator, states, {}) or ())
        states = (simulator.cycle(states[0], inputs[-1][0])[1],)
    problem = runnable(MUTANT_POOL, block, "non-interference")
    found = replayed(MUTANT_POOL, problem, _recorded(inputs), len(inputs))
    assert found is not None
    replay(problem.system.block, problem, found)


def test_model_checking_begins_where_damage_was_done(shell: pyrtl.Block) -> None:
    patch = reload("core0_write_acknowledged", lambda old, look: old & ~look("core0_request_valid_i"))
    problem = runnable(MUTANT_POOL, mutated(shell, patch), "answers")
    original = runnable(MUTANT_POOL, shell, "answers")
    found = searched(MUTANT_POOL, problem, original, 1, Effort(states=1, depth=3, search_seconds=60.0))
    assert found is not None
    replay(problem.system.block, problem, found)


def _recorded(inputs: Sequence[tuple[Inputs, ...]]) -> Recording:
    return Recording({name: [cycle[0][name] for cycle in inputs] for name in inputs[0][0]}, {"": [0] * len(inputs)})
