"""Whole ImageNet networks on the Verilog of `paper`: every tensor is ONNX Runtime's, every cycle is the model's.

TENURE_PAPER=1 runs the networks that continuous integration runs (minutes); TENURE_PAPER=all runs all of them.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.networks import BUILDERS, build
from benchmarks.networks.description import INPUT
from benchmarks.networks.labelled import labelled_images
from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.check import compare
from hypervisor.machines import open_port
from hypervisor.run import Job, run_networks
from isa.configuration import NAMED_POOLS
from isa.timing import simulate

CONFIG = NAMED_POOLS["paper"]
WANTED = os.environ.get("TENURE_PAPER", "")
IMAGES = {"resnet50": 1, "mobilenet_v1": 1, "efficientnet_lite0": 3, "vgg16": 1}
IN_INTEGRATION = ("resnet50", "mobilenet_v1", "efficientnet_lite0")
NETWORKS = [name for name in IMAGES if WANTED == "all" or (WANTED == "1" and name in IN_INTEGRATION)]

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("paper_verilator"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.skipif(bool(NETWORKS), reason="the networks below run")
def test_networks_run_on_the_verilog_of_paper_behind_a_switch() -> None:
    assert not WANTED, "TENURE_PAPER is 1 or all"


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_exact_on_the_verilog_of_paper(name: str) -> None:
    network = build(name)
    package = compile_model(network.path, CONFIG, [CONFIG.cores])
    images = [{INPUT: image} for image in inputs(name)]
    job = Job(package, tuple(range(CONFIG.cores)), images)
    result = run_networks(lambda: open_port("verilator", CONFIG), [job], capture=True, alone=False)
    (ran,) = result.jobs
    assert ran.fault is None
    checked = compare(package, Path(network.path), images, ran.captured)
    assert not checked.missing and checked.mismatches == 0 and checked.compared > 1_000_000
    expected = cycles_of(package)
    assert ran.stage_cycles == [expected] * len(images)


def inputs(name: str) -> list[NDArray[np.float32]]:
    """Labelled images for the trained network, a photo for the others; [1][3][size][size]."""
    size = BUILDERS[name]().size
    if name == "efficientnet_lite0":
        return [image.crops[:1] for image in labelled_images(size)[: IMAGES[name]]]
    return [build(name).image(number) for number in range(IMAGES[name])]


def cycles_of(package: Package) -> list[int]:
    """The model's cycles of each stage."""
    window = np.zeros(package.window_bytes, np.uint8)
    static = package.image()
    window[: len(static)] = np.frombuffer(static, np.uint8)
    cycles = []
    for stage in package.stages:
        program = package.program(CONFIG.cores, stage.first_layer)
        window[program.offset_bytes :][: len(program.words)] = np.frombuffer(program.words, np.uint8)
        cycles.append(simulate(CONFIG, window, program.start_word, range(CONFIG.cores)).cycles)
    return cycles
