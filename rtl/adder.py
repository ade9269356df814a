"""The residual adder: two int8 operands to int8, with ONNX Runtime's two roundings."""

from __future__ import annotations

from collections.abc import Mapping

import pyrtl
from pyrtl import Const, WireVector, concat, select

from isa.arithmetic import ADD_BITS, ADD_WIDTHS, SIGNIFICANT_BITS
from rtl.hierarchy import hardware
from rtl.products import product_in_logic
from rtl.rounding import clip, delay, dropped_bits, rounding_decision, rounds_up, stage, sum_with_carry
from rtl.scrubbed import signed_fit

ADDER_LATENCY = 19
"""Cycles from an operand on the inputs to its sum on the output."""

_ROUNDING_LATENCY = 4
"""The mask in two stages, the decision, and the sum."""
_LOW_MANTISSA = 18
"""Bits of a mantissa that its multiplier takes, as a signed number."""
_FINE_BITS = 4
"""Lower bits of `fraction`, by which the sum is shifted in a stage of their own."""
_CLAMPED_BITS = 10
"""Enough for the rounded sum, clamped: every int8 bound lies strictly inside."""


@hardware(instance="{name}")
def adder_constants(
    parameters: Mapping[str, WireVector], clear: WireVector, name: str = "adder_constants"
) -> dict[str, WireVector]:
    """Registers derived from one layer's constants, once for all lanes of a core.

    `parameters` holds a wire for every name in `isa.arithmetic.ADD_WIDTHS`, of that width. The result is for
    `adder_lane`. It follows the parameters by one or two cycles, which is before a lane needs it: operands may enter
    in the first cycle in which the parameters hold.
    """
    for parameter, width in ADD_WIDTHS.items():
        if len(parameters[parameter]) != width:
            raise ValueError(f"{parameter} is {len(parameters[parameter])} bits wide, not {width}")
    negative = parameters["negative_f"]
    fraction = parameters["fraction"]
    with pyrtl.name_scope(name):
        magnitude = stage(
            pyrtl.shift_left_logical(parameters["mantissa_f"].zero_extended(ADD_BITS), parameters["shift_f"]),
            clear,
            "offset_magnitude",
        )
        # -m = ~m + 1; the 1 is the carry into the lane's first sum.
        offset = stage(magnitude ^ negative.sign_extended(ADD_BITS), clear, "offset")
        below_point = concat(*(fraction > place for place in reversed(range(ADD_BITS - 1))))
        factors = {}
        for operand in ("a", "b"):
            mantissa = parameters[f"mantissa_{operand}"]
            low, high = mantissa[:_LOW_MANTISSA], mantissa[_LOW_MANTISSA:]
            # As a signed number the low part lacks 2**18 where its top bit is set.
            factors[f"low_{operand}"] = low
            factors[f"high_{operand}"] = stage(high + low[-1], clear, f"high_{operand}")
        return factors | {
            "shift_a": parameters["shift_a"],
            "shift_b": parameters["shift_b"],
            "offset": offset,
            "offset_carry": negative,
            "fraction": fraction,
            "below_half": stage(below_point[1:], clear, "below_half"),
        }


