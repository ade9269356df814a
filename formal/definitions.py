"""Hypotheses that say what a variable is under a condition, used as definitions of the variable.

"A's word agrees in both runs" says what the second run's word is where the condition holds: the first run's. "What was
swept is zero" says it of each run's word. As a definition, the variable is that value where the condition holds, and
any value elsewhere. Every state that the hypotheses allow is one of those, so nothing is lost; and the hypothesis need
not be given to a solver: the graph of gates says it already, and what should agree is often the same node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from formal.algebra import Term
from formal.logic import Logic
from formal.problem import Formula, View

Leaf = tuple[str, int | None]
"""A register or input by name, or a word of a memory with its index."""


def value_of(frame: Any, leaf: Leaf) -> Any:
    """The value of a leaf in one run."""
    name, index = leaf
    return frame[name] if index is None else frame[name][index]


@dataclass(frozen=True)
class Agreement:
    """The formula: where `condition`, which sees the first run alone, holds, the leaves are the same in both runs."""

    condition: Formula
    leaves: tuple[Leaf, ...]

    def __call__(self, logic: Any, view: View) -> Term:
        """The claim about both runs."""
        same = [logic.equal(value_of(view.left, leaf), value_of(view.right, leaf)) for leaf in self.leaves]
        return logic.implies(self.condition(logic, view.of(0)), logic.all(same))


@dataclass(frozen=True)
class Fixed:
    """The formula: where `condition` holds, which reads no memory, the word of a memory has this value."""

    condition: Formula
    leaf: Leaf
    value: int

    def __call__(self, logic: Any, view: View) -> Term:
        """The claim about the first or only run."""
        return logic.implies(self.condition(logic, view), value_of(view.left, self.leaf) == self.value)


@dataclass(frozen=True)
class InBoth:
    """The formula: a formula about one run holds in each of two."""

    single: Formula

    def __call__(self, logic: Any, view: View) -> Term:
        """The claim about both runs."""
        return logic.all([self.single(logic, view.of(copy)) for copy in range(len(view.frames))])


@dataclass(frozen=True)
class _Rule:
    """A leaf of one run is what `value` gives where the condition holds; both see a view of one run, the `source`."""

    number: int
    copy: int
    source: int
    condition: Formula
    leaf: Leaf
    value: int | None
    """None: the value of the leaf in the source."""


class Definitions:
    """What numbered formulas define. `numbers` are those that define something.

    Where two of them speak of one leaf, an agreement comes before a fixed value, so that the latter may not be true of
    what is defined. Nothing that a definition reads is defined after it.
    """

    def __init__(self, formulas: Sequence[tuple[int, Formula]], copies: int, shared: frozenset[str]) -> None:
        """Collect; what is `shared` between both runs is never defined by the other one."""
        fixed = [rule for number, formula in formulas for rule in _fixed(number, formula, copies, shared)]
        words = {rule.leaf for rule in fixed}
        agreeing = [rule for number, formula in formulas for rule in _agreeing(number, formula, shared)]
        first = [rule for rule in agreeing if rule.leaf not in words]
        last = [rule for rule in agreeing if rule.leaf in words]
        self._steps = [
            [rule for rule in fixed if rule.copy == 0],
            first,
            [rule for rule in fixed if rule.copy == 1],
            last,
        ]
        self._checked: set[int] = set()
        self._memories = {leaf[0] for leaf in words}
        self.numbers = frozenset(rule.number for step in self._steps for rule in step)

    def apply(
        self, copy: int, logic: Logic, tables: Sequence[Mapping[str, Any]], view_of: Callable[[int], View]
    ) -> None:
        """Define the leaves of one run, in place, after those of the runs before it.

        Args:
            copy: which run.
            logic: that of the values.
            tables: where leaves of the run are found by name: its state and its inputs.
            view_of: a view of one run as it is now.
        """
        for step in self._steps:
            mine = [rule for rule in step if rule.copy == copy]
            if mine:
                self._apply(mine, logic, tables, {rule.source: view_of(rule.source) for rule in mine})

    def _apply(
        self, rules: Sequence[_Rule], logic: Any, tables: Sequence[Mapping[str, Any]], views: Mapping[int, View]
    ) -> None:
        conditions: dict[tuple[int, int], Any] = {}
        for rule in rules:
            if (rule.number, rule.source) not in conditions:
                conditions[rule.number, rule.source] = rule.condition(logic, views[rule.source])
                if rule.value is not None:
                    self._check(rule, views[rule.source].left)
        holds: dict[tuple[Leaf, int, int | None], list[Any]] = {}
        for rule in rules:
            found = holds.setdefault((rule.leaf, rule.source, rule.value), [])
            found.append(conditions[rule.number, rule.source])
        for (leaf, source, value), alternatives in holds.items():
            name, index = leaf
            table: Any = next(table for table in tables if name in table)
            if index is not None:
                table = table[name]
            place: Any = name if index is None else index
            given = value_of(views[source].left, leaf) if value is None else value
            table[place] = logic.choose(logic.any(alternatives), given, table[place])

    def _check(self, rule: _Rule, frame: Any) -> None:
        """That the condition of a fixed word, just evaluated there, reads nothing which is defined later."""
        if rule.number in self._checked:
            return
        self._checked.add(rule.number)
        system = frame.cycle.system
        read = {leaf for name, _ in frame.touched for leaf in system.support_names(system.support(name))}
        frame.touched.clear()
        if not self._memories.isdisjoint(read):
            raise ValueError(f"what fixes a word of {rule.leaf[0]} depends on a memory that is defined with it")


def _agreeing(number: int, formula: Formula, shared: frozenset[str]) -> Iterator[_Rule]:
    if isinstance(formula, Agreement) and shared.isdisjoint(name for name, _ in formula.leaves):
        for leaf in formula.leaves:
            yield _Rule(number, 1, 0, formula.condition, leaf, None)


def _fixed(number: int, formula: Formula, copies: int, shared: frozenset[str]) -> Iterator[_Rule]:
    single = formula.single if isinstance(formula, InBoth) else formula
    if isinstance(single, Fixed) and (copies == 1 or isinstance(formula, InBoth)) and single.leaf[0] not in shared:
        for copy in range(copies):
            yield _Rule(number, copy, copy, single.condition, single.leaf, single.value)
