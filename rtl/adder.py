"""The residual adder: two int8 operands to int8, with ONNX Runtime's two roundings."""

from __future__ import annotations

from collections.abc import Mapping

import pyrtl
from pyrtl import Const, WireVector, concat, select

from isa.arithmetic import ADD_BITS, ADD_WIDTHS
from rtl.hierarchy import hardware
from rtl.rounding import clip, delay, dropped_bits, rounding_decision, rounds_up, stage, staged_sum

ADDER_LATENCY = 19
"""Cycles from an operand on the inputs to its sum on the output."""

_SUM_LATENCY = 2
_ROUNDING_LATENCY = 4
"""Mask, decision, and a sum in two stages."""
_CLAMPED_BITS = 10
"""Enough for the rounded sum, clamped: every int8 bound lies strictly inside."""


@hardware(instance="{name}")
def adder_constants(
    parameters: Mapping[str, WireVector], clear: WireVector, name: str = "adder_constants"
) -> dict[str, WireVector]:
    """Registers derived from one layer's constants, once for all lanes of a core.

    `parameters` holds a wire for every name in `isa.arithmetic.ADD_WIDTHS`, of that width. The result is for
    `adder_lane`. It follows the parameters by two cycles, which is before a lane needs it: operands may enter in
    the first cycle in which the parameters hold.
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
        return {
            "mantissa_a": parameters["mantissa_a"],
            "shift_a": parameters["shift_a"],
            "mantissa_b": parameters["mantissa_b"],
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
        term_b = _term(b, constants["mantissa_b"], constants["shift_b"], clear, "b")
        sum_b = staged_sum(term_b, constants["offset"], constants["offset_carry"], clear, "with_offset")
        rounded_b = _rounded(sum_b, clear, "with_offset_rounded")

        waiting = delay(a, _SUM_LATENCY + _ROUNDING_LATENCY, clear, "a_waits")
        term_a = _term(waiting, constants["mantissa_a"], constants["shift_a"], clear, "a")
        sum_a = staged_sum(term_a, rounded_b, Const(0, 1), clear, "total")
        total = _rounded(sum_a, clear, "total_rounded")

        # One zero behind the point keeps the guard bit of a shift by `fraction`.
        shifted = pyrtl.shift_right_arithmetic(concat(total, Const(0, 1)), constants["fraction"])
        floor = stage(shifted[1:], clear, "floor")
        guard = stage(shifted[0], clear, "guard")
        below_half = constants["below_half"]
        sticky = stage((total[: len(below_half)] & below_half) != 0, clear, "sticky")

        negative = floor[-1]
        surplus = floor[_CLAMPED_BITS - 1 : -1]
        fits = surplus == negative.sign_extended(len(surplus))
        limit = concat(negative, (~negative).sign_extended(_CLAMPED_BITS - 1))
        clamped = stage(select(fits, floor[:_CLAMPED_BITS], limit), clear, "clamped")
        up = stage(rounds_up(floor[0], guard, sticky), clear, "up")

        wide = _CLAMPED_BITS + 1
        nearest = (clamped.sign_extended(wide) + up)[:wide]
        return stage(clip(stage(nearest, clear, "nearest"), low, high), clear, "output")


def _term(operand: WireVector, mantissa: WireVector, shift: WireVector, clear: WireVector, name: str) -> WireVector:
    """operand * (mantissa << shift), ADD_BITS bits: capture, multiply, shift. Latency 3.

    The multiplier takes the mantissa as a signed number, like the operand, so that one of 27 x 18 bits is enough; what
    that takes off, operand << 24 where the mantissa's top bit is set, is added to the upper byte behind it.
    """
    width, bits = len(operand), len(operand) + len(mantissa)
    captured = stage(operand, clear, f"{name}_captured")
    exact = captured.sign_extended(bits) * mantissa.sign_extended(bits)
    signed_product = stage(exact[:bits], clear, f"{name}_signed_product")
    taken_off = stage(captured & mantissa[-1].sign_extended(width), clear, f"{name}_taken_off")
    product = WireVector(bits, f"{name}_product")
    product <<= concat((signed_product[-width:] + taken_off)[:width], signed_product[:-width])
    shifted = pyrtl.shift_left_logical(product.sign_extended(ADD_BITS), shift)
    return stage(shifted, clear, f"{name}_term")


def _rounded(value: WireVector, clear: WireVector, name: str) -> WireVector:
    """value to 24 significant bits: mask, decision, and the increment in two halves. Latency 4."""
    dropped = stage(dropped_bits(value), clear, f"{name}_dropped")
    value = stage(value, clear, f"{name}_value")
    truncated, last_place, up = rounding_decision(value, dropped)
    truncated = stage(truncated, clear, f"{name}_truncated")
    last_place = stage(last_place, clear, f"{name}_last_place")
    up = stage(up, clear, f"{name}_up")
    increment = last_place & up.sign_extended(len(last_place))
    return staged_sum(truncated, increment.zero_extended(len(value)), Const(0, 1), clear, name)
