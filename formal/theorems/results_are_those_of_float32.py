"""The core's numbers are IEEE 754's, for all inputs: exact values, rounded where float32 rounds, to the bit.

*Requantiser*. For every accumulator (int32), 24-bit mantissa with its leading one, shift (0..255), zero point and
bounds: clip(RNE(RN24(float32(accumulator) * mantissa * 2**-shift)) + zero point, low, high), where float32(), RN24
(to 24 significant bits) and RNE (to an integer) round to nearest, ties to even, as Z3's theory of floating point says.

*Adder*. For all operands a, b (int8) and constants whose sums fit 64 bits, as `isa.arithmetic.add_parameters` checks:
t = RN24(b * factor_b + offset), u = RN24(a * factor_a + t), clip(RNE(u * 2**-fraction), low, high): each fused
multiply-add is its exact value, rounded once.

The pipelines are unrolled; what enters before, behind or was in them is free, so no result depends on its neighbours in
time. They are cut at registers: a part proves what the next one assumes. The requantiser's product of two 24-bit
numbers is one uninterpreted function, the same on both sides, of which only this is used, and proved: it is 0 for a
significand of 0, and at least 2**46 for factors with leading ones. The netlist has four products of parts of the
factors, each exact, and adds them up to that of the wholes; so the adder does with two. Its multipliers are exact
multiplications.

The lanes that are proved are those of the core: a part compares them with the core's netlist, net by net.

Scope: the netlist of the pool's core; any values; any state of the pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyrtl
import z3

from formal.algebra import Term
from formal.floating_point import biased, clipped, float32_of, rounded_to_24_bits, scaled_and_rounded
from formal.pipeline import Pipeline, differences, extended, holds, netlist, satisfiable, signed
from formal.structure import core_block
from isa.arithmetic import ADD_BITS, ADD_WIDTHS, SIGNIFICANT_BITS
from isa.configuration import PoolConfig
from rtl.adder import ADDER_LATENCY, adder_constants, adder_lane
from rtl.requantiser import REQUANTISER_LATENCY, requantiser_lane

ASSUMPTIONS = (
    "Constants of an addition are such that its exact sums fit 64 bits; the compiler refuses others.",
    "low <= high is not assumed: where it fails, high wins, in the specification as in the netlist.",
)
_BYTES = {"low": 8, "high": 8, "clear": 1}
_REQUANTISER = {"accumulator": 32, "mantissa": SIGNIFICANT_BITS, "shift": 8, "zero_point": 8, **_BYTES}
_ADDER = {**ADD_WIDTHS, "a": 8, "b": 8, **_BYTES}
_HELD = (*ADD_WIDTHS, "low", "high")
_ENTERS_PRODUCT, _PIECES, _LEAVES_PRODUCT = 5, 6, 8
"""Cycles in which the requantiser's factors, the pieces of their product and the product are in their registers."""
_LEAVES_EXPONENT = 7
"""The cycle in which the product's exponent is in its register."""
_LOW_SIGNIFICAND, _LOW_MANTISSA = 18, 17
"""The lower bits of the factors of which the pieces are products."""
_PRODUCT_BITS = 2 * SIGNIFICANT_BITS
_MANTISSA = f"lane/mantissa_{_ENTERS_PRODUCT}"
_LARGEST_EXPONENT = 255 + 31


def requantiser() -> pyrtl.Block:
    """The netlist of one lane of the requantiser."""
    return netlist(_REQUANTISER, lambda inputs: requantiser_lane(**inputs, name="lane"))


def adder(clear_of_constants: str = "clear") -> pyrtl.Block:
    """The netlist of one lane of the adder, and the constants that all lanes share; their clear may be another one."""

    def build(inputs: dict[str, pyrtl.WireVector]) -> pyrtl.WireVector:
        constants = adder_constants({name: inputs[name] for name in ADD_WIDTHS}, inputs[clear_of_constants])
        return adder_lane(inputs["a"], inputs["b"], constants, inputs["low"], inputs["high"], inputs["clear"], "lane")

    return netlist({**_ADDER, clear_of_constants: 1}, build)


