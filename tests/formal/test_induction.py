"""Proofs on toy designs: what is true is proved at any size, what is false or vacuous is not."""

from __future__ import annotations

from dataclasses import replace

import pyrtl
import pytest
from pyrtl import Input, MemBlock, Output, Register, select

from formal import engine
from formal.induction import Effort, decide, infer, prove
from formal.mutation import change_operation, mutated, nets_between, random_patch, redirect, replace_net, tie
from formal.problem import Candidate, Claim, Problem
from formal.refute import refute
from formal.templates import groups, sweeps, unary
from formal.trace import replay
from formal.transition import TransitionSystem
from formal.verdict import Proved, Refuted, TheoremError, Unknown, demand_proof
from tests.formal.dispatcher_theorems import isolation, ownership
from tests.formal.netlists import dispatcher, scrubber

QUIET = Effort(runs=1, cycles=1)  # hardly any simulation, so that induction has to do the work


def test_ownership_inferred_on_two_cores_is_proved_on_sixteen() -> None:
    inference = infer(ownership(dispatcher(2, 2), 2, 2))
    demand_proof(inference.verdict)
    assert len(inference.schemas) < 12
    large = demand_proof(prove(ownership(dispatcher(16, 4), 16, 4), inference.schemas))
    assert large.statistics["instances"] >= 16


def test_goals_that_are_asked_one_by_one_prove_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ownership(dispatcher(2, 2), 2, 2)
    together = infer(problem)
    monkeypatch.setattr(engine, "_LARGE", 0)
    alone = infer(problem)
    demand_proof(alone.verdict)
    demand_proof(prove(problem, alone.schemas))
    assert len(alone.schemas) < 2 * len(together.schemas)


def test_houdini_alone_finds_the_same_theorem() -> None:
    problem = ownership(dispatcher(2, 2), 2, 2)
    verdict = demand_proof(prove(replace(problem, covers=()), effort=QUIET))
    assert verdict.statistics["queries"] > 10  # candidates really died by counterexamples to induction


def test_isolation_is_proved_over_two_copies_with_a_symbolic_tenant() -> None:
    inference = infer(isolation(dispatcher(2, 2), 2, 2))
    demand_proof(inference.verdict)
    demand_proof(prove(isolation(dispatcher(6, 3), 6, 3), inference.schemas))


def test_isolation_is_refuted_when_another_tenant_can_block_the_wheel() -> None:
    block = mutated(dispatcher(2, 2), change_operation("wheel", "tenant1_ready", "=", "<"), _ready_depends_on_tenant_0)
    problem = isolation(block, 2, 2)
    verdict = decide(problem)
    assert isinstance(verdict, Refuted)
    replay(block, problem, verdict.trace)


def _ready_depends_on_tenant_0(block: pyrtl.Block) -> None:
    redirect("tenant1_ready", "tenant0_held")(block)


@pytest.mark.parametrize(
    "patch",
    [
        change_operation("core1_owner", "tenant1_accepted1", "=", "<"),
        tie("core0_flush", 0),
        tie("tenant1_owns0", 1),
    ],
    ids=["owner compared with less-than", "queue survives the hand-over", "tenant 1 owns everything"],
)
def test_mutants_of_ownership_are_refuted_with_a_replayed_trace(patch: object) -> None:
    block = mutated(dispatcher(2, 2), patch)  # type: ignore[arg-type]
    problem = ownership(block, 2, 2)
    verdict = decide(problem)
    assert isinstance(verdict, Refuted)
    replay(block, problem, verdict.trace)
    with pytest.raises(TheoremError, match="refuted"):
        demand_proof(verdict)


def test_a_missing_invariant_leaves_the_theorem_unknown_and_says_what_is_missing() -> None:
    problem = ownership(dispatcher(2, 2), 2, 2)
    verdict = prove(replace(problem, candidates=()))
    assert isinstance(verdict, Unknown)
    assert "does not follow from the invariant" in verdict.reason
    with pytest.raises(TheoremError, match="unknown"):
        demand_proof(verdict)


def test_an_unreachable_cover_makes_the_theorem_vacuous() -> None:
    problem = ownership(dispatcher(2, 2), 2, 2)
    impossible = Claim("both", lambda logic, view: logic.all([view["core0_running"] == 1, view["core0_draining"] == 1]))
    verdict = prove(replace(problem, covers=[impossible]), effort=Effort(cover_depth=6))
    assert isinstance(verdict, Unknown)
    assert "vacuous" in verdict.reason


def test_contradictory_assumptions_are_noticed() -> None:
    problem = ownership(dispatcher(2, 2), 2, 2)
    never = Claim("never", lambda logic, view: logic.less(view["host_tenant"], 0))
    assert isinstance(prove(replace(problem, assumptions=[never])), Unknown)


