"""Inception v3 without its auxiliary head (Szegedy et al. 2015, as in TensorFlow's and torchvision's models)."""

from __future__ import annotations

from benchmarks.networks.description import INPUT, Description

CLASSES = 1000
IMAGE_SIZE = 299


def inception_v3() -> Description:
    """Inception v3: 94 convolutions, 5.7 GMAC."""
    network = Description("inception_v3", IMAGE_SIZE, seed=3)
    tensor = network.convolution(INPUT, 32, 3, stride=2)
    tensor = network.convolution(tensor, 32, 3)
    tensor = network.convolution(tensor, 64, 3, padding=1)
    tensor = network.max_pool(tensor, 3, 2)
    tensor = network.convolution(tensor, 80, 1)
    tensor = network.convolution(tensor, 192, 3)
    tensor = network.max_pool(tensor, 3, 2)
    for pooled in (32, 64, 64):
        tensor = _squares(network, tensor, pooled)
    tensor = _reduce_to_17(network, tensor)
    for width in (128, 160, 160, 192):
        tensor = _strips(network, tensor, width)
    tensor = _reduce_to_8(network, tensor)
    for _ in range(2):
        tensor = _fans(network, tensor)
    network.dense(network.flatten_average(tensor), 2048, CLASSES, is_last=True)
    return network


def _squares(network: Description, source: str, pooled: int) -> str:
    """Block A, at 35 x 35."""
    five = network.convolution(network.convolution(source, 48, 1), 64, 5, padding=2)
    three = network.convolution(network.convolution(source, 64, 1), 96, 3, padding=1)
    three = network.convolution(three, 96, 3, padding=1)
    pool = network.convolution(network.average_pool(source, 3, 1, 1), pooled, 1)
    return network.concatenate([network.convolution(source, 64, 1), five, three, pool])


def _reduce_to_17(network: Description, source: str) -> str:
    """Block B, from 35 x 35 to 17 x 17."""
    three = network.convolution(source, 384, 3, stride=2)
    double = network.convolution(network.convolution(source, 64, 1), 96, 3, padding=1)
    double = network.convolution(double, 96, 3, stride=2)
    return network.concatenate([three, double, network.max_pool(source, 3, 2)])


def _strips(network: Description, source: str, width: int) -> str:
    """Block C, at 17 x 17: kernels of 1 x 7 and 7 x 1."""
    row, column = ((1, 7), (0, 3)), ((7, 1), (3, 0))

    def chain(tensor: str, channels: list[int], strips: list[tuple[tuple[int, int], tuple[int, int]]]) -> str:
        for count, (kernel, padding) in zip(channels, strips, strict=True):
            tensor = network.convolution(tensor, count, kernel, padding=padding)
        return tensor

    single = chain(network.convolution(source, width, 1), [width, 192], [row, column])
    double = network.convolution(source, width, 1)
    double = chain(double, [width, width, width, 192], [column, row, column, row])
    pool = network.convolution(network.average_pool(source, 3, 1, 1), 192, 1)
    return network.concatenate([network.convolution(source, 192, 1), single, double, pool])


def _reduce_to_8(network: Description, source: str) -> str:
    """Block D, from 17 x 17 to 8 x 8."""
    three = network.convolution(network.convolution(source, 192, 1), 320, 3, stride=2)
    seven = network.convolution(source, 192, 1)
    seven = network.convolution(seven, 192, (1, 7), padding=(0, 3))
    seven = network.convolution(seven, 192, (7, 1), padding=(3, 0))
    seven = network.convolution(seven, 192, 3, stride=2)
    return network.concatenate([three, seven, network.max_pool(source, 3, 2)])


def _fans(network: Description, source: str) -> str:
    """Block E, at 8 x 8: two convolutions side by side end two of the branches."""

    def fan(tensor: str) -> list[str]:
        row = network.convolution(tensor, 384, (1, 3), padding=(0, 1))
        return [row, network.convolution(tensor, 384, (3, 1), padding=(1, 0))]

    three = fan(network.convolution(source, 384, 1))
    double = fan(network.convolution(network.convolution(source, 448, 1), 384, 3, padding=1))
    pool = network.convolution(network.average_pool(source, 3, 1, 1), 192, 1)
    return network.concatenate([network.convolution(source, 320, 1), *three, *double, pool])
