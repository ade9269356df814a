"""Timing of one core: three engines, the tokens between them, and the request port that load and save share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from isa.configuration import PoolConfig
from isa.instructions import CoreInstruction, Engine, Load
from isa.timing_burst import LONGEST, Burst
from isa.timing_clock import Clock, Phase
from isa.timing_compute import ComputeTiming
from isa.timing_memory import Beat, LoadTiming, Queue, SaveTiming, Tokens
from isa.timing_slots import Slots


class Request(NamedTuple):
    """What is on the request port, visible from cycle `since`; `load` is set for a read."""

    beat: Beat
    since: int
    load: Load | None


@dataclass(frozen=True)
class CoreEvents:
    """Whom a core tells what, with the cycle in which it is visible on the core's ports."""

    credit: Callable[[Engine, int], None]
    request: Callable[[int], None]
    sync_local: Callable[[int], None]


# What to look at in a cycle; nothing else of the core can change in it. Plain bits: an IntFlag is much slower.
_PORT, _LOAD, _COMPUTE, _SAVE = 1, 2, 4, 8
_PART = {Engine.LOAD: _LOAD, Engine.COMPUTE: _COMPUTE, Engine.SAVE: _SAVE}


class CoreTiming:
    """One core of the tenant."""

    def __init__(self, config: PoolConfig, clock: Clock, slots: Slots, events: CoreEvents) -> None:
        self.config = config
        self._slots = slots
        self._burst: Burst | None = None
        """Reads that are foreseen; then nothing else is on the port."""
        self._requests: deque[Request] = deque()
        """What is on the port and not yet taken; the first of two, once taken, still fills its place for a cycle."""
        self._taken: tuple[int, Request] | None = None
        """The last slot that was used, and its request."""
        self._port_size = 2 if config.shows_next_request else 1
        self._clock = clock
        self._events = events
        self._wakes: dict[int, int] = {}
        queues = {
            engine: Queue(lambda cycle, engine=engine: events.credit(engine, cycle + 1))  # type: ignore[misc]
            for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
        }
        self._queues = queues
        wake = {engine: partial(self._wake, part) for engine, part in _PART.items()}
        load_to_compute, compute_to_load = Tokens(wake[Engine.COMPUTE]), Tokens(wake[Engine.LOAD])
        compute_to_save, save_to_compute = Tokens(wake[Engine.SAVE]), Tokens(wake[Engine.COMPUTE])
        self.load = LoadTiming(config, queues[Engine.LOAD], compute_to_load, load_to_compute)
        self.compute = ComputeTiming(
            config, queues[Engine.COMPUTE], load_to_compute, save_to_compute, compute_to_load, compute_to_save
        )
        self.save = SaveTiming(config, queues[Engine.SAVE], compute_to_save, save_to_compute)

    def _wake(self, part: int, cycle: int) -> None:
        """Look at a part of the core in `cycle`."""
        parts = self._wakes.get(cycle)
        if parts is None:
            self._clock.at(cycle, Phase.CORE, self._step)
        self._wakes[cycle] = (parts or 0) | part

    def arrive(self, cycle: int, instruction: CoreInstruction) -> None:
        """An instruction is on the port in `cycle`."""
        engine = instruction.engine()
        self._queues[engine].push(cycle, instruction)
        self._wake(_PART[engine], cycle + 1)

    def sync_global(self, cycle: int) -> None:
        """sync_global is on the port in `cycle`."""
        self.load.release(cycle)
        self._wake(_LOAD, cycle + 1)

    def request(self) -> Request | None:
        """The request that waits for a slot, without what is foreseen."""
        return self._requests[0] if self._requests else None

    def request_taken(self, slot: int) -> None:
        """That request moves in the slot at cycle `slot`."""
        request = self._requests.popleft()
        self._taken = slot, request
        if request.load is not None:
            self.load.taken(slot, request.beat, request.load, request.since)
        else:
            self.save.taken(slot, request.since)
            quiet = self.save.quiet_from
            if quiet is not None:
                self._wake(_SAVE, quiet)
        if self._port_size > 1:
            self._wake(_PORT, slot + 1)
            return
        ready = [each for each in (self.save.complete_from(), self.load.ready_from()) if each is not None]
        if ready:
            self._wake(_PORT, max(slot + 1, min(ready)))

    def slot_lost(self, slot: int) -> None:
        """A fetch takes the core's slot at cycle `slot`."""
        if self._burst is not None and self._burst.uses(slot):
            self._cut(slot, self._burst.taken_before(slot))

    def _foresee(self, cycle: int) -> bool:
        """Let the beats of the LOAD under way move from `cycle` on, as far as they can be foreseen."""
        if self._port_size > 1 or self.save.collects:
            return False
        beats = self.load.coming(LONGEST)
        if len(beats) < 2:
            return False
        self._burst = Burst(self._slots, self.config.channels, beats, cycle, self.load.pause)
        self._wake(_PORT, self._burst.last_slot + 1)
        return True

    def _cut(self, cycle: int, taken: int) -> None:
        """End the burst: the beats that move before `cycle` have moved, the first `taken` were taken."""
        burst = self._burst
        assert burst is not None
        moved = burst.moved_before(cycle)
        load = self.load.skip(burst.moves[:moved], burst.slots[:taken])
        if taken:
            self._taken = burst.slots[taken - 1], Request(burst.beats[taken - 1], burst.moves[taken - 1] + 1, load)
        if moved > taken:
            self._requests.append(Request(burst.beats[taken], burst.moves[taken] + 1, load))
        self._burst = None

    def _step(self, cycle: int) -> None:
        parts = self._wakes.pop(cycle)
        if parts & _PORT and self._move_request(cycle):
            parts |= _LOAD
        if parts & _COMPUTE:
            self.compute.step(cycle)
            following = self.compute.next_cycle(cycle)
            if following is not None:
                self._wake(_COMPUTE, following)
        if parts & _SAVE:
            self._look_at_save(cycle)
        if parts & _LOAD:
            self._look_at_load(cycle)

    def _look_at_load(self, cycle: int) -> None:
        waited_before = self.load.waited_for_sync
        if not self.load.try_issue(cycle):
            following = self.load.queue.next_cycle(cycle)
            if following is not None:
                self._wake(_LOAD, following)
            return
        if self.load.waited_for_sync != waited_before:
            self._wake(_SAVE, cycle + 1)
        ready = self.load.ready_from()
        if ready is None:
            self._wake(_LOAD, cycle + 1)
        else:
            self._wake(_PORT, max(ready, cycle + 1))

    def _look_at_save(self, cycle: int) -> None:
        raises = self.save.try_issue(cycle, self.load.waited_for_sync)
        if raises is None:
            following = self.save.next_cycle(cycle)
            if following is not None:
                self._wake(_SAVE, following)
            return
        if raises:
            self._events.sync_local(raises)
        self.save.collect()
        self._after_save(cycle)

    def _after_save(self, cycle: int) -> None:
        """A SAVE has issued or a beat of it has moved in `cycle`: look again when it can go on."""
        complete = self.save.complete_from()
        if complete is not None:
            self._wake(_PORT, max(complete, cycle + 1))
        ends = self.save.free_from()
        if ends is not None:
            self._wake(_SAVE, max(ends, cycle + 1))

    def _move_request(self, cycle: int) -> bool:
        """Fill the port if it has room: writes go first. Whether the last beat of a LOAD has moved."""
        if self._burst is not None:
            if cycle <= self._burst.last_slot and self.save.ready_beat(cycle) is None:
                return False
            self._cut(cycle, self._burst.taken_until(cycle))
            if self._requests:
                self._events.request(cycle + 1)
                return False
            if self._taken is not None and self._taken[0] == cycle:
                self._wake(_PORT, cycle + 1)
                return False
        shown = list(self._requests)
        if self._taken is not None and self._taken[0] == cycle:
            shown.append(self._taken[1])
        if len(shown) == self._port_size:
            return False
        may_write = all(request.load is not None for request in shown)
        written = self.save.ready_beat(cycle) if may_write else None
        ends_load = False
        if written is not None:
            self.save.moved(cycle)
            self._after_save(cycle)
            self._requests.append(Request(written, cycle + 1, None))
        else:
            read = self.load.ready_beat(cycle)
            if read is None:
                ready = self.load.ready_from()
                if ready is not None and ready > cycle:
                    self._wake(_PORT, ready)
                return False
            if self._foresee(cycle):
                return False
            self._requests.append(Request(read, cycle + 1, self.load.moved(cycle)))
            ends_load = self.load.ready_from() is None
        if self._port_size > 1:
            self._wake(_PORT, cycle + 1)
        self._events.request(cycle + 1)
        return ends_load
