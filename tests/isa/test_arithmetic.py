"""The executable arithmetic against exact integers and against ONNX Runtime's own operators."""

from __future__ import annotations

import os
from dataclasses import fields
from fractions import Fraction
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from isa.arithmetic import (
    ADD_WIDTHS,
    AddParameters,
    add,
    add_parameters,
    average_pool_is_exact,
    average_pool_scale,
    encode_scale,
    encode_scales,
    requantise,
    round_to_24_bits,
)
from isa.encoding import decode, encode
from isa.instructions import ConfigAddFactors, ConfigAddOffset

EFFORT = 25 if os.environ.get("TENURE_LONG") == "1" else 1
"""Multiplies the number of random layers."""

float32 = np.float32
int8s = st.integers(-128, 127)


def session(
    operator: str,
    inputs: list[str],
    constants: dict[str, Any],
    data: dict[str, tuple[Any, ...]],
    **attributes: Any,
) -> onnxruntime.InferenceSession:
    """One ONNX operator with int8 tensors `data` (name: shape) as graph inputs and all else constant."""
    domain = "" if operator == "QLinearConv" else "com.microsoft"
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, ["y"], domain=domain, **attributes)],
        "one",
        [helper.make_tensor_value_info(name, TensorProto.INT8, shape) for name, shape in data.items()],
        [helper.make_tensor_value_info("y", TensorProto.INT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def random_scale(random: np.random.Generator, low: float, high: float) -> np.float32:
    """Log-uniform, now and then a power of two (where ties live)."""
    exponent = random.uniform(np.log2(low), np.log2(high))
    return float32(2.0 ** (np.ceil(exponent) if random.random() < 0.2 else exponent))


# --- rounding -----------------------------------------------------------------------------------------------


@given(st.integers(-(2**63) + 2**39, 2**63 - 2**39 - 1))
def test_rounding_equals_conversion_to_float32(value: int) -> None:
    """int64 -> float32 rounds once, to nearest even."""
    assert int(round_to_24_bits(value)) == int(np.asarray(value, np.int64).astype(float32))


def test_rounding_of_ties_and_powers_of_two() -> None:
    """Around every power of two and every halfway point of the first places above 24 bits."""
    powers = 2 ** np.arange(62, dtype=np.int64)
    near = (powers[:, None] + np.arange(-5, 6)).ravel()
    ties = (2**24 + np.arange(-64, 64))[None, :] * powers[:38, None] + np.arange(-1, 2)[:, None, None]
    halves = (2 * (2**23 + np.arange(0, 64)) + 1)[None, :] * powers[:38, None] + np.arange(-1, 2)[:, None, None]
    for values in (near, ties.ravel(), halves.ravel()):
        for signed in (values, -values):
            assert (round_to_24_bits(signed) == signed.astype(float32).astype(np.int64)).all()
    assert int(round_to_24_bits(2**63 - 1)) == -(2**63)  # wraps, as documented


# --- requantiser --------------------------------------------------------------------------------------------


def reference_requantise(
    accumulator: NDArray[Any],
    scale: NDArray[Any] | np.float32,
    zero_point: int,
    low: int = -128,
    high: int = 127,
) -> NDArray[np.int8]:
    """The specification, in float32."""
    product = accumulator.astype(np.int32).astype(float32) * np.asarray(scale, float32)
    return np.asarray(np.clip(np.rint(product).astype(np.int64) + zero_point, low, high), np.int8)


@given(st.floats(2.0**-126, 2.0**24, exclude_max=True, width=32))
def test_scale_is_mantissa_and_shift(scale: float) -> None:
    mantissa, shift = encode_scale(float32(scale))
    assert 2**23 <= mantissa < 2**24 and 0 <= shift <= 255
    assert Fraction(mantissa, 2**shift) == Fraction(scale)


@pytest.mark.parametrize("scale", [0.0, -1.0, 2.0**24, 1e-39, np.inf, np.nan])
def test_scale_that_cannot_be_encoded(scale: float) -> None:
    with pytest.raises(ValueError, match="no positive normal float32"):
        encode_scale(float32(scale))
    with pytest.raises(ValueError, match="float32"):
        encode_scales(np.array([0.5]))


def test_requantise_equals_float32_everywhere() -> None:
    """Random, extreme and tie accumulators with every legal exponent."""
    random = np.random.default_rng(1)
    corner = np.array([0, 1, -1, 2**24, 2**24 + 1, 2**25 + 2, 2**25 + 6, 2**31 - 1, -(2**31), -(2**31) + 1])
    bits = random.integers(0, 32, 4000)
    spread = random.integers(-(2**31), 2**31, 4000) >> bits
    accumulators = np.concatenate([corner, -corner[1:-2], spread])
    for exponent in range(-126, 24):
        fractions = np.array([1.0, 1.5, 1.75, 2 - 2.0**-23, random.uniform(1, 2)])
        for scale in np.ldexp(fractions, exponent).astype(float32):
            mantissa, shift = encode_scale(scale)
            zero_point = int(random.integers(-128, 128))
            result = requantise(accumulators, mantissa, shift, zero_point)
            assert (result == reference_requantise(accumulators, scale, zero_point)).all(), (
                scale,
                zero_point,
            )


def test_requantise_shift_beyond_float32() -> None:
    """Shifts of 150..255 have no float32 scale; they give 0, hence the zero point."""
    shifts = np.arange(64, 256)
    assert (requantise(-(2**31), 2**24 - 1, shifts, 5) == 5).all()
    assert int(requantise(2**31 - 1, 2**24 - 1, 0, -128)) == 127
    assert int(requantise(-(2**31), 2**24 - 1, 0, 127)) == -128
    assert int(requantise(77, 0, 23, 0)) == int(requantise(77, 2**23, 23, 0)) == 77  # bit 23 is taken as set


def test_requantise_clips() -> None:
    mantissa, shift = encode_scale(float32(1.0))
    assert requantise(np.array([-9, 0, 9]), mantissa, shift, 1, -3, 6).tolist() == [-3, 1, 6]


def test_requantise_equals_qlinear_conv() -> None:
    """1 x 1 convolutions, whose bias reaches every accumulator and whose scales span 1.7e-9 .. 1."""
    random = np.random.default_rng(2)
    mismatches = compared = 0
    channels, pixels = 512, 1024
    for layer in range(24 * EFFORT):
        bias = random.integers(-(2**31), 2**31, channels) >> random.integers(0, 24, channels)
        if layer % 3 == 0:  # the ends of int32, reached without wrapping
            bias = np.where(random.random(channels) < 0.5, 2**31 - 1 - 2 * 127 * 128, -(2**31) + 2 * 127 * 128)
        weight = random.integers(-127, 128, (channels, 2, 1, 1)).astype(np.int8)
        if layer % 4 == 1:
            weight[:, 1] = 0
        scale_x = random_scale(random, 1e-3, 1)
        scales_w = np.array([random_scale(random, 1e-4, 1) for _ in range(channels)], float32)
        scale_y = random_scale(random, 1e-3, 1)
        target = np.exp(random.uniform(np.log(1.7e-9), 0, channels))
        useful = np.minimum(np.maximum(100.0 / (np.abs(bias) + 1000.0), 1.7e-9), 1.0)
        wanted = target if layer % 2 else useful * np.exp(random.uniform(-1, 1, channels))
        scales_w = (wanted * scale_y / scale_x).astype(float32) if layer % 5 else scales_w
        zero_y = int(random.integers(-128, 128))
        x = random.integers(-128, 128, (1, 2, pixels, 1)).astype(np.int8)
        constants = {
            "xs": scale_x,
            "xz": np.int8(0),
            "w": weight,
            "ws": scales_w,
            "wz": np.zeros(channels, np.int8),
            "ys": scale_y,
            "yz": np.int8(zero_y),
            "b": bias.astype(np.int32),
        }
        names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
        output = session("QLinearConv", names, constants, {"x": x.shape}, kernel_shape=[1, 1]).run(None, {"x": x})
        accumulator = weight[:, :, 0, 0].astype(np.int64) @ x[0, :, :, 0].astype(np.int64) + bias[:, None]
        mantissas, shifts = encode_scales((scale_x * scales_w) / scale_y)
        result = requantise(accumulator, mantissas[:, None], shifts[:, None], zero_y)
        expected = np.asarray(output[0])[0, :, :, 0]
        mismatches += int((result != expected).sum())
        compared += result.size
    print(f"QLinearConv: {mismatches} of {compared} outputs differ")
    assert mismatches == 0


# --- adder --------------------------------------------------------------------------------------------------

ALL_A, ALL_B = (grid.ravel().astype(np.int8) for grid in np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)))


