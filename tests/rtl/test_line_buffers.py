"""The window of a wide array, which takes several line buffers, against a picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyrtl
import pytest

from isa.configuration import NAMED_POOLS
from isa.walks import window_shape
from rtl.line_buffers import line_buffers
from rtl.scrubbed import Scrub


@pytest.fixture(autouse=True)
def fresh_block() -> Iterator[None]:
    pyrtl.reset_working_block()
    yield
    pyrtl.reset_working_block()


@pytest.mark.parametrize(("array", "lines", "columns"), [(16, 16, 16), (16, 16, 7), (16, 8, 2), (32, 8, 7)])
def test_the_window_holds_the_last_pixels_of_the_last_rows(array: int, lines: int, columns: int) -> None:
    config = replace(NAMED_POOLS["paper"], name="lines", array=array, line_vectors=lines)
    scrub = Scrub(pyrtl.Input(1, "scrub"), pyrtl.Input(16, "scrub_address"), config.scrub_cycles)
    pixel, place = pyrtl.Input(8 * array, "pixel"), pyrtl.Input(4, "place")
    valid, clears = pyrtl.Input(1, "valid"), pyrtl.Input(1, "clears")
    for number, vector in enumerate(line_buffers(config, scrub, pixel, place, valid, clears).vectors):
        output = pyrtl.Output(8 * array, f"window_{number}")
        output <<= vector
    simulation = pyrtl.Simulation()
    rows, window_columns = window_shape(array)
    rng = np.random.default_rng(array + columns)
    pictures = [rng.integers(1, 1 << 60, (rows + 2, columns)).tolist() for _ in range(2)]
    positions = [(picture, row, column) for picture in pictures for row in range(rows + 2) for column in range(columns)]
    stalls = [(None, 0, 0)] * 3  # cycles between two pictures; their pixels must not enter
    middle = len(positions) // 2
    walk = [*positions[:middle], *stalls, *positions[middle:], *stalls]
    for cycle, (picture, _, column) in enumerate(walk):
        arrived, row_now, column_now = walk[cycle - 2] if cycle >= 2 else (None, 0, 0)
        arrives = cycle >= 1 and walk[cycle - 1] in (positions[0], positions[middle])
        simulation.step({
            "scrub": 0, "scrub_address": 0, "valid": int(picture is not None), "place": column,
            "clears": int(arrives), "pixel": arrived[row_now][column_now] if arrived else 77,
        })  # fmt: skip
        if not arrived:
            continue
        if (row_now, column_now) == (0, 0):
            older = [number for number in range(rows * window_columns) if number % window_columns]
            assert not any(simulation.inspect(f"window_{number}") for number in older)
        for row in range(min(rows, row_now + 1)):
            for back in range(min(window_columns, column_now + 1)):
                shown = simulation.inspect(f"window_{row * window_columns + back}")
                assert shown == arrived[row_now - row][column_now - back]
