"""VGG-16, ResNet-50 (v1.5: a 3 x 3 convolution has the stride) and MobileNet v1, as in their papers and models."""

from __future__ import annotations

from benchmarks.networks.description import INPUT, Description

CLASSES = 1000
IMAGE_SIZE = 224


def vgg16() -> Description:
    """VGG-16: 13 convolutions, 3 fully connected layers, 15.5 GMAC."""
    network = Description("vgg16", IMAGE_SIZE, seed=16)
    tensor = INPUT
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            tensor = network.convolution(tensor, channels, 3, padding=1)
        tensor = network.max_pool(tensor, 2, 2)
    tensor = network.flatten(tensor)
    tensor = network.dense(tensor, 512 * 7 * 7, 4096)
    tensor = network.dense(tensor, 4096, 4096)
    network.dense(tensor, 4096, CLASSES, is_last=True)
    return network


def resnet50() -> Description:
    """ResNet-50 v1.5: 53 convolutions, 4.1 GMAC."""
    network = Description("resnet50", IMAGE_SIZE, seed=50)
    tensor = network.convolution(INPUT, 64, 7, stride=2, padding=3)
    tensor = network.max_pool(tensor, 3, 2, 1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 64 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            inner = network.convolution(tensor, width, 1)
            inner = network.convolution(inner, width, 3, stride=stride, padding=1)
            inner = network.convolution(inner, 4 * width, 1, relu=False)
            shortcut = tensor if block else network.convolution(tensor, 4 * width, 1, stride=stride, relu=False)
            tensor = network.relu(network.add(inner, shortcut))
    network.dense(network.flatten_average(tensor), 2048, CLASSES, is_last=True)
    return network


def mobilenet_v1() -> Description:
    """MobileNet v1, width 1.0: 13 depthwise and 14 other convolutions, 0.57 GMAC."""
    network = Description("mobilenet_v1", IMAGE_SIZE, seed=1)
    tensor = network.convolution(INPUT, 32, 3, stride=2, padding=1)
    steps = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
    for channels, stride in steps:
        inputs = network.channels[tensor]
        tensor = network.convolution(tensor, inputs, 3, stride=stride, padding=1, groups=inputs)
        tensor = network.convolution(tensor, channels, 1)
    network.dense(network.flatten_average(tensor), 1024, CLASSES, is_last=True)
    return network
