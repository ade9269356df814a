"""The numbers of the machine: integer-only arithmetic that equals ONNX Runtime's int8 operators to the bit.

ONNX Runtime (x86-64, AVX2 and FMA) computes in float32 between two integers. Every float32 step here is replaced
by what it does to integers: a result is rounded to 24 significant bits, ties to even (RN24), and the last step
rounds to an integer, ties to even (RNE). All functions take numbers or numpy arrays and broadcast; integers only,
except where a scale enters.

- requantise:  clip(RNE(RN24(RN24(accumulator) * scale)) + zero_point, low, high)
- add:         clip(RNE(RN24(RN24(b * factor_b + offset) + a * factor_a)), low, high), a and b raw
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isa.instructions import ConfigAddFactors, ConfigAddOffset, CoreInstruction

SIGNIFICANT_BITS = 24
"""Significant bits of a float32, hence of every mantissa here."""
LEADING_ONE = 1 << (SIGNIFICANT_BITS - 1)
"""The bit that is set in the mantissa of every scale."""
ADD_BITS = 64
"""Width of the adder's two's complement datapath."""
LARGEST_POOL_WINDOW = 4096
"""Largest window that `average_pool_is_exact` can judge."""

LOWEST, HIGHEST = -128, 127
"""The range of int8."""
_UNIT = 2.0**-SIGNIFICANT_BITS
"""Largest relative error of one rounding to float32."""

# --- rounding -----------------------------------------------------------------------------------------------


def round_to_24_bits(value: ArrayLike) -> NDArray[np.int64]:
    """Round integers to 24 significant bits, nearest, ties to even: what int -> float32 does.

    A result of 2**63 wraps to -2**63, as it does in the adder's 64-bit datapath.
    """
    exact = np.asarray(value, np.int64)
    ones = exact ^ (exact >> 63)  # becomes all ones from the leading one of the magnitude downwards
    for distance in (1, 2, 4, 8, 16, 32):
        ones |= ones >> distance
    # Rounding from the floor is the same rule for both signs. The ones' complement of a negative number has
    # another leading one than its magnitude only for powers of two, which lose nothing either way.
    dropped = ones >> SIGNIFICANT_BITS
    floor = exact & ~dropped
    rest = exact & dropped
    last_place = dropped + 1
    half = last_place >> 1
    up = (dropped != 0) & ((rest > half) | ((rest == half) & (floor & last_place != 0)))
    with np.errstate(over="ignore"):
        return np.asarray(floor + np.where(up, last_place, 0), np.int64)


def _shift_to_nearest_even(value: NDArray[np.int64], shift: ArrayLike) -> NDArray[np.int64]:
    """value * 2**-shift, rounded to an integer, ties to even; 0 <= shift <= 63."""
    places = np.asarray(shift, np.int64)
    floor = value >> places
    odd = floor & 1 != 0
    half = np.where(places > 0, np.int64(1) << np.maximum(places - 1, 0), 0)
    rest = value & (half | np.maximum(half - 1, 0))  # 2**63 is no int64, so the mask is put together
    up = (places > 0) & ((rest > half) | ((rest == half) & odd))
    return np.asarray(floor + up, np.int64)


def _clip(value: NDArray[np.int64], low: ArrayLike, high: ArrayLike) -> NDArray[np.int8]:
    """Clip to low..high (high wins), as 8-bit integers."""
    return np.minimum(np.maximum(value, np.asarray(low, np.int64)), np.asarray(high, np.int64)).astype(np.int8)


# --- requantiser --------------------------------------------------------------------------------------------


def encode_scale(scale: float | np.float32) -> tuple[int, int]:
    """A float32 scale as (mantissa, shift): scale = mantissa * 2**-shift, bit 23 of the mantissa set.

    Raises ValueError unless the scale is a positive normal float32 below 2**24.
    """
    mantissas, shifts = encode_scales(np.float32(scale))
    return int(mantissas), int(shifts)


def encode_scales(scales: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`encode_scale` for an array of float32 scales: mantissas and shifts of the same shape."""
    values = np.asarray(scales)
    if values.dtype != np.float32:
        raise ValueError(f"scales are float32, because ONNX Runtime's are; these are {values.dtype}")
    smallest, limit = np.finfo(np.float32).tiny, np.float32(2.0**SIGNIFICANT_BITS)
    legal = (values >= smallest) & (values < limit)  # false for NaN
    if not legal.all():
        first = values[~legal].flat[0]
        raise ValueError(f"scale {first} is no positive normal float32 below 2**24, so it has no mantissa and shift")
    fraction, exponent = np.frexp(values.astype(np.float64))
    mantissas = np.ldexp(fraction, SIGNIFICANT_BITS).astype(np.int64)
    return mantissas, SIGNIFICANT_BITS - np.asarray(exponent, np.int64)


