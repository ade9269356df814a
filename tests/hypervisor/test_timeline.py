"""The picture of the engines, and the shares that --profile prints."""

import io

import pytest

from hypervisor.pool_port import ActivityInterval
from hypervisor.timeline import draw_timeline, engine_shares

ACTIVITY = [ActivityInterval(0, 0, 0, 50), ActivityInterval(0, 1, 25, 75), ActivityInterval(1, 2, 90, 200)]


@pytest.mark.parametrize("file_format", ["svg", "png"])
def test_a_picture_names_its_cores_and_tenants(file_format: str) -> None:
    file = io.BytesIO()
    draw_timeline(file, file_format, ACTIVITY, {0: "lenet", 1: "resnet8"}, 0, 100)
    assert len(file.getvalue()) > 1000


def test_a_picture_of_nothing_can_be_drawn() -> None:
    file = io.BytesIO()
    draw_timeline(file, "svg", [], {0: "lenet"}, 0, 0)
    assert file.getvalue()


def test_shares_count_only_cycles_inside_the_stretch() -> None:
    assert engine_shares(ACTIVITY, [0, 1], 0, 100) == {0: (0.5, 0.5, 0.0), 1: (0.0, 0.0, 0.1)}
