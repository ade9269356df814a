"""A float network as a list of layers, from which both its measuring graph and its folded graph are made.

Every weighted layer has seeded He weights. All but the last one are normalised like a batch norm: first a measuring
graph, run on photos, tells mean and variance of each channel behind each layer (all layers before it normalised
already); then both are folded into weights and bias. So activations have the distribution that a trained network
gives them, and int8 does not saturate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
INPUT = "image"
OUTPUT = "logits"
EPSILON = 1e-3
"""Added to a variance, so that a dead channel stays finite."""
GAMMA_RANGE = (0.8, 1.2)
BETA_DEVIATION = 0.2

Pair = tuple[int, int]
Statistics = Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
"""Mean and variance by the name of a layer."""


@dataclass(frozen=True, eq=False)
class Trained:
    """Weights and bias of a trained layer, its batch norm folded in."""

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """One operation. Weighted ones have the shape of their weights; `normalised` ones get statistics."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    weights: tuple[int, ...] = ()
    normalised: bool = False
    trained: Trained | None = None


@dataclass
class Description:
    """Builds a network layer by layer; each method returns the name of its output.

    `size`: rows and columns of the image. A trained network has its images in other numbers (`photos.TRAINED`).
    """

    name: str
    size: int
    seed: int
    is_trained: bool = False
    channels: dict[str, int] = field(default_factory=lambda: {INPUT: 3})
    layers: list[Layer] = field(default_factory=list)

    def convolution(
        self,
        source: str,
        channels: int,
        kernel: int | Pair,
        stride: int = 1,
        padding: int | Pair | Literal["same"] = 0,
        groups: int = 1,
        relu: bool | int = True,
        normalised: bool = True,
        trained: Trained | None = None,
    ) -> str:
        """Convolution, batch norm (if `normalised`; a trained one has it in its weights) and ReLU, or ReLU6 for 6.

        Padding "same" is TensorFlow's: as little as gives size / stride outputs, the odd one at the end.
        """
        rows, columns = _pair(kernel)
        weights = (channels, self.channels[source] // groups, rows, columns)
        attributes: dict[str, Any] = dict(kernel_shape=[rows, columns], strides=[stride] * 2, group=groups)
        if padding == "same":
            attributes["auto_pad"] = "SAME_UPPER"
        else:
            top, left = _pair(padding)
            attributes["pads"] = [top, left] * 2
        normalised = normalised and trained is None
        result = self._add("Conv", (source,), attributes, channels, weights, normalised, trained=trained)
        if relu is False:
            return result
        return self.relu(result) if relu is True else self._add("Clip", (result,), {"highest": relu}, channels)

    def dense(
        self, source: str, inputs: int, outputs: int, is_last: bool = False, trained: Trained | None = None
    ) -> str:
        """Fully connected layer; with batch norm and ReLU unless it is the last one."""
        name = OUTPUT if is_last else None
        weights = (outputs, inputs)
        result = self._add("Gemm", (source,), {"transB": 1}, outputs, weights, not is_last, name, trained)
        return result if is_last else self.relu(result)

    def relu(self, source: str) -> str:
        """ReLU."""
        return self._add("Relu", (source,), {}, self.channels[source])

    def add(self, first: str, second: str) -> str:
        """Sum of two tensors."""
        return self._add("Add", (first, second), {}, self.channels[first])

    def concatenate(self, sources: Sequence[str]) -> str:
        """Concatenation of channels."""
        return self._add("Concat", tuple(sources), {"axis": 1}, sum(self.channels[source] for source in sources))

    def max_pool(self, source: str, kernel: int, stride: int, padding: int = 0) -> str:
        """Max pooling."""
        attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4)
        return self._add("MaxPool", (source,), attributes, self.channels[source])

    def average_pool(self, source: str, kernel: int, stride: int, padding: int = 0) -> str:
        """Average pooling that counts the padding, as torchvision's networks do."""
        attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[padding] * 4, count_include_pad=1)
        return self._add("AveragePool", (source,), attributes, self.channels[source])

    def flatten_average(self, source: str) -> str:
        """Global average pooling to a vector."""
        pooled = self._add("GlobalAveragePool", (source,), {}, self.channels[source])
        return self.flatten(pooled)

    def flatten(self, source: str) -> str:
        """All values of an image as a vector."""
        return self._add("Flatten", (source,), {}, self.channels[source])

    def local_response_norm(self, source: str, attributes: Mapping[str, Any]) -> str:
        """Local response normalisation over neighbouring channels."""
        return self._add("LRN", (source,), attributes, self.channels[source])

    def rename_last(self, old: str, new: str) -> None:
        """Give the tensor that the last layer writes another name."""
        assert self.layers[-1].name == old, "nobody reads the last tensor"
        self.layers[-1] = replace(self.layers[-1], name=new)
        self.channels[new] = self.channels.pop(old)

    def measuring_model(self, images: int) -> onnx.ModelProto:
        """A graph that normalises each layer by the statistics of the batch; its outputs are these statistics."""
        return _Emitter(self, images, None).model()

    def folded_model(self, statistics: Statistics) -> onnx.ModelProto:
        """The network for one image, with statistics folded into its weights and biases."""
        return _Emitter(self, 1, statistics).model()

    def normalised_layers(self) -> list[str]:
        """Names of the layers that need statistics."""
        return [layer.name for layer in self.layers if layer.normalised]

    def _add(
        self,
        kind: str,
        inputs: tuple[str, ...],
        attributes: Mapping[str, Any],
        channels: int,
        weights: tuple[int, ...] = (),
        normalised: bool = False,
        name: str | None = None,
        trained: Trained | None = None,
    ) -> str:
        result = name or f"{kind.lower()}_{len(self.layers)}"
        self.layers.append(Layer(kind, result, inputs, attributes, weights, normalised, trained))
        self.channels[result] = channels
        return result


