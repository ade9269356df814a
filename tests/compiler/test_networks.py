"""The three trained networks, byte for byte, on every number of cores."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from compiler.compile import compile_model
from compiler.latencies import time_stage
from compiler.package import Package
from isa.configuration import NAMED_POOLS, PoolConfig
from tests.compiler.execution import run_and_compare

NETWORKS = Path(__file__).parent.parent / "networks"
RUNS = [("small", cores) for cores in (1, 2, 3, 4)] + [("tiny", 1), ("tiny", 2), ("paper", 11)]


@cache
def network(name: str) -> onnx.ModelProto:
    return onnx.load(str(NETWORKS / f"{name}.int8.onnx"))


@cache
def package(name: str, pool: str, fuse: bool = True) -> Package:
    counts = [1, 11] if pool == "paper" else None
    return compile_model(network(name), NAMED_POOLS[pool], counts, fuse)


@cache
def image(number: int = 0) -> NDArray[np.float32]:
    images = np.load(NETWORKS / "mnist_test.npz")["images"]
    return images[number : number + 1, None].astype(np.float32) / np.float32(255)


@pytest.mark.parametrize(("pool", "cores"), RUNS)
@pytest.mark.parametrize("name", ["lenet", "resnet8", "mobilenet"])
def test_every_tensor_equals_onnx_runtime(name: str, pool: str, cores: int) -> None:
    result = run_and_compare(package(name, pool), network(name), NAMED_POOLS[pool], cores, {"image": image(cores)})
    assert result.wrong == {}
    written = {tensor.name for tensor in package(name, pool).tensors if tensor.layer >= 0}
    assert written <= result.tensors and "logits" in result.tensors


@pytest.mark.parametrize("name", ["lenet", "resnet8", "mobilenet"])
def test_only_the_ends_run_on_the_host(name: str) -> None:
    lines = package(name, "small").explain()
    assert [line.split(" ")[0] for line in lines] == ["QuantizeLinear", "DequantizeLinear"]


def test_a_second_image_runs_on_the_same_cores_without_a_reset() -> None:
    config, compiled = NAMED_POOLS["small"], package("lenet", "small")
    from isa.core_state import WindowMemory
    from isa.interpreter import Machine, Outcome

    memory = WindowMemory(config, compiled.window())
    machine = Machine(config, memory, 3)
    program = compiled.program(3)
    memory.write(program.offset_bytes, np.frombuffer(program.words, np.uint8))
    for number in range(3):
        for write in compiled.quantise_input(image(number)):
            memory.write(write.offset, np.frombuffer(write.data, np.uint8))
        assert machine.run(program.start_word).outcome is Outcome.DONE
        content = memory.read(0, compiled.window_bytes)[0]
        fresh = run_and_compare(compiled, network("lenet"), config, 3, {"image": image(number)})
        assert not fresh.wrong
        from compiler.golden import Golden

        expected = Golden(network("lenet")).tensors({"image": image(number)})["logits"]
        assert (compiled.read_output(np.ascontiguousarray(content)) == expected).all()


def test_the_window_that_the_page_on_fpgas_fills_computes_its_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from compiler.golden import Golden
    from isa.core_state import WindowMemory
    from isa.interpreter import Machine, Outcome

    page = (Path(__file__).parents[2] / "docs" / "fpga.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    compiled = package("lenet", "small")
    monkeypatch.chdir(tmp_path)
    compiled.save("lenet.ifp")
    np.save("image.npy", image())
    exec(compile(snippet, "docs/fpga.md", "exec"), {})
    config, start = NAMED_POOLS["small"], int(capsys.readouterr().out)
    window = np.fromfile("window.bin", np.uint8)
    assert len(window) % (config.fetch_beats * config.beat_bytes) == 0
    memory = WindowMemory(config, window)
    assert Machine(config, memory, 2).run(start).outcome is Outcome.DONE
    expected = Golden(network("lenet")).tensors({"image": image()})["logits"]
    content = np.ascontiguousarray(memory.read(0, len(window))[0])
    assert (compiled.read_output(content) == expected).all()


def test_a_run_resumes_at_any_layer_with_other_cores() -> None:
    from isa.core_state import WindowMemory
    from isa.interpreter import Machine, Outcome

    config, compiled = NAMED_POOLS["small"], package("resnet8", "small")
    for layer in range(1, len(compiled.layers)):
        memory = WindowMemory(config, compiled.window())
        for write in compiled.quantise_input(image()):
            memory.write(write.offset, np.frombuffer(write.data, np.uint8))
        before = compiled.program(1 + layer % 4)
        memory.write(before.offset_bytes, np.frombuffer(before.words, np.uint8))
        stopped = compiled.barriers_until(layer - 1)
        at_layer: list[NDArray[np.uint8]] = []
        machine = Machine(config, memory, 1 + layer % 4)
        machine.capture = lambda barrier, state: (
            at_layer.append(state.read(0, compiled.window_bytes)[0].copy()) if barrier + 1 == stopped else None  # noqa: B023
        )
        assert machine.run(before.start_word).outcome is Outcome.DONE
        resumed = WindowMemory(config, at_layer[0])
        program = compiled.program(1 + (layer + 2) % 4, layer)
        resumed.write(program.offset_bytes, np.frombuffer(program.words, np.uint8))
        assert Machine(config, resumed, 1 + (layer + 2) % 4).run(program.start_word).outcome is Outcome.DONE
        output = compiled.read_output(np.ascontiguousarray(resumed.read(0, compiled.window_bytes)[0]))
        finished = compiled.read_output(np.ascontiguousarray(memory.read(0, compiled.window_bytes)[0]))
        assert (output == finished).all()


def test_resnet8_keeps_one_small_core_busy() -> None:
    config, compiled = NAMED_POOLS["small"], package("resnet8", "small")
    assert compiled.macs / (config.macs_per_cycle * _cycles(compiled, config, 1)) >= 0.75


def test_without_fusion_every_intermediate_tensor_is_written() -> None:
    compiled = package("resnet8", "small", fuse=False)
    result = run_and_compare(compiled, network("resnet8"), NAMED_POOLS["small"], 2, {"image": image()})
    assert not result.wrong
    quantised = {name for node in network("resnet8").graph.node for name in node.output if name != "logits"}
    assert quantised - {"image_quantized"} <= result.tensors


def test_exact_timing_chooses_plans_that_take_fewer_cycles_and_give_the_same_bytes() -> None:
    config = NAMED_POOLS["small"]
    exact = compile_model(network("resnet8"), config, [1, 4], exact=[4])
    assert not run_and_compare(exact, network("resnet8"), config, 4, {"image": image()}).wrong
    estimated = package("resnet8", "small")
    assert _cycles(exact, config, 4) <= _cycles(estimated, config, 4)


def _cycles(compiled: Package, config: PoolConfig, cores: int) -> int:
    (stage,) = compiled.stages
    return time_stage(compiled, stage.first_layer, range(cores), config, compiled.window()).cycles
