"""A refutation shows what led to it, and nothing that merely differs."""

from __future__ import annotations

from formal.counterexample import counterexample
from formal.mutation import mutated, redirect, tie
from formal.refute import refute
from formal.trace import read_by
from formal.verdict import Refuted
from tests.formal.dispatcher_theorems import isolation, ownership
from tests.formal.netlists import dispatcher


def test_of_two_runs_the_causes_of_a_difference_are_shown() -> None:
    problem = isolation(mutated(dispatcher(2, 2), redirect("tenant1_ready", "tenant0_held")), 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    shown = counterexample(problem, verdict.trace)
    values = shown.as_json()["signals"]
    assert "tenant0_held" in values, "what the bug reads"
    assert any("|" in cell for cell in values["tenant0_held"])
    read = read_by(problem, verdict.trace)
    for name, cells in values.items():
        assert name in read or any("|" in cell for cell in cells), f"{name} is shown and does not differ"
    assert shown.first_difference().startswith(f"First that differs for A, in cycle {verdict.trace.cycles - 1}: ")


def test_of_one_run_there_is_one_waveform_and_no_difference() -> None:
    problem = ownership(mutated(dispatcher(2, 2), tie("tenant1_owns0", 1)), 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    shown = counterexample(problem, verdict.trace)
    assert shown.first_difference() == ""
    (waveform,) = shown.waveforms().values()
    assert "$var wire" in waveform
    assert "core0_owner" in waveform
