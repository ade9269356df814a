"""What IEEE 754 says of the numbers of the machine, in Z3's own theory of floating point.

The exponents here are wider than float32's where a value may lie outside its range: the machine rounds to 24 bits
whatever the exponent is, and where the value is a normal float32 that is float32's rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import z3

from formal.algebra import Term
from formal.pipeline import extended, signed
from isa.arithmetic import SIGNIFICANT_BITS

NEAREST_EVEN = z3.RNE()
_FLOAT32_BIAS = 127
_FRACTION_BITS = SIGNIFICANT_BITS - 1


@dataclass(frozen=True)
class Significand:
    """A float32 as sign, 24-bit significand (0 for zero) and biased exponent: significand * 2**(exponent - 150)."""

    sign: Term
    significand: Term
    exponent: Term


def float32_of(integer: Term) -> Significand:
    """The float32 nearest to a signed integer, ties to even."""
    bits = z3.fpToIEEEBV(z3.fpSignedToFP(NEAREST_EVEN, integer, z3.Float32()))
    leading = z3.Concat(z3.BitVecVal(1, 1), z3.Extract(_FRACTION_BITS - 1, 0, bits))
    return Significand(
        sign=z3.Extract(31, 31, bits),
        significand=z3.If(integer == 0, z3.BitVecVal(0, SIGNIFICANT_BITS), leading),
        exponent=z3.Extract(30, _FRACTION_BITS, bits),
    )


def rounded_to_24_bits(integer: Term) -> Term:
    """A signed integer rounded to 24 significant bits, one bit wider."""
    rounded = z3.fpSignedToFP(NEAREST_EVEN, integer, z3.FPSort(8, SIGNIFICANT_BITS))
    return z3.fpToSBV(z3.RTZ(), rounded, z3.BitVecSort(integer.size() + 1))


def scaled_and_rounded(magnitude: Term, sign: Term, exponent: Term, significant_bits: int, bits: int) -> Term:
    """(-1)**sign * magnitude * 2**exponent, its magnitude first rounded to so many bits, then to an integer.

    `magnitude` is unsigned, `exponent` a signed term of 12 bits, -1000 to 1000 with the magnitude's own. The result
    has `bits` bits, which must hold it.
    """
    sort = z3.FPSort(12, significant_bits)
    value = z3.fpUnsignedToFP(NEAREST_EVEN, magnitude, sort)
    pattern = z3.fpToIEEEBV(value)
    stored = z3.Extract(significant_bits + 10, significant_bits - 1, pattern) + exponent
    moved = z3.Concat(sign, stored, z3.Extract(significant_bits - 2, 0, pattern))
    scaled = z3.If(magnitude == 0, value, z3.fpBVToFP(moved, sort))
    return z3.fpToSBV(z3.RTZ(), z3.fpRoundToIntegral(NEAREST_EVEN, scaled), z3.BitVecSort(bits))


def clipped(value: Term, low: Term, high: Term) -> Term:
    """A signed term clipped to signed bounds; high wins. 8 bits."""
    bits = value.size()
    above = z3.If(value < signed(low, bits), signed(low, bits), value)
    return z3.Extract(7, 0, z3.If(above > signed(high, bits), signed(high, bits), above))


def biased(exponent: Term, bits: int) -> Term:
    """What a biased float32 exponent means for a 24-bit significand, in so many bits: exponent - 150."""
    return extended(exponent, bits) - (_FLOAT32_BIAS + _FRACTION_BITS)
