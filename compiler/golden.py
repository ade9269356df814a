"""ONNX Runtime as the reference: every tensor of an int8 network, computed node by node on one thread.

Graph optimisations are off: a tensor is what its own node computes, whatever would have been fused.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from compiler.errors import CompileError

Arrays = Mapping[str, NDArray[Any]]


def session(model: onnx.ModelProto | bytes) -> onnxruntime.InferenceSession:
    """A single-threaded session without graph optimisations. Raises CompileError with ONNX Runtime's own words."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    content = model if isinstance(model, bytes) else model.SerializeToString()
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
        raise CompileError(f"ONNX Runtime does not accept the network: {_first_line(error)}") from None


def run(model: onnx.ModelProto | bytes, inputs: Arrays, outputs: Iterable[str] | None = None) -> dict[str, Any]:
    """Run a model once and give the named outputs (all by default). Raises CompileError if it cannot run."""
    opened = session(model)
    names = list(outputs) if outputs is not None else [output.name for output in opened.get_outputs()]
    try:
        return dict(zip(names, opened.run(names, dict(inputs)), strict=True))
    except Exception as error:  # as above
        raise CompileError(f"ONNX Runtime cannot run the network: {_first_line(error)}") from None


def with_all_outputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model whose outputs are all tensors that its nodes compute."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    present = {output.name for output in exposed.graph.output}
    for node in exposed.graph.node:
        for name in node.output:
            if name and name not in present:
                present.add(name)
                exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    return exposed


def drop_unused_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove, in place, inputs that no node reads: exporters and optimisers leave some behind."""
    read = {name for node in model.graph.node for name in node.input}
    read |= {value.name for value in model.graph.output}
    is_nested = any(attribute.g.node or attribute.graphs for node in model.graph.node for attribute in node.attribute)
    if not is_nested:
        kept = [value for value in model.graph.input if value.name in read]
        del model.graph.input[:]
        model.graph.input.extend(kept)
    return model


class Golden:
    """The reference results of one int8 network.

    golden = Golden("resnet8.int8.onnx")
    tensors = golden.tensors({"image": image})      # name -> array, inputs and intermediate tensors included
    """

    def __init__(self, model: onnx.ModelProto | str | Path) -> None:
        check_host()
        loaded = model if isinstance(model, onnx.ModelProto) else onnx.load(str(model))
        self._session = session(drop_unused_inputs(with_all_outputs(loaded)))
        self._names = [output.name for output in self._session.get_outputs()]

    def tensors(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Every tensor for one set of inputs."""
        return {**inputs, **dict(zip(self._names, self._session.run(self._names, dict(inputs)), strict=True))}


def mismatches(expected: NDArray[Any], actual: NDArray[Any]) -> int:
    """Number of elements that differ; all of them if the shapes do."""
    if expected.shape != actual.shape:
        return int(max(expected.size, actual.size))
    return int(np.count_nonzero(expected != actual))


def check_host() -> None:
    """Raise CompileError unless this host computes as the pool does: x86-64 with AVX2 and FMA."""
    flags = _processor_flags()
    missing = [flag for flag in ("avx2", "fma") if flags is not None and flag not in flags]
    if platform.machine().lower() not in ("x86_64", "amd64") or missing:
        lacking = ", ".join(missing) or "AVX2"
        raise CompileError(
            f"ONNX Runtime's int8 results on this host ({platform.machine()}, without {lacking}) are "
            "not the reference: the pool's arithmetic equals x86-64 with AVX2 and FMA; run the comparison there"
        )


def _processor_flags() -> set[str] | None:
    """Feature flags of the processor, None where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return {flag for line in text.splitlines() if line.startswith("flags") for flag in line.split(":", 1)[1].split()}


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
