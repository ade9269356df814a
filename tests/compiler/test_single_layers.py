"""Layers of random shapes, constants and extremes: one node each, exact against ONNX Runtime, never on the host.

Every case is drawn from one seed, so that a failing one is found again; `test_the_cases_cover_every_feature` counts
how often each feature occurs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.compile import compile_model
from isa.arithmetic import average_pool_is_exact
from isa.configuration import NAMED_POOLS
from isa.encoding import decode
from isa.instructions import WORD_BYTES, Add, Conv, Instruction
from tests.compiler.builder import NetworkBuilder, random_int8
from tests.compiler.execution import assert_exact

POOLS = (("small", 4), ("tiny", 2))
CASE_POOLS = {
    **NAMED_POOLS,
    "sixteen": replace(NAMED_POOLS["small"], name="sixteen", array=16, lanes=8, beat_bytes=64, memory_beats=1 << 16),
}
seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Case:
    model: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    pool: str
    cores: int
    generator: np.random.Generator
    features: set[str] = field(default_factory=set)

    def check(self) -> None:
        inputs = {name: random_int8(self.generator, shape) for name, shape in self.shapes.items()}
        assert_exact(self.model, CASE_POOLS[self.pool], inputs, self.cores, fuse=bool(self.cores % 2))


def _pool_and_cores(generator: np.random.Generator) -> tuple[str, int]:
    pool, most = POOLS[int(generator.integers(len(POOLS)))]
    return pool, int(generator.integers(1, most + 1))


def convolution(seed: int) -> Case:
    """Any kernel 1-7, stride 1-3, dilation 1-2, padding, channels 1-40, groups, depthwise, biases and scales."""
    generator = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return int(generator.integers(low, high + 1))

    features = set()
    kind = ("dense", "grouped", "depthwise")[int(generator.choice(3, p=[0.5, 0.2, 0.3]))]
    features.add(kind)
    if kind == "dense":
        channels, outputs, groups = draw(1, 40), draw(1, 40), 1
    elif kind == "depthwise":
        channels = draw(1, 40)
        outputs, groups = channels * draw(1, 2), channels
    else:
        groups = draw(2, 5)
        channels, outputs = groups * draw(1, 40 // groups), groups * draw(1, 40 // groups)
    kernel = (draw(1, 7), draw(1, 7))
    strides, dilations = (draw(1, 3), draw(1, 3)), (draw(1, 2), draw(1, 2))
    attributes: dict[str, object] = {"strides": strides, "dilations": dilations, "group": groups}
    style = ("pads", "same_upper", "same_lower", "valid")[int(generator.choice(4, p=[0.5, 0.2, 0.15, 0.15]))]
    pads = [0, 0, 0, 0]
    if style == "pads":
        pads = [draw(0, (kernel[axis % 2] - 1) * dilations[axis % 2] + 1) for axis in range(4)]
        attributes["pads"] = pads
    elif style == "valid":
        attributes["auto_pad"] = "VALID"
    else:
        dilations = (1, 1)  # ONNX Runtime refuses SAME with dilations
        attributes |= {"auto_pad": style.upper(), "dilations": dilations}
    reach = [(kernel[axis] - 1) * dilations[axis] + 1 - pads[axis] - pads[axis + 2] for axis in range(2)]
    size = tuple(max(1, reach[axis]) + draw(0, 20) for axis in range(2))
    features |= {style, f"kernel{max(kernel)}", f"stride{max(strides)}"}
    features |= {"dilated"} if max(dilations) > 1 else set()
    features |= {"odd"} if size[0] % 2 and size[1] % 2 else set()
    features |= {"uneven padding"} if pads[0] != pads[2] or pads[1] != pads[3] else set()

    weights = random_int8(generator, (outputs, channels // groups, *kernel))
    bias = None
    if (extreme := generator.random()) < 0.2:
        bias = generator.integers(-(2**31), 2**31, outputs).astype(np.int32)
        features.add("extreme bias")
    elif extreme < 0.8:
        bias = generator.integers(-20000, 20000, outputs).astype(np.int32)
    per_tensor = generator.random() < 0.2
    features |= {"per tensor"} if per_tensor else set()
    weight_scales = generator.uniform(1e-3, 2e-2, 1 if per_tensor else outputs).astype(np.float32)
    scale_y = float(np.float32(0.05 * 0.01 * 74 * 74 * np.sqrt(weights[0].size) / 60))
    if generator.random() < 0.2:
        scale_y *= float(2.0 ** generator.integers(-12, 24))
        features.add("extreme scale")
    zero_x, zero_y = (int(zero) for zero in generator.integers(-128, 128, 2))
    network = NetworkBuilder()
    x = network.input((1, channels, *size))
    if generator.random() < 0.75:  # else the host writes the input, folded where that saves passes
        x = network.node("MaxPool", [x], kernel_shape=[1, 1])
        features.add("from a layer")
    else:
        features.add("from the host")
    scales = weight_scales[0] if per_tensor else weight_scales
    y = network.conv(x, (0.05, zero_x), weights, np.asarray(scales), (scale_y, zero_y), bias, **attributes)
    if generator.random() < 0.2:
        y = network.node("Relu", [y])
        features.add("relu")
    elif generator.random() < 0.2:
        y = network.unary("QLinearLeakyRelu", y, (scale_y, zero_y), (scale_y / 2, 3), alpha=0.1)
        features.add("leaky relu")
    return Case(network.model(y), {"x": (1, channels, *size)}, *_pool_and_cores(generator), generator, features)


def depthwise(seed: int) -> Case:
    """One kernel for each channel: any kernel 1-7, stride 1-3, padding, maps wider than the line buffers at times."""
    generator = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return int(generator.integers(low, high + 1))

    channels, kernel, strides = draw(2, 40), (draw(1, 7), draw(1, 7)), (draw(1, 3), draw(1, 3))
    pads = [draw(0, kernel[axis % 2] - 1) for axis in range(4)]
    is_wide = generator.random() < 0.3
    size = (kernel[0] + draw(0, 14), kernel[1] + (draw(30, 60) if is_wide else draw(0, 20)))
    features = {f"kernel{max(kernel)}", f"stride{max(strides)}"} | ({"wide"} if is_wide else set())
    network = NetworkBuilder()
    x = network.node("MaxPool", [network.input((1, channels, *size))], kernel_shape=[1, 1])
    weights = random_int8(generator, (channels, 1, *kernel))
    bias = generator.integers(-20000, 20000, channels).astype(np.int32)
    scales = generator.uniform(1e-3, 2e-2, channels).astype(np.float32)
    zero_x, zero_y = (int(zero) for zero in generator.integers(-128, 128, 2))
    scale_y = float(np.float32(0.05 * 0.01 * 74 * 74 * np.sqrt(weights[0].size) / 60))
    y = network.conv(
        x, (0.05, zero_x), weights, scales, (scale_y, zero_y), bias, strides=strides, pads=pads, group=channels
    )
    if generator.random() < 0.3:
        y = network.unary("QLinearLeakyRelu", y, (scale_y, zero_y), (scale_y / 2, 3), alpha=0.1)
        features.add("leaky relu")
    pool, cores = _pool_and_cores(generator)
    if generator.random() < 0.5:
        pool = "sixteen"
        features.add("wide array")
    return Case(network.model(y), {"x": (1, channels, *size)}, pool, cores, generator, features)


def addition(seed: int) -> Case:
    """Any scales, zero points and sizes; operands in both orders, one of them constant at times."""
    generator = np.random.default_rng(seed)
    shape = (1, *(int(size) for size in generator.integers(1, [41, 16, 16])))
    if generator.random() < 0.15:
        shape = (1, 1, 1, 1)  # ONNX Runtime takes another way with single elements
    scales = [float(np.float32(scale)) for scale in np.exp(generator.uniform(-6, 0, 3))]
    zeros = [int(zero) for zero in generator.integers(-128, 128, 3)]
    a, b, c = zip(scales, zeros, strict=True)
    network = NetworkBuilder()
    shapes = {"x": shape}
    x = network.input(shape)
    features = set()
    if generator.random() < 0.2:
        spread = (1, *(size if generator.random() < 0.5 else 1 for size in shape[1:]))  # a constant is spread over x
        other = network.constant(random_int8(generator, spread))
        features.add("constant")
    elif generator.random() < 0.2:
        other = x
        features.add("same")
    else:
        other = network.input(shape, name="y")
        shapes["y"] = shape
        features.add("two inputs")
    first, second = (x, other) if generator.random() < 0.5 else (other, x)
    y = network.add(first, a, second, b, c)
    if generator.random() < 0.3:
        y = network.unary("QLinearSigmoid", y, c, (1 / 256, -128))
        features.add("sigmoid")
    return Case(network.model(y), shapes, *_pool_and_cores(generator), generator, features)


def residual(seed: int) -> Case:
    """A convolution, and behind it an addition of what a layer before or the host gives, in both orders."""
    generator = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return int(generator.integers(low, high + 1))

    kind = ("pointwise", "spatial", "depthwise")[int(generator.choice(3))]
    kernel = 1 if kind == "pointwise" else 3
    channels, size = draw(2, 40), (draw(1, 18), draw(1, 18))
    scales = [float(np.float32(scale)) for scale in np.exp(generator.uniform(-5, -1, 4))]
    zeros = [int(zero) for zero in generator.integers(-128, 128, 4)]
    before, own, other, total = zip(scales, zeros, strict=True)
    network = NetworkBuilder()
    shape = (1, channels, *size)
    shapes = {"x": shape}
    x = network.node("MaxPool", [network.input(shape)], kernel_shape=[1, 1])
    features = {kind}

    def convolved(groups: int, side: int, numbers: tuple[float, int]) -> str:
        weights = random_int8(generator, (channels, channels // groups, side, side))
        bias = generator.integers(-2000, 2000, channels).astype(np.int32)
        factors = (generator.uniform(0.5, 2, channels) * numbers[0] / before[0] / 74).astype(np.float32)
        return network.conv(x, before, weights, factors, numbers, bias, pads=[side // 2] * 4, group=groups)

    source = ("layer", "input", "convolution")[int(generator.choice(3))]
    features.add(f"from {source}")
    if source == "input":
        added = network.input(shape, name="y")
        shapes["y"] = shape
    elif source == "layer":
        added, other = x, before
    else:
        added = convolved(1, 1, other)
    result = convolved(channels if kind == "depthwise" else 1, kernel, own)
    is_first = generator.random() < 0.5
    features.add("residual first" if is_first else "residual second")
    pair = [(added, other), (result, own)] if is_first else [(result, own), (added, other)]
    y = network.add(*pair[0], *pair[1], total)
    if generator.random() < 0.4:
        y = network.node("Relu", [y])
        features.add("relu")
    elif generator.random() < 0.4:
        y = network.unary("QLinearLeakyRelu", y, total, (total[0] / 2, 3), alpha=0.1)
        features.add("leaky relu")
    return Case(network.model(y), shapes, *_pool_and_cores(generator), generator, features)


def pooling(seed: int) -> Case:
    """Maximum, average (scales for which the integer sum is exact) and global average."""
    generator = np.random.default_rng(seed)

    def draw(low: int, high: int) -> int:
        return int(generator.integers(low, high + 1))

    channels, kernel = draw(1, 40), (draw(1, 5), draw(1, 5))
    strides = (draw(1, 3), draw(1, 3))
    pads = [draw(0, kernel[axis % 2] - 1) for axis in range(4)]
    size = (kernel[0] + draw(0, 14), kernel[1] + draw(0, 14))
    network = NetworkBuilder()
    x = network.input((1, channels, *size))
    zero_x, zero_y = (int(zero) for zero in generator.integers(-128, 128, 2))
    kind = ("maximum", "average", "global")[int(generator.choice(3, p=[0.4, 0.4, 0.2]))]
    features = {kind} | ({"padding"} if any(pads) else set())
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads}
    if kind == "maximum":
        ceil = draw(0, 1)
        features |= {"ceil mode"} if ceil else set()
        dilations = (draw(1, 2), draw(1, 2)) if not ceil else (1, 1)
        size = (size[0] + kernel[0], size[1] + kernel[1])
        network = NetworkBuilder()
        x = network.input((1, channels, *size))
        y = network.node("MaxPool", [x], ceil_mode=ceil, dilations=dilations, **attributes)
    elif kind == "global":
        scale_x = float(np.float32(np.exp(generator.uniform(-5, 0))))
        scale_y = float(np.float32(scale_x * generator.uniform(0.05, 1.2)))
        y = network.unary("QLinearGlobalAveragePool", x, (scale_x, zero_x), (scale_y, zero_y), channels_last=0)
    else:
        include = draw(0, 1)
        features |= {"include pad"} if include else set()
        scale_x = 2.0**-6  # a power of two: ONNX Runtime's float32 sums are exact, whatever their order
        while True:
            scale_y = float(np.float32(scale_x * generator.uniform(0.05, 1.2)))
            inside = {
                (rows * columns, kernel[0] * kernel[1] if include else rows * columns)
                for rows in range(1, kernel[0] + 1)
                for columns in range(1, kernel[1] + 1)
            }
            if all(average_pool_is_exact(n, scale_x, zero_x, scale_y, zero_y, divisor) for n, divisor in inside):
                break
        y = network.unary(
            "QLinearAveragePool", x, (scale_x, zero_x), (scale_y, zero_y), count_include_pad=include, **attributes
        )
    return Case(network.model(y), {"x": (1, channels, *size)}, *_pool_and_cores(generator), generator, features)


def concatenation(seed: int) -> Case:
    """Inputs at whole blocks and elsewhere, of one scale and of several, the same tensor twice."""
    generator = np.random.default_rng(seed)
    size = tuple(int(number) for number in generator.integers(1, 12, 2))
    network = NetworkBuilder()
    shapes, parts, features = {}, [], set()
    is_aligned, has_one_scale = generator.random() < 0.5, generator.random() < 0.5
    features |= {"aligned" if is_aligned else "unaligned", "one scale" if has_one_scale else "scales"}
    output = (0.05, 7)
    for number in range(int(generator.integers(2, 5))):
        channels = 8 * int(generator.integers(1, 4)) if is_aligned else int(generator.integers(1, 25))
        name = network.input((1, channels, *size), name=f"x{number}")
        shapes[name] = (1, channels, *size)
        numbers = output if has_one_scale else (float(generator.uniform(0.02, 0.1)), int(generator.integers(-128, 128)))
        if generator.random() < 0.5:  # a layer of the cores gives the part, instead of the host
            weights = random_int8(generator, (channels, channels, 1, 1))
            scales = np.full(channels, 0.01, np.float32)
            name = network.conv(name, (0.05, 1), weights, scales, numbers)
        parts.append((name, numbers))
    if generator.random() < 0.3:
        parts.append(parts[0])
        features.add("twice")
    joined = network.concat(parts, output)
    outputs = [joined, parts[0][0]] if parts[0][0] not in shapes else [joined]
    return Case(network.model(*outputs), shapes, *_pool_and_cores(generator), generator, features)


def product(seed: int) -> Case:
    """Fully-connected layers, over vectors and over flattened maps."""
    generator = np.random.default_rng(seed)
    network = NetworkBuilder()
    channels, outputs = (int(number) for number in generator.integers(1, 41, 2))
    size = tuple(int(number) for number in generator.integers(1, 7, 2))
    x = network.input((1, channels, *size))
    pooled = network.node("MaxPool", [x], kernel_shape=[1, 1])
    flat = network.node("Flatten", [pooled])
    inputs = channels * size[0] * size[1]
    transposed = int(generator.integers(2))
    weights = random_int8(generator, (outputs, inputs) if transposed else (inputs, outputs))
    bias = generator.integers(-20000, 20000, outputs).astype(np.int32) if generator.random() < 0.7 else None
    scales = generator.uniform(1e-3, 2e-2, outputs).astype(np.float32)
    zero_x, zero_y = (int(zero) for zero in generator.integers(-128, 128, 2))
    scale_y = float(np.float32(0.05 * 0.01 * 74 * 74 * np.sqrt(inputs) / 60))
    y = network.gemm(flat, (0.05, zero_x), weights, scales, (scale_y, zero_y), bias, transB=transposed)
    features = {"transposed" if transposed else "plain", "bias" if bias is not None else "no bias"}
    return Case(network.model(y), {"x": (1, channels, *size)}, *_pool_and_cores(generator), generator, features)


@many
@given(seeds)
def test_convolutions(seed: int) -> None:
    convolution(seed).check()


@settings(many, max_examples=80)
@given(seeds)
def test_depthwise_convolutions(seed: int) -> None:
    depthwise(seed).check()


@pytest.mark.parametrize("seed", range(3))
def test_depthwise_convolutions_use_the_window_of_the_array(seed: int) -> None:
    convolutions = [instruction for instruction in _frame(depthwise(seed)) if isinstance(instruction, Conv)]
    assert convolutions and all(instruction.depthwise for instruction in convolutions)


def _frame(case: Case) -> list[Instruction]:
    """The last layer's instructions."""
    package = compile_model(case.model, CASE_POOLS[case.pool])
    words = np.frombuffer(package.image(), np.uint8)[: len(package.image()) // WORD_BYTES * WORD_BYTES]
    code = [int.from_bytes(word.tobytes(), "little") for word in words.reshape(-1, WORD_BYTES)]
    frame = package.layers[-1].frames[case.cores]
    return [decode(word) for word in code[frame.word : frame.word + frame.words]]


@settings(many, max_examples=80)
@given(seeds)
def test_convolutions_with_residuals(seed: int) -> None:
    residual(seed).check()


@pytest.mark.parametrize("seed", range(4))
def test_a_drain_adds_the_residual(seed: int) -> None:
    kinds = {type(instruction) for instruction in _frame(residual(seed))}
    drains = [each for each in _frame(residual(seed)) if isinstance(each, Conv) and each.drain]
    assert drains and all(each.add for each in drains)
    assert Add not in kinds


@many
@given(seeds)
def test_poolings(seed: int) -> None:
    pooling(seed).check()


@settings(many, max_examples=60)
@given(seeds)
def test_additions(seed: int) -> None:
    addition(seed).check()


@settings(many, max_examples=60)
@given(seeds)
def test_concatenations(seed: int) -> None:
    concatenation(seed).check()


def test_joining_channels_off_the_array_multiplies_nothing() -> None:
    generator = np.random.default_rng(4)
    network = NetworkBuilder()
    x, numbers = network.input((1, 8, 6, 7)), (0.05, 1)
    parts = [
        network.conv(
            x, numbers, random_int8(generator, (outputs, 8, 1, 1)), np.full(outputs, 0.01, np.float32), numbers
        )
        for outputs in (5, 6)
    ]
    joined = network.concat([(part, numbers) for part in parts], numbers)
    inputs = {"x": random_int8(generator, (1, 8, 6, 7))}
    package = assert_exact(network.model(joined), NAMED_POOLS["small"], inputs)
    assert sum(layer.macs for layer in package.layers) == (5 + 6) * 8 * 6 * 7


@settings(many, max_examples=40)
@given(seeds)
def test_fully_connected_layers(seed: int) -> None:
    product(seed).check()


def test_a_constant_for_each_channel_is_added_in_onnx_runtimes_order() -> None:
    """All 65,536 pairs, with scales for which the order of the operands decides one of them."""
    numbers = (0.0474888, 21), (0.05136899, -79), (0.00913704, 59)
    values = np.arange(-128, 128).astype(np.int8)
    network = NetworkBuilder()
    x = network.input((1, 256, 16, 16))
    y = network.add(network.constant(values.reshape(1, 256, 1, 1)), numbers[0], x, numbers[1], numbers[2])
    inputs = {"x": np.ascontiguousarray(np.broadcast_to(values.reshape(1, 1, 16, 16), (1, 256, 16, 16)))}
    assert_exact(network.model(y), NAMED_POOLS["small"], inputs, 2)


FEATURES = {
    convolution: {
        "dense", "grouped", "depthwise", "pads", "same_upper", "same_lower", "valid", "dilated", "odd",
        "uneven padding", "extreme bias", "extreme scale", "per tensor", "relu", "leaky relu", "stride3", "kernel7",
        "from a layer", "from the host",
    },
    depthwise: {"kernel5", "kernel7", "stride1", "stride2", "stride3", "wide", "wide array", "leaky relu"},
    pooling: {"maximum", "average", "global", "padding", "ceil mode", "include pad"},
    addition: {"constant", "same", "two inputs", "sigmoid"},
    residual: {
        "pointwise", "spatial", "depthwise", "from layer", "from input", "from convolution", "residual first",
        "residual second", "relu", "leaky relu",
    },
    concatenation: {"aligned", "unaligned", "one scale", "scales", "twice"},
    product: {"transposed", "plain", "bias", "no bias"},
}  # fmt: skip


@pytest.mark.parametrize("generate", FEATURES, ids=lambda generate: generate.__name__)
def test_the_cases_cover_every_feature(generate: object) -> None:
    assert callable(generate)
    cases = [generate(seed) for seed in range(300)]
    for feature in FEATURES[generate]:
        share = sum(feature in case.features for case in cases) / len(cases)
        assert share >= 0.1, f"{feature} occurs in {share:.0%} of the cases"
