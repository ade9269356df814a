"""Packages are followed exactly: what is always before what, which vectors are touched, what is written in the end."""

from __future__ import annotations

import numpy as np
import pytest

from compiler.package import Package
from formal.footprints import Footprints
from formal.happens_before import Events
from formal.package_check import contradictions
from formal.theorems.a_package_means_the_same_in_every_run import NETWORKS, compile_model
from isa.configuration import NAMED_POOLS
from isa.instructions import ConfigTile, ConfigWindow, Conv, Load

SMALL = NAMED_POOLS["small"]


@pytest.fixture(scope="module")
def lenet() -> Package:
    return compile_model(NETWORKS / "lenet.int8.onnx", SMALL)


def test_a_package_alone_is_enough_for_all_but_the_inputs_of_layers(lenet: Package) -> None:
    assert lenet.core_counts == (1, 2, 3, 4)
    assert contradictions(lenet) == []


def test_an_event_knows_what_has_happened_before_it_for_certain() -> None:
    events = Events()
    first, second = events.add("a", "first"), events.add("a", "second")
    other = events.add("b", "other", [first])
    assert events.order() == []
    assert events.before(other, "a") == 1
    assert events.before(second, "b") == 0
    assert events.place(second) == 2


def test_a_circle_of_waits_is_a_deadlock() -> None:
    events = Events()
    first, second, third = (events.add(chain, chain) for chain in "abc")
    events.wait(first, second)
    events.wait(second, first)
    assert set(events.order()) == {first, second}
    assert third not in events.order()


def test_a_convolution_reads_no_padding_and_a_load_walks_planes_and_rows() -> None:
    footprints = Footprints(SMALL)
    footprints.of(ConfigWindow(core=0, kernel_rows=3, kernel_columns=3))
    footprints.of(ConfigTile(core=0, input_rows=2, input_columns=4, output_rows=2, output_columns=4))
    conv = footprints.of(Conv(core=0, features=10, first_row=-1, first_column=-1))
    assert conv is not None
    assert np.unique(conv.early["features"]).tolist() == list(range(10, 18))
    assert conv.early["weights"].tolist() == list(range(9 * SMALL.array))
    load = footprints.of(Load(core=0, address=100, destination=5, columns=2, rows=1, planes=1))
    assert load is not None
    assert load.early["memory"].tolist() == [100, 101]
    assert load.writes["features"].tolist() == [5, 6]
