"""Seeded training of a network, and its export as a float ONNX file."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from torch import nn
from torch.nn import functional

from scripts.networks.data import IMAGE_SIZE, Dataset, normalise

OPSET = 17
SEED = 2020
BATCH = 50
MAXIMUM_LEARNING_RATE = 4e-3
WEIGHT_DECAY = 1e-2
MAXIMUM_SHIFT = 0.12  # of half the image: about 1.7 pixels
MAXIMUM_TURN = 0.17  # radians: about 10 degrees
MAXIMUM_ZOOM = 0.1


def distort(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return the images, each slightly turned, zoomed and shifted at random."""

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(len(images), generator=generator) * 2 - 1) * limit

    angle, zoom = uniform(MAXIMUM_TURN), 1 + uniform(MAXIMUM_ZOOM)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    rows = (
        torch.stack([cosine, -sine, uniform(MAXIMUM_SHIFT)], dim=1),
        torch.stack([sine, cosine, uniform(MAXIMUM_SHIFT)], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(build: Callable[[], nn.Module], dataset: Dataset, epochs: int) -> nn.Module:
    """Build a network and train it for a fixed number of epochs; log to stderr.

    The same seed gives the same network on the same machine and PyTorch release; on
    another processor the order of floating-point sums, and so the weights, may differ.
    """
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(SEED)
    images = torch.from_numpy(normalise(dataset.images))
    labels = torch.from_numpy(dataset.labels).long()
    network = build().to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, MAXIMUM_LEARNING_RATE, total_steps=epochs * len(images) // BATCH
    )
    network.train()
    for epoch in range(epochs):
        total = 0.0
        for indices in torch.randperm(len(images), generator=generator).split(BATCH):
            batch = distort(images[indices], generator)
            outputs = network(batch.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(outputs, labels[indices])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(indices)
        print(
            f"  epoch {epoch + 1}/{epochs}: loss {total / len(images):.4f}",
            file=sys.stderr,
        )
    return network.eval().to(memory_format=torch.contiguous_format)


def move_constants(graph: onnx.GraphProto) -> None:
    """Turn Constant nodes (the limits of ReLU6) into initializers.

    The quantiser merges a Clip into the convolution before it, and drops initializers
    that are then unused, but would leave Constant nodes behind.
    """
    constants = [node for node in graph.node if node.op_type == "Constant"]
    for node in constants:
        (value,) = node.attribute
        value.t.name = node.output[0]
        graph.initializer.append(value.t)
        graph.node.remove(node)


def export(network: nn.Module, path: Path) -> None:
    """Write the network as ONNX for one image, with batch normalisations folded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # The TorchScript exporter folds batch normalisations in evaluation mode.
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, IMAGE_SIZE, IMAGE_SIZE),),
            path,
            input_names=["image"],
            output_names=["logits"],
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load(path)
    move_constants(model.graph)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    for node in model.graph.node:
        node.ClearField("doc_string")
        if node.op_type == "BatchNormalization":
            raise ValueError(f"{path.name}: {node.name} was not folded")
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
