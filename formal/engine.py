"""One-step queries with hypotheses localised to each goal's own cone, and the Houdini fixpoint built on them.

A query proves the goals of one group. It starts with the hypotheses whose variables all lie within the goals' cone.
When the solver finds a model, the model is completed with reset values and every other hypothesis and assumption is
evaluated on it: those that fail are added and the query is asked again. So a model that survives satisfies *all*
hypotheses, and leaving hypotheses out can only cost time, never a proof.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import z3

from formal.algebra import Term, Z3Algebra
from formal.logic import INTEGER_LOGIC, SYMBOLIC_LOGIC
from formal.problem import Candidate, Claim, Frame, Problem, View
from formal.questions import Means, Question, Way
from formal.simulator import Simulator
from formal.transition import Evaluation, NextState, State


class UndecidedError(Exception):
    """The solver answered neither yes nor no within its time limit."""


@dataclass(frozen=True)
class Situation:
    """A concrete cycle: one state and one set of inputs per copy, and the symbolic constants."""

    states: tuple[State, ...]
    inputs: tuple[dict[str, int], ...]
    symbols: dict[str, int]


@dataclass
class Query:
    """Goals of one group and what is known about them. `core` holds the hypotheses the last proof used."""

    group: str
    goals: list[int]
    way: Way = Way.LITERALS
    enabled: set[int] = field(default_factory=set)
    core: frozenset[int] = frozenset()
    proved: bool = False


class Engine:
    """Terms of one cycle of a problem (of both copies), shared by all queries.

    Hypotheses are numbered: candidates first, then assumptions, then properties (goals only).
    """

    def __init__(
        self, problem: Problem, candidates: Sequence[Candidate], seconds: float, exact_cores: bool = True
    ) -> None:
        """Prepare; nothing is solved yet.

        Args:
            problem: the theorem.
            candidates: instances to be proved inductive together.
            seconds: time limit of a single solver call.
            exact_cores: know of each proof which hypotheses it used, which is what `needed_schemas` reports.
                Otherwise, of a query that takes long, every hypothesis that was offered counts as used.
        """
        self.problem, self.candidates = problem, list(candidates)
        self.assumptions = list(problem.assumptions)
        self.queries = 0
        self.solving: list[str] = []
        self._algebra = Z3Algebra()
        system = problem.system
        has_arrays = any(1 << m.address_bits > self._algebra.list_words for m in system.memories.values())
        self._means = Means(seconds, has_arrays, exact_cores)
        self._simulator = Simulator(system, observed=())
        self._symbols = {name: z3.BitVec(name, bits) for name, bits in problem.symbols.items()}
        self._leaves: list[dict[str, Any]] = []
        before, after = [], []
        self._variables: dict[str, tuple[int, str, int | None]] = {}
        for copy in range(problem.copies):
            state = system.state_variables(self._algebra, f"{copy}@")
            inputs = system.input_variables(self._algebra, f"{copy}@")
            if copy == 0:
                first: dict[str, Any] = {**state, **inputs}
            for table in (state, inputs):  # what is shared has one variable, called after the first copy
                table.update({name: first[name] for name in table if name in problem.shared})
            self._remember(copy, {**state, **inputs})
            self._leaves.append({**state, **inputs})
            cycle = Evaluation(system, self._algebra, state, inputs)
            before.append(Frame(cycle))
            after.append(Frame(Evaluation(system, self._algebra, NextState(cycle), {})))
        self._before, self._after = View(before, self._symbols), View(after, self._symbols)
        self._next_supports = {name: system.next_support(name) for name in (*system.registers, *system.memories)}
        self._after_supports: dict[str, int] = {}
        self._reset = tuple(system.reset_state() for _ in range(problem.copies))
        self._supports = self._static_supports()
        self._terms: dict[int, Term] = {}
        self.alive = {candidate.schema for candidate in self.candidates}

    def _remember(self, copy: int, terms: Mapping[str, Any]) -> None:
        for name, term in terms.items():
            if isinstance(term, list):
                for index in range(len(term)):
                    self._variables[f"{copy}@{name}[{index}]"] = (copy, name, index)
            else:
                self._variables[f"{copy}@{name}"] = (copy, name, None)

    # ---- what a claim depends on

    def _static_supports(self) -> list[int]:
        """Variables of each hypothesis, found by evaluating it once over integers and recording what it reads."""
        zeros = [dict.fromkeys(self.problem.system.inputs, 0)] * self.problem.copies
        symbols = dict.fromkeys(self.problem.symbols, 0)
        view = self.problem.concrete_view(self._reset, zeros, symbols)
        supports = []
        hypotheses: list[Candidate | Claim] = [*self.candidates, *self.assumptions]
        for hypothesis in hypotheses:
            for frame in view.frames:
                frame.touched.clear()
            _holds(hypothesis, view)
            supports.append(self._support(view, after=False))
        return supports

    def _support(self, view: View, after: bool) -> int:
        """Bit set of the variables behind everything the frames of `view` recorded, copies side by side."""
        total, count = 0, len(self.problem.system.leaves)
        for copy, frame in enumerate(view.frames):
            for name, is_next in frame.touched:
                if is_next:
                    bits = self._next_supports[name]
                else:
                    bits = self._support_after(name) if after else self.problem.system.support(name)
                total |= bits << (copy * count)
        return total

    def _support_after(self, name: str) -> int:
        if name not in self._after_supports:
            system, total = self.problem.system, 0
            for leaf in system.support_names(system.support(name)):
                if leaf in system.inputs:
                    raise ValueError(f"an invariant reads {name}, which depends on input {leaf}")
                total |= self._next_supports[leaf]
            self._after_supports[name] = total
        return self._after_supports[name]

    def _term(self, index: int) -> Term:
        if index not in self._terms:
            hypothesis = self._hypothesis(index)
            self._terms[index] = SYMBOLIC_LOGIC.all([hypothesis.formula(SYMBOLIC_LOGIC, self._before)])
        return self._terms[index]

    def _hypothesis(self, index: int) -> Candidate | Claim:
        count = len(self.candidates)
        return self.candidates[index] if index < count else self.assumptions[index - count]

    # ---- which candidates count

    def is_active(self, candidate: Candidate) -> bool:
        """Alive, and not made superfluous by a living stronger schema."""
        return candidate.schema in self.alive and not (candidate.implied_by & self.alive)

    def active(self) -> list[int]:
        """Numbers of the active candidates."""
        return [index for index, candidate in enumerate(self.candidates) if self.is_active(candidate)]

    def _usable(self) -> list[int]:
        first = len(self.candidates)
        return self.active() + list(range(first, first + len(self.assumptions)))

    # ---- queries

    def consecution_queries(self, only: Iterable[int] | None = None, largest: int = 400) -> list[Query]:
        """One query per group of active candidates: they hold after the step if the hypotheses hold before it.

        What another theorem has proved is a hypothesis, and not asked about.
        """
        groups: dict[str, list[int]] = {}
        for index in self.active() if only is None else only:
            if not self.candidates[index].proved_by:
                groups.setdefault(self.candidates[index].group, []).append(index)
        return [
            Query(group, goals[start : start + largest])
            for group, goals in groups.items()
            for start in range(0, len(goals), largest)
        ]

    def decide(self, query: Query, properties: Sequence[Claim] | None = None) -> Situation | None:
        """Answer a query: None when proved, else a cycle that satisfies all hypotheses and violates a goal.

        With `properties`, goals are numbers of properties, and are claims about the cycle itself; otherwise they
        are numbers of candidates, and are claims about the state after it.

        Raises:
            UndecidedError: when the solver gave up.
        """
        view = self._before if properties is not None else self._after
        for frame in view.frames:
            frame.touched.clear()
        negated = []
        for goal in query.goals:
            claim = properties[goal] if properties is not None else self.candidates[goal]
            negated.append(SYMBOLIC_LOGIC.negate(claim.formula(SYMBOLIC_LOGIC, view)))
        cone = self._support(view, after=properties is None)
        if properties is None:
            for goal in query.goals:
                cone |= self._supports[goal]
        usable = self._usable()
        goals: list[Candidate | Claim] = [
            self.candidates[goal] if properties is None else properties[goal] for goal in query.goals
        ]
        near = frozenset().union(*(goal.near for goal in goals if goal.near is not None))
        everywhere = any(goal.near is None for goal in goals)
        for index in usable:
            is_near = not near.isdisjoint(_names(self._hypothesis(index)))
            if is_near or (everywhere and self._supports[index] & ~cone == 0):
                query.enabled.add(index)
        self.queries += 1
        question = Question(self._means, z3.Or(negated), query.way)
        allowed = set(usable)
        while True:
            chosen = sorted(query.enabled & allowed)
            terms = {index: self._term(index) for index in chosen}
            reply = question.ask(terms, partial(self._variables_in, cone, chosen))
            query.way = question.way
            if reply.satisfiable is None:
                raise UndecidedError(f"{query.group or 'whole'}: not decided in {self._means.seconds:g} s")
            if not reply.satisfiable:
                query.proved, query.core = True, reply.used
                return None
            situation = self._concrete(reply.values if reply.model is None else self._values(reply.model))
            view_now = self.problem.concrete_view(situation.states, situation.inputs, situation.symbols)
            missing = [index for index in usable if not _holds(self._hypothesis(index), view_now)]
            if not missing:
                return situation
            if query.enabled.issuperset(missing):
                raise UndecidedError(f"{query.group or 'whole'}: the solver's model breaks what was asserted")
            query.enabled.update(missing)

    def _variables_in(self, cone: int, hypotheses: Sequence[int]) -> list[Any]:
        """Bit-vector variables of registers, words and inputs in a bit set of leaves or hypotheses, and the symbols."""
        for index in hypotheses:
            cone |= self._supports[index]
        found = list(self._symbols.values())
        leaves, system = self.problem.system.leaves, self.problem.system
        for copy in range(self.problem.copies):
            for name in system.support_names(cone >> (copy * len(leaves)) & ((1 << len(leaves)) - 1)):
                term = self._leaves[copy][name]
                found += term if isinstance(term, list) else [term]
        return found

    def _values(self, model: Any) -> dict[str, Any]:
        """Variables that a model of Z3's fixes, by name; an array as the list of its words."""
        values: dict[str, Any] = {}
        for declaration in model.decls():
            name = declaration.name()
            if name in self._symbols:
                values[name] = model[declaration].as_long()
            elif name in self._variables:
                _, leaf, index = self._variables[name]
                if index is None and leaf in self.problem.system.memories:
                    words = range(1 << self.problem.system.memories[leaf].address_bits)
                    selected = (z3.Select(declaration(), word) for word in words)
                    values[name] = [model.eval(word, model_completion=True).as_long() for word in selected]
                else:
                    values[name] = model[declaration].as_long()
        return values

    def _concrete(self, values: Mapping[str, Any]) -> Situation:
        """A model as numbers; variables it leaves open take reset values, inputs 0."""
        system = self.problem.system
        states: tuple[State, ...] = tuple(
            {name: list(value) if isinstance(value, list) else value for name, value in state.items()}
            for state in self._reset
        )
        inputs = tuple(dict.fromkeys(system.inputs, 0) for _ in states)
        symbols = dict.fromkeys(self._symbols, 0)
        for variable, value in values.items():
            if variable in symbols:
                symbols[variable] = value
                continue
            copy, leaf, index = self._variables[variable]
            for owner in range(self.problem.copies) if leaf in self.problem.shared else (copy,):
                if index is not None:
                    states[owner][leaf][index] = value
                elif leaf in system.inputs:
                    inputs[owner][leaf] = value
                else:
                    states[owner][leaf] = list(value) if isinstance(value, list) else value
        return Situation(states, inputs, symbols)

    # ---- the fixpoint

    def drop_falsified(self, situation: Situation) -> set[str]:
        """Kill every schema with an instance that fails after the step from `situation`; return those schemas."""
        pairs = zip(situation.states, situation.inputs, strict=True)
        after = tuple(self._simulator.cycle(state, given)[1] for state, given in pairs)
        view = self.problem.concrete_view(after, [{}] * self.problem.copies, situation.symbols)
        dead: set[str] = set()
        for candidate in self.candidates:
            if candidate.proved_by or candidate.schema in dead or candidate.schema not in self.alive:
                continue
            if not _holds(candidate, view):
                dead.add(candidate.schema)
        self.alive -= dead
        return dead

    def houdini(self) -> list[Query]:
        """Drop candidates until the rest is inductive; return the proved queries that say so.

        Where the solver gives up on a group it is split; where it gives up on a single instance the schema is
        dropped, which is always sound.
        """
        pending = self.consecution_queries()
        proved: list[Query] = []
        while pending:
            query = pending.pop()
            query.goals = [goal for goal in query.goals if self.is_active(self.candidates[goal])]
            if not query.goals:
                continue
            try:
                situation = self.decide(query)
            except UndecidedError:
                if len(query.goals) > 1:
                    half = len(query.goals) // 2
                    pending += [Query(query.group, query.goals[:half]), Query(query.group, query.goals[half:])]
                    continue
                dead = {self.candidates[query.goals[0]].schema}
                self.solving.append(f"gave up on {min(dead)}")
                self.alive -= dead
            else:
                if situation is None:
                    proved.append(query)
                    continue
                dead = self.drop_falsified(situation)
                if not dead:
                    raise AssertionError("a counterexample to induction falsifies no candidate over integers")
                pending.append(query)
            proved, reopened = self._recheck(proved, dead)
            pending += reopened
        return proved

    def _recheck(self, proved: list[Query], dead: set[str]) -> tuple[list[Query], list[Query]]:
        """Queries whose proofs used a dead schema are open again, as are candidates a dead schema had implied."""
        kept: list[Query] = []
        reopened: list[Query] = []
        for query in proved:
            uses = (i for i in query.core if i < len(self.candidates))
            (reopened if any(self.candidates[i].schema in dead for i in uses) else kept).append(query)
        revived = [
            index
            for index, candidate in enumerate(self.candidates)
            if candidate.implied_by & dead and self.is_active(candidate)
        ]
        return kept, reopened + self.consecution_queries(revived)

    def needed_schemas(self, properties: Sequence[Query]) -> frozenset[str]:
        """The schemas that the proofs of `properties` rest on, directly or through the induction of others.

        Each schema's induction is proved again on its own, so that its core names only what it needs.
        """
        needed: set[str] = set()
        pending = {self.candidates[i].schema for q in properties for i in q.core if i < len(self.candidates)}
        by_schema: dict[str, list[int]] = {}
        for index in self.active():
            by_schema.setdefault(self.candidates[index].schema, []).append(index)
        while pending:
            schema = pending.pop()
            needed.add(schema)
            for query in self.consecution_queries(by_schema[schema]):
                if self.decide(query) is not None:
                    raise AssertionError(f"{schema} was inductive within its group but is not alone")
                used = {self.candidates[i].schema for i in query.core if i < len(self.candidates)}
                pending |= used - needed
        return frozenset(needed)


def _names(hypothesis: Candidate | Claim) -> tuple[str, str]:
    """By which `near` can name it."""
    return hypothesis.group, hypothesis.schema if isinstance(hypothesis, Candidate) else hypothesis.name


def _holds(hypothesis: Candidate | Claim, view: View) -> bool:
    return bool(hypothesis.formula(INTEGER_LOGIC, view))
