"""A goal stands for others only where they are the same with variables renamed, hypotheses included."""

from __future__ import annotations

import itertools
import random

import pyrtl
import pytest

from formal.engine import Engine
from formal.gates import Gates
from formal.problem import Candidate, Problem
from formal.renaming import Pattern, Renamed, Touches, conjuncts, renaming
from formal.transition import TransitionSystem
from tests.formal.gate_values import evaluated

BITS = 64


def test_a_literal_is_the_conjunction_of_its_conjuncts() -> None:
    generator, lengths = random.Random(5), set()
    for _ in range(200):
        graph = Gates()
        variables = [graph.variable() for _ in range(6)]
        literals = list(variables)
        for _ in range(20):
            a, b = (generator.choice((1, -1)) * generator.choice(literals) for _ in range(2))
            literals.append(graph.both(a, b) if generator.random() < 0.8 else graph.differ(a, b))
        whole = generator.choice((1, -1)) * literals[-1]
        parts = conjuncts(graph, whole)
        lengths.add(len(parts))
        for values in itertools.product([False, True], repeat=6):
            row = evaluated(graph, dict(zip(variables, values, strict=True)))
            assert (row[abs(whole)] == (whole > 0)) == all(row[abs(part)] == (part > 0) for part in parts)
    assert len(lengths) > 3


def _random_graph(generator: random.Random, gates: int) -> tuple[Gates, list[int], list[int]]:
    """A graph, its six variables, and all its literals."""
    graph = Gates()
    variables = [graph.variable() for _ in range(6)]
    literals = list(variables)
    for _ in range(gates):
        a, b, c = (generator.choice((1, -1)) * generator.choice(literals) for _ in range(3))
        literals.append(generator.choice([graph.both(a, b), graph.differ(a, b), graph.choose(a, b, c)]))
    return graph, variables, literals


def _is_replaced(graph: Gates, variables: list[int], moved: dict[int, int], pairs: list[tuple[int, int]]) -> bool:
    """In each pair the second literal has the value that the first one has where variables are replaced."""
    for values in itertools.product([False, True], repeat=len(variables)):
        row = evaluated(graph, dict(zip(variables, values, strict=True)))
        places = {v: row[abs(moved.get(v, v))] == (moved.get(v, v) > 0) for v in variables}
        there = evaluated(graph, places)
        if any((there[abs(first)] == (first > 0)) != (row[abs(other)] == (other > 0)) for first, other in pairs):
            return False
    return True


def test_what_is_renamed_has_the_value_of_what_stands_in_its_place() -> None:
    generator = random.Random(6)
    for _ in range(50):
        graph, variables, literals = _random_graph(generator, 20)
        moved = {variable: generator.choice((1, -1)) * generator.choice(variables) for variable in variables[:3]}
        renamed = Renamed(graph, moved, Touches(graph, dict.fromkeys(moved, 1)))
        others = [renamed.of(literal) for literal in literals]
        assert _is_replaced(graph, variables, moved, list(zip(literals, others, strict=True)))


def test_instances_are_the_goal_with_variables_replaced() -> None:
    generator, found, wrong = random.Random(7), 0, 0
    for _ in range(100):
        graph, variables, literals = _random_graph(generator, 8)
        for goal, other in itertools.permutations({each for each in literals if abs(each) in graph.gates}, 2):
            fit = renaming(graph, goal, other)
            if fit is not None:
                is_replaced = _is_replaced(graph, variables, fit[0], [(goal, other)])
                is_instance = bool(Pattern(graph, goal, [other]).instances)
                assert is_replaced or not is_instance
                found, wrong = found + is_instance, wrong + (not is_replaced)
    assert found > 100
    assert wrong > 10  # of one shape, but something that they share was replaced


def test_a_bit_stands_for_others_only_if_what_it_rests_on_is_known_of_them() -> None:
    graph = Gates()
    condition, *variables = (graph.variable() for _ in range(13))
    ones, twos, threes = variables[:4], variables[4:8], variables[8:]
    goals = [-graph.differ(graph.choose(condition, a, b), c) for a, b, c in zip(ones, twos, threes, strict=True)]
    known = [-graph.differ(a, c) for a, c in zip(ones, threes, strict=True)]
    known += [-graph.differ(b, c) for b, c in zip(twos[:3], threes[:3], strict=True)]
    pattern = Pattern(graph, goals[0], goals[1:])
    assert pattern.instances == goals[1:]
    given = pattern.use([condition, *known])
    assert set(given) == {condition, known[0], known[4]}
    assert pattern.instances == goals[1:3]  # of the last bit it is not known that b and c are equal


def test_what_is_built_otherwise_is_no_instance() -> None:
    graph = Gates()
    a, b, c, d, condition, other = (graph.variable() for _ in range(6))
    goal = graph.both(condition, graph.differ(a, b))
    assert Pattern(graph, goal, [graph.both(condition, graph.differ(c, d))]).instances
    assert not Pattern(graph, goal, [graph.either(condition, graph.differ(c, d))]).instances
    assert not Pattern(graph, goal, [graph.both(condition, graph.both(c, d))]).instances
    assert renaming(graph, graph.both(a, graph.both(a, b)), graph.both(c, graph.both(other, d))) is None


@pytest.mark.parametrize("wrong", [None, 0, 31, BITS - 1])
def test_one_wrong_bit_of_a_word_is_found(wrong: int | None) -> None:
    block = pyrtl.Block()
    with pyrtl.set_working_block(block):
        data, enable = pyrtl.Input(BITS, "data"), pyrtl.Input(1, "enable")
        first, second = pyrtl.Register(BITS, "first"), pyrtl.Register(BITS, "second")
        first.next <<= pyrtl.select(enable, data, first)
        bits = [pyrtl.select(enable, data[place], second[place]) for place in range(BITS)]
        if wrong is not None:
            bits[wrong] = second[wrong]
        second.next <<= pyrtl.concat_list(bits)
    same = Candidate("same", lambda logic, view: view["first"] == view["second"])
    problem = Problem("word", TransitionSystem(block), [], [same])
    engine = Engine(problem, problem.candidates, 60, exact_cores=False)
    (query,) = engine.consecution_queries()
    situation = engine.decide(query)
    assert (situation is None) == (wrong is None)
    assert engine.patterns == 1  # the right bits, all of them, by one


def test_a_word_whose_proof_used_a_dropped_hypothesis_is_proved_anew() -> None:
    block = pyrtl.Block()
    with pyrtl.set_working_block(block):
        data, begins = pyrtl.Input(BITS, "data"), pyrtl.Input(1, "begins")
        first, second, late = pyrtl.Register(BITS, "first"), pyrtl.Register(BITS, "second"), pyrtl.Register(1, "late")
        first.next <<= data
        second.next <<= pyrtl.select(late, second, data)
        late.next <<= begins
    never = Candidate("never late", lambda logic, view: view["late"] == 0, "late")
    same = Candidate("same", lambda logic, view: view["first"] == view["second"], "word", near=frozenset(("late",)))
    engine = Engine(Problem("word", TransitionSystem(block), [], [never, same]), [never, same], 60, exact_cores=False)
    engine.houdini()  # the last one first
    assert engine.patterns
    assert not engine.alive
