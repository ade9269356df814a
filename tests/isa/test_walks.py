"""The window of a depthwise CONV and the passes of a walk."""

from __future__ import annotations

import pytest

from isa.configuration import LEAST_LINE_VECTORS, NAMED_POOLS
from isa.instructions import ConfigTile, ConfigWindow, Conv, Pool
from isa.walks import Passes, passes, raster, tap_vector, window_shape


@pytest.mark.parametrize(
    ("array", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (1, 4)), (8, (2, 4)), (16, (3, 5)), (32, (4, 7)), (64, (7, 7))]
)
def test_the_window_fills_the_array(array: int, shape: tuple[int, int]) -> None:
    assert window_shape(array) == shape
    assert shape[0] * shape[1] <= array
    assert shape[1] <= LEAST_LINE_VECTORS


def test_each_tap_has_a_vector_of_its_own() -> None:
    for array in (4, 8, 16, 64):
        rows, columns = window_shape(array)
        for kernel in ((1, 1), (rows, columns), (rows, 1)):
            vectors = [
                tap_vector(array, kernel, row, column) for row in range(kernel[0]) for column in range(kernel[1])
            ]
            assert len(set(vectors)) == len(vectors)
            assert all(0 <= vector < array for vector in vectors)
            assert vectors[-1] == 0, "the last tap meets the newest pixel"


def test_a_raster_ends_with_the_last_tap_and_has_two_columns_at_least() -> None:
    window = ConfigWindow(kernel_rows=3, kernel_columns=5, stride_rows=2, stride_columns=3)
    assert raster(window, ConfigTile(output_rows=4, output_columns=6)) == (3 * 2 + 3, 5 * 3 + 5)
    assert raster(ConfigWindow(kernel_rows=3), ConfigTile(output_rows=4)) == (6, 2)


def test_passes_follow_the_kind_of_instruction() -> None:
    paper = NAMED_POOLS["paper"]
    window = ConfigWindow(kernel_rows=3, kernel_columns=3, channel_blocks=4)
    small, large = ConfigTile(), ConfigTile(output_rows=7, output_columns=9)
    assert passes(paper, window, small, Conv()) == Passes(36, 16, 1)
    assert passes(paper, window, large, Conv()) == Passes(36, 63, 63)
    assert passes(paper, window, small, Pool()) == Passes(9, 3, 1)
    assert passes(paper, window, large, Pool()) == Passes(9, 63, 63)
    assert passes(paper, window, small, Conv(depthwise=1)) == Passes(1, 16, 9)
    assert passes(paper, window, large, Conv(depthwise=1)) == Passes(1, 9 * 11 + 2, 9 * 11)
