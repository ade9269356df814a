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
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.check import compare
from hypervisor.machines import open_port
from hypervisor.run import Job, run_networks
from isa.configuration import NAMED_POOLS

CONFIG = NAMED_POOLS["paper"]
WANTED = os.environ.get("TENURE_PAPER", "")
IMAGES = {"resnet50": 1, "mobilenet_v1": 1, "efficientnet_lite0": 3, "vgg16": 1}
IN_INTEGRATION = ("resnet50", "mobilenet_v1", "efficientnet_lite0")

pytestmark = [
    pytest.mark.long,
    pytest.mark.xdist_group("paper_verilator"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def behind_the_switch(name: str) -> object:
    """The network, skipped unless TENURE_PAPER wants it: a simulator of 4096 multipliers, and minutes for each."""
    runs = WANTED == "all" or (WANTED == "1" and name in IN_INTEGRATION)
    switch = "TENURE_PAPER=1" if name in IN_INTEGRATION else "TENURE_PAPER=all"
    return pytest.param(name, marks=pytest.mark.skipif(not runs, reason=f"minutes of simulation: {switch}"))


@pytest.mark.parametrize("name", [behind_the_switch(name) for name in IMAGES])
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
    window = package.window()
    firsts = [stage.first_layer for stage in package.stages]
    return [time_stage(package, first, range(CONFIG.cores), CONFIG, window).cycles for first in firsts]
