"""Proves theorems on all processors: each proof is cut into parts, which processes of their own work on."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace

from formal.counterexample import Counterexample, counterexample
from formal.engine import Engine, UndecidedError
from formal.induction import Effort, prove, prove_share, sharing_engine
from formal.refute import explore
from formal.shell import shell_block
from formal.theorems import Check, Progress, Theorem, TheoremResult, check, theorem
from formal.trace import Trace
from formal.verdict import Proved
from isa.configuration import PoolConfig

PARTS = 8
"""Parts of a proof; the search for its covers is one more."""
_COVERS = PARTS
_SEEDS = (0, 1, 2, 3, 137)
"""Random runs that look for violations, one after another until one is found."""
_COVER_SEEDS = (*_SEEDS, *range(4, 24))
"""Those that look for covers, until all are found; the first ones do in most pools."""
_PATIENCE = 200
"""So many latencies a run that looks for covers goes on after the first scrub, which most of it waits for."""
_VACUOUS = "vacuous"
_UNDECIDED = "undecided"
_WITHOUT_SIMULATION = Effort(runs=1, cycles=1)


@dataclass(frozen=True)
class _Outcome:
    name: str
    failure: str
    began: float
    ended: float


def campaign(
    theorems: Sequence[Theorem | Check], config: PoolConfig, progress: Progress | None = None
) -> list[TheoremResult]:
    """Prove each theorem about the pool `config`; see `formal.theorems.prove`."""
    tasks = [(each.name, config, part) for each in theorems for part in _parts(each, config)]
    outcomes: dict[str, list[_Outcome]] = {each.name: [] for each in theorems}
    for done, outcome in enumerate(_outcomes(tasks), 1):
        outcomes[outcome.name].append(outcome)
        if progress is not None:
            progress(done / len(tasks), outcome.name)
    results: dict[str, TheoremResult] = {}
    for each in theorems:  # premises come first
        made = outcomes[each.name]
        premises = [results[premise] for premise in each.premises]
        if isinstance(each, Check):
            results[each.name] = check_result(each, made, premises)
        else:
            results[each.name] = resting_on(_result(each, config, made), premises)
    return list(results.values())


def _parts(stated: Theorem | Check, config: PoolConfig) -> Sequence[int | str]:
    return list(stated.parts(config)) if isinstance(stated, Check) else [_COVERS, *range(PARTS)]


def _outcomes(tasks: Sequence[tuple[str, PoolConfig, int | str]]) -> Iterator[_Outcome]:
    """Outcomes of the tasks as they come."""
    workers = min(processors(), len(tasks))
    if workers < 2:
        yield from itertools.starmap(_work, tasks)
        return
    executor: Executor = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    with executor:
        futures: list[Future[_Outcome]] = [executor.submit(_work, *task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def processors() -> int:
    """How many processes can work at the same time."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(name: str, config: PoolConfig, part: int | str) -> _Outcome:
    """One part of one theorem, in whatever process."""
    began = time.time()
    if isinstance(part, str):
        try:
            failure = "; ".join(check(name).check(config, part))
        except UndecidedError as gave_up:
            failure = f"{_UNDECIDED}: {part}, {gave_up}"
    elif part == _COVERS:
        failure = _covers(theorem(name), config)
    else:
        failure = prove_share(_engine(name, config), part, PARTS)
    return _Outcome(name, failure, began, time.time())


@functools.lru_cache(maxsize=1)
def _engine(name: str, config: PoolConfig) -> Engine:
    """What this process knows of the theorem that it works on; tasks come theorem by theorem."""
    return sharing_engine(theorem(name).problem(config, shell_block(config)))


def _longest_run(config: PoolConfig) -> int:
    """Cycles in which a run from reset gets past scrub and sweep, places tenants and executes."""
    return config.scrub_cycles + 20 * config.channel_latency


