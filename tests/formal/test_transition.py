"""The translator against PyRTL's own simulator: integers, compiled integers and Z3, on every wire and word."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyrtl
import pytest
import z3

from formal.algebra import Z3Algebra
from formal.problem import random_word
from formal.simulator import Simulator
from formal.transition import INTEGERS, TransitionSystem
from rtl.requantiser import requantiser_lane
from tests.formal.netlists import arithmetic, dispatcher, memories, scrubber

REQUANTISER_INPUTS = {"accumulator": 32, "mantissa": 24, "shift": 8, "zero_point": 8, "low": 8, "high": 8, "clear": 1}


def requantiser() -> pyrtl.Block:
    """A real leaf of the core: wide multiplier, shifts and pipeline registers."""
    pyrtl.reset_working_block()
    requantised = requantiser_lane(**{name: pyrtl.Input(bits, name) for name, bits in REQUANTISER_INPUTS.items()})
    result = pyrtl.Output(len(requantised), "result")
    result <<= requantised
    return pyrtl.working_block()


# Another netlist joins the co-simulation by being listed here.
NETLISTS: dict[str, Callable[[], pyrtl.Block]] = {
    "arithmetic": arithmetic,
    "memories": memories,
    "scrubber": scrubber,
    "requantiser": requantiser,
    "dispatcher 2x2": lambda: dispatcher(2, 2),
    "dispatcher 5x3": lambda: dispatcher(5, 3, depth=3, payload_bits=70),
}


def _memory_words(simulation: pyrtl.Simulation, memory: pyrtl.MemBlock) -> list[int]:
    known = simulation.inspect_mem(memory)
    return [known.get(index, 0) for index in range(1 << memory.addrwidth)]


@pytest.mark.parametrize("netlist", NETLISTS)
def test_integers_agree_with_pyrtl_on_every_wire_and_word(netlist: str) -> None:
    block = NETLISTS[netlist]()
    system = TransitionSystem(block)
    simulation = pyrtl.Simulation(tracer=None, block=block)
    compiled = Simulator(system, observed=[net.destination for net in system.nets])
    blocks = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
    wires = [w.name for w in block.wirevector_set if not isinstance(w, pyrtl.Const)]
    generator = random.Random(netlist)
    state = system.reset_state()
    for cycle in range(300):
        inputs = {name: random_word(generator, bits) for name, bits in system.inputs.items()}
        simulation.step(inputs)
        evaluation, after = system.step(INTEGERS, state, inputs)
        fast_wires, fast_after = compiled.cycle(state, inputs)
        for name in wires:
            assert evaluation[name] == simulation.inspect(name), (cycle, name)
        assert fast_wires == {name: evaluation[name] for name in fast_wires}
        assert fast_after == after
        for name in system.memories:
            assert after[name] == _memory_words(simulation, blocks[name]), (cycle, name)
        state = after


@pytest.mark.parametrize("list_words", [256, 4], ids=["lists", "arrays"])
@pytest.mark.parametrize("netlist", NETLISTS)
def test_z3_terms_evaluate_to_what_integers_say(netlist: str, list_words: int) -> None:
    block = NETLISTS[netlist]()
    system, algebra = TransitionSystem(block), Z3Algebra(list_words)
    variables = {**system.state_variables(algebra, "s:"), **system.input_variables(algebra, "i:")}
    evaluation, after = system.step(algebra, variables, variables)
    outputs = [w.name for w in block.wirevector_subset(pyrtl.Output)]
    generator, compiled = random.Random(netlist), Simulator(system)
    state = system.reset_state()
    for cycle in range(60):
        inputs = {name: random_word(generator, bits) for name, bits in system.inputs.items()}
        expected_wires, expected = system.step(INTEGERS, state, inputs)
        if cycle % 20 == 19:
            substitution = _substitution(system, algebra, variables, {**state, **inputs})
            for name in outputs:
                assert _number(evaluation[name], substitution) == expected_wires[name], name
            for name in system.registers:
                assert _number(after[name], substitution) == expected[name], name
            for name, memory in system.memories.items():
                words = range(1 << memory.address_bits)
                stored = after[name] if isinstance(after[name], list) else [z3.Select(after[name], i) for i in words]
                sample = list(words) if len(words) <= 16 else generator.sample(words, 16)
                assert [_number(stored[i], substitution) for i in sample] == [expected[name][i] for i in sample], name
        state = compiled.cycle(state, inputs)[1]


def _substitution(
    system: TransitionSystem, algebra: Z3Algebra, variables: dict[str, Any], values: dict[str, Any]
) -> list[tuple[Any, Any]]:
    pairs = []
    for name, variable in variables.items():
        if name in system.memories:
            words = algebra.words(values[name], system.memories[name].bits)
            pairs += list(zip(variable, words, strict=True)) if isinstance(variable, list) else [(variable, words)]
        else:
            pairs.append((variable, z3.BitVecVal(values[name], variable.size())))
    return pairs


def _number(term: Any, substitution: list[tuple[Any, Any]]) -> int:
    value: int = z3.simplify(z3.substitute(term, *substitution)).as_long()
    return value


def test_cone_of_influence_keeps_only_what_can_matter() -> None:
    system = TransitionSystem(dispatcher(2, 2), roots=["wheel"])
    assert set(system.registers) == {"wheel"}
    assert system.inputs == {}


def test_cone_of_influence_runs_through_memories() -> None:
    system = TransitionSystem(memories(), roots=["held"])
    assert set(system.memories) == {"bank"}
    assert {"held", "counter"} == set(system.registers)


def test_cut_wires_and_memories_become_inputs() -> None:
    system = TransitionSystem(dispatcher(2, 2), roots=["core0_owner"], cuts=["core0_flush", "core0_command"])
    assert {"core0_command"} <= set(system.inputs)
    cut = TransitionSystem(memories(), cuts=["bank"])
    assert "bank" not in cut.memories
    assert len(cut.inputs) == 4


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="no wire or memory is called nonsense"):
        TransitionSystem(memories(), roots=["nonsense"])


def test_support_names_registers_memories_and_inputs() -> None:
    system = TransitionSystem(memories())
    assert set(system.support_names(system.support("looked_up"))) == {"address", "held"}
    assert set(system.support_names(system.next_support("held"))) == {"address", "bank"}
