"""Our pool: a policy of `hypervisor.policies` resizes tasks at layer boundaries, with the exact costs of switching.

Rules, as `hypervisor.switch` carries them out: a task that is to hold other cores is asked to pause, and pauses at its
next layer boundary. All its cores drain and scrub; it goes on with the new ones, or waits if it gets none. A growing
task is asked only when the cores that it is to gain are free, and these are then kept for it. Cores that a shrinking
task loses are free once they are scrubbed. The end of a task frees its cores in the same way.

Control costs are exact to the cycle but for the host's looks, which come as late as they can. A program that starts in
the middle has to load weights that its predecessor would have loaded ahead: taken as long as filling the buffers of a
core takes at its share of the bandwidth, which is the most that can have been loaded ahead (`cold_cycles`).

Not in it: the host's part (input, output), the same for every policy; loading packages, done once before.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from benchmarks.latency_tables import LatencyTable
from benchmarks.mix.metrics import Finished
from benchmarks.mix.tasks import MixTask
from hypervisor.policies import Latencies, Load, Policy, Task
from hypervisor.switch import (
    END_DELAY_CYCLES,
    NOTICE_CYCLES,
    free_cycles,
    park_cycles,
    start_after,
    start_of_switch,
)
from isa.configuration import PoolConfig


def cold_cycles(config: PoolConfig) -> int:
    """Most cycles by which a layer is slower for weights and parameters that were not loaded ahead."""
    loaded_ahead = (config.weights_vectors + config.parameters_vectors) * config.array
    return loaded_ahead * config.beat_spacing // config.beat_bytes + config.channel_latency


@dataclass
class _Running:
    """A task in the pool: its program began in `running` (perhaps in the future) with layer `first_layer`."""

    task: MixTask
    next_layer: int = 0
    cores: int = 0
    target: int = 0
    kept: int = 0
    """Free cores that are kept for its growth."""
    ends: list[int] = field(default_factory=list)
    """Cycles in which the layers from `next_layer` on end, while it holds cores."""
    is_attached: bool = False
    is_asked: bool = False
    """To pause at its next boundary."""
    version: int = 0
    """Counts programs, so that events of former ones are told apart."""


@dataclass(frozen=True)
class ElasticResult:
    """Tasks that have ended, and how many times one was resized."""

    finished: list[Finished]
    switches: int


class ElasticPool:
    """A pool under a policy. One use: `run`."""

    def __init__(
        self,
        config: PoolConfig,
        tables: Mapping[str, LatencyTable],
        policy: Policy,
        isolated: Mapping[str, int],
    ) -> None:
        self._config = config
        self._tables = tables
        self._policy = policy
        self._isolated = isolated
        self._latencies = {name: _latencies(table) for name, table in tables.items()}
        self._free = config.cores
        self._tasks: dict[int, _Running] = {}
        self._events: list[tuple[int, int, str, int, int]] = []
        self._sequence = 0
        self._finished: list[Finished] = []
        self._switches = 0
        self._cold = cold_cycles(config)
        self._switch_cycles = self._cold + NOTICE_CYCLES + park_cycles(config, config.cores) + config.period_cycles

    def run(self, tasks: Sequence[MixTask]) -> ElasticResult:
        """Carry out all tasks. The same tasks give the same result."""
        for task in tasks:
            self._at(task.arrival, "arrival", task.number)
        by_number = {task.number: task for task in tasks}
        while self._events:
            now, changed = self._events[0][0], False
            while self._events and self._events[0][0] == now:
                _, _, kind, number, value = heapq.heappop(self._events)
                if kind == "arrival":
                    self._tasks[number] = _Running(by_number[number])
                    changed = True
                elif kind == "free":
                    self._free += value
                    changed = True
                elif number in self._tasks and self._tasks[number].version == value:
                    changed |= self._reach_boundary(now, self._tasks[number])
            if changed and self._tasks:
                self._decide(now)
        return ElasticResult(sorted(self._finished, key=lambda each: each.task.number), self._switches)

    def _at(self, cycle: int, kind: str, number: int, value: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (cycle, self._sequence, kind, number, value))

    # --- boundaries --------------------------------------------------------------------------------------------------

    def _start(self, running: int, own: _Running, cores: int) -> None:
        """A program of `own` is RUNNING from cycle `running` on."""
        table = self._tables[own.task.network]
        own.cores = own.target = cores
        own.is_attached = True
        own.version += 1
        first = running + table.start[cores] + (self._cold if own.next_layer else 0)
        ends = list(accumulate((layer[cores] for layer in table.layers[own.next_layer :]), initial=first))[1:]
        ends[-1] += table.tail[cores]
        own.ends = ends
        self._at(ends[-1], "boundary", own.task.number, own.version)

    def _boundary(self, now: int, own: _Running) -> int:
        """Layers of the present program that are complete in `now`."""
        return sum(end <= now for end in own.ends)

    def _reach_boundary(self, now: int, own: _Running) -> bool:
        """A layer has ended at which something was to happen; whether there is something to decide."""
        done = self._boundary(now, own)
        if done == len(own.ends):
            self._at(now + NOTICE_CYCLES + free_cycles(self._config, own.cores), "free", own.task.number, own.cores)
            self._free += own.kept
            del self._tasks[own.task.number]
            self._finished.append(Finished(own.task, now, self._isolated[own.task.network]))
            return True
        if not own.is_asked:
            return False
        own.is_asked = False
        if own.target == own.cores:
            self._resume(own)
            return False
        self._switches += 1
        noticed = now + NOTICE_CYCLES
        held, wanted = own.cores, own.target
        own.next_layer += done
        lost = held - wanted if wanted else held
        if lost > 0:
            self._at(noticed + free_cycles(self._config, held), "free", own.task.number, lost)
        own.kept = 0
        own.ends = []
        if wanted:
            self._start(start_of_switch(self._config, noticed, held, wanted), own, wanted)
        else:
            own.cores = 0
            own.version += 1
        return False

    def _resume(self, own: _Running) -> None:
        """It has paused for nothing: the decision was taken back. It goes on as soon as the host knows of the pause."""
        own.ends = [end + END_DELAY_CYCLES for end in own.ends]
        own.version += 1
        self._at(own.ends[-1], "boundary", own.task.number, own.version)

    # --- decisions ---------------------------------------------------------------------------------------------------

    def _decide(self, now: int) -> None:
        answer = self._policy(self._load(now))
        for number, own in self._tasks.items():
            own.target = answer[number]
            self._free += own.kept
            own.kept = 0
        # Who has waited gets cores first; then who grows: only what is free now can be given now.
        urgent = sorted(self._tasks.values(), key=lambda own: (own.task.deadline, own.task.number))
        for own in urgent:
            if own.cores == 0 and 0 < own.target <= self._free:
                self._free -= own.target
                self._start(start_after(self._config, now, own.target), own, own.target)
        for own in urgent:
            growth = own.target - own.cores
            if own.cores and growth:
                if growth > self._free:
                    own.target = own.cores
                    continue
                own.kept = max(0, growth)
                self._free -= own.kept
                done = self._boundary(now, own)
                own.is_asked = True
                if done < len(own.ends) - 1:
                    self._at(own.ends[done], "boundary", own.task.number, own.version)

    def _load(self, now: int) -> Load:
        tasks = []
        for number, own in sorted(self._tasks.items()):
            done = self._boundary(now, own)
            tasks.append(
                Task(
                    number=number,
                    latencies=self._latencies[own.task.network],
                    next_layer=own.next_layer + (done + 1 if own.cores else 0),
                    cycles_to_boundary=own.ends[done] - now if own.cores else 0,
                    cores=own.cores,
                    attached=own.is_attached,
                    priority=own.task.priority,
                    arrival=own.task.arrival,
                    deadline=own.task.deadline,
                )
            )
        config = self._config
        return Load(now, config.cores, config.tenants, tuple(tasks), self._switch_cycles)


def _latencies(table: LatencyTable) -> Latencies:
    """What the policy knows: the first layer includes the start, the last one the end."""
    layers = [dict(layer) for layer in table.layers]
    for count in table.core_counts:
        layers[0][count] += table.start[count]
        layers[-1][count] += table.tail[count]
    return Latencies(layers)
