"""The model's functional half on every test image: ONNX Runtime's int8 logits, on all of them."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.compile import compile_model
from isa.configuration import NAMED_POOLS
from isa.core_state import WindowMemory
from isa.interpreter import Machine, Outcome

NETWORKS = Path(__file__).parent.parent / "networks"
CONFIG = NAMED_POOLS["small"]
IMAGES, BATCH, CORES = 1000, 125, 2


@pytest.mark.parametrize("name", ["lenet", "resnet8", "mobilenet"])
def test_the_logits_of_a_thousand_images_are_exact(name: str) -> None:
    path = NETWORKS / f"{name}.int8.onnx"
    package = compile_model(path, CONFIG, [CORES])
    images = np.load(NETWORKS / "mnist_test.npz")["images"][:IMAGES].astype(np.float32)[:, None] / np.float32(255)
    logits = package.layers[-1].output
    placement = package.tensor(logits)
    program = package.program(CORES)

    found = []
    for first in range(0, IMAGES, BATCH):
        memory = WindowMemory(CONFIG, package.window(), batch=BATCH)
        memory.write(program.offset_bytes, np.frombuffer(program.words, np.uint8))
        writes = [package.quantise_input(image[None]) for image in images[first : first + BATCH]]
        for parts in zip(*writes, strict=True):
            memory.write(parts[0].offset, np.stack([np.frombuffer(part.data, np.uint8) for part in parts]))
        assert Machine(CONFIG, memory, CORES).run(program.start_word).outcome is Outcome.DONE
        contents = memory.read(placement.offset, placement.byte_count)
        found += [placement.from_bytes(content.tobytes()).reshape(-1) for content in contents]

    expected = [each.reshape(-1) for each in int8_logits(path, logits, images)]
    assert len(found) == len(expected) == IMAGES
    wrong = [index for index in range(IMAGES) if (found[index] != expected[index]).any()]
    assert not wrong, f"{len(wrong)} of {IMAGES} images differ, the first is {wrong[0]}"


def int8_logits(path: Path, tensor: str, images: np.ndarray) -> list[np.ndarray]:
    """ONNX Runtime's int8 tensor for each image."""
    network = onnx.load(str(path))
    network.graph.output.append(onnx.ValueInfoProto(name=tensor))
    session = onnxruntime.InferenceSession(network.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run([tensor], {"image": image[None]})[0] for image in images]