def test_an_inductive_candidate_that_reset_violates_is_not_used() -> None:
    pyrtl.reset_working_block()
    stuck = Register(1, "stuck", reset_value=0)
    stuck.next <<= stuck
    out = Output(1, "out")
    out <<= stuck
    always = Candidate("stuck is 1", lambda logic, view: view["stuck"] == 1)
    problem = Problem(
        "stuck",
        TransitionSystem(pyrtl.working_block()),
        [Claim("out is 1 later", lambda logic, view: view["out"] == 1)],
        [always],
    )
    assert not isinstance(prove(problem, effort=QUIET), Proved)


def _clean_means_zero(block: pyrtl.Block, free_memories: bool) -> Problem:
    system = TransitionSystem(block)
    within = groups(system)
    return Problem(
        "a clean memory is zero",
        system,
        [
            Claim(
                "clean",
                lambda logic, view: logic.implies(
                    view["unit0_clean"] == 1, logic.all(word == 0 for word in view["unit0_bank"])
                ),
            )
        ],
        [*unary(system, within), *sweeps(system, within)],
        covers=[Claim("swept", lambda logic, view: view["unit0_clean"] == 1)],
        free_memories=free_memories,
    )


@pytest.mark.parametrize("free_memories", [False, True], ids=["zero memory", "memory that survives reset"])
def test_a_swept_memory_is_zero(free_memories: bool) -> None:
    verdict = demand_proof(decide(_clean_means_zero(scrubber(), free_memories)))
    assert any("above" in schema for schema in verdict.invariants)


def test_a_sweep_that_stops_early_is_refuted() -> None:
    block = mutated(scrubber(), change_operation("unit0_pointer", "unit0_clean", "=", "<"), _stop_at_one)
    problem = _clean_means_zero(block, True)
    verdict = decide(problem)
    assert isinstance(verdict, Refuted)
    replay(block, problem, verdict.trace)


def _stop_at_one(block: pyrtl.Block) -> None:
    """The comparison of the pointer with 0 becomes `pointer < 2`."""
    net = nets_between(block, "unit0_pointer", "unit0_clean", "<")[0]
    replace_net(block, net, "<", net.args[0], pyrtl.Const(2, len(net.args[0]), block=block))


def test_next_state_properties_and_large_memories_are_supported() -> None:
    pyrtl.reset_working_block()
    address, data = Input(9, "address"), Input(8, "data")
    bank = MemBlock(8, 9, "bank", asynchronous=True)
    last, fresh, where = Register(8, "last"), Register(1, "fresh"), Register(9, "where")
    bank[address] <<= data
    last.next <<= data
    where.next <<= address
    fresh.next <<= 1
    seen = Output(8, "seen")
    seen <<= select(fresh, bank[where], last)
    system = TransitionSystem(pyrtl.working_block())
    kept = Candidate(
        "the last word written is there",
        lambda logic, view: logic.implies(view["fresh"] == 1, logic.equal(view["seen"], view["last"])),
    )
    problem = Problem(
        "a word written is read back",
        system,
        [
            Claim("read back", lambda logic, view: logic.equal(view["seen"], view["last"])),
            Claim("remembered", lambda logic, view: logic.equal(view.next("last"), view["data"])),
        ],
        [kept],
    )
    demand_proof(prove(problem))
    assert isinstance(prove(replace(problem, candidates=())), Unknown)


def test_no_random_mutant_is_both_proved_and_refuted() -> None:
    """The prover and the search share no reasoning, so each checks the other; some mutants must fall."""
    refuted = 0
    for seed in range(16):
        sink = ("core0_full0", "core0_tag0", "core0_owner", "core1_running")[seed % 4]
        block = mutated(dispatcher(2, 2), random_patch(seed, sink))
        problem = replace(ownership(block, 2, 2), covers=())
        proved = isinstance(prove(problem, effort=QUIET), Proved)
        found = refute(problem, depth=10)
        if isinstance(found, Refuted):
            replay(block, problem, found.trace)
            refuted += 1
        assert not (proved and isinstance(found, Refuted)), seed
    assert refuted >= 2


def test_what_another_theorem_proved_is_a_hypothesis_and_no_goal() -> None:
    """Here the other theorem is wrong, so that a proof shows that nobody asked again, and none that it was asked."""
    block = pyrtl.Block()
    with pyrtl.set_working_block(block):
        leak, count = Register(1, "leak", reset_value=0), Register(4, "count", reset_value=0)
        leak.next <<= Input(1, "noise")
        count.next <<= select(leak, (count + 1)[:4], count)

    def problem(proved_by: str) -> Problem:
        quiet = Candidate("quiet", lambda logic, view: view["leak"] == 0, proved_by=proved_by)
        still = Claim("still", lambda logic, view: view["count"] == 0)
        constant = Candidate("constant", lambda logic, view: view["count"] == 0)
        return Problem("toy", TransitionSystem(block), [still], [quiet, constant])

    assert isinstance(prove(problem("elsewhere"), effort=QUIET), Proved)
    assert isinstance(prove(problem(""), effort=QUIET), Unknown)