def _covers(stated: Theorem, config: PoolConfig) -> str:
    """Say which cover no random run reaches; the empty string when each is reached.

    Runs stop as soon as all are. In the first one free memories hold zeros, so that the tenant watched is the one that
    the host attaches first.
    """
    problem = stated.problem(config, shell_block(config), over_approximate=False)
    missing = {cover.name for cover in problem.covers}
    tries = [(_SEEDS[0], frozenset[str]()), *((seed, problem.free_memories) for seed in _COVER_SEEDS)]
    for seed, free in tries:
        if missing:
            covers = [cover for cover in problem.covers if cover.name in missing]
            attempt = replace(problem, properties=(), covers=covers, free_memories=free)
            cycles = config.scrub_cycles + _PATIENCE * config.channel_latency
            missing -= explore(attempt, 1, cycles, seed, keep_samples=False, until_covered=True).covered
    return f"{_VACUOUS}: no run reaches {', '.join(sorted(missing))}" if missing else ""


def resting_on(result: TheoremResult, premises: Sequence[TheoremResult]) -> TheoremResult:
    """What is proved from something that is not proved is unknown."""
    missing = _unproved(premises)
    if result.verdict != "proved" or not missing:
        return result
    return replace(result, verdict="unknown", reason="; ".join(missing))


def _unproved(premises: Sequence[TheoremResult]) -> list[str]:
    return [f"rests on {each.name}, which is {each.verdict}" for each in premises if each.verdict != "proved"]


def check_result(stated: Check, outcomes: Sequence[_Outcome], premises: Sequence[TheoremResult]) -> TheoremResult:
    """A check is refuted by what contradicts it, and unknown as long as it rests on something that is not proved."""
    failures = [outcome.failure for outcome in outcomes if outcome.failure] + _unproved(premises)
    contradicted = any(outcome.failure and not outcome.failure.startswith(_UNDECIDED) for outcome in outcomes)
    return TheoremResult(
        name=stated.name,
        verdict="refuted" if contradicted else "unknown" if failures else "proved",
        seconds=sum(outcome.ended - outcome.began for outcome in outcomes),
        assumptions=list(stated.assumptions),
        statement=stated.statement,
        reason="; ".join(failures),
    )


def _result(stated: Theorem, config: PoolConfig, outcomes: Sequence[_Outcome]) -> TheoremResult:
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    result = TheoremResult(
        name=stated.name,
        verdict="proved",
        seconds=max(outcome.ended for outcome in outcomes) - min(outcome.began for outcome in outcomes),
        assumptions=list(stated.assumptions),
        statement=stated.statement,
    )
    return result if not failures else _without_all_parts(stated, config, result, failures)


def _without_all_parts(
    stated: Theorem, config: PoolConfig, result: TheoremResult, failures: Sequence[str]
) -> TheoremResult:
    """Some part failed: look for a run that violates the theorem, else try the proof with fewer invariants."""
    if all(failure.startswith(_VACUOUS) for failure in failures):
        return replace(result, verdict="unknown", reason="; ".join(failures))
    started = time.time()
    problem = stated.problem(config, shell_block(config), over_approximate=False)
    trace: Trace | None = None
    shown: Counterexample | None = None
    for seed in _SEEDS:
        trace = trace or explore(problem, 1, 2 * _longest_run(config), seed, keep_samples=False).violation
    if trace is not None:
        verdict, reason, shown = "refuted", "", counterexample(problem, trace)
    else:
        weaker = replace(stated.problem(config, shell_block(config)), covers=())
        outcome = prove(weaker, effort=_WITHOUT_SIMULATION)
        covered = not any(failure.startswith(_VACUOUS) for failure in failures)
        verdict = "proved" if isinstance(outcome, Proved) and covered else "unknown"
        reason = "" if verdict == "proved" else "; ".join(failures)
    seconds = result.seconds + time.time() - started
    return replace(result, verdict=verdict, seconds=seconds, reason=reason, counterexample=shown)