def qlinear_add(scale_a: Any, zero_a: int, scale_b: Any, zero_b: int, scale_c: Any, zero_c: int) -> NDArray[np.int8]:
    """All 65,536 sums by ONNX Runtime."""
    constants = {
        "as": float32(scale_a),
        "az": np.int8(zero_a),
        "bs": float32(scale_b),
        "bz": np.int8(zero_b),
        "cs": float32(scale_c),
        "cz": np.int8(zero_c),
    }
    names = ["a", "as", "az", "b", "bs", "bz", "cs", "cz"]
    run = session("QLinearAdd", names, constants, {"a": ALL_A.shape, "b": ALL_B.shape})
    return np.asarray(run.run(None, {"a": ALL_A, "b": ALL_B})[0])


def random_addition(random: np.random.Generator, kind: int) -> tuple[Any, int, Any, int, Any, int]:
    """Scales as networks have them, with ties, and with ratios up to the limit."""
    zero_a, zero_b, zero_c = (int(zero) for zero in random.integers(-128, 128, 3))
    scale_c = random_scale(random, 2.0**-8, 1)
    if kind == 0:
        scale_a, scale_b = (random_scale(random, 0.02, 1) for _ in range(2))
    elif kind == 1:
        scale_a, scale_b = (float32(random.uniform(0.01, 0.1)) for _ in range(2))
        scale_c = float32(float(scale_a + scale_b) * random.uniform(0.5, 1))
    elif kind == 2:  # multiples of 1/4 and 1/8 of the output's step: many exact ties
        scale_c = float32(2.0 ** random.integers(-8, 0))
        scale_a, scale_b = (
            float32(scale_c * random.integers(1, 8) / 4),
            float32(scale_c * random.integers(1, 8) / 8),
        )
    else:  # as far apart as 64 bits allow
        spread = random.uniform(0, 29)
        above = random.uniform(0, min(spread, 20))
        ratios = [2.0**above, 2.0 ** (above - spread)]
        random.shuffle(ratios)
        scale_a, scale_b = (float32(scale_c * ratio) for ratio in ratios)
    return scale_a, zero_a, scale_b, zero_b, scale_c, zero_c


