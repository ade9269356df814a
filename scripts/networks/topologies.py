"""The three networks, as PyTorch modules for 1 x 28 x 28 images and ten classes."""

from collections.abc import Callable

import torch
from torch import nn

CLASSES = 10


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    """Convolution with "same" padding, batch normalisation and optional activation."""
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    if activation is not None:
        layers.append(activation())
    return nn.Sequential(*layers)


def lenet() -> nn.Module:
    """LeNet-5 with rectifiers and max pooling in place of sigmoids and averages."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, CLASSES),
    )


class ResidualStack(nn.Module):
    """Two 3x3 convolutions and a shortcut: a 1x1 convolution where sizes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(inputs, outputs, 3, stride=stride),
            convolution(outputs, outputs, 3, activation=None),
        )
        self.shortcut = nn.Identity() if inputs == outputs and stride == 1 else nn.Conv2d(inputs, outputs, 1, stride)
        self.activation = nn.ReLU()

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return relu(body + shortcut)."""
        return self.activation(self.body(features) + self.shortcut(features))


def resnet8() -> nn.Module:
    """ResNet-8 with the topology of MLPerf Tiny's image classification network."""
    return nn.Sequential(
        convolution(1, 16, 3),
        ResidualStack(16, 16, 1),
        ResidualStack(16, 32, 2),
        ResidualStack(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, CLASSES),
    )


class InvertedResidual(nn.Module):
    """Expand (1x1), filter (depthwise 3x3), project (1x1); add the input if it fits."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = []
        if expansion != 1:
            layers.append(convolution(inputs, hidden, 1, activation=nn.ReLU6))
        layers += [
            convolution(hidden, hidden, 3, stride=stride, groups=hidden, activation=nn.ReLU6),
            convolution(hidden, outputs, 1, activation=None),
        ]
        self.body = nn.Sequential(*layers)
        self.has_shortcut = inputs == outputs and stride == 1

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the projected features, plus the input if the shapes agree."""
        projected = self.body(features)
        return projected + features if self.has_shortcut else projected


def mobilenet() -> nn.Module:
    """MobileNetV2 of five blocks; its 24 channels fill an array of 16 only partly."""
    return nn.Sequential(
        convolution(1, 16, 3, activation=nn.ReLU6),
        InvertedResidual(16, 16, expansion=1, stride=2),
        InvertedResidual(16, 24, expansion=3, stride=1),
        InvertedResidual(24, 24, expansion=4, stride=1),
        InvertedResidual(24, 32, expansion=4, stride=2),
        InvertedResidual(32, 32, expansion=4, stride=1),
        convolution(32, 96, 1, activation=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(96, CLASSES),
    )
