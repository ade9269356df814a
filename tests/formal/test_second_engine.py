"""The second engine agrees with sound invariants, and rejects what was tampered with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrtl
import pytest
from click.testing import CliRunner

from formal.certificate import write_certificate
from formal.induction import infer
from formal.isolation_mutants import ISOLATION_MUTANTS
from formal.mutants import MUTANT_POOL, MUTANTS
from formal.mutation import mutated, tie
from formal.problem import Candidate, Claim, Problem, View
from formal.second_engine import SecondOpinion, check_certificate
from formal.shell import shell_block
from formal.theorems import theorem
from formal.transition import TransitionSystem
from formal.wire_logic import WIRE_LOGIC, Word
from scripts.commands.prove import prove
from tests.formal.dispatcher_theorems import isolation, ownership
from tests.formal.netlists import dispatcher

_NEEDED = "core.full0 is 1 -> core.owner equals core.tag0"


def _with_needed(problem: Problem) -> Problem:
    """The problem with an invariant that the prover found, and nothing else."""
    needed = infer(problem).schemas
    assert needed
    return replace(problem, candidates=[c for c in problem.candidates if c.schema in needed])


@pytest.fixture(scope="module")
def owned() -> Problem:
    return _with_needed(ownership(dispatcher(2, 2), 2, 2))


@pytest.fixture(scope="module")
def isolated() -> Problem:
    return _with_needed(isolation(dispatcher(2, 2), 2, 2))


def _opinion(problem: Problem, directory: Path) -> SecondOpinion:
    return check_certificate(write_certificate(problem, directory))


def test_it_agrees_on_one_run(owned: Problem, tmp_path: Path) -> None:
    opinion = _opinion(owned, tmp_path)
    assert opinion.fails == []
    assert opinion.conjuncts == len(owned.candidates)


def test_it_agrees_on_two_runs(isolated: Problem, tmp_path: Path) -> None:
    assert _opinion(isolated, tmp_path).fails == []


def test_it_rejects_an_invariant_without_a_conjunct_that_is_needed(owned: Problem, tmp_path: Path) -> None:
    rest = [candidate for candidate in owned.candidates if candidate.schema != _NEEDED]
    assert len(rest) == len(owned.candidates) - 2, "one instance per core"
    assert not _opinion(replace(owned, candidates=rest), tmp_path).agrees


def test_it_rejects_a_conjunct_that_was_weakened(owned: Problem, tmp_path: Path) -> None:
    def weakened(candidate: Candidate) -> Candidate:
        core = candidate.group

        def formula(logic: Any, view: View) -> Any:
            return logic.implies(view[f"{core}_owner"] == 1, candidate.formula(logic, view))

        return replace(candidate, formula=formula)

    weak = [weakened(c) if c.schema == _NEEDED else c for c in owned.candidates]
    assert not _opinion(replace(owned, candidates=weak), tmp_path).agrees


def test_it_rejects_a_conjunct_that_does_not_hold_after_reset(owned: Problem, tmp_path: Path) -> None:
    never = replace(owned.candidates[0], formula=lambda logic, view: logic.any([]), schema="never")
    opinion = _opinion(replace(owned, candidates=[*owned.candidates, never]), tmp_path)
    assert any(name.startswith("never") for name in opinion.initiation)
    assert opinion.vacuous


@pytest.mark.parametrize("bug", [tie("core0_flush", 0), tie("tenant1_owns0", 1)])
def test_it_rejects_the_invariant_of_a_broken_design(owned: Problem, bug: object, tmp_path: Path) -> None:
    broken = ownership(mutated(dispatcher(2, 2), bug), 2, 2)  # type: ignore[arg-type]
    assert not _opinion(replace(broken, candidates=owned.candidates), tmp_path).agrees


def test_it_rejects_a_theorem_whose_cover_is_out_of_reach(owned: Problem, tmp_path: Path) -> None:
    vacuous = Claim("never", lambda logic, view: logic.any([]))
    assert _opinion(replace(owned, covers=[vacuous]), tmp_path).vacuous == ("never",)


def test_a_wire_has_no_truth_value() -> None:
    with pyrtl.set_working_block(pyrtl.Block()):
        claim = WIRE_LOGIC.equal(Word(pyrtl.Input(4, "a")), 3)
        with pytest.raises(TypeError, match="not known"):
            bool(claim)


@pytest.mark.parametrize(("part", "agrees"), [("low", True), ("high", False)])
def test_bits_that_the_invariant_reads_have_a_next_value_and_no_others(part: str, agrees: bool, tmp_path: Path) -> None:
    pyrtl.reset_working_block()
    wide = pyrtl.Register(8, "wide", reset_value=0)
    wide.next <<= pyrtl.concat(pyrtl.Input(4, "given"), wide[:4])
    for name, bits in (("low", wide[:4]), ("high", wide[4:])):
        named = pyrtl.Output(4, name)
        named <<= bits
    stays = Candidate("stays 0", lambda logic, view: logic.equal(view[part], 0), "wide")
    problem = Problem("wide", TransitionSystem(pyrtl.working_block()), properties=[], candidates=[stays])
    verilog = write_certificate(problem, tmp_path)
    first = 0 if part == "low" else 4
    following = json.loads(verilog.with_suffix(".json").read_text())["next"]
    assert following == {f"next0_wide__bit{first}": ["now0_wide", first]}
    assert check_certificate(verilog).agrees is agrees


def test_it_agrees_on_theorems_about_the_shell(tmp_path: Path) -> None:
    ran = CliRunner().invoke(prove, ["ownership", "elasticity", "--pool", "tiny", "--certify", str(tmp_path), "--json"])
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    entries = json.loads(ran.stdout)["certificates"]
    assert [(entry["name"], entry["agrees"], entry["fails"]) for entry in entries] == [
        ("ownership", True, []),
        ("elasticity", True, []),
    ]
    assert (tmp_path / "switching_takes_constant_time.v").exists()


@pytest.mark.parametrize(
    ("bug", "failure"),
    [
        ("owner_at_most", "is not kept: a word names cores of its tenant"),
        ("credit_not_asked_for", "does not follow: core0 takes instructions that it has credit for"),
        ("arbiter", "is not kept"),
    ],
)
def test_it_rejects_the_certificate_of_a_seeded_bug(bug: str, failure: str, tmp_path: Path) -> None:
    mutant = next(mutant for mutant in (*MUTANTS, *ISOLATION_MUTANTS) if mutant.name == bug)
    broken = mutated(shell_block(MUTANT_POOL), *mutant.patches)
    stated = theorem(mutant.theorem).problem(MUTANT_POOL, broken, over_approximate=False)
    assert any(failure in found for found in _opinion(stated, tmp_path).fails)
