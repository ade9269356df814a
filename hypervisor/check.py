"""Compares what a pool wrote to memory with ONNX Runtime, tensor by tensor and byte by byte."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hypervisor.hypervisor import HypervisorError

if TYPE_CHECKING:
    from compiler.package import Package


@dataclass(frozen=True)
class TensorCheck:
    """One tensor of one image: bytes compared, and how many of them differ."""

    image: int
    name: str
    compared: int
    mismatches: int


@dataclass(frozen=True)
class CheckResult:
    """The comparison of every captured tensor. `missing` names tensors that were never captured."""

    tensors: tuple[TensorCheck, ...]
    missing: tuple[str, ...]

    @property
    def compared(self) -> int:
        """Bytes compared."""
        return sum(tensor.compared for tensor in self.tensors)

    @property
    def mismatches(self) -> int:
        """Bytes that differ."""
        return sum(tensor.mismatches for tensor in self.tensors)

    @property
    def wrong(self) -> list[TensorCheck]:
        """The tensors that differ, in the order in which they were computed."""
        return [tensor for tensor in self.tensors if tensor.mismatches]


class Reference:
    """ONNX Runtime on the int8 network of a package, giving every tensor that the package's layers write.

    Raises HypervisorError when `model` is no readable network or not the one that the package was compiled from.
    """

    def __init__(self, package: Package, model: Path) -> None:
        import onnx
        import onnxruntime

        try:
            network = onnx.load(str(model))
        except Exception as problem:
            raise HypervisorError(f"--check {model}: {_first_line(problem)}") from None
        if package.network_digest and not same_network(package, model):
            raise HypervisorError(
                f"--check {model}: package {package.name!r} was not compiled from this file (their SHA-256 differ); "
                "give the int8 network that it was compiled from"
            )
        produced = {name for node in network.graph.node for name in node.output}
        produced |= {value.name for value in network.graph.input}
        self.names = [tensor.name for tensor in package.tensors if tensor.name in produced]
        del network.graph.output[:]
        network.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.names)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                network.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as problem:
            raise HypervisorError(f"--check {model}: ONNX Runtime refuses it: {_first_line(problem)}") from None

    def tensors(self, image: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Every tensor of the int8 part, for the network's input."""
        return dict(zip(self.names, self._session.run(self.names, dict(image)), strict=True))


def compare(
    package: Package,
    model: Path,
    images: Sequence[Mapping[str, NDArray[Any]]],
    captured: Sequence[Mapping[str, NDArray[np.int8]]],
) -> CheckResult:
    """Compare captured tensors with ONNX Runtime's, in the order in which the layers compute them."""
    reference = Reference(package, model)
    checks: list[TensorCheck] = []
    missing: set[str] = set()
    for number, (image, found) in enumerate(zip(images, captured, strict=True)):
        expected = reference.tensors(image)
        written = [tensor for tensor in package.tensors if tensor.layer >= 0]
        for tensor in sorted(written, key=lambda tensor: tensor.layer):
            if tensor.name not in expected or tensor.name not in found:
                missing.add(tensor.name)
                continue
            wrong = found[tensor.name].reshape(-1) != expected[tensor.name].reshape(-1)
            checks.append(TensorCheck(number, tensor.name, wrong.size, int(np.count_nonzero(wrong))))
    return CheckResult(tuple(checks), tuple(sorted(missing)))


def same_network(package: Package, model: Path) -> bool:
    """Whether `model` is, byte for byte, the file that the package was compiled from."""
    return hashlib.sha256(model.read_bytes()).hexdigest() == package.network_digest


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0] if str(problem).strip() else type(problem).__name__
