"""Unbounded proofs: filter candidates by simulation, make the rest inductive, prove the properties from them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from formal.engine import Engine, Query, UndecidedError
from formal.gates import GateAlgebra, GateLogic, Gates
from formal.logic import INTEGER_LOGIC, BatchLogic, batch
from formal.problem import Candidate, Claim, Frame, Problem, SampleFrame, View
from formal.questions import Question
from formal.refute import Exploration, explore, refute, unreached_covers
from formal.transition import Evaluation, Memory
from formal.variables import Situation
from formal.verdict import Proved, Refuted, Unknown, Verdict

_RESET_SECONDS = 60.0


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        runs, cycles, seed: random simulation that filters candidates and looks for early violations.
        query_seconds: time limit of one solver call.
        cover_depth, cover_seconds: bounds of the search for covers that simulation did not reach.
        refute_depth, refute_seconds: bounds of the search for a counterexample in `decide`.
    """

    runs: int = 4
    cycles: int = 250
    seed: int = 1
    query_seconds: float = 60.0
    cover_depth: int = 25
    cover_seconds: float = 30.0
    refute_depth: int = 30
    refute_seconds: float = 60.0


@dataclass(frozen=True)
class Inference:
    """Outcome of `infer`: the verdict, and the schemas its proof needs (all surviving ones when not proved)."""

    verdict: Verdict
    schemas: frozenset[str]


def decide(problem: Problem, schemas: Iterable[str] | None = None, effort: Effort | None = None) -> Verdict:
    """Prove the problem, or else refute it.

    Args:
        problem: the theorem.
        schemas: only candidates of these schemas are tried; None tries all.
        effort: limits.

    Returns:
        `Proved`, `Refuted` with a run from reset, or `Unknown` when neither succeeded within the limits.
    """
    limits = effort or Effort()
    started = time.monotonic()
    verdict = prove(problem, schemas, limits)
    if not isinstance(verdict, Unknown):
        return verdict
    found = refute(problem, limits.refute_depth, limits.refute_seconds, runs=0)
    elapsed = time.monotonic() - started
    if isinstance(found, Refuted):
        return replace(found, seconds=elapsed)
    return Unknown(problem.name, elapsed, f"{verdict.reason}; {found.reason}")


def prove(problem: Problem, schemas: Iterable[str] | None = None, effort: Effort | None = None) -> Verdict:
    """Prove the problem by one-step induction; never searches beyond random simulation for a counterexample."""
    return _attempt(problem, schemas, effort or Effort(), trim=False).verdict


def infer(problem: Problem, effort: Effort | None = None) -> Inference:
    """Prove a small configuration and report which schemas the proof needs, to be used at full size by `prove`."""
    return _attempt(problem, None, effort or Effort(), trim=True)


def _attempt(problem: Problem, schemas: Iterable[str] | None, limits: Effort, trim: bool) -> Inference:
    started = time.monotonic()

    def unknown(reason: str, living: Iterable[str] = ()) -> Inference:
        return Inference(Unknown(problem.name, time.monotonic() - started, reason), frozenset(living))

    exploration = explore(problem, limits.runs, limits.cycles, limits.seed)
    if exploration.violation is not None:
        elapsed = time.monotonic() - started
        return Inference(Refuted(problem.name, elapsed, exploration.violation), frozenset())
    if exploration.cycles == 0:
        return unknown("no inputs satisfying the assumptions were found after reset")
    missing = unreached_covers(problem, exploration, limits.cover_depth, limits.cover_seconds)
    if missing:
        return unknown(f"vacuous: nothing reaches {', '.join(missing)}")
    wanted = None if schemas is None else set(schemas)
    candidates = [c for c in problem.candidates if wanted is None or c.schema in wanted]
    offered = len(candidates)
    candidates = filter_by_samples(problem, candidates, exploration)
    candidates = filter_by_reset(problem, candidates)
    engine = Engine(problem, candidates, limits.query_seconds, exact_cores=trim)
    induction = engine.houdini()
    # `filter_by_reset` asked the solver already; what survived is checked again as a whole, in one query.
    if not _holds_at_reset(problem, [candidates[i] for i in engine.active()]):
        return unknown("the invariant does not hold after reset")
    if not _covers_every_goal(engine, induction):
        return unknown("internal error: some invariant was never proved inductive")
    properties: list[Query] = []
    for query in property_queries(problem.properties):
        try:
            situation = engine.decide(query, problem.properties)
        except UndecidedError as gave_up:
            return unknown(f"the solver gave up on {gave_up}", engine.alive)
        if situation is not None:
            return unknown(_not_inductive(problem, query, situation), engine.alive)
        properties.append(query)
    statistics = {
        "candidates": offered,
        "instances": len(engine.active()),
        "queries": engine.queries,
        "nets": len(problem.system.nets),
        "cycles": exploration.cycles,
    }
    kept = engine.needed_schemas(properties) if trim else frozenset(engine.alive)
    elapsed = time.monotonic() - started
    return Inference(Proved(problem.name, elapsed, tuple(sorted(kept)), statistics), kept)


