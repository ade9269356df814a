"""EfficientNet-Lite0 with its trained weights on labelled images: float, int8 in ONNX Runtime, int8 on the cores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks import BUILDERS, build
from benchmarks.networks.build import float_model, session
from benchmarks.networks.description import INPUT
from benchmarks.networks.labelled import CROPS_OF_AN_IMAGE, labelled_images
from compiler.compile import compile_model
from compiler.package import Package
from isa.configuration import PoolConfig
from isa.core_state import WindowMemory
from isa.interpreter import Machine, Outcome
from scripts.commands.reporting import InputError, fraction_progress

NETWORK = "efficientnet_lite0"


def measure(config: PoolConfig, names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One row for each image, and one for all: classes, and int8 logits that differ from ONNX Runtime's."""
    if set(names) - {NETWORK}:
        raise InputError(f"--network {names[0]}: only {NETWORK} has trained weights")
    with fraction_progress("accuracy") as progress:
        network = build(NETWORK, progress)
        images = labelled_images(BUILDERS[NETWORK]().size)
        package = compile_model(network.path, config, [config.cores], progress=progress)
        logits = package.layers[-1].output
        exact, rounded = session(float_model(NETWORK)), session(network.model(), output=logits)
        rows = []
        agreeing = 0
        for number, image in enumerate(images):
            progress(number / len(images), image.name)
            classes = [int(exact.run(None, {INPUT: crop[None]})[0].argmax()) for crop in image.crops]
            reference = [rounded.run([logits], {INPUT: crop[None]})[0].reshape(-1) for crop in image.crops]
            agreeing += sum(int(each.argmax()) == best for each, best in zip(reference, classes, strict=True))
            found = logits_on_cores(package, config, image.crops[0])
            rows.append(
                {
                    "image": image.name,
                    "label": image.label,
                    "float": classes[0],
                    "int8": int(reference[0].argmax()),
                    "cores": int(found.argmax()),
                    "logit bytes": found.size,
                    "mismatches": int((found != reference[0]).sum()),
                }
            )
    total: dict[str, Any] = {
        "image": f"top-1 of {len(rows)} (int8 = float in {agreeing} of {len(rows) * CROPS_OF_AN_IMAGE} crops)",
        "label": len(rows),
    }
    total |= {kind: sum(row[kind] == row["label"] for row in rows) for kind in ("float", "int8", "cores")}
    total |= {kind: sum(row[kind] for row in rows) for kind in ("logit bytes", "mismatches")}
    return [*rows, total]


def logits_on_cores(package: Package, config: PoolConfig, image: NDArray[np.float32]) -> NDArray[np.int8]:
    """The int8 logits of one image [3][size][size], from the functional half of the model, on all cores."""
    program = package.program(config.cores)
    window = package.window()
    program.place(window)
    memory = WindowMemory(config, window)
    for write in package.quantise_input(image[None]):
        memory.write(write.offset, np.frombuffer(write.data, np.uint8))
    outcome = Machine(config, memory, config.cores).run(program.start_word).outcome
    if outcome is not Outcome.DONE:
        raise RuntimeError(f"the program ended with {outcome.name}")
    placement = package.tensor(package.layers[-1].output)
    content = memory.read(placement.offset, placement.byte_count)[0]
    return placement.from_bytes(content.tobytes()).reshape(-1)
