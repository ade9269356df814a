"""Queries turned into clauses have the answers that Z3 gives, with models that satisfy them."""

from __future__ import annotations

import random

import z3

from formal.clauses import Clauses


def _random_claim(generator: random.Random, words: list[z3.BitVecRef]) -> z3.BoolRef:
    first, second, third = (generator.choice(words) for _ in range(3))
    number = generator.getrandbits(6)
    return generator.choice(
        [
            z3.ULT(first + second, third),
            first == second * number,
            z3.Implies(z3.ULE(first, number), second - third == number),
            z3.Not(first ^ second == third),
        ]
    )


def test_answers_and_models_agree_with_z3() -> None:
    generator, words, answers = random.Random(1), [z3.BitVec(name, 6) for name in "abc"], set()
    clauses = Clauses()
    for _ in range(60):
        claims = [_random_claim(generator, words) for _ in range(6)]
        found = clauses.decide(claims, {}, words, 60)
        answers.add(found.satisfiable)
        assert found.satisfiable == (z3.Solver().check(*claims) == z3.sat)
        if found.satisfiable:
            values = [(word, z3.BitVecVal(found.values[str(word)], 6)) for word in words]
            assert all(z3.is_true(z3.simplify(z3.substitute(claim, *values))) for claim in claims)
    assert answers == {True, False}


def test_a_refutation_names_what_it_used() -> None:
    a, b = z3.BitVecs("a b", 8)
    tagged = {3: z3.ULT(a, 4), 5: z3.ULT(b, 9), 8: z3.UGT(a, 7)}
    assert Clauses().decide([b != 0], tagged, [a, b], 60).used == {3, 8}


def test_a_contradiction_needs_no_clauses() -> None:
    a = z3.BitVec("a", 8)
    assert Clauses().decide([a == 1, a == 2], {}, [a], 60).satisfiable is False
    assert Clauses().decide([z3.BoolVal(False)], {}, [a], 60).satisfiable is False


def test_time_runs_out() -> None:
    a, b = z3.BitVecs("a b", 32)
    hard = [a * b == 0xFFFFFFFB, z3.UGT(a, 1), z3.UGT(b, 1), z3.BVMulNoOverflow(a, b, False)]
    assert Clauses().decide(hard, {}, [a, b], 0.05).satisfiable is None
