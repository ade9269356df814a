"""Timing of one core: three engines, the tokens between them, and the request port that load and save share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from isa.configuration import PoolConfig
from isa.instructions import CoreInstruction, Engine, Load
from isa.timing_clock import Clock, Phase
from isa.timing_compute import ComputeTiming
from isa.timing_memory import NEVER, Beat, LoadTiming, Queue, SaveTiming, Tokens, response_cycles


@dataclass(frozen=True)
class Request:
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


class CoreTiming:
    """One core of the tenant."""

    def __init__(self, config: PoolConfig, clock: Clock, events: CoreEvents) -> None:
        self.config = config
        self.request: Request | None = None
        self._clock = clock
        self._events = events
        self._port_free_from = 0
        self._woken = -1
        self._wakes: set[int] = set()
        queues = {
            engine: Queue(lambda cycle, engine=engine: events.credit(engine, cycle + 1))  # type: ignore[misc]
            for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
        }
        self._queues = queues
        load_to_compute, compute_to_load = Tokens(self.wake), Tokens(self.wake)
        compute_to_save, save_to_compute = Tokens(self.wake), Tokens(self.wake)
        self.load = LoadTiming(config, queues[Engine.LOAD], compute_to_load, load_to_compute)
        self.compute = ComputeTiming(
            config, queues[Engine.COMPUTE], load_to_compute, save_to_compute, compute_to_load, compute_to_save
        )
        self.save = SaveTiming(config, queues[Engine.SAVE], compute_to_save, save_to_compute)

    def wake(self, cycle: int) -> None:
        """Look at the core in `cycle`."""
        if cycle not in self._wakes:
            self._wakes.add(cycle)
            self._clock.at(cycle, Phase.CORE, self._step)

    def arrive(self, cycle: int, instruction: CoreInstruction) -> None:
        """An instruction is on the port in `cycle`."""
        self._queues[instruction.engine()].push(cycle, instruction)
        self.wake(cycle + 1)

    def sync_global(self, cycle: int) -> None:
        """sync_global is on the port in `cycle`."""
        self.load.release(cycle)
        self.wake(cycle + 1)

    def request_taken(self, slot: int) -> None:
        """The request on the port moves in the slot at cycle `slot`."""
        request = self.request
        assert request is not None
        self.request = None
        self._port_free_from = slot + 1
        self.wake(slot + 1)
        if request.load is not None:
            self.load.taken(slot, request.beat, request.load)
        else:
            self.save.taken(slot)
            due = slot + response_cycles(self.config)
            self._clock.at(due, Phase.ARRIVAL, self._acknowledged)

    def _acknowledged(self, cycle: int) -> None:
        self.save.acknowledged(cycle)
        self.wake(cycle + 1)

    def _step(self, cycle: int) -> None:
        self._wakes.discard(cycle)
        self._move_request(cycle)
        waited_for_sync = self.load.waited_for_sync
        self.compute.step(cycle)
        self.load.try_issue(cycle)
        raises = self.save.try_issue(cycle, waited_for_sync)
        if raises is not None:
            self.save.collect()
            if raises:
                self._events.sync_local(raises)
        following = [each.next_cycle(cycle) for each in (self.load, self.compute, self.save)]
        soonest = min((each for each in following if each is not None), default=None)
        if soonest is not None:
            self.wake(soonest)

    def _move_request(self, cycle: int) -> None:
        """Fill the port if it is free: writes go first."""
        if cycle < self._port_free_from:
            return
        written = self.save.ready_beat(cycle)
        if written is not None:
            self.save.moved(cycle)
            self.request = Request(written, cycle + 1, None)
        else:
            read = self.load.ready_beat(cycle)
            if read is None:
                return
            self.request = Request(read, cycle + 1, self.load.moved(cycle))
        self._port_free_from = NEVER
        self._events.request(cycle + 1)
