"""Gates mean what integers say: single gates, PyRTL's operations, and claims."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pyrtl
import pytest

from formal.gates import FALSE, TRUE, GateAlgebra, GateLogic, Gates, Word
from formal.logic import INTEGER_LOGIC
from formal.problem import random_word
from formal.simulator import Simulator
from formal.transition import INTEGERS, TransitionSystem
from tests.formal.gate_values import evaluated, number
from tests.formal.netlists import arithmetic, dispatcher, memories


def test_single_gates_have_their_values_whatever_their_operands() -> None:
    graph = Gates()
    variables = [graph.variable() for _ in range(3)]
    literals = [sign * node for node in (TRUE, *variables) for sign in (1, -1)]
    made = {
        operands: (graph.both(*operands[:2]), graph.either(*operands[:2]), graph.differ(*operands[:2]),
                   graph.choose(*operands))
        for operands in itertools.product(literals, repeat=3)
    }  # fmt: skip
    for values in itertools.product([False, True], repeat=3):
        known = evaluated(graph, dict(zip(variables, values, strict=True)))
        for operands, gates in made.items():
            a, b, c = (known[abs(operand)] != (operand < 0) for operand in operands)
            found = tuple(known[abs(gate)] != (gate < 0) for gate in gates)
            assert found == (a and b, a or b, a != b, b if a else c), operands


def test_what_is_equal_by_structure_is_one_node() -> None:
    graph = Gates()
    a, b, c = (graph.variable() for _ in range(3))
    assert graph.differ(-a, b) == -graph.differ(b, a)
    assert graph.choose(-a, b, c) == graph.choose(a, c, b) == -graph.choose(a, -c, -b)
    assert graph.both(a, graph.both(b, -b)) == FALSE


@pytest.mark.parametrize("netlist", [arithmetic, memories, lambda: dispatcher(2, 2)], ids=["numbers", "words", "toy"])
def test_a_cycle_of_gates_is_a_cycle_of_integers(netlist: Any) -> None:
    block = netlist()
    system, graph = TransitionSystem(block), Gates()
    algebra = GateAlgebra(graph)
    state: dict[str, Any] = {name: algebra.variable(bits) for name, (bits, _) in system.registers.items()}
    for name, memory in system.memories.items():
        state[name] = [algebra.variable(memory.bits) for _ in range(1 << memory.address_bits)]
    given = {name: algebra.variable(bits) for name, bits in system.inputs.items()}
    cycle, after = system.step(algebra, state, given)
    outputs = [wire.name for wire in block.wirevector_subset(pyrtl.Output)]
    symbols = [cycle[name] for name in outputs]
    generator, compiled = random.Random(1), Simulator(system)
    concrete = system.reset_state()
    for _ in range(20):
        inputs = {name: random_word(generator, bits) for name, bits in system.inputs.items()}
        wires, expected = system.step(INTEGERS, concrete, inputs)
        values = evaluated(graph, _assigned({**state, **given}, {**concrete, **inputs}))
        assert [number(values, word.bits) for word in symbols] == [wires[name] for name in outputs]
        for name in system.registers:
            assert number(values, after[name].bits) == expected[name], name
        for name in system.memories:
            assert [number(values, word.bits) for word in after[name]] == expected[name], name
        concrete = compiled.cycle(concrete, inputs)[1]


def _assigned(variables: dict[str, Any], values: dict[str, Any]) -> dict[int, bool]:
    assigned = {}
    for name, variable in variables.items():
        words = zip(variable, values[name], strict=True) if isinstance(variable, list) else [(variable, values[name])]
        for word, value in words:
            assigned |= {bit: bool(value >> place & 1) for place, bit in enumerate(word.bits)}
    return assigned


def _claims(logic: Any, a: Any, b: Any, c: Any) -> list[Any]:
    """One of each kind; `c` is narrower than `a` and `b`."""
    chosen = logic.choose(logic.less(a, b), a, c)
    return [
        a == b, a != 5, c == a, logic.less(a, b), logic.less(c, 3), logic.at_most(b, c), logic.at_most(4, a),
        logic.equal(a, c), logic.equal([a, c], [b, c]), chosen == b, logic.field(a, 3, 1) == c,
        logic.plus(a, c, 5) == b, logic.plus(c, 7, 4) == 2, logic.minus(c, a, 5) == b, logic.minus(a, 1, 3) == c,
        logic.plus(b, -1, 4) == a, logic.implies(a == b, logic.less(c, a)), logic.negate(logic.less(a, c)),
        logic.all([]), logic.any([]), logic.all([a == b, True]), logic.any([a == b, b == c, False]),
    ]  # fmt: skip


def test_claims_over_gates_are_claims_over_integers() -> None:
    graph = Gates()
    algebra, logic = GateAlgebra(graph), GateLogic(graph)
    words = [algebra.variable(bits) for bits in (5, 5, 3)]
    claims = [logic.all([claim]) for claim in _claims(logic, *words)]
    generator = random.Random(2)
    for _ in range(300):
        numbers = [random_word(generator, len(word.bits)) for word in words]
        values = evaluated(
            graph, _assigned(dict(zip("abc", words, strict=True)), dict(zip("abc", numbers, strict=True)))
        )
        expected = [bool(claim) for claim in _claims(INTEGER_LOGIC, *numbers)]
        assert [bool(number(values, claim.bits)) for claim in claims] == expected, numbers


def test_a_gate_has_no_value_of_its_own() -> None:
    with pytest.raises(TypeError, match="connectives"):
        bool(Word(Gates(), (TRUE,)))
