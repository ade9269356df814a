"""Building blocks of arithmetic pipelines: registers that can be cleared, wide sums, and rounding to nearest even."""

from __future__ import annotations

from collections.abc import Callable

import pyrtl
from pyrtl import Const, Register, WireVector, concat, select

from isa.arithmetic import SIGNIFICANT_BITS

_HALFWAY = 8
"""The leading one has spread over so many bits in the middle of `dropped_bits`."""


def stage(value: WireVector, clear: WireVector, name: str) -> Register:
    """One pipeline register as wide as `value`, named `name`: loads 0 while `clear` is 1. Latency 1."""
    register = Register(len(value), name)
    register.next <<= select(clear, Const(0, len(value)), value)
    return register


def delay(value: WireVector, cycles: int, clear: WireVector, name: str) -> WireVector:
    """`value`, `cycles` (>= 0) cycles later, through registers `name`_1, `name`_2, ..."""
    for cycle in range(1, cycles + 1):
        value = stage(value, clear, f"{name}_{cycle}")
    return value


def leading_zeros(value: WireVector) -> WireVector:
    """Zeros above the leading one of a value of W = 2**n bits: n bits, W - 1 for the value 0. Combinational.

    A tree: at each level the half that holds the leading one decides, so depth is n.
    """
    width = len(value)
    if width == 1:
        raise ValueError("a value of one bit has no count of leading zeros")
    if width == 2:
        return ~value[1]
    if width & (width - 1):
        raise ValueError(f"the width {width} is no power of two")
    half = width // 2
    upper, lower = value[half:], value[:half]
    upper_is_zero = upper == 0
    return concat(upper_is_zero, select(upper_is_zero, leading_zeros(lower), leading_zeros(upper)))


def rounds_up(last: WireVector, guard: WireVector, sticky: WireVector) -> WireVector:
    """Whether nearest, ties to even, rounds up: last kept bit, first dropped bit, OR of all other dropped bits."""
    return guard & (sticky | last)


def dropped_bits(
    value: WireVector,
    significant_bits: int = SIGNIFICANT_BITS,
    halfway: Callable[[WireVector], WireVector] = lambda ones: ones,
) -> WireVector:
    """Mask of the low bits that a signed W-bit value loses when rounded to `significant_bits`. Combinational, unless
    `halfway` puts a register in the middle.

    W - 1 - significant_bits bits wide, since no more can be lost. A negative value takes the mask of its ones'
    complement, which differs from that of its magnitude only for powers of two; they lose nothing either way.
    """
    magnitude = value[:-1] ^ value[-1].sign_extended(len(value) - 1)
    ones = magnitude[significant_bits:]  # becomes all ones from the leading one downwards
    distance = 1
    while distance < len(ones):
        if distance == _HALFWAY:
            ones = halfway(ones)
        ones = ones | concat(Const(0, distance), ones[distance:])
        distance *= 2
    return ones


def rounding_decision(value: WireVector, dropped: WireVector) -> tuple[WireVector, WireVector, WireVector]:
    """How to round a signed W-bit value whose `dropped` bits (a mask of ones from bit 0) go. Combinational.

    Returns (truncated, last_place, up): the value without the dropped bits (W bits), the weight of the last kept
    bit (one hot, one bit wider than the mask), and whether to add it. Truncation rounds towards minus infinity,
    from where nearest-even is the same rule as for magnitudes.
    """
    width = len(dropped) + 1
    mask = dropped.zero_extended(width)
    last_place = concat(dropped, Const(1, 1)) & ~mask
    below_half = mask[1:]  # the mask without its top bit
    half = dropped & ~below_half
    low = value[:width]
    last = (low & last_place) != 0
    guard = (low[:-1] & half) != 0
    sticky = (low[:-1] & below_half) != 0
    truncated = concat(value[width:], low & ~mask)
    return truncated, last_place, rounds_up(last, guard, sticky)


def round_to_24_bits(value: WireVector) -> WireVector:
    """A signed W-bit value, rounded to 24 significant bits, nearest, ties to even. Combinational, W bits.

    The result must fit: the caller leaves a bit of headroom. The adder puts registers between these three steps.
    """
    truncated, last_place, up = rounding_decision(value, dropped_bits(value))
    increment = last_place & up.sign_extended(len(last_place))
    return (truncated + increment.zero_extended(len(value)))[: len(value)]


def sum_with_carry(left: WireVector, right: WireVector, carry: WireVector) -> WireVector:
    """left + right + carry, both W bits wide: W + 1 bits. Combinational.

    The carry enters as one more bit on the right, so that synthesis sees one carry chain, not two adders.
    """
    return (concat(left, Const(1, 1)) + concat(right, carry))[1 : len(left) + 2]


def clip(value: WireVector, low: WireVector, high: WireVector) -> WireVector:
    """A signed value, clipped to the signed 8-bit bounds low..high (high wins). Combinational, 8 bits."""
    below = pyrtl.signed_lt(value, low)
    above = pyrtl.signed_gt(value, high) | pyrtl.signed_gt(low, high)
    return select(above, high, select(below, low, value[:8]))
