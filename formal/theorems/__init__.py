"""The theorems about the shell. Each is a module whose name is the sentence and whose docstring is the statement.

A theorem module offers `ASSUMPTIONS`, sentences of what it takes for granted, and
`problem(config, block, over_approximate=True)`, its formal statement about the shell's netlist `block`; a system made
with over_approximate=False runs exactly as `block` does. It joins `tenure prove` by being named in `NAMES`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyrtl

from formal.problem import Problem
from isa.configuration import PoolConfig

NAMES: dict[str, str] = {
    "ownership": "cores_obey_only_their_owner",
    "delivery": "every_instruction_arrives_once",
    "memory": "no_access_leaves_its_window",
    "non-interference": "neighbours_cannot_be_observed",
    "barrier": "barriers_wait_for_their_own_cores",
    "hand-over": "nothing_is_inherited",
    "elasticity": "switching_takes_constant_time",
}
"""The theorems by their short names, with the sentence that names the module, in the order of the architecture."""

Progress = Callable[[float, str], None]
"""Called with the fraction of the work that is done, and what is being worked on."""


class UnknownTheorem(ValueError):
    """No theorem has that name; the message lists those that there are."""


class _Builder(Protocol):
    def __call__(self, config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem: ...


@dataclass(frozen=True)
class Theorem:
    """A theorem: its name, its statement in English, what it assumes, and how it is stated about a netlist."""

    name: str
    statement: str
    assumptions: tuple[str, ...]
    problem: _Builder


@dataclass(frozen=True)
class TheoremResult:
    """What became of a theorem on one pool.

    `verdict` is "proved", "refuted" or "unknown"; `reason` says why it is unknown; `table` shows the counterexample.
    `seconds` is from the start of the first part of its proof to the end of the last.
    """

    name: str
    verdict: str
    seconds: float
    assumptions: list[str]
    statement: str
    reason: str = ""
    table: Any = None


def theorem(name: str) -> Theorem:
    """The theorem of that name, short or as a sentence.

    Raises:
        UnknownTheorem: when there is none.
    """
    short = next((each for each, sentence in NAMES.items() if name in (each, sentence)), None)
    if short is None:
        raise UnknownTheorem(f"unknown theorem {name!r}: name one of {', '.join(NAMES)}")
    module = importlib.import_module(f"formal.theorems.{NAMES[short]}")
    return Theorem(short, inspect.getdoc(module) or "", tuple(module.ASSUMPTIONS), module.problem)


def prove(names: Sequence[str] | None, config: PoolConfig, progress: Progress | None = None) -> list[TheoremResult]:
    """Prove theorems about the shell of `config` with free cores; all of them when `names` is None.

    Raises:
        UnknownTheorem: when a name is not that of a theorem.
    """
    from formal.campaign import campaign  # which needs the names above

    return campaign([theorem(name) for name in (NAMES if names is None else names)], config, progress)