def sharing_engine(problem: Problem) -> Engine:
    """What all parts of a proof that a process works on have in common."""
    return Engine(problem, problem.candidates, Effort().query_seconds, exact_cores=False)


def prove_share(engine: Engine, index: int, count: int) -> str:
    """Part `index` of `count` of a proof by one-step induction, for processes that share the work.

    If every part succeeds, all candidates together hold after reset and are inductive, and the properties follow:
    the problem is proved. No candidate is ever dropped here; where one would have to be, a part fails. Covers are
    not looked for.

    Returns:
        Nothing, or what does not hold and why.
    """
    problem = engine.problem
    parts: list[tuple[Query, Sequence[Claim] | None]] = [(query, None) for query in engine.consecution_queries()]
    parts += [(query, problem.properties) for query in property_queries(problem.properties)]
    mine = parts[index::count]
    if index == 0 and not _holds_at_reset(problem, problem.candidates):
        return "the invariant does not hold after reset"
    for query, properties in mine:
        try:
            situation = engine.decide(query, properties)
        except UndecidedError as gave_up:
            return f"the solver gave up on {gave_up}"
        if situation is not None:
            what = "a property" if properties is not None else "an invariant"
            return f"{what} of {query.group or 'the whole'} is not inductive"
    return ""


def property_queries(properties: Sequence[Claim]) -> list[Query]:
    """One query per group of properties."""
    groups: dict[str, list[int]] = {}
    for index, claim in enumerate(properties):
        groups.setdefault(claim.group, []).append(index)
    return [Query(group, goals) for group, goals in groups.items()]


def _covers_every_goal(engine: Engine, proved: Sequence[Query]) -> bool:
    """Each active candidate has a proof, here or elsewhere, and each proof rests on active candidates only."""
    active = set(engine.active())
    goals = {goal for query in proved for goal in query.goals}
    goals |= {index for index in active if engine.candidates[index].proved_by}
    used = {i for query in proved for i in query.core if i < len(engine.candidates)}
    return active <= goals and all(query.proved for query in proved) and used <= active


def _not_inductive(problem: Problem, query: Query, situation: Situation) -> str:
    """Say which property fails in which (perhaps unreachable) state, naming the values it reads."""
    view = problem.concrete_view(situation.states, situation.inputs, situation.symbols)
    for index in query.goals:
        claim = problem.properties[index]
        for frame in view.frames:
            frame.touched.clear()
        if not claim.holds(view):
            values = []
            for copy, frame in enumerate(view.frames):
                prefix = "right " if copy else ""
                names = sorted(name for name, is_next in frame.touched if not is_next)
                values += [f"{prefix}{name}={frame[name]}" for name in names]
            return f"{claim.name} does not follow from the invariant: {', '.join(values)}"
    return f"{query.group} does not follow from the invariant"


# ---- filters


