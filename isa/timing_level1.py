"""Timing of the shell as one tenant sees it: slots, prefetch, two-stage dispatch, credits and barriers.

The cycle tables of `rtl/dispatcher.py`, `rtl/prefetch.py`, `rtl/channels.py` and `rtl/sync_controller.py`. Nothing here
depends on another tenant, because nothing there does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from isa.configuration import PoolConfig
from isa.instructions import Call, CoreInstruction, End, Engine, Instruction, Return
from isa.pipeline import RAISE_TO_RELEASE
from isa.timing_clock import Clock, Phase
from isa.timing_core import CoreEvents, CoreTiming
from isa.timing_memory import response_cycles

Decode = Callable[[int], Instruction]
"""The instruction at a word address of the window."""


class TenantTiming:
    """One tenant from the first cycle in which it is RUNNING (cycle 0, wheel position 0) until END retires.

    `physical[v]` is the physical core that is its virtual core v.
    """

    def __init__(
        self, config: PoolConfig, decode: Decode, limit_beats: int, start_word: int, physical: Sequence[int]
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
        self._physical = tuple(physical)
        self._positions = frozenset(physical)
        self._counter = start_word
        self._behind_call = 0
        self._next_request = self._next_arrival = start_word // config.words_per_beat
        self._fetched_at = -1
        self._jumps = 0
        self._waiting_credit: tuple[int, Engine] | None = None
        self._waits_for_end = False
        self._failed_at = 0
        """Cycle of the stage 1 that could not act, while it waits for a credit or for END's barriers."""
        self._dispatch_at = -1
        self._armed: list[int | None] = [None] * len(self._physical)
        self._arrived: list[int | None] = [None] * len(self._physical)
        self._credits = [
            {engine: deque([0] * config.queue_instructions) for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)}
            for _ in self._physical
        ]
        self.cores = [CoreTiming(config, self.clock, self._events(core)) for core in range(len(self._physical))]
        for core in range(len(self._physical)):
            self._arm(core, 0)

    def _events(self, core: int) -> CoreEvents:
        return CoreEvents(
            credit=lambda engine, cycle: self._credit(core, engine, cycle),
            request=lambda cycle: self._arm(core, cycle),
            sync_local=lambda cycle: self._sync_local(core, cycle),
        )

    # --- slots -----------------------------------------------------------------------------------------------

    def _next_slot(self, core: int, cycle: int) -> tuple[int, int]:
        """(cycle, channel) of the first slot of a core in or behind `cycle`."""
        config, spacing = self.config, self.config.slot_spacing
        slot = cycle + (self._physical[core] - cycle) % spacing
        while True:
            channel = (slot - self._physical[core]) // spacing % config.channels
            revolution = (slot - channel * spacing) // config.cores % config.host_revolutions
            if revolution != config.host_revolutions - 1:
                return slot, channel
            slot += spacing

    def _arm(self, core: int, cycle: int) -> None:
        """See to it that the core's next slot in or behind `cycle` is looked at."""
        slot, _ = self._next_slot(core, cycle)
        armed = self._armed[core]
        if armed is None or slot < armed:
            self._armed[core] = slot
            self.clock.at(slot, Phase.SLOT, lambda now: self._slot(core, now))

    def _slot(self, core: int, cycle: int) -> None:
        if self._armed[core] != cycle:
            return
        self._armed[core] = None
        _, channel = self._next_slot(core, cycle)
        request = self.cores[core].request(cycle)
        if self._fetches(cycle, channel):
            self._fetched_at = cycle
            self._next_request += 1
            jumps = self._jumps
            due = cycle + response_cycles(self.config)
            self.clock.at(due, Phase.ARRIVAL, lambda now: self._beat_arrives(now, jumps))
        elif request is not None and request.beat.address % self.config.channels == channel:
            self.cores[core].request_taken(cycle)
        if self._wants_fetch() or self.cores[core].asks:
            self._arm(core, cycle + 1)

    def _wants_fetch(self) -> bool:
        ahead = self._next_request - self._counter // self.config.words_per_beat
        return self.done_at is None and ahead < self.config.fetch_beats and self._next_request < self._limit_beats

    def _fetches(self, cycle: int, channel: int) -> bool:
        return (
            self._wants_fetch() and self._fetched_at != cycle and self._next_request % self.config.channels == channel
        )

    def _beat_arrives(self, cycle: int, jumps: int) -> None:
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
                self._rearm(cycle + 1)
        elif isinstance(instruction, Call):
            self._behind_call = self._counter + 1
            self._jump(cycle, instruction.address)
        elif isinstance(instruction, Return):
            self._jump(cycle, self._behind_call)
        elif isinstance(instruction, End):
            complete = sum(1 for barrier in self.barrier_cycles if barrier <= cycle)
            if complete >= instruction.barriers:
                self.done_at = cycle + 1
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
        self._rearm(cycle + 1)

    def _rearm(self, cycle: int) -> None:
        for core in range(len(self._physical)):
            self._arm(core, cycle)

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
        arrivals = [arrived for arrived in self._arrived if arrived is not None]
        if len(arrivals) < len(self._arrived):
            return
        complete = max(arrivals)
        self._arrived = [None] * len(self._arrived)
        self.barrier_cycles.append(complete + 1)
        for each in self.cores:
            each.sync_global(complete - 1 + RAISE_TO_RELEASE)
        if self._waits_for_end:
            self._waits_for_end = False
            self._retry(self._failed_at, complete + 1)
