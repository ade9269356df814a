"""A hypothesis used as a definition leaves exactly the states that it allows, and no others may be proved away."""

from __future__ import annotations

import itertools

import pyrtl
import pytest

from formal.definitions import Agreement, Definitions, Fixed, InBoth
from formal.engine import Engine, Query
from formal.induction import prove
from formal.logic import INTEGER_LOGIC
from formal.problem import Candidate, Claim, Formula, Problem, View
from formal.transition import TransitionSystem
from formal.verdict import Proved


def _mine(logic: object, view: View) -> object:
    return view["owner"] == view.symbol("A")


def _block(leaks: bool = False, reads_others: bool = False) -> pyrtl.Block:
    """A word for whoever owns it, loaded from an input; with a leak it keeps a bit of what the other run had."""
    block = pyrtl.Block()
    pyrtl.set_working_block(block)
    owner, word = pyrtl.Register(1, "owner"), pyrtl.Register(8, "word")
    given, next_owner = pyrtl.Input(8, "given"), pyrtl.Input(1, "next_owner")
    secret = pyrtl.Input(8, "secret")
    owner.next <<= next_owner
    mixed = pyrtl.concat(given[1:], given[0] & secret[0]) if reads_others else given
    word.next <<= (mixed ^ (word & secret)) if leaks else mixed
    return block


def _problem(block: pyrtl.Block) -> Problem:
    agrees = Agreement(_mine, (("word", None),))
    keeps = Claim("word agrees", agrees)
    return Problem(
        name="word",
        system=TransitionSystem(block),
        properties=[keeps],
        candidates=[Candidate("the word agrees", agrees)],
        assumptions=[
            Claim("given agrees", Agreement(lambda logic, view: logic.all([]), (("given", None),))),
        ],
        copies=2,
        symbols={"A": 1},
        shared=frozenset({"owner", "next_owner"}),
    )


@pytest.mark.parametrize(("leaks", "reads_others"), [(False, False), (True, False), (False, True)])
def test_a_leak_is_not_defined_away(leaks: bool, reads_others: bool) -> None:
    problem = _problem(_block(leaks, reads_others))
    assert isinstance(prove(problem), Proved) == (not leaks and not reads_others)
    engine = Engine(problem, problem.candidates, 60, exact_cores=False)
    situation = engine.decide(Query("", [0]))
    assert (situation is None) == (not leaks and not reads_others)
    if situation is not None:  # and it is a state that the hypotheses allow
        view = problem.concrete_view(situation.states, situation.inputs, situation.symbols)
        assert all(claim.holds(view) for claim in [*problem.properties, *problem.assumptions])


def test_definitions_leave_exactly_what_the_hypotheses_allow() -> None:
    """Over all values of a tag and two words of a memory in two runs."""
    agrees = Agreement(lambda logic, view: view["tag"] == 1, (("memory", 0), ("memory", 1)))
    zero = InBoth(Fixed(lambda logic, view: view["tag"] == 2, ("memory", 1), 0))
    formulas: list[tuple[int, Formula]] = [(3, agrees), (5, zero)]
    system = _memory_system()
    definitions = Definitions(formulas, 2, frozenset())
    assert definitions.numbers == {3, 5}
    allowed, defined = set(), set()
    for values in itertools.product(range(4), (0, 1), (0, 1), range(4), (0, 1), (0, 1)):
        states = [{"tag": values[at], "memory": list(values[at + 1 : at + 3])} for at in (0, 3)]
        problem = Problem("memory", system, [], copies=2)

        def view(states: list[dict[str, object]] = states, problem: Problem = problem) -> View:
            return problem.concrete_view(states, [{"into": 0}] * 2, {})

        if all(formula(INTEGER_LOGIC, view()) for _, formula in formulas):
            allowed.add(values)
        for copy in range(2):
            definitions.apply(copy, INTEGER_LOGIC, (states[copy],), lambda copy, view=view: view().of(copy))
        defined.add(tuple(each for state in states for each in (state["tag"], *state["memory"])))  # type: ignore[misc]
    assert allowed <= defined
    overlap = {row for row in defined - allowed if row[0] == 1 and row[3] == 2}
    assert defined - allowed == overlap, "the agreement comes first; what it leaves open is asked of the solver"


def test_a_condition_that_reads_what_is_defined_is_refused() -> None:
    system = _memory_system()
    problem = Problem("memory", system, [], candidates=[])
    circular = Fixed(lambda logic, view: view["memory"][0] == 1, ("memory", 1), 0)
    candidates = [Candidate("circular", circular)]
    with pytest.raises(ValueError, match="depends on a memory"):
        Engine(problem, candidates, 60, exact_cores=False)


def _memory_system() -> TransitionSystem:
    block = pyrtl.Block()
    pyrtl.set_working_block(block)
    memory = pyrtl.MemBlock(1, 1, "memory")
    tag, into = pyrtl.Register(2, "tag"), pyrtl.Input(1, "into")
    tag.next <<= tag + 1
    memory[into] <<= pyrtl.MemBlock.EnabledWrite(into, enable=tag[0])
    return TransitionSystem(block)