def test_add_equals_qlinear_add() -> None:
    """All pairs of operands for random layers of four kinds."""
    random = np.random.default_rng(3)
    layers = 400 * EFFORT
    mismatches = 0
    for layer in range(layers):
        arguments = random_addition(random, layer % 4)
        parameters = add_parameters(*arguments)
        result = add(ALL_A, ALL_B, parameters)
        mismatches += int((result != qlinear_add(*arguments)).sum())
    print(f"QLinearAdd: {mismatches} of {layers * ALL_A.size} outputs differ")
    assert mismatches == 0


def test_add_clips() -> None:
    parameters = add_parameters(1.0, 0, 1.0, 0, 1.0, 0)
    assert add([-9, 0, 9], [0, 0, 0], parameters, -3, 6).tolist() == [-3, 0, 6]


def test_every_spread_up_to_2_to_the_29_fits() -> None:
    random = np.random.default_rng(4)
    for _ in range(2000):
        spread = random.uniform(0, 29)
        above = random.uniform(0, min(spread, 20))
        zeros = random.integers(-128, 128, 3).tolist()
        add_parameters(2.0**above, zeros[0], 2.0 ** (above - spread), zeros[1], 1.0, zeros[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.1, 0, 1.1e-12, 0, 1.0, 0), r"too far apart.*64.*2\*\*29"),
        ((1.1e-12, 0, 1.1e-12, 0, 1.0, 1), r"too far apart"),
        ((1e7, 0, 1.0, 0, 1.0, 0), r"2\*\*21"),
        ((1e30, 0, 1.0, 0, 1e-30, 0), r"2\*\*21"),
        ((1e-30, 0, 1.0, 0, 1e30, 0), r"normal float32 ratios"),
        ((0.0, 0, 1.0, 0, 1.0, 0), r"scale a = 0.0 is no positive"),
        ((1.0, 0, -1.0, 0, 1.0, 0), r"scale b = -1.0 is no positive"),
        ((1.0, 0, 1.0, 0, np.nan, 0), r"scale c = nan is no positive"),
        ((1.0, 0, 1.0, 128, 1.0, 0), r"zero point b = 128 is no int8"),
    ],
)
def test_additions_that_do_not_fit(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_parameters(*arguments)


parameter_sets = st.builds(AddParameters, **{name: st.integers(0, 2**width - 1) for name, width in ADD_WIDTHS.items()})


@given(parameter_sets, st.integers(0, 63))
def test_instructions_carry_the_parameters(parameters: AddParameters, core: int) -> None:
    factors, offset = (decode(encode(instruction)) for instruction in parameters.instructions(core))
    assert isinstance(factors, ConfigAddFactors) and isinstance(offset, ConfigAddOffset)
    assert factors.core == offset.core == core
    assert AddParameters.from_instructions(factors, offset) == parameters


def test_parameter_fields_are_the_instructions_fields() -> None:
    assert set(ADD_WIDTHS) == {field.name for field in fields(AddParameters)}


@given(parameter_sets, int8s, int8s)
def test_any_constants_wrap(parameters: AddParameters, a: int, b: int) -> None:
    """Constants that no scales give still mean something: 64-bit arithmetic that wraps."""
    assert -128 <= int(add(a, b, parameters)) <= 127


# --- average pooling ----------------------------------------------------------------------------------------


def qlinear_average_pool(
    x: NDArray[np.int8],
    scale_x: Any,
    zero_x: int,
    scale_y: Any,
    zero_y: int,
    operator: str,
    **attributes: Any,
) -> NDArray[np.int8]:
    """A (1, channels, rows, columns) tensor through ONNX Runtime's pooling."""
    constants = {
        "xs": float32(scale_x),
        "xz": np.int8(zero_x),
        "ys": float32(scale_y),
        "yz": np.int8(zero_y),
    }
    run = session(operator, ["x", "xs", "xz", "ys", "yz"], constants, {"x": x.shape}, **attributes)
    return np.asarray(run.run(None, {"x": x})[0])


def integer_pool(sums: NDArray[np.int64], scale_x: Any, scale_y: Any, divisor: int, zero_y: int) -> NDArray[np.int8]:
    return requantise(sums, *encode_scale(average_pool_scale(scale_x, scale_y, divisor)), zero_y)


def test_average_pool_check_is_sound() -> None:
    """Where the check says exact, ORT agrees on every sum, in several orders; and it does say so often."""
    random = np.random.default_rng(5)
    accepted = rejected = needlessly_rejected = differing = wrongly_accepted = compared = 0
    for layer in range(240 * EFFORT):
        size = (2, 3, 3, 5, 7)[layer % 5]
        window = size * size
        scale_x = random_scale(random, 0.005, 1)
        scale_y = scale_x if layer % 2 else float32(scale_x * random.uniform(0.3, 1.0))
        zero_x, zero_y = (int(zero) for zero in random.integers(-128, 128, 2))
        # Every sum, from pixels as equal as can be and (for the largest error) from pixels at the two ends in
        # descending order; then random pixels.
        sums = np.arange(-128 * window, 127 * window + 1)
        place = np.arange(window)
        equal = sums[:, None] // window + (place < (sums % window)[:, None])
        ends = (sums[:, None] + 128 * window - 255 * place).clip(0, 255) - 128
        noise = random.integers(-128, 128, (2000, window))
        mixed = random.permuted(ends, axis=1)
        x = np.concatenate([equal, ends, mixed, noise]).astype(np.int8).reshape(1, -1, size, size)
        # One row more than the window: a window that covers the image is a global average to ORT.
        image = np.concatenate([x, x[:, :, :1]], axis=2)
        expected = qlinear_average_pool(
            image, scale_x, zero_x, scale_y, zero_y, "QLinearAveragePool", kernel_shape=[size, size]
        )[0, :, 0, 0]
        differs = (
            integer_pool((x.astype(np.int64) - zero_x).sum(axis=(0, 2, 3)), scale_x, scale_y, window, zero_y)
            != expected
        )
        compared += differs.size
        differing += int(differs.sum())
        if average_pool_is_exact(window, scale_x, zero_x, scale_y, zero_y):
            accepted += 1
            wrongly_accepted += int(differs.sum())
        else:
            rejected += 1
            needlessly_rejected += not differs.any()
    print(
        f"average pool: {accepted} accepted, {rejected} rejected ({needlessly_rejected} without a difference), "
        f"{differing} of {compared} differ, {wrongly_accepted} of them in accepted layers"
    )
    assert wrongly_accepted == 0
    assert accepted > rejected / 2


def test_average_pool_knows_ties() -> None:
    """Equal scales: odd windows have no ties; even ones do, and ORT rounds them with the zero point added."""
    assert average_pool_is_exact(9, 0.0173, 3, 0.0173, 3)
    assert average_pool_is_exact(49, 0.0173, 3, 0.0173, -4)
    assert not average_pool_is_exact(4, 0.0173, 3, 0.0173, 3)
    assert average_pool_is_exact(4, 0.5, 3, 0.5, 4)
    assert not average_pool_is_exact(4, 0.5, 3, 0.5, 5)
    assert not average_pool_is_exact(9, 1.0, 0, 1e-7, 0)  # leaves int32 inside ORT
    assert not average_pool_is_exact(9, 2.0**-120, 0, 2.0**-120, 0)  # subnormal quotients
    with pytest.raises(ValueError, match="outside"):
        average_pool_is_exact(0, 1.0, 0, 1.0, 0)


def test_average_pool_with_padding() -> None:
    """count_include_pad divides the sum of fewer pixels by the whole window."""
    random = np.random.default_rng(6)
    x = random.integers(-128, 128, (1, 3000, 2, 2)).astype(np.int8)
    for scale_y in (float32(0.021), float32(0.0173), float32(0.011)):
        if not average_pool_is_exact(4, 0.0173, 3, scale_y, 7, divisor=9):
            continue
        attributes = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "count_include_pad": 1}
        expected = qlinear_average_pool(x, 0.0173, 3, scale_y, 7, "QLinearAveragePool", **attributes)[0, :, 0, 0]
        sums = (x.astype(np.int64) - 3).sum(axis=(0, 2, 3))
        assert (integer_pool(sums, 0.0173, scale_y, 9, 7) == expected).all()
        break
    else:
        pytest.fail("no scale was accepted")


def test_global_average_pool_is_the_requantiser() -> None:
    """ORT sums integers here, so it needs no check."""
    random = np.random.default_rng(7)
    mismatches = compared = 0
    for layer in range(40 * EFFORT):
        rows, columns = (int(extent) for extent in random.integers(1, 15, 2))
        scale_x = random_scale(random, 0.005, 1)
        scale_y = float32(scale_x * random.uniform(0.05, 1.2)) if layer % 3 else scale_x
        zero_x, zero_y = (int(zero) for zero in random.integers(-128, 128, 2))
        x = random.integers(-128, 128, (1, 1000, rows, columns)).astype(np.int8)
        expected = qlinear_average_pool(x, scale_x, zero_x, scale_y, zero_y, "QLinearGlobalAveragePool").reshape(-1)
        sums = (x.astype(np.int64) - zero_x).sum(axis=(0, 2, 3))
        mismatches += int((integer_pool(sums, scale_x, scale_y, rows * columns, zero_y) != expected).sum())
        compared += expected.size
    print(f"QLinearGlobalAveragePool: {mismatches} of {compared} outputs differ")
    assert mismatches == 0
