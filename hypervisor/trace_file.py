"""Trace files: what every unit of every core executed when, for the viewer https://ui.perfetto.dev.

Perfetto's own format, a protobuf `Trace` of `TrackEvent`s (docs/decisions/0031). A nanosecond in the viewer is a cycle
of the pool. A core is a track; under it, one shows which tenant holds it, the others the instructions in its units. A
tenant is a track, too, with its layers from barrier to barrier and its marks. Colours tell tenants apart: all slices of
a tenant have its name as correlation id, which the viewer colours by. Instructions come from the timing model;
`check_activity` compares them with what a machine measured.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TracePacket, TrackDescriptor, TrackEvent

from compiler.latencies import time_stage
from hypervisor.pool_port import ActivityInterval
from isa.assembler import format_instruction
from isa.configuration import PoolConfig
from isa.instructions import Engine
from isa.timing import Timing, Unit

if TYPE_CHECKING:
    from compiler.package import Package

SEQUENCE = 1
"""Everything is one sequence of packets: times are those of the simulation, not of several writers."""
About = Mapping[str, str | int]
"""What the viewer shows of a slice beside its name."""


class TraceError(RuntimeError):
    """The machine was busy in other cycles than the timing model says."""


@dataclass(frozen=True)
class ProgramRun:
    """A program of a tenant: from `start`, the cycle in which START took effect, to its END.

    It runs the layers from `first_layer` to `end_layer` - 1 on physical `cores`, in virtual order. `end_layer` None: to
    the end of the stage; else the tenant was paused at the barrier before that layer.
    """

    tenant: str
    package: Package
    cores: tuple[int, ...]
    start: int
    first_layer: int = 0
    end_layer: int | None = None


@dataclass(frozen=True)
class Mark:
    """Something that happened to a tenant in `cycle`: PAUSE, REVOKE core 3, RESUME, ..."""

    tenant: str
    cycle: int
    name: str


@dataclass(frozen=True)
class TimedRun:
    """A program with its cycle-exact timing; `end` in the pool's cycles, `barriers[i]` likewise."""

    run: ProgramRun
    timing: Timing
    end: int
    barriers: tuple[int, ...]

    def clipped(self, first: int, end: int) -> tuple[int, int] | None:
        """Cycles first..end-1 up to the pause of the program, if it was paused; None for nothing."""
        end = end if self.run.end_layer is None else min(end, self.end)
        return (first, end) if first < end else None


def time_runs(config: PoolConfig, runs: Iterable[ProgramRun]) -> list[TimedRun]:
    """The timing of programs. Raises TimingError for one that does not come to its end."""
    known: dict[tuple[int, tuple[int, ...], int], Timing] = {}
    timed = []
    for run in runs:
        key = id(run.package), run.cores, run.first_layer
        if key not in known:
            known[key] = time_stage(run.package, run.first_layer, run.cores, config, run.package.window())
        timing = known[key]
        barriers = [run.start + cycle for cycle in timing.barriers]
        end = run.start + timing.cycles
        if run.end_layer is not None:
            completed = run.package.barriers_until(run.end_layer - 1, run.first_layer)
            barriers = barriers[:completed]
            end = barriers[-1]
        timed.append(TimedRun(run, timing, end, tuple(barriers)))
    return timed


def check_activity(runs: Sequence[TimedRun], measured: Sequence[ActivityInterval]) -> None:
    """Compare what a machine measured with the timing model, cycle by cycle. Raises TraceError where they differ.

    Of a program that was paused, the part until then: what its cores had in flight is not compared.
    """
    by_core: dict[int, list[TimedRun]] = defaultdict(list)
    for timed in sorted(runs, key=lambda each: each.run.start):
        for core in timed.run.cores:
            by_core[core].append(timed)
    expected: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for timed in runs:
        for item in timed.timing.activity:
            span = timed.clipped(item.first + timed.run.start, item.end + timed.run.start)
            if span is not None:
                expected[timed.run.cores[item.core], item.engine - Engine.LOAD].append(span)
    for interval in measured:
        before = [timed for timed in by_core[interval.core] if timed.run.start <= interval.first]
        span = before[-1].clipped(interval.first, interval.end) if before else (interval.first, interval.end)
        if span is not None:
            found[interval.core, interval.engine].append(span)
    for core, engine in sorted({*expected, *found}):
        ours, theirs = sorted(expected[core, engine]), sorted(found[core, engine])
        if ours != theirs:
            first = next((pair for pair in zip(ours, theirs, strict=False) if pair[0] != pair[1]), None)
            where = f"cycles {first[1]} measured, {first[0]} expected" if first else f"{len(theirs)} of {len(ours)}"
            name = Engine(engine + Engine.LOAD).name.lower()
            raise TraceError(f"the timing model and the machine disagree on {name} of core {core}: {where}")


