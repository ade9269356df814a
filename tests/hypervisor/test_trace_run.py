"""Networks that are resized while they are traced: what cannot be done is said at once, and why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from compiler.package import Package
from hypervisor.backends.model_backend import ModelPort
from hypervisor.hypervisor import HypervisorError
from hypervisor.run import Arrays, Job
from hypervisor.trace_run import Resize, run_with_resizes
from tests.hypervisor.crashing import SMALL, broken_in, networks


def refusal(port: ModelPort, package: Package, images: Sequence[Arrays], layer: int) -> str:
    with pytest.raises(HypervisorError) as problem:
        run_with_resizes(port, [Job(package, (0,), images)], ["net"], [Resize(layer, 2)])
    return str(problem.value)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_fault_before_a_resize_is_told_as_soon_as_it_is_there(layer: int) -> None:
    port, chain = ModelPort(SMALL), networks()["chain"]
    message = refusal(port, broken_in(chain.package, layer), chain.inputs[:1], 2)
    assert message.startswith("net cannot be resized at layer 2: ILLEGAL_INSTRUCTION at instruction word ")
    assert port.cycle < 20_000


def test_images_that_would_not_be_run_are_refused() -> None:
    chain = networks()["chain"]
    assert "net has 3 images" in refusal(ModelPort(SMALL), chain.package, chain.inputs, 2)


def test_a_network_of_several_stages_and_layers_that_are_not_there_are_refused() -> None:
    divided, chain = networks()["divided"], networks()["chain"]
    assert "net runs in 2 stages" in refusal(ModelPort(SMALL), divided.package, divided.inputs[:1], 1)
    assert "give ascending ones from 1..2" in refusal(ModelPort(SMALL), chain.package, chain.inputs[:1], 3)
