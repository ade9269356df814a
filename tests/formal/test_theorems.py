"""Ownership and delivery are proved on the shell's netlist, and each seeded bug of it is refuted with a real run."""

from __future__ import annotations

from dataclasses import replace

import pytest

import formal.theorems.no_path_leads_through_a_core
from formal.campaign import campaign, check_result, resting_on
from formal.demonstration import BUG
from formal.mutants import MUTANTS, Mutant, hunt
from formal.theorems import CHECKS, TheoremResult, UnknownTheorem, check, prove, theorem, with_premises
from formal.verdict import Refuted
from isa.configuration import NAMED_POOLS


@pytest.mark.parametrize("pool", ["tiny", "small"])
def test_ownership_and_delivery_are_proved(pool: str) -> None:
    for result in prove(["ownership", "delivery"], NAMED_POOLS[pool]):
        assert result.verdict == "proved", f"{result.name}: {result.verdict}, {result.reason}"
        assert result.statement


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_bug_is_refuted(mutant: Mutant) -> None:
    problem, verdict = hunt(mutant)  # raises unless PyRTL's simulator shows the same violation
    assert isinstance(verdict, Refuted), verdict
    assert problem.name == theorem(mutant.theorem).problem.__module__.rpartition(".")[2]


def test_the_demonstration_shows_a_bug_of_ownership() -> None:
    assert [mutant.theorem for mutant in MUTANTS if mutant.name == BUG] == ["cores_obey_only_their_owner"]


def test_an_unknown_theorem_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownTheorem, match="ownership, delivery"):
        theorem("nonsense")


@pytest.mark.parametrize("name", CHECKS)
def test_what_is_no_statement_about_runs_is_proved(name: str) -> None:
    stated, pool = check(name), NAMED_POOLS["small"]
    assert [line for part in stated.parts(pool) for line in stated.check(pool, part)] == []


def test_a_mac_step_of_a_wide_array_is_that_of_the_isa() -> None:
    """Of 16 rows some are without a place, and some are left over."""
    stated, pool = check("multiply-accumulate"), replace(NAMED_POOLS["tiny"], name="wide", array=16)
    assert [line for part in stated.parts(pool) for line in stated.check(pool, part)] == []


def test_the_composition_is_unknown_as_long_as_a_premise_is_not_proved() -> None:
    stated = check("L7")
    premises = [TheoremResult(name, "proved", 0.0, [], "") for name in stated.premises]
    assert check_result(stated, [], premises).verdict == "proved"
    refuted = check_result(stated, [], [*premises[1:], replace(premises[0], verdict="refuted")])
    assert (refuted.verdict, refuted.reason) == ("unknown", "rests on L0, which is refuted")


def test_a_theorem_is_unknown_as_long_as_one_whose_invariants_it_uses_is_not_proved() -> None:
    assert theorem("independence").premises == ("hand-over",)
    proved = TheoremResult("independence", "proved", 1.0, [], "")
    premise = TheoremResult("hand-over", "proved", 1.0, [], "")
    assert resting_on(proved, [premise]) == proved
    resting = resting_on(proved, [replace(premise, verdict="unknown")])
    assert (resting.verdict, resting.reason) == ("unknown", "rests on hand-over, which is unknown")


def test_naming_a_lemma_proves_what_it_rests_on_first() -> None:
    names = with_premises(["L7"])
    assert names[-1] == "L7"
    assert {"non-interference", "hand-over", "memory", "L0", "L3", "L4"} < set(names)
    assert names.index("memory") < names.index("L6")
    assert with_premises(["independence"]) == ["hand-over", "independence"]


def test_a_lemma_is_proved_or_says_what_contradicts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lemma = check("L0")
    (result,) = campaign([lemma], NAMED_POOLS["tiny"])
    assert (result.verdict, result.reason) == ("proved", "")
    monkeypatch.setattr(formal.theorems.no_path_leads_through_a_core, "combinational_paths", lambda *_: ["a path"])
    (result,) = campaign([lemma], NAMED_POOLS["tiny"])
    assert (result.verdict, result.reason) == ("refuted", "a path")
