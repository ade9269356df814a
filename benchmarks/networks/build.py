"""From a description to an int8 network: statistics, folding, quantisation, its signal-to-noise ratio; cached.

The cache (build/networks/) is keyed by the sources that make the networks and by the version of ONNX Runtime.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

import compiler.quantise
from benchmarks.cache import BUILD, modules_digest, write_atomically
from benchmarks.networks.description import INPUT, Description, Statistics
from benchmarks.networks.efficientnet import efficientnet_lite0
from benchmarks.networks.inception import inception_v3
from benchmarks.networks.photos import DEVIATION, MEAN, TRAINED, photos
from benchmarks.networks.topologies import mobilenet_v1, resnet50, vgg16
from benchmarks.networks.wheel import densenet121, inception_v1, squeezenet

BUILDERS: dict[str, Callable[[], Description]] = {
    "resnet50": resnet50,
    "vgg16": vgg16,
    "inception_v3": inception_v3,
    "mobilenet_v1": mobilenet_v1,
    "efficientnet_lite0": efficientnet_lite0,
    "inception_v1": inception_v1,
    "squeezenet": squeezenet,
    "densenet121": densenet121,
}
"""Every network, by name."""

CACHE = BUILD / "networks"
STATISTICS_IMAGES = 12
CALIBRATION_IMAGES = 12
TEST_IMAGES = 6
"""The photos' last crops, which calibration has not seen."""


@dataclass(frozen=True)
class BuiltNetwork:
    """The int8 network's file, its signal-to-quantisation-noise ratio, and how often its best class is the float one's.

    The weights are random, so the classes are arbitrary and close together: the ratio says more.
    """

    name: str
    path: Path
    sqnr_db: float
    agreement: float

    def model(self) -> onnx.ModelProto:
        """The int8 network."""
        return onnx.load(str(self.path))

    @property
    def digest(self) -> str:
        """SHA-256 of the int8 network's file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def image(self, number: int = 0) -> NDArray[np.float32]:
        """A test image, [1][3][size][size]."""
        return _photos(BUILDERS[self.name]())[-TEST_IMAGES:][number : number + 1]


def build(name: str, report: Callable[[float, str], None] | None = None) -> BuiltNetwork:
    """The network of that name, from the cache if it is there. Raises KeyError for an unknown one."""
    tell = report or (lambda fraction, what: None)
    builder = BUILDERS[name]
    path = CACHE / f"{name}-{_sources_digest()}.int8.onnx"
    record = path.with_suffix(".json")
    if not record.is_file() or not path.is_file():
        tell(0.0, f"building {name}")
        description = builder()
        images = _photos(description)
        tell(0.1, f"measuring statistics of {name}")
        model = float_model(name)
        tell(0.4, f"quantising {name}")
        int8 = compiler.quantise.quantise(model, {INPUT: images[:CALIBRATION_IMAGES]})
        average_without_scaling(int8)
        tell(0.8, f"comparing {name} with its float version")
        ratio, agreement = compare(model, int8, images[-TEST_IMAGES:])
        write_atomically(path, int8.SerializeToString())
        write_atomically(record, json.dumps({"sqnr_db": ratio, "agreement": agreement}).encode())
        tell(1.0, "done")
    return BuiltNetwork(name, path, **json.loads(record.read_bytes()))


def float_model(name: str) -> onnx.ModelProto:
    """The float network that the int8 one of that name is made from."""
    description = BUILDERS[name]()
    return description.folded_model(measure(description, _photos(description)[:STATISTICS_IMAGES]))


def measure(description: Description, images: NDArray[np.float32]) -> Statistics:
    """Mean and variance of each channel behind each layer that is normalised."""
    if not description.normalised_layers():
        return {}
    model = description.measuring_model(len(images))
    names = [value.name for value in model.graph.output]
    values = dict(zip(names, session(model).run(names, {INPUT: images}), strict=True))
    return {
        layer: (values[f"{layer}.mean"].ravel(), values[f"{layer}.variance"].ravel())
        for layer in description.normalised_layers()
    }


def average_without_scaling(model: onnx.ModelProto) -> None:
    """Give the output of every average pooling of an odd number of pixels the scale of its input, in place.

    An average lies within the range of what it averages, so nothing saturates, and an odd number of pixels has no
    ties: with scales of its own, a tie of ONNX Runtime's float sum may depend on the order of its terms. An even
    number has ties with equal scales, and hardly any with scales of its own.
    """
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    readers = {name: node for node in model.graph.node for name in node.input[:1]}
    for node in model.graph.node:
        if node.op_type != "QLinearAveragePool" or _pixels(node) % 2 == 0:
            continue
        scale, old_scale = (onnx.numpy_helper.to_array(constants[node.input[place]]) for place in (1, 3))
        for source, target in zip(node.input[1:3], node.input[3:5], strict=True):
            constants[target].CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(constants[source]), target)
            )
        reader = readers[node.output[0]]
        assert reader.op_type == "QLinearConv", "poolings of these networks feed one convolution each"
        bias = onnx.numpy_helper.to_array(constants[reader.input[8]])  # in units of input scale * weight scale
        rescaled = np.rint(bias.astype(np.float64) * old_scale / scale).astype(np.int32)
        constants[reader.input[8]].CopyFrom(onnx.numpy_helper.from_array(rescaled, reader.input[8]))


def _pixels(pool: onnx.NodeProto) -> int:
    """Pixels of the pooling's window."""
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in pool.attribute}
    return math.prod(attributes["kernel_shape"])


def compare(model: onnx.ModelProto, int8: onnx.ModelProto, images: NDArray[np.float32]) -> tuple[float, float]:
    """(signal-to-quantisation-noise ratio of the logits in decibels, part of images with the same best class)."""
    runs = session(model), session(int8, optimise=False)
    exact, rounded = (
        np.concatenate([each.run(None, {INPUT: image[None]})[0] for image in images]).astype(np.float64)
        for each in runs
    )
    noise = ((exact - rounded) ** 2).sum()
    ratio = 10 * np.log10((exact**2).sum() / max(noise, 1e-12))
    return float(ratio), float((exact.argmax(1) == rounded.argmax(1)).mean())


def _photos(description: Description) -> NDArray[np.float32]:
    return photos(description.size, TRAINED if description.is_trained else (MEAN, DEVIATION))


def session(model: onnx.ModelProto, optimise: bool = True, output: str | None = None) -> onnxruntime.InferenceSession:
    """ONNX Runtime on a network; with `output`, on its nodes as they are, that tensor being an output, too."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if not optimise or output is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if output is not None:
        model.graph.output.append(onnx.ValueInfoProto(name=output))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@cache
def _sources_digest() -> str:
    """Changes when the networks could."""
    sources = modules_digest("benchmarks.networks.build")
    return hashlib.sha256(f"{onnxruntime.__version__} {onnx.__version__} {sources}".encode()).hexdigest()[:12]
