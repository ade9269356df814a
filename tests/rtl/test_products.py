"""Products of logic against products of integers."""

from __future__ import annotations

from collections.abc import Iterator

import pyrtl
import pytest

from rtl.products import product_in_logic, unsigned_product


@pytest.fixture(autouse=True)
def fresh_block() -> Iterator[None]:
    pyrtl.reset_working_block()
    yield
    pyrtl.reset_working_block()


def _factors(left_bits: int, right_bits: int) -> tuple[pyrtl.WireVector, pyrtl.WireVector]:
    return pyrtl.Input(left_bits, "left"), pyrtl.Input(right_bits, "right")


@pytest.mark.parametrize("right_bits", [5, 6, 7, 8])
def test_a_product_in_logic_is_that_of_all_factors(right_bits: int) -> None:
    """A signed and an unsigned one, with no bit lost."""
    product = product_in_logic(*_factors(8, right_bits))
    assert len(product) == 8 + right_bits
    output = pyrtl.Output(len(product), "product")
    output <<= product
    simulation = pyrtl.CompiledSimulation()
    cases = [(left, right) for left in range(-128, 128) for right in range(1 << right_bits)]
    for left, right in cases:
        simulation.step({"left": left & 255, "right": right})
    expected = [left * right & (1 << len(product)) - 1 for left, right in cases]
    assert list(simulation.tracer.trace["product"]) == expected


@pytest.mark.parametrize("right_bits", [4, 9])
def test_a_right_factor_of_another_width_is_refused(right_bits: int) -> None:
    with pytest.raises(ValueError, match=f"not {right_bits}"):
        product_in_logic(*_factors(8, right_bits))


def test_an_unsigned_product_is_as_wide_as_its_factors() -> None:
    product = unsigned_product(*_factors(6, 17))
    assert len(product) == 23
    output = pyrtl.Output(23, "product")
    output <<= product
    simulation = pyrtl.FastSimulation()
    for left, right in [(0, 1), (63, 2**17 - 1), (33, 65_537)]:
        simulation.step({"left": left, "right": right})
        assert simulation.inspect("product") == left * right
