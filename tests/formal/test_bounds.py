"""Registers are as small as what they load, whatever comes; those that count have no bound but their width."""

from __future__ import annotations

import pyrtl
from pyrtl import Const, Input, Register, concat, select

from formal.bounds import bound_lemmas, upper_bounds
from formal.transition import TransitionSystem


def _bounds() -> dict[str, int]:
    return upper_bounds(TransitionSystem(pyrtl.working_block()))


def test_a_product_is_as_small_as_its_factors() -> None:
    pyrtl.reset_working_block()
    wide, narrow = Input(5, "wide"), Input(2, "narrow")
    product, total, half = Register(10, "product"), Register(11, "total"), Register(10, "half")
    product.next <<= wide * narrow
    total.next <<= product + wide
    half.next <<= concat(Const(0, 1), product[1:])
    assert _bounds() == {"product": 31 * 3, "total": 31 * 3 + 31, "half": 31 * 3 // 2}
    assert {lemma.schema for lemma in bound_lemmas(pyrtl.working_block())} == {"product", "total", "half"}


def test_what_counts_or_wraps_can_be_anything() -> None:
    pyrtl.reset_working_block()
    counts, wraps, turns = Register(4, "counts"), Register(4, "wraps"), Register(4, "turns", reset_value=2)
    counts.next <<= select(counts == 9, Const(0, 4), (counts + 1)[:4])
    wraps.next <<= (turns - 3)[:4]
    turns.next <<= select(Input(1, "choice"), turns, Const(5, 4))
    assert _bounds() == {"counts": 15, "wraps": 15, "turns": 5}
    assert [lemma.schema for lemma in bound_lemmas(pyrtl.working_block())] == ["turns"]
