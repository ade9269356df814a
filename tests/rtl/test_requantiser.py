"""The requantiser lane and the rounding blocks against the executable arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyrtl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isa.arithmetic import requantise, round_to_24_bits
from rtl import rounding
from rtl.requantiser import REQUANTISER_LATENCY, requantiser_lane

WIDTHS = {"accumulator": 32, "mantissa": 24, "shift": 8, "zero_point": 8, "low": 8, "high": 8}
VECTORS = 40_000


@pytest.fixture(autouse=True)
def fresh_block() -> Iterator[None]:
    pyrtl.reset_working_block()
    yield
    pyrtl.reset_working_block()


def build_lane() -> None:
    inputs = {name: pyrtl.Input(width, name) for name, width in WIDTHS.items()}
    result = requantiser_lane(**inputs, clear=pyrtl.Input(1, "clear"))
    output = pyrtl.Output(8, "y")
    output <<= result


def simulate(vectors: dict[str, NDArray[Any]], clear: NDArray[Any] | None = None) -> NDArray[np.int8]:
    """Stream the vectors, one per cycle; outputs of all cycles, then of as many as the pipeline holds."""
    count = len(vectors["accumulator"])
    total = count + REQUANTISER_LATENCY
    columns = {
        name: np.concatenate([values, np.zeros(total - count, np.int64)]) & ((1 << WIDTHS[name]) - 1)
        for name, values in vectors.items()
    }
    columns["clear"] = np.zeros(total, np.int64) if clear is None else clear
    names, rows = list(columns), np.stack(list(columns.values()), axis=1).tolist()
    simulation = pyrtl.CompiledSimulation()
    for row in rows:  # PyRTL 1.0.3's run() of many steps traces the first step only
        simulation.step(dict(zip(names, row, strict=True)))
    return np.array(simulation.tracer.trace["y"], np.uint8).view(np.int8)


def random_vectors(random: np.random.Generator, count: int) -> dict[str, NDArray[Any]]:
    """Anything in every field, but mostly scales that bring the accumulator near the int8 range."""
    accumulator = random.integers(-(2**31), 2**31, count) >> random.integers(0, 32, count)
    bits = np.log2(np.abs(accumulator) + 1.0)
    near = np.round(23 + bits - 7 + random.normal(0, 3, count)).astype(np.int64)
    mantissa = random.integers(2**23, 2**24, count)
    mantissa = np.where(random.random(count) < 0.3, mantissa & -(2**20), mantissa)  # short ones give ties
    limits = np.sort(random.integers(-128, 128, (2, count)), axis=0)
    full = random.random(count) < 0.7
    return {
        "accumulator": accumulator,
        "mantissa": np.where(random.random(count) < 0.02, random.integers(0, 2**24, count), mantissa),
        "shift": np.where(random.random(count) < 0.9, near.clip(0, 255), random.integers(0, 256, count)),
        "zero_point": random.integers(-128, 128, count),
        "low": np.where(full, -128, limits[0]),
        "high": np.where(full, 127, limits[1]),
    }


def corner_vectors() -> dict[str, NDArray[Any]]:
    """Every combination of the values at which a stage behaves differently."""
    accumulators = [
        0,
        1,
        3,
        127,
        2**24 - 1,
        2**24 + 1,
        2**24 + 3,
        2**25 + 2,
        2**25 - 1,
        2**31 - 1,
        2**31 - 64,
    ]
    accumulators += [-value for value in accumulators[1:]] + [-(2**31)]
    mantissas = [2**23, 2**23 + 1, 3 * 2**22, 2**24 - 1, 2**24 - 2**15, 0]
    shifts = [*range(10, 64, 2), 0, 1, 23, 25, 45, 47, 53, 55, 56, 57, 64, 128, 255]
    bounds = [(0, -128, 127), (-128, -128, 127), (127, 0, 127), (5, 9, -9)]
    grid = np.meshgrid(accumulators, mantissas, shifts, range(len(bounds)), indexing="ij")
    accumulator, mantissa, shift, bound = (axis.ravel() for axis in grid)
    zero_point, low, high = np.array(bounds)[bound].T
    return {
        "accumulator": accumulator,
        "mantissa": mantissa,
        "shift": shift,
        "zero_point": zero_point,
        "low": low,
        "high": high,
    }


@pytest.mark.parametrize("kind", ["random", "corners"])
def test_lane_equals_the_executable_semantics(kind: str) -> None:
    """A new accumulator with new parameters in every cycle."""
    vectors = random_vectors(np.random.default_rng(1), VECTORS) if kind == "random" else corner_vectors()
    build_lane()
    result = simulate(vectors)[REQUANTISER_LATENCY:]
    expected = requantise(**vectors)
    mismatches = int((result != expected).sum())
    print(f"requantiser: {mismatches} of {expected.size} outputs differ")
    assert mismatches == 0
    assert len(np.unique(expected)) == 256 or kind == "corners"


def test_all_ties() -> None:
    """Every half-integer and its neighbours, near every quotient that int8 can hold."""
    quotients = np.arange(-300, 300)
    vectors = {
        "accumulator": (2 * quotients[:, None] + 1 + np.arange(-1, 2)).ravel(),
        "mantissa": np.full(1800, 2**23),
        "shift": np.full(1800, 24),
        "zero_point": np.tile(np.arange(-128, 128), 8)[:1800],
        "low": np.full(1800, -128),
        "high": np.full(1800, 127),
    }
    build_lane()
    assert (simulate(vectors)[REQUANTISER_LATENCY:] == requantise(**vectors)).all()


def test_clear_scrubs_every_register() -> None:
    """From any state, one cycle of clear leaves zero in all registers, whatever is on the inputs."""
    build_lane()
    registers = sorted(pyrtl.working_block().wirevector_subset(pyrtl.Register), key=lambda wire: wire.name)
    random = np.random.default_rng(2)
    state = {register: int(random.integers(0, 2 ** min(len(register), 62))) for register in registers}
    simulation = pyrtl.Simulation(tracer=pyrtl.SimulationTrace(wires_to_track=registers), register_value_map=state)
    ones = {name: 2**width - 1 for name, width in WIDTHS.items()}
    simulation.step({**ones, "clear": 1})
    simulation.step({**ones, "clear": 1})
    assert all(simulation.tracer.trace[register.name][1] == 0 for register in registers)
    assert all(register.reset_value in (None, 0) for register in registers)


def test_clear_drops_what_is_in_flight() -> None:
    vectors = random_vectors(np.random.default_rng(3), 100)
    clear = np.zeros(100 + REQUANTISER_LATENCY, np.int64)
    clear[50] = 1
    build_lane()
    result = simulate(vectors, clear)
    expected = requantise(**vectors)
    assert (result[REQUANTISER_LATENCY:51] == expected[: 51 - REQUANTISER_LATENCY]).all()
    assert result[51] == 0
    assert (result[51 + REQUANTISER_LATENCY :] == expected[51:]).all()


def test_output_comes_from_a_register() -> None:
    pyrtl.reset_working_block()
    inputs = {name: pyrtl.Input(width, name) for name, width in WIDTHS.items()}
    result = requantiser_lane(**inputs, clear=pyrtl.Input(1, "clear"))
    assert isinstance(result, pyrtl.Register)
    assert result.name.startswith("requantiser/")


@pytest.mark.parametrize("width", [32, 40, 64])
def test_rounding_block(width: int) -> None:
    """The combinational rounding of any width."""
    random = np.random.default_rng(width)
    values = random.integers(-(2**62), 2**62, 5000) >> random.integers(64 - width, 63, 5000)
    powers = 2 ** np.arange(width - 2, dtype=np.int64)
    near = (powers[:, None] + np.arange(-2, 3)).ravel()
    ties = (powers[24:, None] + (2 * np.arange(4) + 1) * (powers[24:, None] >> 24)).ravel()
    values = np.concatenate([values, near, -near, ties, -ties, ties + 1, ties - 1])
    value = pyrtl.Input(width, "value")
    output = pyrtl.Output(width, "rounded")
    rounded = rounding.round_to_24_bits(value)
    output <<= rounded
    simulation = pyrtl.CompiledSimulation()
    for number in values:
        simulation.step({"value": int(number) & ((1 << width) - 1)})
    expected = [int(number) & ((1 << width) - 1) for number in round_to_24_bits(values)]
    assert list(simulation.tracer.trace["rounded"]) == expected


def test_leading_zeros() -> None:
    value = pyrtl.Input(32, "value")
    output = pyrtl.Output(5, "zeros")
    zeros = rounding.leading_zeros(value)
    output <<= zeros
    numbers = [1 << place for place in range(32)] + [(1 << place) | 1 for place in range(32)] + [0, 2**32 - 1]
    simulation = pyrtl.FastSimulation()
    for number in numbers:
        simulation.step({"value": number})
        assert simulation.inspect("zeros") == (32 - number.bit_length() if number else 31)
    with pytest.raises(ValueError, match="power of two"):
        rounding.leading_zeros(value[:24])


def test_wrong_widths_are_refused() -> None:
    wires = {name: pyrtl.Input(width + (name == "shift"), name) for name, width in WIDTHS.items()}
    with pytest.raises(ValueError, match="8-bit shift"):
        requantiser_lane(**wires, clear=pyrtl.Input(1, "clear"))


cases = st.lists(
    st.tuples(
        st.integers(-(2**31), 2**31 - 1),
        st.integers(0, 2**24 - 1),
        st.integers(0, 255),
        *[st.integers(-128, 127)] * 3,
    ),
    min_size=1,
    max_size=60,
)


@pytest.fixture(scope="module")
def lane() -> Any:
    """A simulator that survives between hypothesis examples, so that nothing is compiled again."""
    pyrtl.reset_working_block()
    build_lane()
    return pyrtl.FastSimulation()


@settings(max_examples=60, deadline=None)
@given(cases)
def test_any_stream(lane: Any, stream: list[tuple[int, ...]]) -> None:
    """Shrinks to the smallest stream that differs."""
    outputs = []
    for case in [*stream, *[(0,) * 6] * (REQUANTISER_LATENCY + 1)]:
        inputs = {name: case[i] & ((1 << width) - 1) for i, (name, width) in enumerate(WIDTHS.items())}
        lane.step({**inputs, "clear": 0})
        outputs.append(lane.inspect("y"))
    expected = [int(requantise(*case)) & 255 for case in stream]
    assert outputs[REQUANTISER_LATENCY : REQUANTISER_LATENCY + len(stream)] == expected
