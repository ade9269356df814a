"""The netlists of requantiser and adder against numpy's float32: all corner cases, and as many random ones as wanted.

    python -m formal.float32_comparison --samples 100000000      # of each; some minutes

`formal.theorems.results_are_those_of_float32` proves the same for all inputs, in Z3's theory of floating point; here
the oracle is the arithmetic of this machine, and nothing is cut or assumed. The netlist is evaluated on arrays.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyrtl
from numpy.typing import NDArray

from formal.algebra import contiguous_runs
from formal.theorems.results_are_those_of_float32 import adder, requantiser
from formal.transition import Evaluation, NextState, TransitionSystem
from isa.arithmetic import ADD_WIDTHS, add_parameters, encode_scales
from rtl.adder import ADDER_LATENCY
from rtl.requantiser import REQUANTISER_LATENCY

CHUNK = 1 << 16
Words = NDArray[np.uint64]
_LIMB = 64


class ArrayAlgebra:
    """Values of up to 64 bits as uint64 arrays; wider ones as pairs (low 64 bits, bits above), up to 128 bits."""

    def constant(self, value: int, bits: int) -> Any:
        """One value for all elements."""
        low = np.uint64(value & (1 << _LIMB) - 1)
        return low if bits <= _LIMB else (low, np.uint64(value >> _LIMB))

    def words(self, values: Sequence[int], bits: int) -> Any:
        """Memories do not occur in these pipelines."""
        raise ValueError("a memory in a pipeline of arithmetic")

    read = write = words

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Any], widths: Sequence[int], bits: int
    ) -> Any:
        """See `Algebra.operate`.

        Raises:
            ValueError: for differences and comparisons beyond 64 bits, which do not occur.
        """
        first = arguments[0]
        match operation:
            case "w":
                return first
            case "x":
                return _limbs(lambda *each: np.where(first != 0, each[1], each[0]), arguments[1:], bits)
            case "c":
                return _joined(arguments, widths, bits)
            case "s":
                return _selected(first, parameter)
            case "~":
                return _limbs(lambda each: ~each, arguments, bits)
            case "&" | "|" | "^" | "n":
                functions: dict[str, Any] = {"&": np.bitwise_and, "|": np.bitwise_or, "^": np.bitwise_xor}
                functions["n"] = lambda left, right: ~(left & right)
                return _limbs(functions[operation], arguments, bits)
        if operation == "+" and min(widths) > _LIMB:
            left, right = arguments
            return _wide_sum(left, right, bits)
        if max(widths) > _LIMB or (bits > _LIMB and operation in "+-"):
            raise ValueError(f"operation {operation!r} on {max(widths)} bits")
        left, right = arguments
        match operation:
            case "+":
                return (left + right) & _mask(bits)
            case "-":
                return (left - right) & _mask(bits)
            case "*":
                low = left * right
                return low & _mask(bits) if bits <= _LIMB else (low, _UNKNOWN)
            case "=":
                return (left == right).astype(np.uint64)
            case "<":
                return (left < right).astype(np.uint64)
            case ">":
                return (left > right).astype(np.uint64)
        raise ValueError(f"operation {operation!r} is not one of PyRTL's")


_UNKNOWN = None
"""Upper bits of a product of more than 64 bits: a use of them fails."""


def _mask(bits: int) -> np.uint64:
    return np.uint64((1 << min(bits, _LIMB)) - 1)


def _limbs(function: Any, arguments: Sequence[Any], bits: int) -> Any:
    """A bitwise function, on both limbs of wide values."""
    if bits <= _LIMB:
        return function(*arguments) & _mask(bits)
    low, high = (function(*(each[limb] for each in arguments)) for limb in (0, 1))
    return low, high & _mask(bits - _LIMB)


def _wide_sum(left: Any, right: Any, bits: int) -> Any:
    """The sum of two values of more than 64 bits each."""
    low = left[0] + right[0]
    carry = (low < left[0]).astype(np.uint64)
    return low, (left[1] + right[1] + carry) & _mask(bits - _LIMB)


def _joined(parts: Sequence[Any], widths: Sequence[int], bits: int) -> Any:
    """Concatenation, most significant part first; a bit that is repeated (a sign) is spread at once."""
    low: Any = np.uint64(0)
    high: Any = np.uint64(0)
    place, index = 0, len(parts) - 1
    while index >= 0:
        part, width, count = parts[index], widths[index], 1
        while width == 1 and index - count >= 0 and parts[index - count] is part:
            count += 1
        length = width * count
        value = np.where(part != 0, _mask(length), np.uint64(0)) if count > 1 else part
        if isinstance(value, tuple) or length > _LIMB:
            raise ValueError("a wide part of a concatenation")
        if place < _LIMB:
            low = low | value << np.uint64(place)
            if place + length > _LIMB and place:
                high = high | value >> np.uint64(_LIMB - place)
        else:
            high = high | value << np.uint64(place - _LIMB)
        place, index = place + length, index - count
    return low if bits <= _LIMB else (low, high)


def _selected(value: Any, places: Sequence[int]) -> Any:
    """Bits of a value, run by run."""
    runs = contiguous_runs(places)
    parts, widths = [], []
    for first, last in reversed(runs):
        parts.append(_run(value, first, last - first + 1))
        widths.append(last - first + 1)
    if len(parts) == 1:
        return parts[0]
    return _joined(parts, widths, len(places))


def _run(value: Any, first: int, count: int) -> Any:
    if not isinstance(value, tuple):
        return value >> np.uint64(first) & _mask(count)
    low, high = value
    if first + count <= _LIMB:
        return low >> np.uint64(first) & _mask(count)
    if first >= _LIMB:
        return high >> np.uint64(first - _LIMB) & _mask(count)
    if first == 0:
        return low, high & _mask(count - _LIMB)
    moved = low >> np.uint64(first) | high << np.uint64(_LIMB - first)
    return moved & _mask(count) if count <= _LIMB else (moved, high >> np.uint64(first) & _mask(count - _LIMB))


class _Zeros(Mapping[str, Any]):
    """A state of zeros."""

    def __init__(self, system: TransitionSystem) -> None:
        self._system = system

    def __getitem__(self, name: str) -> Any:
        return ArrayAlgebra().constant(0, self._system.registers[name][0])

    def __iter__(self) -> Iterator[str]:
        return iter(self._system.registers)

    def __len__(self) -> int:
        return len(self._system.registers)


def evaluated(system: TransitionSystem, inputs: Mapping[str, Any], latency: int) -> NDArray[np.int8]:
    """The bytes that leave the pipeline `latency` cycles after these inputs, which hold in the meantime."""
    algebra: Any = ArrayAlgebra()
    state: Mapping[str, Any] = _Zeros(system)
    words = {name: np.asarray(value).astype(np.int64).view(np.uint64) & _mask(system.inputs[name])
             for name, value in inputs.items()}  # fmt: skip
    words["clear"] = np.zeros(1, np.uint64)
    for _ in range(latency):
        state = NextState(Evaluation(system, algebra, state, words))
    result = Evaluation(system, algebra, state, words)["result"]
    octets: NDArray[np.int8] = np.broadcast_to(result, np.shape(words["low"])).astype(np.uint8).view(np.int8)
    return octets


# ---- requantiser


def requantised_by_float32(inputs: Mapping[str, NDArray[Any]], scales: NDArray[np.float32]) -> NDArray[np.int8]:
    """clip(rint(float32(accumulator) * scale) + zero point, low, high), high wins."""
    product = inputs["accumulator"].astype(np.float32) * scales
    moved = np.rint(product).astype(np.float64) + inputs["zero_point"]
    octets: NDArray[np.int8] = np.minimum(np.maximum(moved, inputs["low"]), inputs["high"]).astype(np.int8)
    return octets


def _requantiser_inputs(
    generator: np.random.Generator, accumulators: NDArray[np.int64], scales: NDArray[np.float32]
) -> dict[str, NDArray[Any]]:
    mantissas, shifts = encode_scales(scales)
    count = len(accumulators)
    octets = {name: generator.integers(-128, 128, count) for name in ("zero_point", "low", "high")}
    wide = generator.random(count) < 0.7
    octets["low"], octets["high"] = np.where(wide, -128, octets["low"]), np.where(wide, 127, octets["high"])
    return {"accumulator": accumulators, "mantissa": mantissas, "shift": shifts, **octets}


def _scales(mantissas: NDArray[np.int64], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    return np.ldexp(mantissas.astype(np.float64), -shifts).astype(np.float32)


def requantiser_corners() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Accumulators around powers of two and at ties of the conversion; extreme and middling mantissas; all shifts for
    which the scale is a normal float32, in which are all that give a tie or a bound."""
    powers = np.int64(1) << np.arange(32, dtype=np.int64)
    near = np.concatenate(
        [powers + step for step in (-2, -1, 0, 1, 2)] + [powers + (powers >> 24), powers + (powers >> 25)]
    )
    accumulators = np.unique(np.clip(np.concatenate([near, -near, [0]]), -(1 << 31), (1 << 31) - 1))
    leading = 1 << 23
    mantissas = np.array([leading, leading + 1, leading * 3 // 2, 2 * leading - 2, 2 * leading - 1], np.int64)
    grid = np.meshgrid(accumulators, mantissas, np.arange(150, dtype=np.int64), indexing="ij")
    flat = [axis.reshape(-1) for axis in grid]
    return flat[0], _scales(flat[1], flat[2])


def _random_requantiser(generator: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Accumulators of every magnitude, with scales that bring them near the bytes."""
    bits = generator.integers(0, 32, CHUNK)
    accumulators = generator.integers(-(1 << 31), 1 << 31, CHUNK) >> bits
    shifts = np.clip(48 - bits + generator.integers(-4, 12, CHUNK), 0, 149)
    return accumulators, _scales(generator.integers(1 << 23, 1 << 24, CHUNK), shifts)


def compare_requantiser(samples: int, seed: int = 1, block: pyrtl.Block | None = None) -> tuple[int, int]:
    """(compared, mismatches), all corner cases first."""
    system, generator = TransitionSystem(block or requantiser()), np.random.default_rng(seed)
    accumulators, scales = requantiser_corners()
    cuts = range(0, len(accumulators), CHUNK)
    batches = [(accumulators[cut : cut + CHUNK], scales[cut : cut + CHUNK]) for cut in cuts]
    compared = mismatches = 0
    while batches or compared < samples:
        accumulators, scales = batches.pop() if batches else _random_requantiser(generator)
        inputs = _requantiser_inputs(generator, accumulators, scales)
        got = evaluated(system, inputs, REQUANTISER_LATENCY)
        mismatches += int((got != requantised_by_float32(inputs, scales)).sum())
        compared += len(got)
    return compared, mismatches


# ---- adder


def compare_adder(samples: int, seed: int = 1, block: pyrtl.Block | None = None) -> tuple[int, int]:
    """(compared, mismatches): for one random layer after another all 65,536 pairs of operands."""
    system, generator = TransitionSystem(block or adder()), np.random.default_rng(seed)
    a, b = (axis.reshape(-1) for axis in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))
    compared = mismatches = 0
    while compared < samples:
        scales = np.exp2(generator.uniform(-12, 2, 3)).astype(np.float32)
        zeros = generator.integers(-128, 128, 3).tolist()
        if generator.random() < 0.3:  # ratios that are short numbers give ties
            scales = np.ldexp(generator.integers(1, 8, 3), generator.integers(-6, 3, 3)).astype(np.float32)
        try:
            parameters = add_parameters(scales[0], zeros[0], scales[1], zeros[1], scales[2], zeros[2])
        except ValueError:
            continue  # the compiler refuses such a layer
        low, high = np.sort(generator.integers(-128, 128, 2)) if generator.random() < 0.3 else (-128, 127)
        constants = {name: getattr(parameters, name) for name in ADD_WIDTHS}
        bounds = {"low": np.full(a.shape, low), "high": np.full(a.shape, high)}
        got = evaluated(system, {"a": a, "b": b, **bounds, **constants}, ADDER_LATENCY)
        mismatches += int((got != _added_by_float32(a, b, scales, zeros, low, high)).sum())
        compared += len(got)
    return compared, mismatches


def _added_by_float32(
    a: NDArray[Any], b: NDArray[Any], scales: NDArray[np.float32], zeros: Sequence[int], low: int, high: int
) -> NDArray[np.int8]:
    """ONNX Runtime's addition, with fused multiply-adds: long double holds their exact values, of up to 64 bits."""
    ratio_a, ratio_b = scales[0] / scales[2], scales[1] / scales[2]
    inner = _fused(ratio_a, zeros[0], np.float32(ratio_b * np.float32(zeros[1])))
    offset = np.float32(np.longdouble(zeros[2]) - np.longdouble(inner))
    total = _fused(ratio_a, a, _fused(ratio_b, b, offset))
    octets: NDArray[np.int8] = np.clip(np.rint(total), low, high).astype(np.int8)
    return octets


def _fused(factor: np.float32, operand: Any, addend: Any) -> Any:
    """float32(factor * operand + addend), rounded once."""
    exact = np.longdouble(factor) * np.asarray(operand, np.longdouble) + np.asarray(addend, np.longdouble)
    return exact.astype(np.float32)


def main() -> int:
    """Compare, and say how many bytes differ."""
    parser = argparse.ArgumentParser(description="Compare the netlists of requantiser and adder with numpy's float32.")
    parser.add_argument("--samples", type=int, default=1_000_000, help="bytes to compare, of each")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if np.finfo(np.longdouble).nmant < 63:
        print("long double has fewer than 64 significant bits here: no oracle for the adder", file=sys.stderr)
        return 2
    wrong = 0
    for name, compare in (("requantiser", compare_requantiser), ("adder", compare_adder)):
        started = time.monotonic()
        compared, mismatches = compare(arguments.samples, arguments.seed)
        print(f"{name}: {compared} bytes compared, {mismatches} differ, {time.monotonic() - started:.0f} s", flush=True)
        wrong += mismatches
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