def filter_by_samples(problem: Problem, candidates: Sequence[Candidate], seen: Exploration) -> list[Candidate]:
    """Drop every schema with an instance that fails in a sampled state."""
    if not seen.samples:
        return list(candidates)
    states = [sample for sample, _ in seen.samples]
    frames = [SampleFrame(problem.system, [s[copy] for s in states]) for copy in range(problem.copies)]
    symbols = {
        name: batch([values[name] for _, values in seen.samples], bits) for name, bits in problem.symbols.items()
    }
    return _filter(candidates, BatchLogic(len(states)), View(frames, symbols))


def _filter(candidates: Sequence[Candidate], logic: BatchLogic, view: View) -> list[Candidate]:
    dead: set[str] = set()
    for candidate in candidates:
        if candidate.schema not in dead and not logic.all([candidate.formula(logic, view)]).all():
            dead.add(candidate.schema)
    return [candidate for candidate in candidates if candidate.schema not in dead]


def filter_by_reset(problem: Problem, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Drop every schema with an instance that fails after reset, for some value of symbols and free memories."""
    total = sum(problem.symbols.values())
    if total <= 10:
        spaces = [range(1 << bits) for bits in problem.symbols.values()]
        rows = list(itertools.product(*spaces))
        rows = [row for row in rows if _symbols_allowed(problem, dict(zip(problem.symbols, row, strict=True)))]
        columns = {
            name: batch([row[place] for row in rows], bits)
            for place, (name, bits) in enumerate(problem.symbols.items())
        }
        reset = problem.system.reset_state()
        frames = [SampleFrame(problem.system, [reset] * len(rows))] * problem.copies
        candidates = _filter(candidates, BatchLogic(len(rows)), View(frames, columns))
        if not problem.free_memories:
            return list(candidates)
    by_schema: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_schema.setdefault(candidate.schema, []).append(candidate)
    return [c for instances in by_schema.values() if _holds_at_reset(problem, instances) for c in instances]


def _holds_at_reset(problem: Problem, candidates: Sequence[Candidate]) -> bool:
    """Ask the solver whether all candidates hold in every state after reset, under assumptions on symbols."""
    graph = Gates()
    algebra, logic = GateAlgebra(graph), GateLogic(graph)
    frames = []
    for _ in range(problem.copies):

        def free(name: str, memory: Memory) -> Any:
            return [algebra.variable(memory.bits) for _ in range(1 << memory.address_bits)]

        frames.append(Frame(Evaluation(problem.system, algebra, problem.reset_state(algebra, free), {})))
    view = View(frames, {name: algebra.variable(bits) for name, bits in problem.symbols.items()})
    hold = logic.all(candidate.formula(logic, view) for candidate in candidates)
    given = logic.all(claim.formula(logic, view) for claim in _rigid_assumptions(problem))
    violated = logic.all([given, logic.negate(hold)])
    question = Question(graph, seconds=_RESET_SECONDS, exact=False)
    try:
        return question.ask(violated.bits[0], {}).satisfiable is False
    finally:
        question.close()


def _rigid_assumptions(problem: Problem) -> list[Claim]:
    """Assumptions that read symbols only; they hold before the first cycle as well."""
    zeros: list[Mapping[str, int]] = [dict.fromkeys(problem.system.inputs, 0)] * problem.copies
    states = [problem.system.reset_state() for _ in range(problem.copies)]
    rigid = []
    for claim in problem.assumptions:
        view = problem.concrete_view(states, zeros, dict.fromkeys(problem.symbols, 0))
        claim.formula(INTEGER_LOGIC, view)
        if not any(frame.touched for frame in view.frames):
            rigid.append(claim)
    return rigid


def _symbols_allowed(problem: Problem, symbols: Mapping[str, int]) -> bool:
    states = [problem.system.reset_state() for _ in range(problem.copies)]
    zeros = [dict.fromkeys(problem.system.inputs, 0)] * problem.copies
    view = problem.concrete_view(states, zeros, symbols)
    return all(claim.holds(view) for claim in _rigid_assumptions(problem))