def requantise(
    accumulator: ArrayLike,
    mantissa: ArrayLike,
    shift: ArrayLike,
    zero_point: ArrayLike,
    low: ArrayLike = LOWEST,
    high: ArrayLike = HIGHEST,
) -> NDArray[np.int8]:
    """int32 accumulators to int8: clip(RNE(float32(accumulator) * scale) + zero_point, low, high).

    scale = mantissa * 2**-shift (24-bit mantissa, shift 0..255). Bit 23 of the mantissa is taken as set, so that
    every bit pattern has a meaning. All arguments broadcast: mantissa and shift may differ per channel.
    """
    factor = np.asarray(mantissa, np.int64) | LEADING_ONE
    product = round_to_24_bits(round_to_24_bits(accumulator) * factor)
    # |product| <= 2**55: a shift by 57 or more leaves less than a half, which rounds to 0.
    quotient = _shift_to_nearest_even(product, np.minimum(np.asarray(shift, np.int64), 57))
    return _clip(quotient + np.asarray(zero_point, np.int64), low, high)


# --- adder --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AddParameters:
    """Constants of one residual addition, on a grid of 2**-fraction; the fields of the two CONFIG_ADD instructions.

    Factor a is mantissa_a << shift_a, factor b alike, the constant is +-(mantissa_f << shift_f).
    """

    mantissa_a: int
    shift_a: int
    mantissa_b: int
    shift_b: int
    mantissa_f: int
    negative_f: int
    shift_f: int
    fraction: int

    @property
    def factor_a(self) -> int:
        """scale a / scale c, in units of 2**-fraction."""
        return _wrapped(self.mantissa_a << self.shift_a)

    @property
    def factor_b(self) -> int:
        """scale b / scale c, in units of 2**-fraction."""
        return _wrapped(self.mantissa_b << self.shift_b)

    @property
    def offset(self) -> int:
        """The constant that holds all three zero points, in units of 2**-fraction."""
        magnitude = self.mantissa_f << self.shift_f
        return _wrapped(-magnitude if self.negative_f else magnitude)

    def instructions(self, core: int) -> tuple[ConfigAddFactors, ConfigAddOffset]:
        """The two instructions that give these constants to a virtual core."""
        factors = ConfigAddFactors(core=core, **self._named(ConfigAddFactors))
        return factors, ConfigAddOffset(core=core, **self._named(ConfigAddOffset))

    @classmethod
    def from_instructions(cls, factors: ConfigAddFactors, offset: ConfigAddOffset) -> AddParameters:
        """The constants that two instructions give to a core."""
        return cls(**{name: getattr(kind, name) for kind in (factors, offset) for name in _constants(type(kind))})

    def _named(self, kind: type[CoreInstruction]) -> dict[str, int]:
        return {name: getattr(self, name) for name in _constants(kind)}


def _constants(kind: type[CoreInstruction]) -> dict[str, int]:
    """Width of each field of a CONFIG_ADD instruction that is a constant of the adder."""
    return {field.name: field.width for field in kind.layout() if field.name != "core"}


ADD_WIDTHS: Mapping[str, int] = _constants(ConfigAddFactors) | _constants(ConfigAddOffset)
"""Width of every constant of the adder, by its name in AddParameters."""


def _wrapped(value: int) -> int:
    """value modulo 2**64, as a two's complement number."""
    return (value + (1 << (ADD_BITS - 1))) % (1 << ADD_BITS) - (1 << (ADD_BITS - 1))


