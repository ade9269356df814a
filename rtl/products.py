"""Products of which a multiplier makes one part and logic another.

An ECP5 multiplies 18 x 18 bits. A wider product is several of its multipliers and a sum, and only a register between
the two keeps the long ways to and from the columns of multipliers out of one cycle; synthesis puts none there. So the
lanes split their factors themselves. A small part is made of logic: a multiplier less, on any device.
"""

from __future__ import annotations

from pyrtl import Const, WireVector, concat, mux

from rtl.scrubbed import signed_fit


def unsigned_product(left: WireVector, right: WireVector) -> WireVector:
    """left * right, both unsigned, as wide as both together: a multiplier. Combinational."""
    return (left * right)[: len(left) + len(right)]


def product_in_logic(left: WireVector, right: WireVector) -> WireVector:
    """left * right, left signed, right unsigned of 5 to 8 bits, as wide as both together. Combinational, no multiplier.

    Each two bits of the right factor choose a multiple of the left one; two levels of sums.
    """
    if not 5 <= len(right) <= 8:
        raise ValueError(f"a product in logic takes a right factor of 5 to 8 bits, not {len(right)}")
    bits, width = len(left) + 2, len(left) + len(right)
    once, twice = signed_fit(left, bits), signed_fit(concat(left, Const(0, 1)), bits)
    multiples = (Const(0, bits), once, twice, (once + twice)[:bits])
    digits = [right[place : place + 2] for place in range(0, len(right), 2)]
    terms = [mux(digit, *multiples[: 1 << len(digit)]) for digit in digits]
    pairs = [
        (signed_fit(low, bits + 2) + concat(high, Const(0, 2)))[: bits + 2]
        for low, high in zip(terms[::2], terms[1::2], strict=False)
    ]
    upper = pairs[1] if len(pairs) == 2 else terms[2]
    return (signed_fit(pairs[0], width) + concat(upper, Const(0, 4)))[:width]