def _pair(value: int | Pair) -> Pair:
    return value if isinstance(value, tuple) else (value, value)


class _Emitter:
    """Writes a description as ONNX; with statistics they are folded, without them they are measured."""

    def __init__(self, description: Description, images: int, statistics: Statistics | None) -> None:
        self._description = description
        self._images = images
        self._statistics = statistics
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._outputs: list[str] = []

    def model(self) -> onnx.ModelProto:
        for number, layer in enumerate(self._description.layers):
            if layer.trained is not None:
                self._product(layer, layer.name, layer.trained.weights, layer.trained.bias)
            elif layer.weights:
                self._weighted(layer, np.random.default_rng((self._description.seed, number)))
            elif layer.kind == "Clip":
                limits = [self._constant(f"{layer.name}.low", np.float32(0))]
                limits.append(self._constant(f"{layer.name}.high", np.float32(layer.attributes["highest"])))
                self._node("Clip", [*layer.inputs, *limits], layer.name)
            else:
                self._node(layer.kind, layer.inputs, layer.name, **layer.attributes)
        size = self._description.size
        image = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [self._images, 3, size, size])
        outputs = [onnx.ValueInfoProto(name=name) for name in self._outputs]
        if self._statistics is not None:
            shape = [1, self._description.channels[OUTPUT]]
            outputs = [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)]
        graph = helper.make_graph(self._nodes, self._description.name, [image], outputs, self._constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _weighted(self, layer: Layer, random: np.random.Generator) -> None:
        outputs, fan_in = layer.weights[0], prod(layer.weights[1:])
        weights = random.standard_normal(layer.weights, np.float32) * np.float32((2 / fan_in) ** 0.5)
        gamma = random.uniform(*GAMMA_RANGE, outputs).astype(np.float32)
        beta = random.normal(0, BETA_DEVIATION, outputs).astype(np.float32)
        if not layer.normalised:
            bias = np.zeros(outputs, np.float32)
        elif self._statistics is not None:
            mean, variance = self._statistics[layer.name]
            factor = gamma / np.sqrt(variance + np.float32(EPSILON))
            weights *= factor.reshape(-1, *[1] * (weights.ndim - 1))
            bias = beta - mean * factor
        else:
            raw = f"{layer.name}.raw"
            self._product(layer, raw, weights, None)
            self._normalise(layer, raw, gamma, beta)
            return
        self._product(layer, layer.name, weights, bias)

    def _product(
        self, layer: Layer, output: str, weights: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> None:
        inputs = [*layer.inputs, self._constant(f"{layer.name}.weights", weights)]
        if bias is not None:
            inputs.append(self._constant(f"{layer.name}.bias", bias))
        self._node(layer.kind, inputs, output, **layer.attributes)

    def _normalise(self, layer: Layer, raw: str, gamma: NDArray[np.float32], beta: NDArray[np.float32]) -> None:
        """Normalise over images and pixels; behind a fully connected layer, which has no pixels, over all values."""
        name, is_dense = layer.name, len(layer.weights) == 2
        axes, shape = ([0, 1], (1, -1)) if is_dense else ([0, 2, 3], (1, -1, 1, 1))
        self._node("ReduceMean", [raw], f"{name}.mean", axes=axes)
        self._node("Sub", [raw, f"{name}.mean"], f"{name}.centred")
        self._node("Mul", [f"{name}.centred"] * 2, f"{name}.squares")
        self._node("ReduceMean", [f"{name}.squares"], f"{name}.variance", axes=axes)
        epsilon = self._constant(f"{name}.epsilon", np.float32(EPSILON))
        self._node("Add", [f"{name}.variance", epsilon], f"{name}.shifted")
        self._node("Sqrt", [f"{name}.shifted"], f"{name}.deviation")
        self._node("Div", [f"{name}.centred", f"{name}.deviation"], f"{name}.unit")
        self._node("Mul", [f"{name}.unit", self._constant(f"{name}.gamma", gamma.reshape(shape))], f"{name}.scaled")
        self._node("Add", [f"{name}.scaled", self._constant(f"{name}.beta", beta.reshape(shape))], name)
        self._outputs += [f"{name}.mean", f"{name}.variance"]

    def _constant(self, name: str, value: NDArray[np.float32] | np.float32) -> str:
        self._constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def _node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
