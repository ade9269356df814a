"""The theorems. Each is a module whose name is the sentence and whose docstring is the statement.

A theorem about the runs of the shell offers `ASSUMPTIONS`, sentences of what it takes for granted, and
`problem(config, block, over_approximate=True)`, its formal statement about the shell's netlist `block`; a system made
with over_approximate=False runs exactly as `block` does. It joins `tenure prove` by being named in `NAMES`.

Every other theorem or lemma is a *check*: it offers `ASSUMPTIONS`, `parts(config)`, the names of its parts, and
`check(config, part)`, which says in words what contradicts that part, or nothing if it holds for all inputs. It may
offer `PREMISES`, names of theorems and lemmas that it rests on: it is proved when they are, too. It joins by being
named in `CHECKS`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pyrtl

from formal.problem import Problem
from isa.configuration import PoolConfig

if TYPE_CHECKING:
    from formal.counterexample import Counterexample

NAMES: dict[str, str] = {
    "ownership": "cores_obey_only_their_owner",
    "delivery": "every_instruction_arrives_once",
    "answers": "every_request_is_answered_once",
    "memory": "no_access_leaves_its_window",
    "non-interference": "neighbours_cannot_be_observed",
    "independence": "commands_for_others_cannot_be_observed",
    "barrier": "barriers_wait_for_their_own_cores",
    "progress": "a_tenants_state_is_that_of_its_automaton",
    "hand-over": "nothing_is_inherited",
    "elasticity": "switching_takes_constant_time",
}
"""The theorems by their short names, with the sentence that names the module, in the order of the architecture."""

CHECKS: dict[str, str] = {
    "instruction-set": "every_word_is_one_instruction_or_a_fault",
    "arithmetic": "results_are_those_of_float32",
    "multiply-accumulate": "a_mac_step_is_that_of_the_isa",
    "compilation": "a_package_means_the_same_in_every_run",
    "late-memory": "late_answers_stop_the_clock",
    "L0": "no_path_leads_through_a_core",
    "L1": "the_control_plane_is_out_of_reach",
    "L2": "equal_cores_get_equal_inputs",
    "L3": "a_core_is_a_function",
    "L4": "a_scrub_leaves_nothing",
    "L5": "a_free_core_is_at_reset",
    "L6": "bounds_are_checked_at_commit",
    "L7": "real_cores_keep_the_isolation",
}
"""The checks by their short names."""

Progress = Callable[[float, str], None]
"""Called with the fraction of the work that is done, and what is being worked on."""


class UnknownTheorem(ValueError):
    """No theorem has that name; the message lists those that there are."""


class _Builder(Protocol):
    def __call__(self, config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem: ...


@dataclass(frozen=True)
class Theorem:
    """A theorem: its name, its statement in English, what it assumes, and how it is stated about a netlist.

    `premises` are theorems whose invariants its proof takes for granted.
    """

    name: str
    statement: str
    assumptions: tuple[str, ...]
    problem: _Builder
    premises: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A theorem that is no statement about the runs of the shell; see the docstring of this package."""

    name: str
    statement: str
    assumptions: tuple[str, ...]
    parts: Callable[[PoolConfig], Sequence[str]]
    check: Callable[[PoolConfig, str], Sequence[str]]
    premises: tuple[str, ...] = ()


@dataclass(frozen=True)
class TheoremResult:
    """What became of a theorem on one pool.

    `verdict` is "proved", "refuted" or "unknown"; `reason` says why it is unknown; `counterexample` is what refutes it.
    `seconds` is from the start of the first part of its proof to the end of the last.
    """

    name: str
    verdict: str
    seconds: float
    assumptions: list[str]
    statement: str
    reason: str = ""
    counterexample: Counterexample | None = None


def theorem(name: str) -> Theorem:
    """The theorem of that name, short or as a sentence.

    Raises:
        UnknownTheorem: when there is none.
    """
    short = _short(name, NAMES)
    module = importlib.import_module(f"formal.theorems.{NAMES[short]}")
    premises = tuple(getattr(module, "PREMISES", ()))
    return Theorem(short, inspect.getdoc(module) or "", tuple(module.ASSUMPTIONS), module.problem, premises)


def check(name: str) -> Check:
    """The check of that name, short or as a sentence.

    Raises:
        UnknownTheorem: when there is none.
    """
    short = _short(name, CHECKS)
    module = importlib.import_module(f"formal.theorems.{CHECKS[short]}")
    premises = tuple(getattr(module, "PREMISES", ()))
    statement = inspect.getdoc(module) or ""
    return Check(short, statement, tuple(module.ASSUMPTIONS), module.parts, module.check, premises)


def _short(name: str, names: Mapping[str, str]) -> str:
    short = next((each for each, sentence in names.items() if name in (each, sentence)), None)
    if short is None:
        raise UnknownTheorem(f"unknown theorem {name!r}: name one of {', '.join((*NAMES, *CHECKS))}")
    return short


def stated(name: str) -> Theorem | Check:
    """The theorem or check of that name."""
    return check(name) if name in CHECKS or name in CHECKS.values() else theorem(name)


def with_premises(names: Sequence[str]) -> list[str]:
    """Short names of these theorems and of all that they rest on, premises first, each once."""
    found: list[str] = []
    for name in names:
        each = stated(name)
        found += [short for short in (*with_premises(each.premises), each.name) if short not in found]
    return found


def prove(names: Sequence[str] | None, config: PoolConfig, progress: Progress | None = None) -> list[TheoremResult]:
    """Prove theorems about the pool `config`, and what they rest on; all of them when `names` is None.

    Raises:
        UnknownTheorem: when a name is not that of a theorem.
    """
    from formal.campaign import campaign  # which needs the names above

    return campaign([stated(name) for name in with_premises(names or [*NAMES, *CHECKS])], config, progress)