def write_trace(file: BinaryIO, runs: Sequence[TimedRun], marks: Sequence[Mark] = ()) -> int:
    """Write programs and marks; the number of slices and marks in the file."""
    trace = _Writer(file)
    tenants = list(dict.fromkeys([timed.run.tenant for timed in runs] + [mark.tenant for mark in marks]))
    tenant_tracks = {tenant: trace.tracks(f"tenant {tenant}", ["layers", "marks"]) for tenant in tenants}
    cores = sorted({core for timed in runs for core in timed.run.cores})
    core_tracks = {core: trace.tracks(f"core {core}", ["tenant", *Unit]) for core in cores}
    for timed in runs:
        tenant = timed.run.tenant
        _write_layers(trace, timed, tenant_tracks[tenant])
        for virtual, core in enumerate(timed.run.cores):
            about: About = {"virtual core": virtual, "from layer": timed.run.first_layer}
            trace.slice(core_tracks[core]["tenant"], tenant, timed.run.start, timed.end, tenant, about)
        _write_instructions(trace, timed, core_tracks)
    for mark in marks:
        trace.mark(tenant_tracks[mark.tenant]["marks"], mark.name, mark.cycle, mark.tenant)
    return trace.events


def _write_layers(trace: _Writer, timed: TimedRun, tracks: Mapping[str, int]) -> None:
    run = timed.run
    count = len(run.cores)
    cores = f"{count} core{'s' if count > 1 else ''}"
    trace.mark(tracks["marks"], f"START at layer {run.first_layer} on {cores}", run.start, run.tenant)
    for number, (first, end) in enumerate(pairwise(timed.barriers), run.first_layer):
        layer = run.package.layers[number]
        about: About = {"layer": number, "operation": layer.operation, "cores": count, "cycles": end - first}
        trace.slice(tracks["layers"], layer.name, first, end, run.tenant, about)
        trace.mark(tracks["marks"], f"end of layer {number}", end, run.tenant)
    name = "END" if run.end_layer is None else f"PAUSED before layer {run.end_layer}"
    trace.mark(tracks["marks"], name, timed.end, run.tenant)


def _write_instructions(trace: _Writer, timed: TimedRun, tracks: Mapping[int, Mapping[str, int]]) -> None:
    run = timed.run
    frames = sorted((layer.frames[len(run.cores)].word, layer.name) for layer in run.package.layers)
    words = [word for word, _ in frames]
    for item in timed.timing.executed:
        first, end = item.first + run.start, min(item.end + run.start, timed.end)
        if first < end:
            place = bisect_right(words, item.word) - 1
            layer = frames[place][1] if place >= 0 else ""
            about: About = {"instruction": format_instruction(item.instruction), "word": item.word, "layer": layer}
            name = item.instruction.mnemonic()
            trace.slice(tracks[run.cores[item.core]][item.unit], name, first, end, run.tenant, about)


class _Writer:
    """Packets to a file, one after the other: a trace is the concatenation of traces of one packet."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._tracks = 0
        self.events = 0

    def track(self, name: str, parent: int = 0) -> int:
        """A new track, shown below those made before it; its number."""
        self._tracks += 1
        packet = TracePacket()
        track = packet.track_descriptor
        track.uuid, track.name, track.sibling_order_rank = self._tracks, name, self._tracks
        track.child_ordering = TrackDescriptor.EXPLICIT
        if parent:
            track.parent_uuid = parent
        self._write(packet)
        return self._tracks

    def tracks(self, name: str, children: Iterable[str]) -> dict[str, int]:
        """A new track with others under it; their numbers by name."""
        parent = self.track(name)
        return {child: self.track(child, parent) for child in children}

    def slice(self, track: int, name: str, first: int, end: int, tenant: str, about: About) -> None:
        """Something that lasts from cycle `first` to `end` - 1, in the colour of `tenant`."""
        self._event(TrackEvent.TYPE_SLICE_BEGIN, track, first, name, tenant, about)
        self._event(TrackEvent.TYPE_SLICE_END, track, end)
        self.events += 1

    def mark(self, track: int, name: str, cycle: int, tenant: str) -> None:
        """Something that happens in `cycle`."""
        self._event(TrackEvent.TYPE_INSTANT, track, cycle, name, tenant)
        self.events += 1

    def _event(
        self,
        kind: int,
        track: int,
        cycle: int,
        name: str = "",
        tenant: str = "",
        about: About | None = None,
    ) -> None:
        packet = TracePacket(timestamp=cycle)
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name:
            event.name, event.correlation_id_str = name, tenant
        for key, value in (about or {}).items():
            annotation = event.debug_annotations.add(name=key)
            if isinstance(value, int):
                annotation.int_value = value
            else:
                annotation.string_value = value
        self._write(packet)

    def _write(self, packet: Any) -> None:
        packet.trusted_packet_sequence_id = SEQUENCE
        self._file.write(Trace(packet=[packet]).SerializeToString())
