"""Requantiser and adder give the bytes of numpy's float32; a netlist that rounds otherwise does not."""

from __future__ import annotations

from formal.float32_comparison import CHUNK, compare_adder, compare_requantiser, requantiser_corners
from formal.mutation import mutated, tie
from formal.theorems.results_are_those_of_float32 import adder, requantiser


def test_the_requantiser_agrees_in_all_corner_cases_and_some_random_ones() -> None:
    corners = len(requantiser_corners()[0])
    compared, mismatches = compare_requantiser(corners + 2 * CHUNK)
    assert (compared >= corners + 2 * CHUNK, mismatches) == (True, 0)


def test_the_adder_agrees_for_all_operands_of_some_layers() -> None:
    compared, mismatches = compare_adder(4 * CHUNK, seed=2)
    assert (compared, mismatches) == (4 * CHUNK, 0)


def test_a_netlist_that_rounds_ties_away_is_found_out() -> None:
    assert compare_requantiser(1, block=mutated(requantiser(), tie("lane/product_up", 0)))[1] > 0
    assert compare_adder(4 * CHUNK, seed=2, block=mutated(adder(), tie("lane/total_rounded_up", 0)))[1] > 0
