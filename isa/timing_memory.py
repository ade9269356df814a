"""Timing of a core's memory side: its request port, its load engine and its save engine.

The cycle tables of `rtl/request_port.py`, `rtl/load_engine.py` and `rtl/save_engine.py`, as events.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from isa.configuration import PoolConfig
from isa.instructions import (
    ConfigLoad,
    ConfigSave,
    CoreInstruction,
    Load,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.pipeline import (
    ISSUE_TO_REQUEST,
    RESPONSE_TO_WRITE,
    SAVE_ISSUE_TO_READ,
    SAVE_READ_TO_REQUEST,
    SYNC_ISSUE_TO_RAISE,
)

NEVER = 1 << 62
"""A cycle that does not come."""

Executed = tuple[CoreInstruction, int, int]
"""An instruction, and the cycles first..end-1 in which it kept a unit from taking the next one."""

TAKEN_TO_NEXT = 2
"""A core sees that its request was taken one cycle after the slot, and presents the next one a cycle later."""


def response_cycles(config: PoolConfig) -> int:
    """From a slot to its response or acknowledgement on the core's port, or to a fetched beat in the prefetch."""
    return config.channel_latency + 3


class Tokens:
    """Tokens of one edge: the cycles from which they can be taken, in order."""

    def __init__(self, wake: Callable[[int], None]) -> None:
        self._cycles: deque[int] = deque()
        self._wake = wake

    def give(self, cycle: int) -> None:
        """A token that is given in `cycle`: it can be taken in the next one."""
        self._cycles.append(cycle + 1)
        self._wake(cycle + 1)

    def available(self, cycle: int) -> bool:
        """Whether one can be taken in `cycle`."""
        return bool(self._cycles) and self._cycles[0] <= cycle

    def take(self) -> int:
        """Take the oldest one; since when it could be taken."""
        return self._cycles.popleft()


class Queue:
    """The queue in front of an engine: when its head can issue."""

    def __init__(self, on_issue: Callable[[int], None]) -> None:
        self._waiting: deque[tuple[int, CoreInstruction]] = deque()
        self._last_issue = -1
        self._on_issue = on_issue

    def push(self, cycle: int, instruction: CoreInstruction) -> None:
        """The instruction is on the core's port in `cycle`."""
        self._waiting.append((cycle, instruction))

    def head(self, cycle: int) -> CoreInstruction | None:
        """The instruction that may issue in `cycle`."""
        if not self._waiting:
            return None
        arrival, instruction = self._waiting[0]
        return instruction if max(arrival, self._last_issue) < cycle else None

    def arrival(self) -> int:
        """When the head was on the core's port."""
        return self._waiting[0][0]

    def issue(self, cycle: int) -> None:
        """The head issues."""
        self._waiting.popleft()
        self._last_issue = cycle
        self._on_issue(cycle)

    def next_cycle(self, cycle: int) -> int | None:
        """First cycle behind `cycle` in which the present head is there, if it is not there in `cycle`."""
        if self._waiting and self.head(cycle) is None:
            return max(self._waiting[0][0], self._last_issue) + 1
        return None


class Beat(NamedTuple):
    """One beat of a transfer: beat address in the window, and the cycles in which the core reads or writes its vectors;
    `last` of its instruction."""

    address: int
    cycles: int
    last: bool


def row_beats(vectors_per_beat: int, first: int, columns: int) -> Iterator[tuple[int, int, int]]:
    """(beat address, first place, vectors) of a row of vectors that starts at vector address `first`."""
    place, left = first, columns
    while left:
        here = min(left, vectors_per_beat - place % vectors_per_beat)
        yield place // vectors_per_beat, place % vectors_per_beat, here
        place, left = place + here, left - here


