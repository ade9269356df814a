"""What the theorems say of a broken netlist: which proofs still hold, and which run refutes one.

Only what a changed net can influence is proved again: the rest is what was proved of the design. A mutant of which
everything is still proved is one that no theorem notices. Where a proof fails, a run is looked for
(formal/hunting.py); a failed induction alone kills nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyrtl

from formal.engine import Engine, Query, UndecidedError
from formal.host_automaton import AutomatonError
from formal.hunting import Effort, endured, explored, replayed, runnable, searched
from formal.induction import property_queries
from formal.influence import influenced
from formal.logic import INTEGER_LOGIC
from formal.problem import Problem
from formal.recording import Recording, first_difference
from formal.relations import CONTROL_PLANE
from formal.theorems import NAMES, theorem
from formal.trace import Trace, replay
from isa.configuration import PoolConfig

_QUERY_SECONDS = 3.0
_OF_TWO_RUNS = ("non-interference", "independence")
"""What takes longest to prove and to hunt."""
_COUNTS_BARRIERS = ("barrier", "progress")
_EXACT = {
    "independence": CONTROL_PLANE.pattern,
    "answers": r"channel\d+_(stage|request|flight).*|core\d+_(request|response|write)_.*|host_.*",
    "progress": r"tenant\d+_(progress|pause_pending|barriers|cycles|fault|fault_address)|command_result|control_answer",
    "barrier": r"core\d+_(arrived|sync_global)|tenant\d+_(release|pause_pending|barriers)",
    "delivery": r"core\d+_(instruction|credits).*|tenant\d+_(program|next|epoch).*|dispatch_.*|channel\d+_prefetch",
}
"""What a theorem states exactly, so that nearly every change of it is a violation."""


@dataclass(frozen=True)
class Judgement:
    """KILLED with the theorem and the property that a run violates, BLIND, or OPEN with the proofs that fail.

    `shown` is what the recorded run shows first of one that is not KILLED; empty: nothing.
    """

    verdict: str
    theorem: str = ""
    claim: str = ""
    shown: str = ""


def judged(
    config: PoolConfig,
    original: pyrtl.Block,
    block: pyrtl.Block,
    wire: str,
    recording: Recording,
    effort: Effort | None = None,
) -> Judgement:
    """What the theorems say of `block`, which is `original`, the shell of `config`, with another net for `wire`.

    Raises:
        ReplayError: when `pyrtl.Simulation` does not show what a search found.
    """
    limits = effort or Effort()
    problems: dict[str, Problem] = {}

    def first_try(name: str, hosts: int | None = None) -> Trace | None:
        problems[name] = runnable(config, block, name)
        return explored(config, problems[name], 1, hosts)

    likely = _likely(influenced(block, wire)[1])
    for name in likely:
        trace = first_try(name, 1 if name in _OF_TWO_RUNS else None)
        if trace is not None:
            return _killed(name, problems[name], trace)
    doubtful = []
    for name in sorted(NAMES, key=_OF_TWO_RUNS.__contains__):
        if not still_proved(config, block, wire, name, _QUERY_SECONDS):
            doubtful.append(name)
            trace = first_try(name) if name not in likely or name in _OF_TWO_RUNS else None
            if trace is not None:
                return _killed(name, problems[name], trace)
    difference = first_difference(block, recording)
    shown = "" if difference is None else f"{difference[1]} in cycle {difference[0]}"
    if not doubtful:
        return Judgement("BLIND", shown=shown)
    cheap_first = sorted(doubtful, key=lambda name: problems[name].copies)
    for name, trace in _hunted(
        config, original, {name: problems[name] for name in cheap_first}, recording, difference, limits
    ):
        if trace is not None:
            return _killed(name, problems[name], trace)
    return Judgement("OPEN", ", ".join(doubtful), shown=shown)


def _hunted(
    config: PoolConfig,
    original: pyrtl.Block,
    problems: Mapping[str, Problem],
    recording: Recording,
    difference: tuple[int, str] | None,
    limits: Effort,
) -> Iterator[tuple[str, Trace | None]]:
    """Further searches for a violation of each theorem whose proof fails."""
    if difference is not None:
        for name, problem in problems.items():
            yield name, replayed(config, problem, recording, difference[0])
    for seed in range(2, limits.runs + 1):
        for name, problem in problems.items():
            yield name, explored(config, problem, seed)
            yield name, searched(config, problem, runnable(config, original, name), seed, limits)
    for name in problems:
        if name in _COUNTS_BARRIERS:
            yield name, endured(config, problems[name])


def _killed(name: str, problem: Problem, trace: Trace) -> Judgement:
    replay(problem.system.block, problem, trace)
    return Judgement("KILLED", name, trace.claim)


def _likely(later: set[str]) -> list[str]:
    """Theorems that speak most exactly about these registers and memories, at most two: a guess that saves time."""
    found = [name for name, pattern in _EXACT.items() if any(re.fullmatch(pattern, each) for each in later)]
    return found[:2]


# ---- proofs


def still_proved(config: PoolConfig, block: pyrtl.Block, wire: str, name: str, seconds: float) -> bool:
    """Whether all that the net for `wire` can influence in the proof of a theorem can be proved as before."""
    try:
        problem = theorem(name).problem(config, block)
        engine = Engine(problem, problem.candidates, seconds, exact_cores=False)
        return all(engine.decide(query, properties) is None for query, properties in _touched(problem, engine, wire))
    except (UndecidedError, AutomatonError, ValueError, KeyError):
        return False


def _touched(problem: Problem, engine: Engine, wire: str) -> Iterator[tuple[Query, Sequence[Any] | None]]:
    """Queries with a goal, or any hypothesis, that reads what the net influences."""
    system = problem.system
    now, later = influenced(system.block, wire)
    states = [system.reset_state() for _ in range(problem.copies)]
    zeros = [dict.fromkeys(system.inputs, 0)] * problem.copies
    view = problem.concrete_view(states, zeros, dict.fromkeys(problem.symbols, 0))

    def read_by(claims: Sequence[Any]) -> set[tuple[str, bool]]:
        for frame in view.frames:
            frame.touched.clear()
        for claim in claims:
            claim.formula(INTEGER_LOGIC, view)
        return {read for frame in view.frames for read in frame.touched}

    def is_changed(name: str, is_next: bool) -> bool:
        """In the cycle itself; or after the step, where wires are functions of registers."""
        if not is_next:
            return name in now
        return name in now or any(leaf in later for leaf in system.support_names(system.support(name)))

    everything = any(is_changed(name, False) for name, _ in read_by([*problem.candidates, *problem.assumptions]))
    for query in engine.consecution_queries():
        goals = [problem.candidates[goal] for goal in query.goals]
        if everything or any(is_changed(name, True) for name, _ in read_by(goals)):
            yield query, None
    for query in property_queries(problem.properties):
        reads = read_by([problem.properties[goal] for goal in query.goals])
        if everything or any(name in later if is_next else name in now for name, is_next in reads):
            yield query, problem.properties