@hardware(instance="{name}")
def adder_lane(
    a: WireVector,
    b: WireVector,
    constants: Mapping[str, WireVector],
    low: WireVector,
    high: WireVector,
    clear: WireVector,
    name: str = "adder",
) -> WireVector:
    """clip(RNE(RN24(RN24(b * factor_b + offset) + a * factor_a)), low, high): 8-bit output driven by a register.

    a, b, low and high are 8-bit two's complement, `clear` is 1 bit: while it is 1 every register loads 0. A new
    pair may enter in every cycle; its sum leaves ADDER_LATENCY cycles later. `constants` come from
    `adder_constants`; they, low and high belong to the layer and must hold from the first operand's entry until
    the last sum has left. Equal to `isa.arithmetic.add` wherever `add_parameters` accepts the scales.
    """
    with pyrtl.name_scope(name):

        def factor(operand: str) -> tuple[WireVector, WireVector, WireVector]:
            return constants[f"low_{operand}"], constants[f"high_{operand}"], constants[f"shift_{operand}"]

        term_b = _term(b, *factor("b"), clear, "b")
        sum_b = _sum(term_b, constants["offset"], constants["offset_carry"], clear, "with_offset")
        rounded_b = _rounded(sum_b, clear, "with_offset_rounded")

        waiting = delay(a, 1 + _ROUNDING_LATENCY, clear, "a_waits")
        term_a = _term(waiting, *factor("a"), clear, "a")
        sum_a = _sum(term_a, rounded_b, Const(0, 1), clear, "total")
        total = _rounded(sum_a, clear, "total_rounded")

        # One zero behind the point keeps the guard bit of a shift by `fraction`.
        fraction = constants["fraction"]
        coarse = concat(fraction[_FINE_BITS:], Const(0, _FINE_BITS))
        shifted = stage(pyrtl.shift_right_arithmetic(concat(total, Const(0, 1)), coarse), clear, "shifted")
        shifted = pyrtl.shift_right_arithmetic(shifted, fraction[:_FINE_BITS])
        floor = stage(shifted[1:], clear, "floor")
        guard = stage(shifted[0], clear, "guard")
        below_half = constants["below_half"]
        sticky = delay((total[: len(below_half)] & below_half) != 0, 2, clear, "sticky")

        negative = floor[-1]
        surplus = floor[_CLAMPED_BITS - 1 : -1]
        fits = surplus == negative.sign_extended(len(surplus))
        limit = concat(negative, (~negative).sign_extended(_CLAMPED_BITS - 1))
        clamped = stage(select(fits, floor[:_CLAMPED_BITS], limit), clear, "clamped")
        up = stage(rounds_up(floor[0], guard, sticky), clear, "up")

        wide = _CLAMPED_BITS + 1
        nearest = (clamped.sign_extended(wide) + up)[:wide]
        return stage(clip(stage(nearest, clear, "nearest"), low, high), clear, "output")


def _term(
    operand: WireVector, low: WireVector, high: WireVector, shift: WireVector, clear: WireVector, name: str
) -> WireVector:
    """operand * ((high << 18) + low) << shift, ADD_BITS bits: capture, multiply, add, shift. Latency 4.

    The multiplier takes the low part, as a signed number like the operand, so that one of 18 x 18 bits is enough; the
    other product is of logic. Registers stand between the multiplier and what is before and behind it.
    """
    captured = stage(operand, clear, f"{name}_captured")
    bits = len(operand) + len(low)
    exact = captured.sign_extended(bits) * low.sign_extended(bits)
    low_product = stage(exact[:bits], clear, f"{name}_low_product")
    high_product = stage(product_in_logic(captured, high), clear, f"{name}_high_product")
    width = len(operand) + SIGNIFICANT_BITS - len(low)
    upper = (signed_fit(low_product[len(low) :], width) + high_product)[:width]
    product = stage(concat(upper, low_product[: len(low)]), clear, f"{name}_product")
    shifted = pyrtl.shift_left_logical(product.sign_extended(ADD_BITS), shift)
    return stage(shifted, clear, f"{name}_term")


def _sum(left: WireVector, right: WireVector, carry: WireVector, clear: WireVector, name: str) -> WireVector:
    """left + right + carry, modulo 2**ADD_BITS. Latency 1."""
    return stage(sum_with_carry(left, right, carry)[:ADD_BITS], clear, f"{name}_sum")


def _rounded(value: WireVector, clear: WireVector, name: str) -> WireVector:
    """value to 24 significant bits: the mask in two stages, the decision, and the increment. Latency 4."""
    dropped = dropped_bits(value, halfway=lambda ones: stage(ones, clear, f"{name}_ones"))
    dropped = stage(dropped, clear, f"{name}_dropped")
    value = delay(value, 2, clear, f"{name}_value")
    truncated, last_place, up = rounding_decision(value, dropped)
    truncated = stage(truncated, clear, f"{name}_truncated")
    last_place = stage(last_place, clear, f"{name}_last_place")
    up = stage(up, clear, f"{name}_up")
    increment = last_place & up.sign_extended(len(last_place))
    return _sum(truncated, increment.zero_extended(ADD_BITS), Const(0, 1), clear, name)