def add_parameters(
    scale_a: float | np.float32,
    zero_a: int,
    scale_b: float | np.float32,
    zero_b: int,
    scale_c: float | np.float32,
    zero_c: int,
) -> AddParameters:
    """Constants with which `add` equals QLinearAdd(a, scale_a, zero_a, b, scale_b, zero_b, scale_c, zero_c).

    The order of a and b matters. Raises ValueError when the exact sum does not fit 64 bits: with ratios
    ra = scale_a / scale_c and rb likewise, max(1, ra, rb) / min(ra, rb) up to 2**29 always fits.
    """
    scales = [np.float32(scale) for scale in (scale_a, scale_b, scale_c)]
    for name, scale in zip("abc", scales, strict=True):
        _check_scale(name, scale)
    for name, zero in zip("abc", (zero_a, zero_b, zero_c), strict=True):
        if not LOWEST <= zero <= HIGHEST:
            raise ValueError(f"zero point {name} = {zero} is no int8")
    with np.errstate(over="ignore", under="ignore"):
        ratio_a, ratio_b = scales[0] / scales[2], scales[1] / scales[2]
    limit = np.float32(2.0**21)
    if not (np.finfo(np.float32).tiny <= min(ratio_a, ratio_b) and max(ratio_a, ratio_b) <= limit):
        raise ValueError(
            f"scale ratios {ratio_a} and {ratio_b} to the output: ONNX Runtime's addition is only defined for normal "
            "float32 ratios up to 2**21 (beyond, its conversion to int32 overflows)"
        )
    exact_a, exact_b = Fraction(float(ratio_a)), Fraction(float(ratio_b))
    # F = f32(zc - fma(ra, za, f32(rb * zb))), in ONNX Runtime's order.
    exact_f = _float32(zero_c - _float32(exact_a * zero_a + _float32(exact_b * zero_b)))
    fraction = max(value.denominator.bit_length() - 1 for value in (exact_a, exact_b, exact_f))
    factor_a, factor_b, offset = (int(value * 2**fraction) for value in (exact_a, exact_b, exact_f))
    first = _round_integer(128 * factor_b + abs(offset))
    second = _round_integer(128 * factor_a + first)
    if fraction >= ADD_BITS or second >= 1 << (ADD_BITS - 1):
        raise ValueError(
            f"scale ratios {ratio_a} and {ratio_b} to the output are too far apart: their exact sum needs "
            f"{second.bit_length() + 1} bits with {fraction} behind the point, the adder has {ADD_BITS}; "
            "max(1, ratios) / min(ratios) up to 2**29 always fits"
        )
    mantissa_a, shift_a = _mantissa_and_shift(factor_a)
    mantissa_b, shift_b = _mantissa_and_shift(factor_b)
    mantissa_f, shift_f = _mantissa_and_shift(abs(offset))
    return AddParameters(
        mantissa_a=mantissa_a,
        shift_a=shift_a,
        mantissa_b=mantissa_b,
        shift_b=shift_b,
        mantissa_f=mantissa_f,
        negative_f=int(offset < 0),
        shift_f=shift_f,
        fraction=fraction,
    )


def add(
    a: ArrayLike,
    b: ArrayLike,
    parameters: AddParameters,
    low: ArrayLike = LOWEST,
    high: ArrayLike = HIGHEST,
) -> NDArray[np.int8]:
    """Sum of two int8 tensors as QLinearAdd computes it: two roundings to 24 bits, then RNE, then clip.

    Exact for all that `add_parameters` returns; with other constants the 64-bit sums wrap.
    """
    with np.errstate(over="ignore"):
        exact_b = np.asarray(b, np.int64) * np.int64(parameters.factor_b) + np.int64(parameters.offset)
        exact = np.asarray(a, np.int64) * np.int64(parameters.factor_a) + round_to_24_bits(exact_b)
    return _clip(_shift_to_nearest_even(round_to_24_bits(exact), parameters.fraction), low, high)


def _check_scale(name: str, scale: np.float32) -> None:
    if not np.finfo(np.float32).tiny <= scale < np.inf:
        raise ValueError(f"scale {name} = {scale} is no positive normal float32")


def _round_integer(value: int) -> int:
    """RN24 of one integer of any size."""
    magnitude = abs(value)
    dropped = max(0, magnitude.bit_length() - SIGNIFICANT_BITS)
    kept, rest, half = magnitude >> dropped, magnitude & ((1 << dropped) - 1), (1 << dropped) >> 1
    kept += dropped > 0 and (rest > half or (rest == half and kept & 1 == 1))
    return (kept << dropped) * (-1 if value < 0 else 1)


def _float32(value: Fraction) -> Fraction:
    """The float32 nearest to a dyadic fraction (exponent range apart)."""
    return Fraction(_round_integer(value.numerator), value.denominator)


def _mantissa_and_shift(value: int) -> tuple[int, int]:
    """value = mantissa << shift; exact because every constant is a float32."""
    shift = max(0, value.bit_length() - SIGNIFICANT_BITS)
    return value >> shift, shift


# --- average pooling ----------------------------------------------------------------------------------------