def parts(config: PoolConfig) -> Sequence[str]:
    """The lemmas, the longest first."""
    return tuple(_PARTS)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts a lemma."""
    return lemma(part, requantiser(), adder()) if part != _LANES else lanes_differ(config, core_block(config))


def lemma(part: str, requantiser_block: pyrtl.Block, adder_block: pyrtl.Block) -> list[str]:
    """What contradicts a lemma about these lanes."""
    return _PARTS[part](adder_block if part.startswith("adder") else requantiser_block)


def _variable(name: str, widths: dict[str, int], cycle: int = 0) -> Term:
    return z3.BitVec(f"{cycle}@{name}" if cycle else name, widths[name])


# ---- requantiser


def _conversion(block: pyrtl.Block) -> list[str]:
    """What enters the multiplier is float32(accumulator) and the mantissa; the exponent is that of their product."""
    pipeline = Pipeline(block)
    accumulator, mantissa, shift = (_variable(name, _REQUANTISER) for name in ("accumulator", "mantissa", "shift"))
    float32 = float32_of(accumulator)
    significand, delayed = (pipeline.at(_ENTERS_PRODUCT, name) for name in ("lane/significand", _MANTISSA))
    exponent = extended(pipeline.at(_LEAVES_EXPONENT, "lane/exponent_of_product"), 12)
    value = 8 - exponent == biased(float32.exponent, 12) - extended(shift, 12)
    return [
        *holds("the significand of float32(accumulator)", significand == float32.significand),
        *holds("the mantissa", delayed == z3.Extract(SIGNIFICANT_BITS - 2, 0, mantissa)),
        *holds("its sign", float32.sign == z3.Extract(31, 31, accumulator)),
        *holds("the exponent of the product", z3.And(value, z3.ULE(exponent, _LARGEST_EXPONENT)), accumulator != 0),
        *holds("the exponent of a product of 0", z3.ULE(exponent, _LARGEST_EXPONENT), accumulator == 0),
        *_product(block),
        *_product_bounds(),
    ]


def _product(block: pyrtl.Block) -> list[str]:
    """What leaves the multipliers is the product of the factors: each piece is one, and their sum is the whole."""
    pipeline = Pipeline(block, cuts=["lane/significand", _MANTISSA])
    significand = z3.BitVec(f"{_ENTERS_PRODUCT}@lane/significand", SIGNIFICANT_BITS)
    mantissa = z3.BitVec(f"{_ENTERS_PRODUCT}@{_MANTISSA}", SIGNIFICANT_BITS - 1)
    lefts = _halves(significand, _LOW_SIGNIFICAND)
    rights = _halves(z3.Concat(z3.BitVecVal(1, 1), mantissa), _LOW_MANTISSA)
    found, pieces, total = [], [], z3.BitVecVal(0, _PRODUCT_BITS)
    for left_name, (left_weight, left) in lefts.items():
        for right_name, (right_weight, right) in rights.items():
            name, bits = f"lane/product_{left_name}_{right_name}", left.size() + right.size()
            exact = extended(left, bits) * extended(right, bits)
            found += holds(f"the piece {name}", pipeline.at(_PIECES, name) == exact)
            pieces.append(name)
            total += extended(z3.BitVec(f"{_PIECES}@{name}", bits), _PRODUCT_BITS) << (left_weight + right_weight)
    whole = Pipeline(block, cuts=pieces).at(_LEAVES_PRODUCT, "lane/product")
    return found + holds("the sum of the pieces", whole == total) + _sum_is_the_product()


def _halves(factor: Term, place: int) -> dict[str, tuple[int, Term]]:
    """Weight and value of the bits below a place, and of the others."""
    return {
        "low": (0, z3.Extract(place - 1, 0, factor)),
        "high": (place, z3.Extract(factor.size() - 1, place, factor)),
    }


def _sum_is_the_product() -> list[str]:
    """The sum of four products of parts is the product of the wholes: over the integers, so modulo 2**48, too."""
    low_left, high_left, low_right, high_right = z3.Ints("low_left high_left low_right high_right")
    left_weight, right_weight = 1 << _LOW_SIGNIFICAND, 1 << _LOW_MANTISSA
    pieces = (
        low_left * low_right
        + low_left * high_right * right_weight
        + high_left * low_right * left_weight
        + high_left * high_right * left_weight * right_weight
    )
    whole = (high_left * left_weight + low_left) * (high_right * right_weight + low_right)
    return holds("the product of sums", pieces == whole)


def _product_bounds() -> list[str]:
    """What is used of the product of a significand and a mantissa, over the integers."""
    left, right = z3.Ints("left right")
    leading = 1 << (SIGNIFICANT_BITS - 1)
    bound = z3.And(left >= leading, right >= leading)
    return [
        *holds("the product of leading ones", left * right >= leading * leading, bound),
        *holds("the product of 0", z3.BitVec("x", 48) * z3.BitVecVal(0, 48) == 0),
    ]


def _quotient(block: pyrtl.Block) -> list[str]:
    """From the product to the byte: rounded to 24 bits, shifted and rounded, moved and clipped."""
    pipeline = Pipeline(block, cuts=["lane/product", "lane/exponent_of_product"])
    product = z3.BitVec(f"{_LEAVES_PRODUCT}@lane/product", _PRODUCT_BITS)
    exponent = z3.BitVec(f"{_LEAVES_EXPONENT}@lane/exponent_of_product", 9)
    sign = z3.Extract(31, 31, _variable("accumulator", _REQUANTISER))
    zero_point, low, high = (_variable(name, _REQUANTISER) for name in ("zero_point", "low", "high"))
    quotient = scaled_and_rounded(product, sign, 8 - extended(exponent, 12), SIGNIFICANT_BITS, 64)
    wanted = clipped(quotient + signed(zero_point, 64), low, high)
    assumed = (z3.Or(product == 0, z3.UGE(product, 1 << 46)), z3.ULE(exponent, _LARGEST_EXPONENT))
    return [
        *satisfiable("the bounds of the product", *assumed),
        *holds("the requantised byte", pipeline.at(REQUANTISER_LATENCY, "result") == wanted, *assumed),
    ]


# ---- adder

_FIRST_PRODUCT, _FIRST_SUM, _FIRST_ROUNDED = 3, 5, 9
_SECOND_PRODUCT, _SECOND_SUM, _SECOND_ROUNDED = 8, 10, 14
_CONSTANTS = 2
"""Cycles in which the products, sums and rounded sums of b and of a are in their registers; the offset, which cycle 4
needs first, is in its own from cycle 2 on."""
_PRODUCTS = {"a": _SECOND_PRODUCT, "b": _FIRST_PRODUCT}
_LOW_FACTOR = 18
"""The lower bits of a mantissa of which one of the pieces of a product is made."""


def _sums(block: pyrtl.Block) -> list[str]:
    """Products and sums are exact, modulo 2**64."""
    whole = Pipeline(block, _HELD)
    found = [line for operand, cycle in _PRODUCTS.items() for line in _adder_product(block, operand, cycle)]
    found += _signed_parts()
    shifted = extended(_variable("mantissa_f", _ADDER), ADD_BITS) << extended(_variable("shift_f", _ADDER), ADD_BITS)
    found += holds("the offset's magnitude", whole.at(1, "adder_constants/offset_magnitude") == shifted)
    negative = _variable("negative_f", _ADDER)
    magnitude = z3.BitVec("adder_constants/offset_magnitude", ADD_BITS)
    constants = Pipeline(block, (*_HELD, "adder_constants/offset_magnitude"), ["adder_constants/offset_magnitude"])
    constant = constants.at(_CONSTANTS, "adder_constants/offset") + extended(negative, ADD_BITS)
    found += holds("the offset", constant == z3.If(negative == 1, -magnitude, magnitude))
    cuts = ["lane/a_product", "lane/b_product", "lane/with_offset_rounded_sum", "adder_constants/offset"]
    pipeline = Pipeline(block, (*_HELD, "adder_constants/offset"), cuts)
    constant = z3.BitVec("adder_constants/offset", ADD_BITS) + extended(negative, ADD_BITS)
    first = _shifted(z3.BitVec(f"{_FIRST_PRODUCT}@lane/b_product", 32), "shift_b") + constant
    found += holds("the sum of b and the offset", pipeline.at(_FIRST_SUM, "lane/with_offset_sum") == first)
    rounded = z3.BitVec(f"{_FIRST_ROUNDED}@lane/with_offset_rounded_sum", ADD_BITS)
    second = _shifted(z3.BitVec(f"{_SECOND_PRODUCT}@lane/a_product", 32), "shift_a") + rounded
    return found + holds("the sum of a", pipeline.at(_SECOND_SUM, "lane/total_sum") == second)


def _adder_product(block: pyrtl.Block, operand: str, cycle: int) -> list[str]:
    """The product of an operand and its mantissa, `cycle` being that of its register.

    Its pieces are the operand times the lower bits of the mantissa, read as a signed number, and times the others, to
    which the sign bit of the lower ones is added.
    """
    mantissa = _variable(f"mantissa_{operand}", _ADDER)
    lower, upper = z3.Extract(_LOW_FACTOR - 1, 0, mantissa), z3.Extract(SIGNIFICANT_BITS - 1, _LOW_FACTOR, mantissa)
    captured, high = f"lane/{operand}_captured", f"adder_constants/high_{operand}"
    low_piece, high_piece = f"lane/{operand}_low_product", f"lane/{operand}_high_product"
    whole = Pipeline(block, _HELD)
    high_bits = SIGNIFICANT_BITS - _LOW_FACTOR + 1
    carried = extended(upper, high_bits) + extended(z3.Extract(_LOW_FACTOR - 1, _LOW_FACTOR - 1, mantissa), high_bits)
    found = [
        *holds(f"what is captured of {operand}", whole.at(cycle - 2, captured) == _variable(operand, _ADDER)),
        *holds(f"the upper bits of mantissa_{operand}", whole.at(1, high) == carried),
    ]
    cut = Pipeline(block, (*_HELD, high), [captured, high])
    factor, factor_high = z3.BitVec(f"{cycle - 2}@{captured}", 8), z3.BitVec(high, high_bits)
    bits = 8 + _LOW_FACTOR, 8 + high_bits
    exact = signed(factor, bits[0]) * signed(lower, bits[0]), signed(factor, bits[1]) * extended(factor_high, bits[1])
    found += holds(f"the piece {low_piece}", cut.at(cycle - 1, low_piece) == exact[0])
    found += holds(f"the piece {high_piece}", cut.at(cycle - 1, high_piece) == exact[1])
    pieces = [
        signed(z3.BitVec(f"{cycle - 1}@{name}", width), 32) << weight
        for name, width, weight in ((low_piece, bits[0], 0), (high_piece, bits[1], _LOW_FACTOR))
    ]
    product = Pipeline(block, _HELD, [low_piece, high_piece]).at(cycle, f"lane/{operand}_product")
    return found + holds(f"the sum of the pieces of {operand}", product == pieces[0] + pieces[1])


def _signed_parts() -> list[str]:
    """Lower bits read as a signed number lack 2**18 where their sign bit is set: over the integers, so modulo 2**32."""
    operand, low, sign, high = z3.Ints("operand low sign high")
    weight = 1 << _LOW_FACTOR
    pieces = operand * (low - weight * sign) + operand * (high + sign) * weight
    lower = z3.BitVec("lower", _LOW_FACTOR)
    lacking = extended(z3.Extract(_LOW_FACTOR - 1, _LOW_FACTOR - 1, lower), 32) << _LOW_FACTOR
    return [
        *holds("the product of signed parts", pieces == operand * (high * weight + low)),
        *holds("a signed part", signed(lower, 32) == extended(lower, 32) - lacking),
    ]


def _shifted(product: Term, shift: str) -> Term:
    return signed(product, ADD_BITS) << extended(_variable(shift, _ADDER), ADD_BITS)


def _rounding(register: str, enters: int, leaves: int) -> Callable[[pyrtl.Block], list[str]]:
    """A sum is rounded to 24 bits, if that fits 64 bits."""

    def part(block: pyrtl.Block) -> list[str]:
        pipeline = Pipeline(block, _HELD, [f"lane/{register}_sum"])
        wanted = rounded_to_24_bits(z3.BitVec(f"{enters}@lane/{register}_sum", ADD_BITS))
        result = pipeline.at(leaves, f"lane/{register}_rounded_sum")
        fits = z3.Extract(ADD_BITS, ADD_BITS, wanted) == z3.Extract(ADD_BITS - 1, ADD_BITS - 1, wanted)
        return holds(f"the rounding of {register}", signed(result, ADD_BITS + 1) == wanted, fits)

    return part


def _result(block: pyrtl.Block) -> list[str]:
    """From the rounded sum to the byte: shifted and rounded, and clipped."""
    pipeline = Pipeline(block, _HELD, ["lane/total_rounded_sum"])
    total = z3.BitVec(f"{_SECOND_ROUNDED}@lane/total_rounded_sum", ADD_BITS)
    low, high, fraction = (_variable(name, _ADDER) for name in ("low", "high", "fraction"))
    sign = z3.Extract(ADD_BITS - 1, ADD_BITS - 1, total)
    magnitude = z3.If(sign == 1, -total, total)
    wanted = scaled_and_rounded(magnitude, sign, -extended(fraction, 12), ADD_BITS, ADD_BITS + 1)
    return holds("the added byte", pipeline.at(ADDER_LATENCY, "result") == clipped(wanted, low, high))


# ---- lanes


def lanes_differ(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """Where the lanes of a core's netlist are not the ones that are proved."""
    found = []
    for lane in range(config.lanes):
        for unit, pattern in (("requantiser", requantiser()), ("adder", adder("clear_of_constants"))):
            place = f"compute/results/{unit}_{lane}/"
            found += differences(pattern, block, _renaming(place))
    return found


def _renaming(place: str) -> Callable[[str], str]:
    return lambda name: name.replace("lane/", place) if name.startswith("lane/") else f"compute/results/{name}"


_LANES = "lanes"
_PARTS: dict[str, Callable[[pyrtl.Block], list[str]]] = {
    "adder: result": _result,
    "requantiser: quotient": _quotient,
    "adder: first rounding": _rounding("with_offset", _FIRST_SUM, _FIRST_ROUNDED),
    "adder: second rounding": _rounding("total", _SECOND_SUM, _SECOND_ROUNDED),
    "adder: sums": _sums,
    "requantiser: conversion": _conversion,
    _LANES: lambda block: [],
}
