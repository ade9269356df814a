"""Small int8 ONNX networks for tests, built one node at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Quantisation = tuple[float, int]
"""Scale and zero point."""


class NetworkBuilder:
    """Nodes in order; each method gives the name of the tensor that its node writes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, shape: Sequence[int], dtype: int = TensorProto.INT8, name: str = "x") -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def constant(self, value: NDArray[Any]) -> str:
        name = f"constant{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        name = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=f"n{name}", domain=domain, **attributes))
        return name

    def contributed(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        return self.node(operator, inputs, "com.microsoft", **attributes)

    def numbers(self, quantisation: Quantisation, zero_type: type[np.generic] = np.int8) -> list[str]:
        scale, zero = quantisation
        return [self.constant(np.array(scale, np.float32)), self.constant(np.array(zero, zero_type))]

    def conv(
        self,
        x: str,
        x_numbers: Quantisation,
        weights: NDArray[np.int8],
        weight_scales: NDArray[np.float32],
        y_numbers: Quantisation,
        bias: NDArray[np.int32] | None = None,
        **attributes: Any,
    ) -> str:
        zeros = np.zeros(weight_scales.shape, np.int8)
        names = [
            x,
            *self.numbers(x_numbers),
            self.constant(weights),
            self.constant(weight_scales),
            self.constant(zeros),
        ]
        names += self.numbers(y_numbers)
        if bias is not None:
            names.append(self.constant(bias))
        return self.node("QLinearConv", names, **attributes)

    def gemm(
        self,
        x: str,
        x_numbers: Quantisation,
        weights: NDArray[np.int8],
        weight_scales: NDArray[np.float32],
        y_numbers: Quantisation,
        bias: NDArray[np.int32] | None = None,
        **attributes: Any,
    ) -> str:
        zeros = np.zeros(weight_scales.shape, np.int8)
        names = [
            x,
            *self.numbers(x_numbers),
            self.constant(weights),
            self.constant(weight_scales),
            self.constant(zeros),
        ]
        names += ["" if bias is None else self.constant(bias), *self.numbers(y_numbers)]
        return self.contributed("QGemm", names, **attributes)

    def add(self, a: str, a_numbers: Quantisation, b: str, b_numbers: Quantisation, c_numbers: Quantisation) -> str:
        names = [a, *self.numbers(a_numbers), b, *self.numbers(b_numbers), *self.numbers(c_numbers)]
        return self.contributed("QLinearAdd", names)

    def unary(self, operator: str, x: str, x_numbers: Quantisation, y_numbers: Quantisation, **attributes: Any) -> str:
        """QLinearSigmoid, QLinearLeakyRelu, QLinearAveragePool, QLinearGlobalAveragePool."""
        return self.contributed(operator, [x, *self.numbers(x_numbers), *self.numbers(y_numbers)], **attributes)

    def concat(self, parts: Sequence[tuple[str, Quantisation]], y_numbers: Quantisation) -> str:
        names = self.numbers(y_numbers)
        for name, numbers in parts:
            names += [name, *self.numbers(numbers)]
        return self.contributed("QLinearConcat", names, axis=1)

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes, "test", self._inputs, [onnx.ValueInfoProto(name=name) for name in outputs], self._constants
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def random_int8(generator: np.random.Generator, shape: Sequence[int]) -> NDArray[np.int8]:
    return generator.integers(-128, 128, shape).astype(np.int8)
