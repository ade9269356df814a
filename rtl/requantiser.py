"""The requantiser: int32 accumulators to int8, as ONNX Runtime's float32 arithmetic does it."""

from __future__ import annotations

import pyrtl
from pyrtl import Const, WireVector, concat, select

from isa.arithmetic import SIGNIFICANT_BITS
from rtl.adder import ADDER_LATENCY
from rtl.hierarchy import hardware
from rtl.products import product_in_logic, unsigned_product
from rtl.rounding import clip, delay, leading_zeros, rounds_up, stage, sum_with_carry

REQUANTISER_LATENCY = ADDER_LATENCY
"""Cycles from an accumulator on the inputs to its byte on the output; the adder's, to share one result pipeline."""

_OWN_LATENCY = 16
"""Stages that compute; the rest of the latency is delay at the 8-bit output, where it is cheapest."""
_LOW_SIGNIFICAND, _LOW_MANTISSA = 18, 17
"""Lower bits of the two factors: as many as an ECP5's multiplier takes, and one of 27 x 18 bits beside their sign."""
_SMALLEST_DISTANCE = 14
"""A significand (bit 23 set) shifted right by this or less is 512 or more: it saturates whatever the zero point."""
_DISTANCES = 12
"""Shifts by 14..25 matter; by 25 or more leaves less than a half, hence 0."""


