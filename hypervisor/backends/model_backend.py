"""The functional interpreter and the timing model behind the registers of a pool: no netlist at all.

A program is interpreted when its START takes effect; what it writes is kept in a journal, barrier by barrier, and shows
in memory when simulated time gets there. So a host that looks in between sees what it would see on the RTL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hypervisor.backends.control_plane import ControlPlane
from hypervisor.backends.model_timing import RunTiming, estimate_run, time_run
from hypervisor.pool_port import (
    ActivityInterval,
    Bytes,
    ControlAccess,
    Idle,
    Write,
    transfer_cycles,
)
from isa.configuration import PoolConfig
from isa.core_state import WindowMemory
from isa.interpreter import Machine, Outcome
from isa.registers import Fault

Progress = Callable[[int], None]
"""Called with the cycle that has been reached."""


class _JournalMemory(WindowMemory):
    """A window that remembers what was written, in a list for each barrier."""

    def __init__(self, config: PoolConfig, image: Bytes) -> None:
        super().__init__(config, image)
        self.vector_bytes = config.array
        self.journal: list[list[tuple[NDArray[np.int64], NDArray[np.int8]]]] = [[]]

    def scatter(self, addresses: NDArray[np.int64], values: NDArray[np.int8]) -> None:
        """Write, and remember it."""
        super().scatter(addresses, values)
        self.journal[-1].append((addresses, values[:, 0].copy()))


class _ModelRun:
    """One run: its times, its fault, and what is still to be shown in memory."""

    def __init__(self, timing: RunTiming, fault: tuple[Fault, int], memory: _JournalMemory, window: Bytes) -> None:
        self.barriers = timing.barriers
        self.end = timing.end
        self.fault = fault
        self._journal = memory.journal
        self._vectors = window.reshape(-1, memory.vector_bytes).view(np.int8)
        self._shown = 0

    def reach_barrier(self, number: int) -> None:
        """See control_plane.Run."""
        for writes in self._journal[self._shown : number + 1]:
            for addresses, values in writes:
                self._vectors[addresses] = values
        self._shown = number + 1


class ModelPort:
    """A PoolPort on the interpreter and the timing model. `progress` is called with the cycle reached."""

    def __init__(self, config: PoolConfig, progress: Progress | None = None) -> None:
        self.config = config
        self.progress = progress
        self._timings_are_exact = True
        self._beats = np.zeros((config.memory_beats, config.beat_bytes), np.uint8)
        self._control = ControlPlane(config, self._run, self._zero_window)
        self._activity: list[ActivityInterval] = []
        self._began: dict[int, int] = {}
        """When the last program began that a core had a part in."""
        self._machines: dict[int, tuple[list[tuple[int, int]], Machine]] = {}

    @property
    def cycle(self) -> int:
        """Cycles simulated since reset."""
        return self._control.cycle

    @property
    def cycles_are_exact(self) -> bool:
        """No run so far faulted, hung, or went on after a PAUSE: only for those the cycles are estimates."""
        return self._timings_are_exact and not self._control.has_resumed

    def close(self) -> None:
        """See PoolPort."""

    def transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        """See PoolPort."""
        end = self.cycle + transfer_cycles(accesses)
        answers = []
        for access in accesses:
            if isinstance(access, Idle):
                self._control.advance(access.cycles)
                continue
            if isinstance(access, Write):
                self._control.write(access.address, access.value)
            else:
                answers.append(self._control.read(access.address))
            self._control.advance(1)
        self.step(end - self.cycle)
        return answers

    def step(self, cycles: int) -> None:
        """See PoolPort."""
        self._control.advance(cycles)
        if self.progress is not None:
            self.progress(self.cycle)

    def read_memory(self, offset: int, length: int) -> Bytes:
        """See PoolPort."""
        self._check_range(offset, length)
        content: Bytes = self._beats.reshape(-1)[offset : offset + length].copy()
        return content

    def write_memory(self, offset: int, data: Bytes) -> None:
        """See PoolPort."""
        self._check_range(offset, len(data))
        self._beats.reshape(-1)[offset : offset + len(data)] = data

    def _check_range(self, offset: int, length: int) -> None:
        if not 0 <= offset <= offset + length <= self.config.memory_bytes:
            raise ValueError(f"bytes {offset}..{offset + length} lie outside the {self.config.memory_bytes} of memory")

    def host_read(self, beat: int) -> Bytes:
        """See PoolPort; takes a period of the wheel and the channel's latency."""
        self.step(self.config.period_cycles + self.config.channel_latency)
        content: Bytes = self._beats[beat].copy()
        return content

    def host_write(self, beat: int, data: Bytes) -> None:
        """See PoolPort; takes a period of the wheel and the channel's latency."""
        self.step(self.config.period_cycles + self.config.channel_latency)
        self._beats[beat] = data

    def activity(self) -> list[ActivityInterval]:
        """See PoolPort. What a paused program had loaded ahead when its cores were revoked is an estimate."""
        self._cut_revoked()
        return sorted(self._activity, key=lambda item: (item.core, item.engine, item.first))

    def _cut_revoked(self) -> None:
        """Programs are timed to their end when they start: what lies behind a REVOKE has not happened."""
        ends = {
            core: entry.revoked
            for core, entry in enumerate(self._control.cores)
            if entry.revoked > self._began.get(core, 0)
        }
        if ends:
            cut = (
                replace(item, end=min(item.end, ends.get(item.core, item.end)))
                for item in self._activity
                if item.first < ends.get(item.core, item.end)
            )
            self._activity = list(cut)

    def _zero_window(self, base: int, beats: int) -> None:
        self._beats[base : base + beats] = 0

    def _run(self, tenant: int, base: int, limit: int, start_word: int, cores: dict[int, int]) -> _ModelRun:
        window = self._beats[base : base + limit].reshape(-1)
        memory = _JournalMemory(self.config, window)
        machine = self._machine(tenant, memory, cores)
        result = machine.run(start_word)
        if result.outcome is not Outcome.DONE:
            del self._machines[tenant]
        fault = (Fault.NONE, 0) if result.fault is None else (result.fault.cause, result.fault.address)
        if result.outcome is Outcome.DONE:
            timing = time_run(self.config, window, start_word, cores)
        else:
            timing = estimate_run(result.barriers, result.outcome is Outcome.FAULT)
        self._timings_are_exact &= timing.is_exact
        began = self._control.tenants[tenant].began
        self._cut_revoked()
        self._began |= dict.fromkeys(cores.values(), began)
        self._activity += [
            ActivityInterval(item.core, item.engine, item.first + began, item.end + began) for item in timing.activity
        ]
        return _ModelRun(timing, fault, memory, window)

    def _machine(self, tenant: int, memory: _JournalMemory, cores: dict[int, int]) -> Machine:
        """The tenant's cores: as the last run left them, or fresh when it holds others now."""

        def capture(_number: int, captured: WindowMemory) -> None:
            assert isinstance(captured, _JournalMemory)
            captured.journal.append([])

        grants = [(core, self._control.cores[core].grants) for core in cores.values()]
        held, machine = self._machines.get(tenant, ([], None))
        if machine is None or held != grants:
            machine = Machine(self.config, memory, list(cores), capture=capture)
            self._machines[tenant] = (grants, machine)
        machine.memory = memory
        return machine
