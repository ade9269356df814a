"""Networks that are resized while they are traced: what cannot be done is said at once, and why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from hypervisor.backends.model_backend import ModelPort
from hypervisor.hypervisor import HypervisorError
from hypervisor.run import Arrays, Job
from hypervisor.trace_run import Resize, run_with_resizes
from tests.hypervisor.crashing import SMALL, networks


def refusal(port: ModelPort, name: str, images: Sequence[Arrays], layer: int) -> str:
    with pytest.raises(HypervisorError) as problem:
        run_with_resizes(port, [Job(networks()[name].package, (0,), images)], [name], [Resize(layer, 2)])
    return str(problem.value)


def test_a_fault_before_a_resize_is_told_as_soon_as_it_is_there() -> None:
    port = ModelPort(SMALL)
    message = refusal(port, "broken", networks()["broken"].inputs[:1], 2)
    assert message.startswith("broken cannot be resized at layer 2: ILLEGAL_INSTRUCTION at instruction word ")
    assert port.cycle < 20_000


def test_images_that_would_not_be_run_are_refused() -> None:
    images = networks()["chain"].inputs
    assert "chain has 3 images" in refusal(ModelPort(SMALL), "chain", images, 2)


def test_a_network_of_several_stages_and_layers_that_are_not_there_are_refused() -> None:
    assert "divided runs in 2 stages" in refusal(ModelPort(SMALL), "divided", networks()["divided"].inputs[:1], 1)
    assert "give ascending ones from 1..2" in refusal(ModelPort(SMALL), "chain", networks()["chain"].inputs[:1], 3)
