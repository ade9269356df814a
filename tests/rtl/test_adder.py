"""The adder lane against the executable arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyrtl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isa.arithmetic import ADD_WIDTHS, AddParameters, add, add_parameters
from rtl.adder import ADDER_LATENCY, adder_constants, adder_lane
from rtl.requantiser import REQUANTISER_LATENCY


@pytest.fixture(autouse=True)
def fresh_block() -> Iterator[None]:
    pyrtl.reset_working_block()
    yield
    pyrtl.reset_working_block()


def build_lane() -> pyrtl.WireVector:
    parameters = {name: pyrtl.Input(width, name) for name, width in ADD_WIDTHS.items()}
    clear = pyrtl.Input(1, "clear")
    a, b, low, high = (pyrtl.Input(8, name) for name in ("a", "b", "low", "high"))
    result = adder_lane(a, b, adder_constants(parameters, clear), low, high, clear)
    output = pyrtl.Output(8, "y")
    output <<= result
    return result


def layer_steps(
    parameters: AddParameters, a: NDArray[Any], b: NDArray[Any], low: int, high: int
) -> list[dict[str, int]]:
    """One pair per cycle, then idle cycles (whose operands do not matter) until the last sum has left."""
    constants = {name: getattr(parameters, name) for name in ADD_WIDTHS}
    constants |= {"low": low & 255, "high": high & 255, "clear": 0}
    pairs = zip([*a.tolist(), *[0] * ADDER_LATENCY], [*b.tolist(), *[0] * ADDER_LATENCY], strict=True)
    return [{**constants, "a": one & 255, "b": other & 255} for one, other in pairs]


def simulate_layers(
    layers: list[tuple[AddParameters, NDArray[Any], NDArray[Any], int, int]],
) -> list[NDArray[np.int8]]:
    """The layers one after another; each begins in the cycle after the last sum of the one before."""
    steps = [layer_steps(*layer) for layer in layers]
    simulation = pyrtl.CompiledSimulation()
    for layer in steps:  # PyRTL 1.0.3's run() of many steps traces the first step only
        for step in layer:
            simulation.step(step)
    trace = np.array(simulation.tracer.trace["y"], np.uint8).view(np.int8)
    results, start = [], 0
    for layer in steps:
        results.append(trace[start + ADDER_LATENCY : start + len(layer)])
        start += len(layer)
    return results


def random_layer(random: np.random.Generator, kind: int) -> AddParameters:
    zeros = random.integers(-128, 128, 3).tolist()
    if kind == 0:  # as in networks
        scales = random.uniform(0.01, 0.1, 3)
    elif kind == 1:  # ties
        scales = np.array([random.integers(1, 8) / 4, random.integers(1, 8) / 8, 1.0])
    else:  # as far apart as 64 bits allow
        spread = random.uniform(0, 29)
        above = random.uniform(0, min(spread, 20))
        scales = np.array([2.0**above, 2.0 ** (above - spread), 1.0])
        if random.random() < 0.5:
            scales[:2] = scales[1::-1]
    return add_parameters(scales[0], zeros[0], scales[1], zeros[1], scales[2], zeros[2])


def test_latencies_are_equal() -> None:
    assert ADDER_LATENCY == REQUANTISER_LATENCY


def test_lane_equals_the_executable_semantics() -> None:
    """Many layers, some with constants that no scales give, which wrap; operands at random and at the ends."""
    random = np.random.default_rng(1)
    layers = []
    for number in range(300):
        if number % 4 < 3:
            parameters = random_layer(random, number % 4)
        else:
            values = {name: int(random.integers(0, 2**width)) for name, width in ADD_WIDTHS.items()}
            parameters = AddParameters(**values)
        a, b = random.integers(-128, 128, (2, 120))
        a[:4], b[:4] = [-128, -128, 127, 127], [-128, 127, -128, 127]
        low, high = (-128, 127) if number % 3 else sorted(random.integers(-128, 128, 2).tolist())
        layers.append((parameters, a, b, low, high))
    build_lane()
    mismatches = compared = 0
    for layer, result in zip(layers, simulate_layers(layers), strict=True):
        expected = add(layer[1], layer[2], layer[0], layer[3], layer[4])
        mismatches += int((result != expected).sum())
        compared += expected.size
    print(f"adder: {mismatches} of {compared} outputs differ")
    assert mismatches == 0


def test_both_roundings() -> None:
    """Operands whose sum is a tie only because of a rounding; all pairs of one layer that has many of them."""
    grids = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128, 5), indexing="ij")
    a, b = (grid.ravel() for grid in grids)
    layers = [
        (add_parameters(np.float32(0.5 * (1 + 2.0**-23)), 3, 0.125, -5, 1.0, 7), a, b, -128, 127),
        (add_parameters(0.25, 100, np.float32(0.75 * (1 - 2.0**-23)), 99, 1.0, 1), a, b, -128, 127),
    ]
    build_lane()
    for layer, result in zip(layers, simulate_layers(layers), strict=True):
        assert (result == add(a, b, layer[0])).all()


def test_clear_scrubs_every_register() -> None:
    """From any state, one cycle of clear leaves zero in all registers, whatever is on the inputs."""
    build_lane()
    registers = sorted(pyrtl.working_block().wirevector_subset(pyrtl.Register), key=lambda wire: wire.name)
    random = np.random.default_rng(2)
    state = {register: int(random.integers(0, 2 ** min(len(register), 62))) for register in registers}
    simulation = pyrtl.Simulation(tracer=pyrtl.SimulationTrace(wires_to_track=registers), register_value_map=state)
    widths = {**ADD_WIDTHS, "a": 8, "b": 8, "low": 8, "high": 8}
    ones = {name: 2**width - 1 for name, width in widths.items()}
    simulation.step({**ones, "clear": 1})
    simulation.step({**ones, "clear": 1})
    assert all(simulation.tracer.trace[register.name][1] == 0 for register in registers)
    assert all(register.reset_value in (None, 0) for register in registers)


def test_output_comes_from_a_register() -> None:
    assert isinstance(build_lane(), pyrtl.Register)


def test_wrong_widths_are_refused() -> None:
    parameters = {name: pyrtl.Input(width + (name == "fraction"), name) for name, width in ADD_WIDTHS.items()}
    with pytest.raises(ValueError, match="fraction is 7 bits wide, not 6"):
        adder_constants(parameters, pyrtl.Input(1, "clear"))


int8s = st.integers(-128, 127)


@pytest.fixture(scope="module")
def lane() -> Any:
    """A simulator that survives between hypothesis examples, so that nothing is compiled again."""
    pyrtl.reset_working_block()
    build_lane()
    return pyrtl.FastSimulation()


@settings(max_examples=100, deadline=None)
@given(
    st.builds(AddParameters, **{name: st.integers(0, 2**width - 1) for name, width in ADD_WIDTHS.items()}),
    st.lists(st.tuples(int8s, int8s), min_size=1, max_size=10),
    int8s,
    int8s,
)
def test_any_constants(lane: Any, parameters: AddParameters, pairs: list[tuple[int, int]], low: int, high: int) -> None:
    """Every bit pattern of the constants means the same to both, also where 64 bits wrap."""
    a, b = np.array(pairs).T
    outputs = []
    for step in [*layer_steps(parameters, a, b, low, high)]:
        lane.step(step)
        outputs.append(lane.inspect("y"))
    assert outputs[ADDER_LATENCY:] == (add(a, b, parameters, low, high).astype(int) & 255).tolist()
