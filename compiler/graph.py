"""Import: each node of an ONNX network becomes an operation of the cores, another name for a tensor, or host work.

A node is left to the host by raising `HostReason` with the reason; it is refused, with the whole network, by raising
CompileError, where running on would hide a mistake (uint8 activations, weights with zero points).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.errors import CompileError
from compiler.network import Network, describe
from compiler.operations import Operation, Tensor
from isa.configuration import PoolConfig


class HostReason(Exception):
    """Why a node runs on the host; the text continues "...: "."""


@dataclass(frozen=True)
class Alias:
    """The node's output has the elements of its input in the same order: another name for the same memory."""

    source: str


@dataclass(frozen=True)
class Imported:
    """What became of one node."""

    node: onnx.NodeProto
    result: Operation | Alias | None
    """None: the host executes the node."""
    reason: str = ""


class Importer:
    """The state of an import: which tensors can lie in the window, and where their numbers come from."""

    def __init__(self, network: Network, config: PoolConfig) -> None:
        self.network = network
        self.config = config
        self.tensors: dict[str, Tensor] = {}
        """Tensors that cores read or write."""
        self._from_cores: set[str] = set()

    def import_nodes(self) -> list[Imported]:
        """Every node in order. Raises CompileError."""
        from compiler.operators import ALIASES, OPERATORS

        imported = []
        for node in self.network.nodes:
            try:
                result: Operation | Alias | None
                if node.op_type in ALIASES:
                    result = self._alias(node, ALIASES[node.op_type])
                elif node.op_type in OPERATORS:
                    result = OPERATORS[node.op_type](self, node)
                else:
                    raise HostReason(f"the cores have no {node.op_type}")
            except HostReason as reason:
                self._check_host_node(node)
                imported.append(Imported(node, None, str(reason)))
                continue
            self._from_cores.add(node.output[0])
            imported.append(Imported(node, result))
        return imported

    # --- what operators ask ------------------------------------------------------------------------------------

    def is_on_cores(self, name: str) -> bool:
        """Whether a core operation (or another name for its output) gives the tensor."""
        return name in self._from_cores

    def constant(self, node: onnx.NodeProto, place: int, what: str) -> NDArray[np.generic]:
        """The constant at an input of a node. Raises HostReason if it is computed at run time."""
        name = node.input[place] if place < len(node.input) else ""
        if name not in self.network.constants:
            raise HostReason(f"its {what} is {'computed at run time' if name else 'missing'}")
        return self.network.constants[name]

    def scale(self, node: onnx.NodeProto, place: int, what: str) -> np.float32:
        """A constant scalar scale."""
        value = self.constant(node, place, what)
        if value.size != 1 or value.dtype != np.float32:
            raise HostReason(f"its {what} is no single float32 number")
        return np.float32(value.reshape(()))

    def zero_point(self, node: onnx.NodeProto, place: int, what: str) -> int:
        """A constant scalar int8 zero point; 0 if the input is left out. Refuses uint8."""
        if place >= len(node.input) or not node.input[place]:
            return 0
        value = self.constant(node, place, what)
        if value.dtype != np.int8:
            raise CompileError(
                f"{describe(node)}: {what} is {value.dtype}; the cores compute with signed activations, so quantise "
                "with activation_type=QuantType.QInt8 and weight_type=QuantType.QInt8"
            )
        if value.size != 1:
            raise HostReason(f"its {what} is no single number")
        return int(value.reshape(()))

    def source(self, node: onnx.NodeProto, place: int, scale: float | np.float32 = 1.0, zero_point: int = 0) -> Tensor:
        """The tensor at an input, as it lies in the window; int8, batch 1, up to two spatial dimensions."""
        name = node.input[place]
        if name in self.tensors:
            return self.tensors[name]
        if name in self.network.constants:
            raise HostReason(f"its input {name!r} is constant")
        tensor = self._tensor(node, name, name)
        self.tensors[name] = replace(tensor, scale=float(scale), zero_point=zero_point)
        return self.tensors[name]

    def target(self, node: onnx.NodeProto, scale: float | np.float32, zero_point: int, place: int = 0) -> Tensor:
        """The tensor that a node writes."""
        tensor = replace(
            self._tensor(node, node.output[place], node.output[place]), scale=float(scale), zero_point=zero_point
        )
        self.tensors[tensor.name] = tensor
        return tensor

    def picture(self, node: onnx.NodeProto, place: int, scale: float | np.float32 = 1.0, zero_point: int = 0) -> Tensor:
        """Like `source`, for operators that look at rows and columns: they must lie in memory as in the network."""
        tensor = self.source(node, place, scale, zero_point)
        if tensor.dimensions != dimensions_of(tensor.shape):
            raise HostReason(f"its input {tensor.name!r} was reshaped from {tensor.dimensions} to {tensor.shape}")
        return tensor

    def unused_outputs(self, node: onnx.NodeProto) -> None:
        """Raises HostReason if a node gives more than one output."""
        if any(node.output[1:]):
            raise HostReason(f"its output {next(name for name in node.output[1:] if name)!r} is needed")

    # --- inside ------------------------------------------------------------------------------------------------

    def _tensor(self, node: onnx.NodeProto, name: str, source: str) -> Tensor:
        dtype, shape = self.network.dtypes[name], self.network.shapes[name]
        if dtype == np.uint8:
            raise CompileError(
                f"{describe(node)}: tensor {name!r} is uint8; the cores compute with signed activations, so quantise "
                "with activation_type=QuantType.QInt8 and weight_type=QuantType.QInt8"
            )
        if dtype != np.int8:
            raise HostReason(f"tensor {name!r} is {dtype}")
        if not 2 <= len(shape) <= 4 or shape[0] != 1 or 0 in shape:
            raise HostReason(f"tensor {name!r} has shape {shape}, the cores take [1, C], [1, C, L] and [1, C, H, W]")
        return Tensor(name, shape, dimensions_of(shape), source)

    def _alias(self, node: onnx.NodeProto, keeps_order: object) -> Alias:
        if not self.is_on_cores(node.input[0]):
            raise HostReason("nothing before it runs on the cores")
        self.unused_outputs(node)
        source = self.tensors[node.input[0]]
        shape = self.network.shapes[node.output[0]]
        if callable(keeps_order):
            keeps_order(self, node)
        if not shape or shape[0] != 1:
            raise HostReason(f"its output has shape {shape}, without a batch of 1")
        self.tensors[node.output[0]] = replace(source, name=node.output[0], shape=shape)
        return Alias(source.name)

    def _check_host_node(self, node: onnx.NodeProto) -> None:
        """Tensors that the host gives and cores read are found by `source`; nothing to do but to forget the output."""
        for name in node.output:
            self.tensors.pop(name, None)


def dimensions_of(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(channels, rows, columns) of a tensor [1, C], [1, C, L] or [1, C, H, W]; of others one that cannot occur."""
    match shape:
        case (1, channels):
            return channels, 1, 1
        case (1, channels, length):
            return channels, 1, length
        case (1, channels, rows, columns):
            return channels, rows, columns
    return 0, 0, 0
