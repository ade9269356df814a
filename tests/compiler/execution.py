"""Runs a package on the reference interpreter and compares every tensor in memory with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler.compile import compile_model
from compiler.golden import Golden, mismatches
from compiler.package import Package
from isa.configuration import PoolConfig
from isa.core_state import WindowMemory
from isa.interpreter import Machine, Outcome


@dataclass
class Comparison:
    """Bytes compared at the ends of layers and in the outputs, and the tensors that differ."""

    compared: int = 0
    tensors: set[str] = field(default_factory=set)
    wrong: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, expected: NDArray[Any], actual: NDArray[Any]) -> None:
        self.compared += expected.size
        self.tensors.add(name)
        if mismatches(expected, actual):
            self.wrong[name] = mismatches(expected, actual)


def run_and_compare(
    package: Package,
    model: onnx.ModelProto,
    config: PoolConfig,
    cores: int,
    inputs: Mapping[str, NDArray[Any]],
    window: NDArray[np.uint8] | None = None,
) -> Comparison:
    """Run all stages on fresh cores; compare each tensor at the barrier that completes it, and the outputs."""
    expected = Golden(model).tensors(inputs)
    result = Comparison()
    memory = WindowMemory(config, package.window() if window is None else window)
    machine = Machine(config, memory, cores)
    inference = package.inference(inputs)

    def read(offset: int, length: int) -> bytes:
        return memory.read(offset, length)[0].tobytes()

    for number, stage in enumerate(package.stages):
        for write in inference.before(number, read):
            memory.write(write.offset, np.frombuffer(write.data, np.uint8))
        program = package.program(cores, stage.first_layer)
        memory.write(program.offset_bytes, np.frombuffer(program.words, np.uint8))
        complete: dict[int, list[Any]] = {}
        for tensor in package.tensors:
            if stage.first_layer <= tensor.layer < stage.end_layer:
                barrier = package.barriers_until(tensor.layer, stage.first_layer)
                complete.setdefault(barrier, []).append(tensor)

        def capture(barrier: int, _: WindowMemory, complete: dict[int, list[Any]] = complete) -> None:
            for tensor in complete.get(barrier + 1, []):
                result.add(
                    tensor.name, expected[tensor.name], tensor.from_bytes(read(tensor.offset, tensor.byte_count))
                )

        machine.capture = capture
        outcome = machine.run(program.start_word)
        assert outcome.outcome is Outcome.DONE, outcome
        assert outcome.barriers == program.barriers
    for name, value in inference.outputs(read).items():
        result.add(name, expected[name], value)
    return result


def assert_exact(
    model: onnx.ModelProto,
    config: PoolConfig,
    inputs: Mapping[str, NDArray[Any]],
    cores: int = 1,
    fuse: bool = True,
    on_host: int = 0,
) -> Package:
    """Compile, run, and require equality everywhere, with exactly `on_host` nodes on the host."""
    package = compile_model(model, config, [cores], fuse)
    assert len(package.explain()) == on_host, package.explain()
    result = run_and_compare(package, model, config, cores, inputs)
    assert not result.wrong, result.wrong
    assert result.compared
    return package
