"""The array against sums of int8 products: any weights, any factors, any order of tiles and of moves of the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyrtl
import pytest
from numpy.typing import NDArray

from isa.configuration import NAMED_POOLS
from isa.pipeline import adder_stages
from isa.walks import window_shape
from rtl.line_buffers import line_buffers
from rtl.mac_array import mac_array, row_pairs, weight_tile
from rtl.scrubbed import Scrub


@pytest.fixture(autouse=True)
def fresh_block() -> Iterator[None]:
    pyrtl.reset_working_block()
    yield
    pyrtl.reset_working_block()


@pytest.mark.parametrize("array", [2, 4, 8, 16, 32, 64])
def test_every_row_is_in_one_pair_or_left_over(array: int) -> None:
    pairs, left_over = row_pairs(array)
    assert sorted([row for pair in pairs for row in (pair.first, pair.second)] + left_over) == list(range(array))
    rows, columns = window_shape(array)
    for pair in pairs:
        assert [pair.first < rows * columns, pair.second < rows * columns] == [pair.places >= 1, pair.places == 2]
        if pair.places == 2:
            assert pair.second == pair.first + 1
            assert pair.second % columns
    assert all(row < rows * columns for row in left_over)


@pytest.mark.parametrize(("array", "multipliers"), [(2, 2), (4, 8), (8, 32), (16, 112)])
def test_a_multiplier_makes_two_products(array: int, multipliers: int) -> None:
    _build(array, 1)
    made = sum(net.op == "*" for net in pyrtl.working_block().logic)
    assert made == multipliers == array * (array - len(row_pairs(array)[1])) // 2


def _build(array: int, ports: int) -> None:
    config = replace(NAMED_POOLS["paper"], name="array", array=array, lanes=1, line_vectors=8)
    inputs = {"scrub": 1, "place": 3, "valid": 1, "slides": 1, "swaps": 1, "depthwise": 1, "pixel": 8 * array}
    inputs |= {f"vector_{number}": 8 * array for number in range(ports)}
    wires = {name: pyrtl.Input(bits, name) for name, bits in inputs.items()}
    scrub = Scrub(wires["scrub"], pyrtl.Const(0, 16), config.scrub_cycles)
    swaps = wires["swaps"]
    window = line_buffers(config, scrub, wires["pixel"], wires["place"], wires["valid"], swaps)
    vectors = [wires[f"vector_{number}"] for number in range(ports)]
    tile = weight_tile(scrub, array, vectors, wires["slides"], swaps, wires["depthwise"])
    sums = mac_array(scrub, wires["pixel"], window, swaps, tile)
    for name, values in (("place", window.vectors), ("sum", sums)):
        for number, value in enumerate(values):
            output = pyrtl.Output(len(value), f"{name}_{number}_o")
            output <<= value


def _int8(vector: int, array: int) -> NDArray[np.int64]:
    return np.frombuffer(vector.to_bytes(array, "little"), dtype=np.int8).astype(np.int64)


@pytest.mark.parametrize(("array", "ports", "cycles"), [(2, 1, 300), (4, 2, 300), (8, 1, 300), (16, 1, 200)])
def test_sums_are_exact_whatever_the_window_does(array: int, ports: int, cycles: int) -> None:
    _build(array, ports)
    simulation = pyrtl.FastSimulation()
    rng = np.random.default_rng(array)
    shape = window_shape(array)
    following, tile, depthwise = np.zeros((array, array), np.int64), np.zeros((array, array), np.int64), False
    expected = []
    for cycle in range(cycles):
        kind = int(rng.integers(3))  # now and then only the extremes, or only one of them

        def vector(kind: int = kind) -> int:
            values = rng.integers(-128, 128, array) if kind else rng.choice([-128, -127, -1, 0, 1, 127], array)
            values[:] = -128 if kind == 2 and rng.random() < 0.3 else values
            return int.from_bytes(values.astype(np.int8).tobytes(), "little")

        step = {
            "scrub": 0, "place": cycle % 8, "valid": int(rng.random() < 0.8), "slides": int(rng.random() < 0.8),
            "swaps": int(rng.random() < 0.15), "depthwise": int(rng.random() < 0.5), "pixel": vector(),
        }  # fmt: skip
        step |= {f"vector_{number}": vector() for number in range(ports)}
        simulation.step(step)
        if depthwise:
            places = [_int8(simulation.inspect(f"place_{place}_o"), array) for place in range(shape[0] * shape[1])]
            factors = np.array(places + [np.zeros(array, np.int64)] * (array - len(places)))
        else:
            factors = np.repeat(_int8(step["pixel"], array)[:, None], array, axis=1)
        expected.append((factors * tile).sum(axis=0))
        if step["swaps"]:
            tile, depthwise = following, bool(step["depthwise"])
        if step["slides"]:
            new = [_int8(step[f"vector_{number}"], array) for number in range(ports)]
            following = np.vstack([following[ports:], *new])
        delay = adder_stages(array) + 2
        if cycle >= delay:
            shown = [simulation.inspect(f"sum_{column}_o") for column in range(array)]
            assert shown == (expected[cycle - delay] % (1 << 32)).tolist()
