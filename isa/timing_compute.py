"""Timing of a core's compute engine: issue, walk, hand-over and drain.

The cycle tables of `rtl/compute_engine.py`, `rtl/window_walker.py` and `rtl/drain.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.configuration import PoolConfig
from isa.instructions import (
    Add,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Lookup,
    Pool,
)
from isa.pipeline import (
    ADD_READ_TO_LANE,
    ARRIVAL_TO_ISSUE,
    DRAIN_READ_TO_LANE,
    DRAIN_SETUP,
    LANE_LATENCY,
    LOOKUP_READ_TO_RESULT,
    RESULT_TO_WRITE,
    add_cycles,
    drain_groups,
    fill_cycles,
)
from isa.timing_memory import Executed, Queue, Tokens
from isa.walks import passes

_IDLE = -1


@dataclass(frozen=True)
class _Walk:
    """A CONV or POOL whose first pixel is in the walker at `first` and whose last cycle is `last`."""

    instruction: Conv | Pool
    pixels: int
    first: int
    last: int
    last_pass_from: int


@dataclass(frozen=True)
class _Job:
    """A drain, ADD or LOOKUP: busy in the cycles first..last; `bank` of a drain; reads features up to `reads_to`."""

    first: int
    last: int
    bank: int | None
    reads_to: int


class ComputeTiming:
    """The compute engine of one core."""

    def __init__(
        self,
        config: PoolConfig,
        queue: Queue,
        from_load: Tokens,
        from_save: Tokens,
        to_load: Tokens,
        to_save: Tokens,
    ) -> None:
        self.config = config
        self.queue = queue
        self.busy: list[tuple[int, int]] = []
        self.walked: list[Executed] = []
        """CONVs and POOLs while their pixels enter the array."""
        self.finished: list[Executed] = []
        """What the lanes of the result path worked on: drains, ADDs and LOOKUPs."""
        self.array_busy = 0
        """Cycles in which a pixel was in the walker."""
        self.dispatch_wait = 0
        """Cycles in which the array was idle, and for its next work all was there but the instruction."""
        self._last_issue = 0
        self._from_load, self._from_save = from_load, from_save
        self._to_load, self._to_save = to_load, to_save
        self._window, self._tile = ConfigWindow(), ConfigTile()
        self._pending: tuple[Conv | Pool, int] | None = None
        """The instruction that has issued but not started, and its issue cycle."""
        self._walk: _Walk | None = None
        self._undrained = False
        """The bank of `_walk` is still to be handed over."""
        self._job = _Job(_IDLE, _IDLE, None, _IDLE)

    def step(self, cycle: int) -> None:
        """Everything that the engine does in `cycle`, from what its registers show in it."""
        pending, walk, job = self._pending, self._walk, self._job
        walking = walk is not None and walk.first <= cycle <= walk.last
        job_busy = job.first <= cycle <= job.last
        has_bank = self._undrained and walk is not None and cycle >= walk.last
        waits = self._undrained and walk is not None and cycle > walk.last
        reads = job.first <= cycle <= job.reads_to

        if has_bank and not job_busy:
            self._hand_over(cycle)
        if pending is not None:
            self._start(cycle, pending, walking, has_bank, job_busy)

        head = self.queue.head(cycle)
        if head is None or not self._has_tokens(head, cycle):
            return
        if isinstance(head, Conv | Pool):
            in_last_pass = walk is not None and walk.last_pass_from <= cycle <= walk.last
            may = pending is None and not reads and (not walking or in_last_pass)
        elif isinstance(head, Add | Lookup | ConfigAddFactors | ConfigAddOffset):
            may = pending is None and not walking and not waits and not job_busy
        else:
            may = pending is None and not walking and not waits and not reads
        if may:
            self._issue(cycle, head)

    def _has_tokens(self, head: CoreInstruction, cycle: int) -> bool:
        if not isinstance(head, Conv | Pool | Add | Lookup):
            return True
        return (not head.wait_load or self._from_load.available(cycle)) and (
            not head.wait_save or self._from_save.available(cycle)
        )

    def _issue(self, cycle: int, head: CoreInstruction) -> None:
        if isinstance(head, Conv | Pool | Add | Lookup):
            could_issue = max(self._last_issue, self._walk.last if self._walk is not None else 0) + 1
            if head.wait_load:
                could_issue = max(could_issue, self._from_load.take())
            if head.wait_save:
                could_issue = max(could_issue, self._from_save.take())
            self.dispatch_wait += max(0, self.queue.arrival() + ARRIVAL_TO_ISSUE - could_issue)
            self._last_issue = cycle
        if isinstance(head, Conv | Pool):
            self._pending = (head, cycle)
        elif isinstance(head, Add | Lookup):
            self._operands(cycle, head)
        elif isinstance(head, ConfigWindow):
            self._window = head
        elif isinstance(head, ConfigTile):
            self._tile = head
        self.queue.issue(cycle)

    def _start(
        self, cycle: int, pending: tuple[Conv | Pool, int], walking: bool, has_bank: bool, job_busy: bool
    ) -> None:
        """Start the pending walk in `cycle` if nothing holds it back."""
        instruction, issued = pending
        walk, job = self._walk, self._job
        if cycle < issued + fill_cycles(self.config.slide_cycles):
            return
        if walking and walk is not None and cycle != walk.last:
            return
        if has_bank and walk is not None and (job_busy or walk.instruction.bank == instruction.bank):
            return
        if job_busy and job.bank == instruction.bank:
            return
        walked = passes(self.config, self._window, self._tile, instruction)
        pixels = self._tile.output_rows * self._tile.output_columns
        first = cycle + 1
        last = cycle + walked.count * walked.cycles
        self._walk = _Walk(instruction, pixels, first, last, last - walked.cycles + 1)
        self._undrained = bool(instruction.drain)
        self._pending = None
        self.array_busy += walked.count * walked.reads
        self.busy.append((issued + 1, last + 1))
        self.walked.append((instruction, first, last + 1))
        if instruction.post_load:
            self._to_load.give(last)

    def _hand_over(self, cycle: int) -> None:
        """Hand the walk's bank to the drain in `cycle`."""
        walk = self._walk
        assert walk is not None
        groups = drain_groups(self.config.array, self.config.lanes)
        first_lane = cycle + DRAIN_SETUP + DRAIN_READ_TO_LANE
        instruction = walk.instruction
        passes_of_lanes = 2 if isinstance(instruction, Conv) and instruction.add else 1
        last = first_lane + walk.pixels * groups - 1 + passes_of_lanes * LANE_LATENCY + RESULT_TO_WRITE
        self._job = _Job(cycle + 1, last, walk.instruction.bank, _IDLE)
        self._undrained = False
        self.busy.append((walk.last + 1, last + 1))
        self.finished.append((instruction, cycle + 1, last + 1))
        if walk.instruction.post_save:
            self._to_save.give(last)

    def _operands(self, cycle: int, instruction: Add | Lookup) -> None:
        """An ADD or LOOKUP issues in `cycle`."""
        groups = drain_groups(self.config.array, self.config.lanes)
        if isinstance(instruction, Add):
            step = add_cycles(self.config.array, self.config.lanes)
            last_lane = cycle + 1 + (instruction.vectors - 1) * step + ADD_READ_TO_LANE + groups - 1
            last = last_lane + LANE_LATENCY + RESULT_TO_WRITE
        else:
            step = groups
            last = cycle + 1 + instruction.vectors * groups - 1 + LOOKUP_READ_TO_RESULT + RESULT_TO_WRITE
        reads_to = cycle + instruction.vectors * step
        self._job = _Job(cycle + 1, last, None, reads_to)
        self.busy.append((cycle + 1, last + 1))
        self.finished.append((instruction, cycle + 1, last + 1))
        if instruction.post_load:
            self._to_load.give(reads_to)
        if instruction.post_save:
            self._to_save.give(last)

    def next_cycle(self, cycle: int) -> int | None:
        """First cycle behind `cycle` in which something changes by itself."""
        candidates = [self.queue.next_cycle(cycle), self._job.first, self._job.last + 1, self._job.reads_to + 1]
        if self._pending is not None:
            candidates.append(self._pending[1] + fill_cycles(self.config.slide_cycles))
        if self._walk is not None:
            candidates += [self._walk.last_pass_from, self._walk.last, self._walk.last + 1]
        later = [each for each in candidates if each is not None and each > cycle]
        return min(later, default=None)
