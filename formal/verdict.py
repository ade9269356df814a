"""What became of a theorem: `Proved`, `Refuted` or `Unknown`; and `Unknown` is a failure like `Refuted`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from formal.trace import Trace


class TheoremError(Exception):
    """A theorem that had to hold was refuted or stayed undecided."""


@dataclass(frozen=True)
class Proved:
    """The theorem holds in every reachable state, without bound.

    `invariants` names the schemas of the inductive invariant, `statistics` counts queries and hypotheses,
    `seconds` is wall time.
    """

    theorem: str
    seconds: float
    invariants: tuple[str, ...] = ()
    statistics: dict[str, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Refuted:
    """The theorem is false: `trace` starts at reset and ends in the cycle that violates `trace.claim`."""

    theorem: str
    seconds: float
    trace: Trace


@dataclass(frozen=True)
class Unknown:
    """Neither proved nor refuted, for the stated reason (solver gave up, claim not inductive, cover unreachable)."""

    theorem: str
    seconds: float
    reason: str


Verdict = Proved | Refuted | Unknown


def demand_proof(verdict: Verdict) -> Proved:
    """Return `verdict` if it is `Proved`.

    Raises:
        TheoremError: when it is `Refuted` or `Unknown`; the message says which and why.
    """
    if isinstance(verdict, Proved):
        return verdict
    if isinstance(verdict, Refuted):
        last = verdict.trace.cycles - 1
        raise TheoremError(f"{verdict.theorem}: refuted, {verdict.trace.claim} is violated in cycle {last}")
    raise TheoremError(f"{verdict.theorem}: unknown, {verdict.reason}")
