"""Trace files, read back with Perfetto's own message definitions."""

from __future__ import annotations

import io
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.pool_port import ActivityInterval
from hypervisor.trace_file import Mark, ProgramRun, TimedRun, TraceError, check_activity, time_runs, write_trace
from isa.configuration import NAMED_POOLS
from isa.timing import Unit

CONFIG = NAMED_POOLS["small"]
NETWORKS = Path(__file__).parents[1] / "networks"
START, SECOND_START = 4096, 8192


@dataclass(frozen=True)
class Slice:
    track: str
    name: str
    first: int
    end: int
    tenant: str
    about: dict[str, str | int]


@pytest.fixture(scope="module")
def package() -> Package:
    return compile_model(NETWORKS / "lenet.int8.onnx", CONFIG, [1, 2])


@pytest.fixture(scope="module")
def runs(package: Package) -> list[TimedRun]:
    """Tenant A on cores 2 and 0, paused before layer 2, then on core 3; tenant B on core 1."""
    return time_runs(
        CONFIG,
        [
            ProgramRun("A", package, (2, 0), START, end_layer=2),
            ProgramRun("A", package, (3,), START + 100_000, first_layer=2),
            ProgramRun("B", package, (1,), SECOND_START),
        ],
    )


def read(content: bytes) -> tuple[list[Slice], list[tuple[str, str, int]]]:
    """Slices, and marks as (track, name, cycle); every packet must be one that a viewer can place."""
    trace = Trace.FromString(content)
    tracks: dict[int, str] = {}
    opened: dict[int, list[tuple[TrackEvent, int]]] = defaultdict(list)
    slices, marks = [], []
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            parent = f"{tracks[track.parent_uuid]}/" if track.parent_uuid else ""
            tracks[track.uuid] = parent + track.name
            continue
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            opened[event.track_uuid].append((event, packet.timestamp))
        elif event.type == TrackEvent.TYPE_SLICE_END:
            begin, first = opened[event.track_uuid].pop()
            about = {
                each.name: each.string_value if each.HasField("string_value") else each.int_value
                for each in begin.debug_annotations
            }
            tenant = begin.correlation_id_str
            slices.append(Slice(tracks[event.track_uuid], begin.name, first, packet.timestamp, tenant, about))
        else:
            assert event.type == TrackEvent.TYPE_INSTANT
            marks.append((tracks[event.track_uuid], event.name, packet.timestamp))
    assert not any(opened.values()), "every slice ends"
    return slices, marks


def written(runs: list[TimedRun], marks: list[Mark] | None = None) -> tuple[list[Slice], list[tuple[str, str, int]]]:
    file = io.BytesIO()
    count = write_trace(file, runs, marks or [])
    slices, found = read(file.getvalue())
    assert count == len(slices) + len(found)
    return slices, found


def test_every_core_shows_its_holder_and_its_instructions(runs: list[TimedRun], package: Package) -> None:
    slices, _ = written(runs)
    holders = {(each.track, each.name, each.first) for each in slices if each.track.endswith("/tenant")}
    assert holders == {
        ("core 0/tenant", "A", START),
        ("core 2/tenant", "A", START),
        ("core 3/tenant", "A", START + 100_000),
        ("core 1/tenant", "B", SECOND_START),
    }
    own = [each for each in slices if each.track.startswith("core 1/") and each.name != "B"]
    assert len(own) == len(runs[2].timing.executed) > 100
    assert {each.track.split("/")[1] for each in own} == {unit.value for unit in Unit}
    assert {each.about["layer"] for each in own} == {layer.name for layer in package.layers}
    assert all(str(each.about["instruction"]).startswith(each.name) for each in own)


def test_colours_tell_tenants_apart(runs: list[TimedRun]) -> None:
    slices, _ = written(runs)
    assert {each.tenant for each in slices if each.track.startswith("core 1/")} == {"B"}
    assert {each.tenant for each in slices if not each.track.startswith(("core 1/", "tenant B/"))} == {"A"}


def test_slices_of_a_track_follow_each_other(runs: list[TimedRun]) -> None:
    """The viewer drops or misplaces slices that overlap without nesting."""
    slices, _ = written(runs)
    tracks = defaultdict(list)
    for each in slices:
        tracks[each.track].append((each.first, each.end))
    for track, spans in tracks.items():
        assert all(first < end for first, end in spans), track
        ordered = sorted(spans)
        assert all(before[1] <= after[0] for before, after in pairwise(ordered)), track


def test_layers_run_from_barrier_to_barrier_and_switches_are_marked(runs: list[TimedRun], package: Package) -> None:
    marks = [Mark("A", START + 50_000, "REVOKE core 0")]
    slices, found = written(runs, marks)
    layers = [each for each in slices if each.track == "tenant A/layers"]
    assert [each.about["layer"] for each in layers] == list(range(len(package.layers)))
    barriers = runs[0].timing.barriers
    assert [(each.first, each.end) for each in layers[:2]] == [
        (START + barriers[0], START + barriers[1]),
        (START + barriers[1], START + barriers[2]),
    ]
    names = [name for track, name, _ in found if track == "tenant A/marks"]
    assert names[0] == "START at layer 0 on 2 cores"
    for name in ("end of layer 1", "PAUSED before layer 2", "REVOKE core 0", "START at layer 2 on 1 core", "END"):
        assert name in names
    assert max(each.end for each in slices if each.track.startswith("core 0/")) <= START + barriers[2]


def measured(runs: list[TimedRun]) -> list[ActivityInterval]:
    return [
        ActivityInterval(
            timed.run.cores[item.core], item.engine - 1, *(timed.run.start + c for c in (item.first, item.end))
        )
        for timed in runs
        for item in timed.timing.activity
    ]


def test_a_machine_that_was_busy_in_other_cycles_is_found_out(runs: list[TimedRun]) -> None:
    complete = runs[2:]
    activity = measured(complete)
    check_activity(complete, activity)
    activity[3] = replace(activity[3], end=activity[3].end + 1)
    with pytest.raises(TraceError, match=r"disagree on \w+ of core 1"):
        check_activity(complete, activity)
    with pytest.raises(TraceError, match="disagree"):
        check_activity(complete, measured(complete)[:-1])


def test_of_a_paused_program_only_the_part_until_then_is_compared(runs: list[TimedRun]) -> None:
    activity = measured(runs)
    check_activity(runs, activity)
    later = [index for index, item in enumerate(activity) if item.core == 0 and item.first > runs[0].end]
    assert later, "the timing model went on to the end"
    check_activity(runs, [item for index, item in enumerate(activity) if index not in later])
    earlier = next(index for index, item in enumerate(activity) if item.core == 0 and item.end < runs[0].end)
    with pytest.raises(TraceError, match="core 0"):
        check_activity(runs, activity[:earlier] + activity[earlier + 1 :])
