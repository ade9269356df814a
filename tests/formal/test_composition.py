"""The joint induction follows from its premises, and its premises are what the theorems say: neither less nor more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from formal import composition
from formal.composition import PREMISES, SAID, does_not_follow, starts_otherwise, unsaid
from formal.problem import Claim, Problem
from formal.theorems import theorem
from isa.configuration import NAMED_POOLS

TINY = NAMED_POOLS["tiny"]


@pytest.mark.parametrize("cores", [1, 2, 4, 16])
def test_the_induction_needs_all_of_its_premises_and_nothing_else(cores: int) -> None:
    assert does_not_follow(cores) == []


def test_a_premise_that_says_nothing_new_is_refused() -> None:
    idle = replace(PREMISES[0], says="the same once more")
    assert any("not needed" in line for line in does_not_follow(2, (*PREMISES, idle)))


def test_no_core_is_held_or_free_after_reset() -> None:
    assert starts_otherwise(TINY) == []


@pytest.mark.parametrize(
    ("lemma", "name", "forgotten"),
    [
        ("L2", "non-interference", "core0_owner is the same"),
        ("L2", "independence", "core1_response_data is the same for A"),
        ("L2", "independence", "core0 is A's in both runs"),
        ("L5", "hand-over", "core0 becomes HELD from FREE"),
        ("L6", "memory", "channel0: core1 stays in its owner's window"),
    ],
)
def test_a_claim_that_its_theorem_does_not_make_is_missed(
    monkeypatch: pytest.MonkeyPatch, lemma: str, name: str, forgotten: str
) -> None:
    assert unsaid(TINY, lemma) == []
    _change(monkeypatch, name, lambda p: replace(p, properties=[c for c in p.properties if c.name != forgotten]))
    assert unsaid(TINY, lemma) == [f"{name} does not say: {forgotten}"]


@pytest.mark.parametrize(("lemma", "name"), [(lemma, name) for lemma, names in SAID.items() for name in names])
def test_an_assumption_that_nobody_discharges_is_found(monkeypatch: pytest.MonkeyPatch, lemma: str, name: str) -> None:
    convenient = Claim("neighbours behave", lambda logic, view: logic.all([]))
    _change(monkeypatch, name, lambda p: replace(p, assumptions=[*p.assumptions, convenient]))
    assert unsaid(TINY, lemma) == [f"{name} assumes, and nothing discharges: neighbours behave"]


def _change(monkeypatch: pytest.MonkeyPatch, which: str, change: Any) -> None:
    def changed(name: str) -> Any:
        stated = theorem(name)
        if name != which:
            return stated

        def problem(*arguments: Any) -> Problem:
            made: Problem = change(stated.problem(*arguments))
            return made

        return replace(stated, problem=problem)

    monkeypatch.setattr(composition, "theorem", changed)
