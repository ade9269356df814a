"""Questions have the right answers, with models that show it or the hypotheses that a refutation used."""

from __future__ import annotations

import itertools
import random

import pytest

from formal.gates import FALSE, Gates
from formal.questions import Question
from tests.formal.gate_values import evaluated


def _random_graph(generator: random.Random) -> tuple[Gates, list[int], list[int]]:
    """A graph over five variables, and all its literals."""
    graph = Gates()
    variables = [graph.variable() for _ in range(5)]
    literals = list(variables)
    for _ in range(25):
        a, b, c = (generator.choice((1, -1)) * generator.choice(literals) for _ in range(3))
        literals.append(generator.choice([graph.both(a, b), graph.differ(a, b), graph.choose(a, b, c)]))
    return graph, variables, literals


@pytest.mark.parametrize("gives_up", [False, True], ids=["the quick solver", "the thorough solver"])
def test_answers_are_those_of_all_assignments(gives_up: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if gives_up:
        monkeypatch.setattr(Question, "_quickly", lambda question, clauses, assumptions, conflicts: (None, []))
    generator, answers = random.Random(3), set()
    for turn in range(30):
        graph, variables, literals = _random_graph(generator)
        rows = [
            evaluated(graph, dict(zip(variables, values, strict=True)))
            for values in itertools.product([False, True], repeat=5)
        ]
        *goals, a, b, c = (generator.choice((1, -1)) * generator.choice(literals) for _ in range(5))
        hypotheses = [a, b, c]
        question = Question(graph, 60, exact=turn % 2 == 0)
        turns = itertools.product(range(len(hypotheses) + 1), goals)
        for count, goal in turns:  # hypotheses are added one by one, and each time two goals are asked
            given = [goal, *hypotheses[:count]]
            reply = question.ask(goal, dict(enumerate(hypotheses[:count])))
            holds = [all(row[abs(each)] == (each > 0) for each in given) for row in rows]
            assert reply.satisfiable == any(holds)
            answers.add(reply.satisfiable)
            if reply.satisfiable:
                model = evaluated(graph, {node: reply.values.get(node, False) for node in variables})
                assert all(model[abs(each)] == (each > 0) for each in given)
            else:
                used = [goal, *(hypotheses[index] for index in reply.used)]
                assert not any(all(row[abs(each)] == (each > 0) for each in used) for row in rows)
        question.close()
    assert answers == {True, False}


def test_a_refutation_names_what_it_used() -> None:
    graph = Gates()
    a, b, c = (graph.variable() for _ in range(3))
    question = Question(graph, 60, exact=True)
    hypotheses = {3: c, 5: -b, 8: graph.either(c, b)}
    assert question.ask(graph.both(a, b), hypotheses).used == {5}
    assert question.ask(-c, hypotheses).used == {3}
    assert question.ask(FALSE, {}).satisfiable is False


def test_time_runs_out() -> None:
    graph = Gates()
    pigeons = [[graph.variable() for _ in range(11)] for _ in range(12)]  # twelve pigeons in eleven holes
    homes = graph.all([-graph.all([-place for place in places]) for places in pigeons])
    alone = graph.all(
        [-graph.both(a, b) for hole in zip(*pigeons, strict=True) for a, b in itertools.combinations(hole, 2)]
    )
    question = Question(graph, 0.3, exact=False)
    assert question.ask(graph.both(homes, alone), {}).satisfiable is None
    assert question.ask(pigeons[0][0], {}).satisfiable is True