def load_beats(config: PoolConfig, load: Load, pitches: ConfigLoad) -> list[Beat]:
    """The beats that a LOAD requests, in order."""
    beats = [
        beat
        for plane in range(load.planes)
        for row in range(load.rows)
        for beat in row_beats(
            config.vectors_per_beat,
            load.address + plane * pitches.plane_pitch + row * pitches.row_pitch,
            load.columns,
        )
    ]
    width = config.port_vectors
    return [
        Beat(address, (vectors - 1) // width + 1, index == len(beats) - 1)
        for index, (address, _, vectors) in enumerate(beats)
    ]


def save_beats(config: PoolConfig, save: Save, pitch: ConfigSave) -> list[Beat]:
    """The beats that a SAVE writes, in order."""
    beats = [
        beat
        for row in range(save.rows)
        for beat in row_beats(config.vectors_per_beat, save.address + row * pitch.row_pitch, save.columns)
    ]
    width = config.port_vectors
    return [
        Beat(address, (first + vectors - 1) // width - first // width + 1, index == len(beats) - 1)
        for index, (address, first, vectors) in enumerate(beats)
    ]


class LoadTiming:
    """The load engine: which beat it holds, from which cycle on."""

    def __init__(self, config: PoolConfig, queue: Queue, from_compute: Tokens, to_compute: Tokens) -> None:
        self.config = config
        self.queue = queue
        self.busy: list[tuple[int, int]] = []
        self.loaded: list[Executed] = []
        """LOADs until their last beat is on the request port."""
        self.waited_for_sync = -1
        """Cycle in which the last SYNC_WAIT issued."""
        self._from_compute = from_compute
        self._to_compute = to_compute
        self._pitches = ConfigLoad()
        self._load: Load | None = None
        self._beats: list[Beat] = []
        self._place = 0
        """Number of the beat that the engine holds, in `_beats`."""
        self._beat: Beat | None = None
        self.pause = max(0, config.vectors_per_beat // config.port_vectors - TAKEN_TO_NEXT)
        """Cycles that the unpacking of a beat holds back the next read."""
        self._holds_from = NEVER
        self._free_from = 0
        self._spaced_from = 0
        self._active_from = 0
        self._released: int | None = None

    def release(self, cycle: int) -> None:
        """sync_global is on the core's port in `cycle`."""
        self._released = cycle + 1

    def try_issue(self, cycle: int) -> bool:
        """Issue the head in `cycle` if nothing keeps it from that."""
        head = self.queue.head(cycle)
        if head is None or self._beat is not None or cycle < self._free_from:
            return False
        if isinstance(head, Load):
            if head.wait_compute:
                if not self._from_compute.available(cycle):
                    return False
                self._from_compute.take()
            self._load = head
            self._beats = load_beats(self.config, head, self._pitches)
            self._place = 0
            self._beat = self._beats[0]
            self._holds_from = cycle + ISSUE_TO_REQUEST - 1
            self._active_from = cycle + 1
        elif isinstance(head, SyncWait):
            if self._released is None or self._released > cycle:
                return False
            self._released = None
            self.waited_for_sync = cycle
        elif isinstance(head, ConfigLoad):
            self._pitches = head
        self.queue.issue(cycle)
        return True

    def ready_beat(self, cycle: int) -> Beat | None:
        """The beat that may move to the request port in `cycle`."""
        ready = self.ready_from()
        return self._beat if ready is not None and ready <= cycle else None

    def ready_from(self) -> int | None:
        """The cycle from which the beat that the engine holds may move; None without one."""
        return None if self._beat is None else max(self._holds_from, self._spaced_from)

    def moved(self, cycle: int) -> Load:
        """The beat has moved to the port in `cycle`: hold the next one, or let the next instruction issue."""
        load = self._load
        assert load is not None
        self._place += 1
        self._beat = self._beats[self._place] if self._place < len(self._beats) else None
        self._holds_from = cycle + 1
        if self._beat is None:
            self._free_from = cycle
            self.busy.append((self._active_from, cycle + 1))
            self.loaded.append((load, self._active_from, cycle + 1))
        return load

    def coming(self, most: int) -> list[Beat]:
        """Up to `most` beats from the one that the engine holds on, without the last one of the LOAD."""
        return self._beats[self._place : min(self._place + most, len(self._beats) - 1)]

    def skip(self, moves: Sequence[int], slots: Sequence[int]) -> Load:
        """Beats of `coming` have moved to the port in the cycles `moves`; those of `slots` were taken there."""
        if slots:
            self._space(slots[-1])
            beat = self._beats[self._place + len(slots) - 1]
            unpacked = slots[-1] + response_cycles(self.config) + RESPONSE_TO_WRITE + beat.cycles
            self.busy.append((moves[0] + 1, unpacked))  # without a gap: answers take longer than the next beat
        if moves:
            self._place += len(moves)
            self._beat = self._beats[self._place]
            self._holds_from = moves[-1] + 1
        assert self._load is not None
        return self._load

    def _space(self, slot: int) -> None:
        """A read was taken in the slot at `slot`: the next one keeps its distance."""
        if self.pause:
            self._spaced_from = slot + 1 + self.pause

    def taken(self, slot: int, beat: Beat, load: Load, since: int) -> None:
        """The port's read, visible there since cycle `since`, was taken in the slot at `slot`."""
        self._space(slot)
        last_write = slot + response_cycles(self.config) + RESPONSE_TO_WRITE
        last_write += beat.cycles - 1
        self.busy.append((since, last_write + 1))
        if beat.last and load.post_compute:
            self._to_compute.give(last_write)


class SaveTiming:
    """The save engine: when the beat that it collects is complete."""

    def __init__(self, config: PoolConfig, queue: Queue, from_compute: Tokens, to_compute: Tokens) -> None:
        self.config = config
        self.queue = queue
        self.busy: list[tuple[int, int]] = []
        self.saved: list[Executed] = []
        """SAVEs until their last vector is read."""
        self._from_compute = from_compute
        self._to_compute = to_compute
        self._pitch = ConfigSave()
        self._save: Save | None = None
        self._beats: Iterator[Beat] = iter(())
        self._reading: Beat | None = None
        self._active_from = 0
        self._reads_from = 0
        """First cycle in which the next group of vectors can be read."""
        self._free_from = 0
        self._complete: tuple[int, Beat] | None = None
        """A beat that waits for the port, and the cycle from which it could move."""
        self._held: Beat | None = None
        """A beat of one group, which waits in the vector register."""
        self._early = 0
        """Groups of the present beat that were read before the complete one left."""
        self._untaken = 0
        """Beats that have moved to the port and wait for their slot there."""
        self._quiet_from = 0
        """First cycle in which the acknowledgements of all beats that were taken have been visible."""
        self._raised_at: int | None = None

    def try_issue(self, cycle: int, waited_for_sync: int) -> int | None:
        """Issue the head in `cycle` if nothing keeps it: the cycle of sync_local on the port, 0 without it.

        None if nothing issues. `waited_for_sync`: the cycle in which the last SYNC_WAIT issued.
        """
        head = self.queue.head(cycle)
        if head is None or self._reading is not None or cycle < self._free_from:
            return None
        raises = 0
        if isinstance(head, Save):
            if head.wait_compute:
                if not self._from_compute.available(cycle):
                    return None
                self._from_compute.take()
            self._save = head
            self._beats = iter(save_beats(self.config, head, self._pitch))
            self._reading = next(self._beats)
            self._reads_from = cycle + SAVE_ISSUE_TO_READ
            self.busy.append((cycle + 1, cycle + 2))
            self._active_from = cycle + 1
        elif isinstance(head, SyncRaise):
            if self._complete or self._untaken or cycle < self._quiet_from:
                return None
            if self._raised_at is not None and not self._raised_at < waited_for_sync < cycle:
                return None
            self._raised_at = cycle
            raises = cycle + SYNC_ISSUE_TO_RAISE
        elif isinstance(head, ConfigSave):
            self._pitch = head
        self.queue.issue(cycle)
        return raises

    def collect(self) -> None:
        """Read the beat of the SAVE that has just issued, if none stands in the way."""
        if self._complete is None and self._reading is not None:
            self._read_beat(self._reads_from, self._reading.cycles)

    def ready_beat(self, cycle: int) -> Beat | None:
        """The beat that may move to the request port in `cycle`."""
        if self._complete is not None and self._complete[0] <= cycle:
            return self._complete[1]
        return None

    def moved(self, cycle: int) -> None:
        """The complete beat has moved to the port in `cycle`, and everything behind it moves on."""
        assert self._complete is not None
        self.busy.append((self._complete[0], cycle + 1))
        self._complete = None
        self._untaken += 1
        self._reads_from = max(self._reads_from, cycle)
        if self._held is not None:
            self._completes(cycle + 1, self._held)
        elif self._reading is not None:
            self._read_beat(self._reads_from, self._reading.cycles - self._early)

    def _read_beat(self, first: int, left: int) -> None:
        """Read the last `left` groups of the present beat from cycle `first` on."""
        beat = self._reading
        assert beat is not None
        last_read = first + left - 1
        self.busy.append((first, last_read + SAVE_READ_TO_REQUEST - 1))
        self._next_beat(last_read)
        self._completes(last_read + SAVE_READ_TO_REQUEST - 1, beat)

    def _next_beat(self, last_read: int) -> None:
        """The last group of the present beat is read in cycle `last_read`: go on to the next, or end the SAVE."""
        save = self._save
        assert save is not None
        self._reads_from = last_read + 1
        self._reading = next(self._beats, None)
        if self._reading is None:
            self._free_from = last_read + 1
            self.saved.append((save, self._active_from, last_read + 1))
            if save.post_compute:
                self._to_compute.give(last_read)

    def _completes(self, cycle: int, beat: Beat) -> None:
        """A beat is complete from `cycle` on; a group that is read before that waits in the vector register."""
        self._complete = (cycle, beat)
        self._held = None
        self._early = 0
        if self._reading is not None and self._reads_from < cycle:
            self._early = 1
            if self._reading.cycles == 1:
                self._held = self._reading
                self._early = 0
                self._next_beat(self._reads_from)
            else:
                self._reads_from += 1

    def taken(self, slot: int, since: int) -> None:
        """The port's write, visible there since cycle `since`, was taken in the slot at `slot`."""
        self._untaken -= 1
        self._quiet_from = slot + response_cycles(self.config) + 1
        self.busy.append((since, self._quiet_from))

    @property
    def collects(self) -> bool:
        """Whether a beat is being read or waits for the port."""
        return self._reading is not None or self._complete is not None

    @property
    def quiet_from(self) -> int | None:
        """The cycle from which nothing of what was written is under way; None while something waits for a slot."""
        return None if self.collects or self._untaken else self._quiet_from

    def complete_from(self) -> int | None:
        """The cycle from which the complete beat may move; None without one."""
        return None if self._complete is None else self._complete[0]

    def free_from(self) -> int | None:
        """The cycle from which the next instruction may issue; None while vectors are still to be read."""
        return self._free_from if self._reading is None else None

    def next_cycle(self, cycle: int) -> int | None:
        """First cycle behind `cycle` in which the head may issue by itself."""
        candidates = [self.queue.next_cycle(cycle), self._quiet_from, self.free_from()]
        return min((each for each in candidates if each is not None and each > cycle), default=None)
