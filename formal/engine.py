"""One-step queries with hypotheses localised to each goal's own cone, and the Houdini fixpoint built on them.

A query proves the goals of one group. It starts with the hypotheses whose variables all lie within the goals' cone.
When the solver finds a model, the model is completed with reset values and every other hypothesis and assumption is
evaluated on it: those that fail are added and the query is asked again. So a model that survives satisfies *all*
hypotheses, and leaving hypotheses out can only cost time, never a proof.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from formal.definitions import Definitions
from formal.gates import GateAlgebra, GateLogic, Gates
from formal.logic import INTEGER_LOGIC
from formal.problem import Candidate, Claim, Frame, Problem, View
from formal.questions import Question
from formal.renaming import conjuncts, decide_bits
from formal.simulator import Simulator
from formal.supports import Supports
from formal.transition import Evaluation, NextState
from formal.variables import Situation, Variables


class UndecidedError(Exception):
    """The solver answered neither yes nor no within its time limit."""


_LARGE = 1500
"""A goal that depends on more gates is a question of its own: words of hundreds of bits are slow to decide together."""
_ROUNDS = 3
"""So often single hypotheses are added to a query; then all others of their patterns come with them."""


@dataclass
class Query:
    """Goals of one group and what is known about them. `core` holds the hypotheses the last proof used."""

    group: str
    goals: list[int]
    enabled: set[int] = field(default_factory=set)
    core: frozenset[int] = frozenset()
    proved: bool = False


class Engine:
    """The gates of one cycle of a problem (of both copies), shared by all queries.

    Hypotheses are numbered: candidates first, then assumptions, then properties (goals only). `queries` counts them,
    `patterns` the goals that were proved for others as well (`formal.renaming`).
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
                Otherwise every hypothesis that was offered counts as used.
        """
        self.problem, self.candidates = problem, list(candidates)
        self.assumptions = list(problem.assumptions)
        self.queries = 0
        self.patterns = 0
        self.solving: list[str] = []
        self._seconds, self._exact = seconds, exact_cores
        self._simulator = Simulator(problem.system, observed=())
        self._supports = Supports(problem, [*self.candidates, *self.assumptions])
        self.alive = {candidate.schema for candidate in self.candidates}
        self._begin()

    def _begin(self) -> None:
        """Make the variables of the cycle, under the definitions that the living candidates offer."""
        self._graph = Gates()
        algebra, self._logic = GateAlgebra(self._graph), GateLogic(self._graph)
        self._definitions = self._offered_definitions()
        self._variables = Variables(self.problem, algebra, self._logic, self._definitions)
        cycles, symbols = self._variables.cycles, self._variables.symbols
        system = self.problem.system
        self._before = View([Frame(cycle) for cycle in cycles], symbols)
        self._after = View([Frame(Evaluation(system, algebra, NextState(cycle), {})) for cycle in cycles], symbols)
        self._literals: dict[int, int] = {}
        self._cut: dict[int, list[int]] = {}

    def _offered_definitions(self) -> Definitions:
        """What hypotheses define; nothing where it must be known which of them a proof used."""
        formulas = [] if self._exact else [(index, self._hypothesis(index).formula) for index in self._usable()]
        return Definitions(formulas, self.problem.copies, self.problem.shared)

    # ---- literals

    def _literal(self, index: int) -> int:
        if index not in self._literals:
            self._literals[index] = self._claim(self._hypothesis(index), self._before)
        return self._literals[index]

    def _claim(self, claim: Candidate | Claim, view: View) -> int:
        literal: int = self._logic.all([claim.formula(self._logic, view)]).bits[0]
        return literal

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
        with _without_collection():
            return self._answer(query, properties)

    def _answer(self, query: Query, properties: Sequence[Claim] | None) -> Situation | None:
        view = self._before if properties is not None else self._after
        for frame in view.frames:
            frame.touched.clear()
        claims: list[Candidate | Claim] = [
            self.candidates[goal] if properties is None else properties[goal] for goal in query.goals
        ]
        literals = [self._claim(claim, view) for claim in claims]
        if properties is not None:  # most say of the view what a definition says of the state
            known = {self._literal(index) for index in self._definitions.numbers}
            literals = [literal for literal in literals if literal not in known]
        cone = self._supports.read(view, after=properties is None)
        if properties is None:
            for goal in query.goals:
                cone |= self._supports.of[goal]
        usable = self._usable()
        query.enabled.intersection_update(usable)
        near = frozenset().union(*(claim.near for claim in claims if claim.near is not None))
        everywhere = any(claim.near is None for claim in claims)
        for index in usable:
            is_near = not near.isdisjoint(_names(self._hypothesis(index)))
            if is_near or (everywhere and self._supports.of[index] & ~cone == 0):
                query.enabled.add(index)
        query.enabled -= self._definitions.numbers
        self.queries += 1
        used: set[int] = set(self._definitions.numbers)
        question = Question(self._graph, self._seconds, self._exact)
        try:
            for portion in self._portions(literals):
                left = portion
                if len(portion) == 1 and not self._exact:
                    left = self._bits(query, portion[0], usable, used)
                situation = self._decide(query, question, left, usable, used) if left else None
                if situation is not None:
                    return situation
        finally:
            question.close()
        query.proved, query.core = True, frozenset(used)
        return None

    def _portions(self, literals: Sequence[int]) -> list[list[int]]:
        """What is asked at once: all that depends on few gates, and each of the others alone."""
        small: list[int] = []
        large: list[list[int]] = []
        for literal in literals:
            if self._graph.is_larger(literal, _LARGE):
                large.append([literal])
            else:
                small.append(literal)
        return [small, *large] if small else large

    def _decide(
        self, query: Query, question: Question, portion: Sequence[int], usable: Sequence[int], used: set[int]
    ) -> Situation | None:
        """None when proved, which adds to `used`; what is not quickly decided together is asked one by one."""
        goal = -self._graph.all(portion)
        rounds = 0
        while True:
            rounds += 1
            chosen = sorted(query.enabled)
            reply = question.ask(goal, {index: self._literal(index) for index in chosen}, thorough=len(portion) == 1)
            if reply.satisfiable is None and len(portion) > 1:
                parts = (self._decide(query, question, [literal], usable, used) for literal in portion)
                return next((situation for situation in parts if situation is not None), None)
            if reply.satisfiable is None:
                raise UndecidedError(f"{query.group or 'whole'}: not decided in {self._seconds:g} s")
            if not reply.satisfiable:
                used |= reply.used
                return None
            situation, missing = self._broken(reply.values, usable)
            if not missing:
                return situation
            if query.enabled.issuperset(missing):
                raise UndecidedError(f"{query.group or 'whole'}: the solver's model breaks what was asserted")
            query.enabled.update(missing if rounds <= _ROUNDS else self._alike(missing, usable))

    def _broken(self, values: Mapping[int, bool], usable: Sequence[int]) -> tuple[Situation, list[int]]:
        """A model as a situation, and the hypotheses that it breaks."""
        situation = self._variables.situation(values)
        view = self.problem.concrete_view(situation.states, situation.inputs, situation.symbols)
        return situation, [index for index in usable if not _holds(self._hypothesis(index), view)]

    def _bits(self, query: Query, literal: int, usable: Sequence[int], used: set[int]) -> list[int]:
        """Prove one bit of a word for all; return what is still to be asked."""
        left, proved = decide_bits(
            self._graph,
            literal,
            query.enabled,
            self._parts,
            lambda values: self._broken(values, usable)[1],
            self._seconds,
        )
        self.patterns += proved
        if proved:
            used |= query.enabled
        return left

    def _parts(self, index: int) -> list[int]:
        """A hypothesis, cut up where it is about words."""
        if index not in self._cut:
            self._cut[index] = conjuncts(self._graph, self._literal(index))
        return self._cut[index]

    def _alike(self, chosen: Iterable[int], usable: Iterable[int]) -> list[int]:
        """Hypotheses of the same pattern and group."""
        names = {_names(self._hypothesis(index)) for index in chosen}
        return [index for index in usable if _names(self._hypothesis(index)) in names]

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
        self._drop(dead)
        return dead

    def _drop(self, schemas: set[str]) -> None:
        """These are no hypotheses any more, and define nothing."""
        self.alive -= schemas
        count = len(self.candidates)
        if any(self.candidates[i].schema in schemas for i in self._definitions.numbers if i < count):
            self._begin()

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
                self._drop(dead)
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


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's garbage collector visits all gates again and again, and finds nothing: half of a query's time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _names(hypothesis: Candidate | Claim) -> tuple[str, str]:
    """By which `near` can name it."""
    return hypothesis.group, hypothesis.schema if isinstance(hypothesis, Candidate) else hypothesis.name


def _holds(hypothesis: Candidate | Claim, view: View) -> bool:
    return bool(hypothesis.formula(INTEGER_LOGIC, view))
