"""The networks have the sizes of their papers; folding gives each layer the statistics it was measured with."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import pytest

from benchmarks.networks import BUILDERS
from benchmarks.networks.build import average_without_scaling, compare, measure
from benchmarks.networks.description import BETA_DEVIATION, GAMMA_RANGE, INPUT, Description
from benchmarks.networks.photos import photos
from compiler.quantise import quantise

GIGA_MACS = {
    "vgg16": 15.47, "resnet50": 4.09, "inception_v3": 5.71, "mobilenet_v1": 0.569, "efficientnet_lite0": 0.385,
    "inception_v1": 1.43, "squeezenet": 0.349, "densenet121": 2.84,
}  # fmt: skip
"""As usually quoted, for one image; Inception v1 with the sizes of the onnx package's graph, whose pools don't pad."""
CONVOLUTIONS = {
    "vgg16": 13, "resnet50": 53, "inception_v3": 94, "mobilenet_v1": 27, "efficientnet_lite0": 49, "inception_v1": 57,
    "squeezenet": 26, "densenet121": 120 + 62,
}  # fmt: skip
"""DenseNet-121 has 62 batch norms that follow no convolution."""


def macs(description: Description) -> int:
    """Multiply-accumulates, from the shapes that the operators' definitions give."""
    sizes = {INPUT: (description.size, description.size)}
    total = 0
    for layer in description.layers:
        size = sizes[layer.inputs[0]]
        if "kernel_shape" in layer.attributes:
            kernel, strides = (layer.attributes[name] for name in ("kernel_shape", "strides"))
            if layer.attributes.get("auto_pad") == "SAME_UPPER":
                size = tuple(-(-size[axis] // strides[axis]) for axis in (0, 1))
            else:
                pads = layer.attributes["pads"]
                size = tuple((size[axis] + 2 * pads[axis] - kernel[axis]) // strides[axis] + 1 for axis in (0, 1))
        elif layer.kind in ("Gemm", "Flatten", "GlobalAveragePool"):
            size = (1, 1)
        sizes[layer.name] = size
        total += prod(layer.weights) * prod(size) if layer.weights else 0
    return total


def small_network() -> Description:
    """All kinds of layers, on little images."""
    network = Description("small", 32, seed=5)
    tensor = network.convolution(INPUT, 16, 3, stride=2, padding=1)
    inner = network.convolution(tensor, 16, (3, 1), padding=(1, 0), groups=16)
    tensor = network.relu(network.add(tensor, network.convolution(inner, 16, 1, relu=False)))
    tensor = network.concatenate([network.max_pool(tensor, 3, 2, 1), network.average_pool(tensor, 2, 2)])
    tensor = network.dense(network.flatten(tensor), 32 * 8 * 8, 64)
    network.dense(tensor, 64, 10, is_last=True)
    return network


@pytest.mark.parametrize("name", list(BUILDERS))
def test_sizes_are_those_of_the_papers(name: str) -> None:
    description = BUILDERS[name]()
    assert macs(description) / 1e9 == pytest.approx(GIGA_MACS[name], rel=0.01)
    assert sum(layer.kind == "Conv" for layer in description.layers) == CONVOLUTIONS[name]
    names = [layer.name for layer in description.layers]
    assert len(set(names)) == len(names) and names[-1] == "logits"


def test_folded_layers_have_the_statistics_of_their_batch_norms() -> None:
    import onnxruntime

    description = small_network()
    images = photos(description.size)
    model = description.folded_model(measure(description, images))
    layers = [layer.name for layer in description.layers if layer.normalised and layer.kind == "Conv"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in layers)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    runs = [session.run(layers, {INPUT: image[None]}) for image in images]
    for number, _ in enumerate(layers):
        values = np.concatenate([run[number] for run in runs])
        deviation, mean = values.std((0, 2, 3)), values.mean((0, 2, 3))
        assert GAMMA_RANGE[0] * 0.9 < deviation.min() and deviation.max() < GAMMA_RANGE[1] * 1.01
        assert np.abs(mean).max() < 5 * BETA_DEVIATION


def test_the_int8_version_is_close_to_the_float_one() -> None:
    description = small_network()
    images = photos(description.size)
    model = description.folded_model(measure(description, images))
    ratio, agreement = compare(model, quantise(model, {INPUT: images}), images[:4])
    assert ratio > 15 and 0 <= agreement <= 1


def test_photos_are_the_same_every_time_and_not_flat() -> None:
    first, again = photos(40), photos(40)
    assert first.shape == (24, 3, 40, 40) and (first == again).all()
    assert first.std((2, 3)).min() > 0.05


def test_an_average_pooling_keeps_its_scale_and_its_reader_its_bias() -> None:
    description = Description("pool", 32, seed=9)
    tensor = description.average_pool(description.convolution(INPUT, 16, 3, padding=1), 3, 1, 1)
    tensor = description.convolution(tensor, 16, 1)
    description.dense(description.flatten_average(tensor), 16, 10, is_last=True)
    images = photos(description.size)
    model = description.folded_model(measure(description, images))
    int8 = quantise(model, {INPUT: images})
    before, _ = compare(model, int8, images[:4])
    average_without_scaling(int8)
    node = next(node for node in int8.graph.node if node.op_type == "QLinearAveragePool")
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in int8.graph.initializer}
    assert values[node.input[1]] == values[node.input[3]] and values[node.input[2]] == values[node.input[4]]
    assert compare(model, int8, images[:4])[0] > before - 3
