"""All seeded bugs of the shell, each with what the theorem says that a reader would expect to refute it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace

from formal.campaign import processors
from formal.counterexample import counterexample
from formal.isolation_mutants import ISOLATION_MUTANTS
from formal.mutants import MUTANTS, Mutant, hunt
from formal.theorems import TheoremResult, theorem
from formal.verdict import Refuted

BUGS: dict[str, Mutant] = {mutant.name: mutant for mutant in (*MUTANTS, *ISOLATION_MUTANTS)}


class UnknownBug(ValueError):
    """No seeded bug has that name."""


def refutation(name: str) -> TheoremResult:
    """What the theorem that ought to refute a seeded bug says of the netlist with it; seconds are processor time.

    Raises:
        UnknownBug: when there is none of that name; the message lists those that there are.
    """
    if name not in BUGS:
        raise UnknownBug(f"unknown bug {name!r}: name one of {', '.join(BUGS)}")
    began = time.process_time()
    stated = theorem(BUGS[name].theorem)
    problem, verdict = hunt(BUGS[name])
    seconds = time.process_time() - began
    is_refuted = isinstance(verdict, Refuted)
    return TheoremResult(
        name=stated.name,
        verdict="refuted" if is_refuted else "unknown",
        seconds=seconds,
        assumptions=list(stated.assumptions),
        statement=stated.statement,
        reason="" if isinstance(verdict, Refuted) else verdict.reason,
        counterexample=counterexample(problem, verdict.trace) if isinstance(verdict, Refuted) else None,
    )


def refutations() -> Iterator[tuple[str, TheoremResult]]:
    """`refutation` of every seeded bug, on all processors, as they come, without the counterexamples."""
    with ProcessPoolExecutor(processors(), multiprocessing.get_context("spawn")) as executor:
        futures = {executor.submit(_refuted, name): name for name in BUGS}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()


def _refuted(name: str) -> TheoremResult:
    return replace(refutation(name), counterexample=None)
