"""Counterexamples: found, short, replayed on PyRTL's simulator, and readable."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from formal.mutation import mutated, redirect, tie
from formal.refute import refute
from formal.trace import ReplayError, replay, table
from formal.verdict import Refuted, Unknown
from tests.formal.dispatcher_theorems import isolation, ownership
from tests.formal.netlists import dispatcher


def test_bounded_search_finds_the_shortest_run() -> None:
    block = mutated(dispatcher(2, 2), tie("tenant1_owns0", 1))
    problem = ownership(block, 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    assert verdict.trace.cycles == 4
    replay(block, problem, verdict.trace)


def test_random_search_alone_finds_a_run() -> None:
    block = mutated(dispatcher(2, 2), tie("core0_flush", 0))
    problem = ownership(block, 2, 2)
    verdict = refute(problem, depth=0)
    assert isinstance(verdict, Refuted)
    replay(block, problem, verdict.trace)


def test_a_correct_design_is_not_refuted() -> None:
    verdict = refute(ownership(dispatcher(2, 2), 2, 2), depth=8)
    assert isinstance(verdict, Unknown)
    assert "within 8 cycles" in verdict.reason


def test_replay_refuses_a_trace_that_the_netlist_does_not_show() -> None:
    block = mutated(dispatcher(2, 2), tie("tenant1_owns0", 1))
    problem = ownership(block, 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    with pytest.raises(ReplayError, match="holds in the last cycle"):
        replay(dispatcher(2, 2), problem, verdict.trace)
    inputs = list(verdict.trace.inputs)
    inputs[0] = ({**inputs[0][0], "host_tenant": 3},)
    with pytest.raises(ReplayError, match="the host names tenants fails in cycle 0"):
        replay(block, problem, replace(verdict.trace, inputs=tuple(inputs)))


def test_the_table_shows_what_the_claim_reads_and_what_changes() -> None:
    block = mutated(dispatcher(2, 2), tie("tenant1_owns0", 1))
    problem = ownership(block, 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(block, problem, verdict.trace))
    text = console.export_text()
    console.file.close()
    rows = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert rows[:3] == ["core0_owner", "core0_receive", "core0_tag"]
    assert "tenant1_held" in rows
    assert "core1_timer" not in rows


def test_a_relational_trace_shows_both_copies() -> None:
    block = mutated(dispatcher(2, 2), redirect("tenant1_ready", "tenant0_held"))
    problem = isolation(block, 2, 2)
    verdict = refute(problem, runs=0)
    assert isinstance(verdict, Refuted)
    replay(block, problem, verdict.trace)
    shown = table(block, problem, verdict.trace, signals="tenant")
    assert any("|" in str(cell) for column in shown.columns for cell in column.cells)
