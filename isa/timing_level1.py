"""Timing of the shell as one tenant sees it: slots, prefetch, two-stage dispatch, credits and barriers.

The cycle tables of `rtl/dispatcher.py`, `rtl/prefetch.py`, `rtl/channels.py` and `rtl/sync_controller.py`. Nothing here
depends on another tenant, because nothing there does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial

from isa.configuration import PoolConfig
from isa.instructions import Call, CoreInstruction, End, Engine, Instruction, Return
from isa.pipeline import RAISE_TO_RELEASE
from isa.timing_clock import Clock, Phase
from isa.timing_core import CoreEvents, CoreTiming
from isa.timing_memory import response_cycles
from isa.timing_slots import Slots

Decode = Callable[[int], Instruction]
"""The instruction at a word address of the window."""


class TenantTiming:
    """One tenant from the first cycle in which it is RUNNING (cycle 0, wheel position 0) until END retires.

    `physical[v]` is the physical core that is its virtual core v; its virtual cores have any numbers, in this order.
    """

    def __init__(
        self, config: PoolConfig, decode: Decode, limit_beats: int, start_word: int, physical: Mapping[int, int]
    ) -> None:
        self.config = config
        self.clock = Clock()
        self.done_at: int | None = None
        """Cycles from RUNNING to DONE."""
        self.barrier_cycles: list[int] = []
        """Cycle in which each barrier is visible in the barrier count."""
        self.dispatched: list[tuple[int, int, CoreInstruction]] = []
        """(cycle on the core's port, word address, instruction) of everything that went to a core."""
        self._decode = decode
        self._limit_beats = limit_beats
        self._virtual = tuple(physical)
        self._positions = frozenset(physical.values())
        self._counter = start_word
        self._behind_call = 0
        self._next_request = self._next_arrival = start_word // config.words_per_beat
        self._jumps = 0
        self._waiting_credit: tuple[int, Engine] | None = None
        self._waits_for_end = False
        self._failed_at = 0
        """Cycle of the stage 1 that could not act, while it waits for a credit or for END's barriers."""
        self._dispatch_at = -1
        self._armed: dict[int, int | None] = dict.fromkeys(physical)
        self._arrived: dict[int, int | None] = dict.fromkeys(physical)
        self._credits = {
            core: {
                engine: deque([0] * config.queue_instructions) for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
            }
            for core in physical
        }
        self._all_slots = Slots(config, tuple(physical.values()))
        self._slots = {core: Slots(config, [position]) for core, position in physical.items()}
        self._fetch: tuple[int, int] | None = None
        """Cycle and virtual core of the slot in which the next beat of instructions will be requested."""
        self.cores = {
            core: CoreTiming(config, self.clock, slots, self._events(core)) for core, slots in self._slots.items()
        }
        self._look_for_fetch(0)

    def _events(self, core: int) -> CoreEvents:
        return CoreEvents(
            credit=lambda engine, cycle: self._credit(core, engine, cycle),
            request=lambda cycle: self._arm(core, cycle),
            sync_local=lambda cycle: self._sync_local(core, cycle),
        )

    # --- slots -----------------------------------------------------------------------------------------------

    def _arm(self, core: int, cycle: int) -> None:
        """See to it that the slot of the core's request in or behind `cycle` is looked at."""
        request = self.cores[core].request()
        if request is None:
            return
        slot = self._slots[core].on(request.beat.address % self.config.channels, cycle)
        armed = self._armed[core]
        if armed is None or slot < armed:
            self._armed[core] = slot
            self.clock.at(slot, Phase.SLOT, partial(self._slot, core))

    def _slot(self, core: int, cycle: int) -> None:
        if self._armed[core] != cycle:
            return
        self._armed[core] = None
        if self._fetch == (cycle, core):
            self._fetches(cycle)
        elif self.cores[core].request() is not None:
            self.cores[core].request_taken(cycle)
        self._arm(core, cycle + 1)

    def _look_for_fetch(self, cycle: int) -> None:
        """Let the next beat of instructions be requested in the first slot of its channel in or behind `cycle`."""
        ahead = self._next_request - self._counter // self.config.words_per_beat
        if ahead < self.config.fetch_beats and self._next_request < self._limit_beats:
            slot, place = self._all_slots.owner_on(self._next_request % self.config.channels, cycle)
            fetch = (slot, self._virtual[place])
            if fetch != self._fetch:
                self._fetch = fetch
                self.clock.at(fetch[0], Phase.SLOT, self._fetches)
        else:
            self._fetch = None

    def _fetches(self, cycle: int) -> None:
        if self._fetch is None or self._fetch[0] != cycle:
            return
        _, core = self._fetch
        self._fetch = None
        self._next_request += 1
        self.clock.at(cycle + response_cycles(self.config), Phase.ARRIVAL, partial(self._beat_arrives, self._jumps))
        self.cores[core].slot_lost(cycle)
        self._armed[core] = None
        self._arm(core, cycle + 1)
        self._look_for_fetch(cycle + 1)

    def _beat_arrives(self, jumps: int, cycle: int) -> None:
        if jumps == self._jumps:
            self._next_arrival += 1
            self._poll(cycle)

    # --- dispatch --------------------------------------------------------------------------------------------

    def _next_turn(self, cycle: int) -> int:
        """First cycle in or behind `cycle` in which stage 0 serves a core of the tenant."""
        while cycle % self.config.cores not in self._positions:
            cycle += 1
        return cycle

    def _poll(self, cycle: int) -> None:
        """Let stage 0 look at the program counter in its next turn in or behind `cycle`, if it is not under way."""
        if self._dispatch_at < 0 and self._waiting_credit is None and not self._waits_for_end:
            self._dispatch_at = self._next_turn(cycle)
            self.clock.at(self._dispatch_at, Phase.DISPATCH, self._stage_0)

    def _stage_0(self, cycle: int) -> None:
        beat = self._counter // self.config.words_per_beat
        if beat >= self._next_arrival and beat < self._limit_beats:
            self._dispatch_at = -1
            return  # the arrival of the beat polls again
        self.clock.at(cycle + 1, Phase.DISPATCH, self._stage_1)

    def _stage_1(self, cycle: int) -> None:
        self._dispatch_at = -1
        instruction = self._decode(self._counter)
        if isinstance(instruction, CoreInstruction):
            credits = self._credits[instruction.core][instruction.engine()]
            if not credits or credits[0] > cycle:
                if credits:
                    self._retry(cycle, credits[0])
                else:
                    self._waiting_credit = (instruction.core, instruction.engine())
                    self._failed_at = cycle
                return
            credits.popleft()
            self.dispatched.append((cycle + 1, self._counter, instruction))
            self.cores[instruction.core].arrive(cycle + 1, instruction)
            self._counter += 1
            if self._counter % self.config.words_per_beat == 0:
                self._look_for_fetch(cycle + 1)
        elif isinstance(instruction, Call):
            self._behind_call = self._counter + 1
            self._jump(cycle, instruction.address)
        elif isinstance(instruction, Return):
            self._jump(cycle, self._behind_call)
        elif isinstance(instruction, End):
            complete = sum(1 for barrier in self.barrier_cycles if barrier <= cycle)
            if complete >= instruction.barriers:
                self.done_at = cycle + 1
                self.clock.stop()
                return
            if len(self.barrier_cycles) >= instruction.barriers:
                self._retry(cycle, self.barrier_cycles[instruction.barriers - 1])
            else:
                self._failed_at = cycle
                self._waits_for_end = True
            return
        self._poll(cycle + 1)

    def _retry(self, failed: int, from_cycle: int) -> None:
        """Stage 1 failed in cycle `failed`; it will succeed in its first turn in or behind `from_cycle`."""
        period = 2 * self.config.cores
        stage_1 = failed
        steps = 0
        while stage_1 < from_cycle:
            if steps > period and from_cycle - stage_1 > period:
                stage_1 += (from_cycle - stage_1 - 1) // period * period
            stage_1 = self._next_turn(stage_1 + 1) + 1
            steps += 1
        self._dispatch_at = stage_1 - 1
        self.clock.at(stage_1, Phase.DISPATCH, self._stage_1)

    def _jump(self, cycle: int, target: int) -> None:
        self._counter = target
        self._next_request = self._next_arrival = target // self.config.words_per_beat
        self._jumps += 1
        self._look_for_fetch(cycle + 1)

    def _credit(self, core: int, engine: Engine, cycle: int) -> None:
        """A credit pulse is on the core's port in `cycle`."""
        self._credits[core][engine].append(cycle + 1)
        if self._waiting_credit == (core, engine):
            self._waiting_credit = None
            self._retry(self._failed_at, cycle + 1)

    # --- barriers --------------------------------------------------------------------------------------------

    def _sync_local(self, core: int, cycle: int) -> None:
        """sync_local is on the core's port in `cycle`."""
        if self._arrived[core] is None:
            self._arrived[core] = cycle + 1
        arrivals = [arrived for arrived in self._arrived.values() if arrived is not None]
        if len(arrivals) < len(self._arrived):
            return
        complete = max(arrivals)
        self._arrived = dict.fromkeys(self._arrived)
        self.barrier_cycles.append(complete + 1)
        for each in self.cores.values():
            each.sync_global(complete - 1 + RAISE_TO_RELEASE)
        if self._waits_for_end:
            self._waits_for_end = False
            self._retry(self._failed_at, complete + 1)
