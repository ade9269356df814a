"""Packages are followed exactly: what is always before what, which vectors are touched, what is written in the end."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from compiler.package import Package
from formal.footprints import Footprints, buffer_space
from formal.happens_before import Events
from formal.package_check import contradictions
from formal.package_events import program_of
from formal.theorems.a_package_means_the_same_in_every_run import NETWORKS, compile_model
from isa.configuration import NAMED_POOLS
from isa.core_semantics import execute
from isa.core_state import CoreState, WindowMemory
from isa.instructions import INSTRUCTIONS, ConfigTile, ConfigWindow, Conv, CoreInstruction, Engine, Load, Save

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


def test_every_instruction_of_a_core_has_a_footprint() -> None:
    footprints = Footprints(SMALL)
    for kind in INSTRUCTIONS:
        if kind.engine() is not Engine.LEVEL_1:
            footprints.of(kind(core=0))


@pytest.mark.parametrize("network", ["lenet", "mobilenet"])
def test_what_an_instruction_does_depends_on_its_footprint_alone(network: str) -> None:
    package = compile_model(NETWORKS / f"{network}.int8.onnx", SMALL, [1])
    flow, _ = program_of(package, 1, 0)
    generator = np.random.default_rng(1)
    image = package.window()
    image[len(package.image()) :] = generator.integers(0, 256, package.window_bytes - len(package.image()), np.uint8)
    state, memory, footprints = CoreState(SMALL), WindowMemory(SMALL, image), Footprints(SMALL)
    compared = 0
    for instruction, _ in flow:
        assert isinstance(instruction, CoreInstruction)
        footprint = footprints.of(instruction)
        if footprint is None or isinstance(instruction, Load | Save):
            execute(state, memory, instruction)
            continue
        other = deepcopy(state)
        reads = {**footprint.early, **footprint.late}
        for buffer, store in other.buffers.items():
            unread = np.setdiff1d(np.arange(store.depth), reads.get(buffer_space(buffer), np.zeros(0, np.int64)))
            store.data[unread] = generator.integers(-128, 128, store.data[unread].shape, np.int8)
        before = state.output.data.copy()
        execute(state, memory, instruction)
        execute(other, memory, instruction)
        for left, right in zip((state.output, *state.accumulators), (other.output, *other.accumulators), strict=True):
            assert np.array_equal(left.data, right.data), instruction
        changed = np.flatnonzero((before != state.output.data).any(axis=(1, 2)))
        assert set(changed) <= set(footprint.writes.get("output", np.zeros(0, np.int64)).tolist()), instruction
        compared += 1
    assert compared > 20