@hardware(instance="{name}")
def requantiser_lane(
    accumulator: WireVector,
    mantissa: WireVector,
    shift: WireVector,
    zero_point: WireVector,
    low: WireVector,
    high: WireVector,
    clear: WireVector,
    name: str = "requantiser",
) -> WireVector:
    """clip(RNE(RN24(RN24(accumulator) * mantissa * 2**-shift)) + zero_point, low, high): 8 bits from a register.

    accumulator: 32 bits, two's complement; mantissa: 24 bits, bit 23 taken as set; shift: 8 bits, unsigned;
    zero_point, low, high: 8 bits, two's complement; clear: 1 bit, while it is 1 every register loads 0. All
    parameters travel with the accumulator, so each may change in every cycle. A new accumulator may enter in
    every cycle; its byte leaves REQUANTISER_LATENCY cycles later. Equal to `isa.arithmetic.requantise`.

    The accumulator is normalised first; so the product's leading one is in one of two places, and its rounding
    needs no second search.
    """
    if (len(accumulator), len(mantissa), len(shift)) != (32, SIGNIFICANT_BITS, 8):
        raise ValueError("a requantiser takes a 32-bit accumulator, a 24-bit mantissa and an 8-bit shift")

    def registered(value: WireVector, register_name: str) -> WireVector:
        return stage(value, clear, register_name)

    def delayed(value: WireVector, cycles: int, register_name: str) -> WireVector:
        return delay(value, cycles, clear, register_name)

    with pyrtl.name_scope(name):
        # 1: capture.
        captured = registered(accumulator, "accumulator")
        # 2: magnitude and sign.
        sign = captured[-1]
        flipped = captured ^ sign.sign_extended(32)
        magnitude = registered(sum_with_carry(flipped, Const(0, 32), sign)[:32], "magnitude")
        negative = delayed(sign, 12, "negative")
        # 3, 4: normalise; the leading one goes to bit 31.
        zeros = registered(leading_zeros(magnitude), "zeros")
        unshifted = registered(magnitude, "unshifted")
        normalised = registered(pyrtl.shift_left_logical(unshifted, zeros), "normalised")
        zeros = registered(zeros, "zeros_of_normalised")
        # 5: float32(accumulator).
        dropped = 32 - SIGNIFICANT_BITS
        up = rounds_up(normalised[dropped], normalised[dropped - 1], normalised[: dropped - 1] != 0)
        significand, carry = _incremented(normalised[dropped:], up)
        significand = registered(significand, "significand")
        factor = concat(Const(1, 1), delayed(mantissa[:-1], 5, "mantissa"))
        # The quotient is significand * mantissa * 2**(8 - exponent), exponent = shift + zeros - carry; a carry
        # implies zeros > 0. It is subtracted a stage later, not behind the adder that makes it.
        exponent = registered((delayed(shift, 4, "shift") + zeros)[:9], "exponent")
        carry = registered(carry, "carry")
        # 6, 7, 8: the product, from three multipliers, each of them between two registers, and their sum.
        low_significand, high_significand = significand[:_LOW_SIGNIFICAND], significand[_LOW_SIGNIFICAND:]
        low_factor, high_factor = factor[:_LOW_MANTISSA], factor[_LOW_MANTISSA:]
        low_low = registered(unsigned_product(low_significand, low_factor), "product_low_low")
        low_high = registered(unsigned_product(low_significand, high_factor), "product_low_high")
        high_low = registered(unsigned_product(high_significand, low_factor), "product_high_low")
        high_high = product_in_logic(concat(Const(0, 1), high_factor), high_significand)
        high_high = registered(high_high[:-1], "product_high_high")
        # Both in units of the low mantissa's weight.
        crosswise = low_high + concat(high_low, Const(0, _LOW_SIGNIFICAND - _LOW_MANTISSA))
        crosswise = registered(crosswise[: 2 * SIGNIFICANT_BITS - _LOW_MANTISSA], "product_crosswise")
        outer = registered(concat(high_high, low_low), "product_outer")
        upper = (outer[_LOW_MANTISSA:] + crosswise)[: 2 * SIGNIFICANT_BITS - _LOW_MANTISSA]
        product = registered(concat(upper, outer[:_LOW_MANTISSA]), "product")
        exponent = registered((exponent - carry)[:9], "exponent_less_carry")
        exponent = registered(exponent, "exponent_of_product")
        # The final right shift is exponent - 31, less one if the product's leading one is bit 47, less one if its
        # rounding carries. `distance` counts it from 14, clamped so that those two steps cannot fall short.
        least, most = 31 + _SMALLEST_DISTANCE, 31 + _SMALLEST_DISTANCE + _DISTANCES + 1
        distance = select(
            exponent < least,
            Const(0, 4),
            select(exponent > most, Const(most - least, 4), (exponent - least)[:4]),
        )
        distance = registered(distance, "distance_of_product")
        # 9, 10: the product to 24 bits; its leading one is bit 47 or bit 46.
        high_product = product[47]
        kept = registered(select(high_product, product[24:48], product[23:47]), "kept")
        guard = select(high_product, product[23], product[22])
        sticky = (product[:22] != 0) | (high_product & product[22])
        last = select(high_product, product[24], product[23])
        up = registered(rounds_up(last, guard, sticky), "product_up")
        distance = registered(_less_one(distance, high_product), "distance_of_kept")
        rounded, carry = _incremented(kept, up)
        rounded = registered(rounded, "rounded")
        carry = registered(carry, "rounded_carry")
        distance = registered(distance, "distance_of_rounded")
        # 11: the final distance, 0..11 for 14..25.
        distance = _less_one(distance, carry)
        distance = registered(select(distance >= _DISTANCES, Const(_DISTANCES - 1, 4), distance), "distance")
        rounded = registered(rounded, "rounded_again")
        # 12, 13: shift, keeping all bits below the point, and round to an integer.
        extended = concat(rounded, Const(0, _DISTANCES - 1))
        shifted = registered(pyrtl.shift_right_logical(extended, distance), "shifted")
        point = _SMALLEST_DISTANCE + _DISTANCES - 1
        quotient = registered(shifted[point:], "quotient")
        up = registered(rounds_up(shifted[point], shifted[point - 1], shifted[: point - 1] != 0), "quotient_up")
        # 14: sign; -(q + up) = ~q + (1 - up).
        width = len(quotient) + 2
        flipped = quotient.zero_extended(width) ^ negative.sign_extended(width)
        signed = registered((flipped + (negative ^ up))[:width], "signed")
        # 15, 16: zero point and clip.
        moved = signed.sign_extended(width + 1) + delayed(zero_point, 14, "zero_point").sign_extended(width + 1)
        moved = registered(moved[: width + 1], "moved")
        output = registered(clip(moved, delayed(low, 15, "low"), delayed(high, 15, "high")), "clipped")
        return delayed(output, REQUANTISER_LATENCY - _OWN_LATENCY, "output")


def _incremented(significand: WireVector, up: WireVector) -> tuple[WireVector, WireVector]:
    """A 24-bit significand plus `up`, and whether it carried: then it is 2**23 and its exponent is one higher."""
    total = significand + up
    carry = total[SIGNIFICANT_BITS]
    top = total[SIGNIFICANT_BITS - 1] | carry
    return concat(top, total[: SIGNIFICANT_BITS - 1]), carry


def _less_one(distance: WireVector, condition: WireVector) -> WireVector:
    """distance - condition, not below 0."""
    return select(condition & (distance != 0), (distance - 1)[: len(distance)], distance)