def average_pool_scale(scale_x: float | np.float32, scale_y: float | np.float32, divisor: int) -> np.float32:
    """The requantiser's scale for a sum of `divisor` pixels: f32(sx / f32(sy * divisor)), as ORT's global average."""
    return np.float32(np.float32(scale_x) / np.float32(np.float32(scale_y) * np.float32(divisor)))


def average_pool_is_exact(
    window: int,
    scale_x: float | np.float32,
    zero_x: int,
    scale_y: float | np.float32,
    zero_y: int,
    divisor: int | None = None,
) -> bool:
    """Whether requantising the integer sum equals QLinearAveragePool, whatever the pixels and their order.

    `window` pixels are summed (those outside the image are not) and divided by `divisor` (the same number unless
    padding counts). ONNX Runtime converts each pixel to float32, adds them one by one, divides by the divisor, by
    scale_y, adds zero_y and rounds: RNE(v + zero_y), not RNE(v) + zero_y. Sound, not complete; for each of the
    255 * window + 1 sums S of (x - zero_x) the integer result is compared

    - with ORT's very operations, when every partial sum is exactly a float32 (sx has few significant bits, as a
      power of two has): the order cannot matter then, and ties are decided as ORT decides them;
    - otherwise with both ends of an interval that holds every possible value of ORT. With D the largest sum of
      |x - zero_x| for this S, P its largest partial sum and u = 2**-24, ORT's sum is off by at most
      u * sx * (D + P_2 + ... + P_window), where P_k <= min(k * max|x - zero_x|, P), and the last three steps
      add 3 u relative, and u of the value with its zero point. Rounding and clipping are monotonic, so equal
      ends prove equality. Terms of second order and this function's own float64 are covered by 0.1 %.

    Global average pooling needs no test, nor does an unpadded window as large as the image, which ORT treats
    alike: it sums integers there.
    """
    count = window if divisor is None else divisor
    if not 1 <= window <= LARGEST_POOL_WINDOW or not 1 <= count <= LARGEST_POOL_WINDOW:
        raise ValueError(f"a pool of {window} pixels divided by {count} is outside 1..{LARGEST_POOL_WINDOW}")
    single_x, single_y = np.float32(scale_x), np.float32(scale_y)
    mantissa, shift = encode_scale(average_pool_scale(single_x, single_y, count))
    smallest, largest = LOWEST - zero_x, HIGHEST - zero_x
    sums = np.arange(window * smallest, window * largest + 1, dtype=np.int64)
    integer = requantise(sums, mantissa, shift, zero_y).astype(np.int64)
    # No claim where ORT's conversion to int32 overflows, nor where its quotients could be subnormal, whose
    # rounding error is not relative.
    exact = sums.astype(np.float64) * (float(single_x) / (float(single_y) * count)) + zero_y
    if np.abs(exact).max() >= 2.0**30 or min(single_x, single_y) < 2.0**-64:
        return False

    farthest = max(-smallest, largest)
    if _partial_sums_are_exact(single_x, window * farthest):
        value = sums.astype(np.float32) * single_x / np.float32(count) / single_y + np.float32(zero_y)
        return bool(np.all(np.clip(np.rint(value), LOWEST, HIGHEST) == integer))

    # |x| is convex, so the sum of |x| for a given sum of x is largest where every pixel lies at an end.
    span = largest - smallest
    distances = (sums * (largest + smallest) - 2.0 * window * smallest * largest) / span
    partial = (distances + np.abs(sums)) / 2
    growing = np.floor(partial / farthest).clip(1, window)  # P_k = k * farthest up to here, then P
    partial_sums = farthest * growing * (growing + 1) / 2 + (window - growing) * partial
    step = float(single_x) / (float(single_y) * count)
    error = _UNIT * step * (distances + partial_sums + 3 * np.abs(sums)) + _UNIT * np.abs(exact)
    error = error * 1.001 + 1e-9
    below = np.clip(np.rint(exact - error), LOWEST, HIGHEST)
    above = np.clip(np.rint(exact + error), LOWEST, HIGHEST)
    return bool(np.all((below == integer) & (above == integer)))


def _partial_sums_are_exact(scale: np.float32, largest_sum: int) -> bool:
    """Whether scale * k is a float32 for every integer |k| <= largest_sum."""
    mantissa = encode_scale(scale)[0]
    odd_part = mantissa // (mantissa & -mantissa)
    return odd_part * largest_sum <= 1 << SIGNIFICANT_BITS
