"""Elasticity on the RTL: whatever the neighbours do, a tenant's trace is the one it has alone on a fresh device.

The trace of a real network that gains a core which a neighbour has just lost, later loses all but one, and ends:
its registers and its cores' every STEP_CYCLES cycles, the bytes of its window as often, what the engines of its
cores do in every cycle, and on the netlist every beat that it reads or writes, with its cycle and data. The device
alone gets the same commands for this tenant in the same cycles, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.backends.verilator_backend import VerilatorPort
from hypervisor.hypervisor import Hypervisor
from hypervisor.pool_port import ControlAccess, PoolPort, Read, Write
from isa.configuration import PoolConfig
from isa.registers import Command, Register, TenantState
from rtl.compiled_netlist import Limbs
from tests.hypervisor.hostile import Neighbours
from tests.hypervisor.running import SMALL, Running

pytestmark = pytest.mark.xdist_group("small_rtl")
STEP_CYCLES = 128
WARM_UP_STEPS = 80
"""Steps in which the neighbours fill the device before the tenant gets its cores."""
BEFORE, MORE, LESS = (1, 3), (1, 3, 2), (3,)
TAKEN = 2
"""The core that changes hands."""
SCRUB_STEPS = 8
HOSTILE = {Command.GRANT, Command.REVOKE, Command.START, Command.STOP, Command.PAUSE, Command.RESUME}
"""What the pool must have accepted from the neighbours of a run."""


class RecordingPort(PyrtlPort):
    """Notes every beat on the memory's channels that lies in a window: cycle, write, beat, strobe, data."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config)
        self.watched = range(0)
        self.beats: list[tuple[int, int, int, int, bytes]] = []

    def _serve(self, channel: int, outputs: Limbs) -> None:
        where = self._netlist.outputs
        for cycle in np.flatnonzero(outputs[:, where[f"channel{channel}_valid"].start]):
            row = outputs[cycle]
            beat = int(row[where[f"channel{channel}_address"].start]) * self.config.channels + channel
            if beat in self.watched:
                columns = where[f"channel{channel}_data"].columns
                write, strobe = (int(row[where[f"channel{channel}_{name}"].start]) for name in ("write", "strobe"))
                self.beats.append((self._cycle + int(cycle), write, beat, strobe, row[columns].tobytes()))
        super()._serve(channel, outputs)


@dataclass
class Trace:
    """What the tenant could see, in the cycles of the device."""

    looks: list[tuple[object, ...]] = field(default_factory=list)
    switches: list[object] = field(default_factory=list)
    activity: list[object] = field(default_factory=list)
    beats: list[tuple[int, int, int, int, bytes]] = field(default_factory=list)
    end: tuple[object, ...] = ()


class Scenario:
    """One run on one device, alone or among neighbours."""

    def __init__(self, port: PoolPort, network: str, seed: int | None) -> None:
        self.port = port
        hypervisor = Hypervisor(port)
        self.tenant = Running(hypervisor, network)
        window = self.tenant.tenant.window
        if isinstance(port, RecordingPort):
            port.watched = range(window.base, window.end)
        number, others = self.tenant.tenant.number, {0, TAKEN}
        self.neighbours = None if seed is None else Neighbours(port, number, window, others, seed)
        self.trace = Trace()
        self._next = -(-port.cycle // STEP_CYCLES) * STEP_CYCLES

    def run(self) -> Trace:
        """The whole story."""
        self._steps(WARM_UP_STEPS)
        self._leave_to_tenant(TAKEN)
        self._go(lambda: self.tenant.begin(BEFORE).running)
        self._steps(20)
        self._go(lambda: self.tenant.switch(MORE))
        held_from = self.tenant.running
        self._steps(10)
        self._go(lambda: self.tenant.switch(LESS))
        held_until = self.tenant.running - SMALL.scrub_cycles
        if self.neighbours is not None:
            self.neighbours.cores |= {1, TAKEN}
        while self._look()[0] == TenantState.RUNNING:
            self._steps(1)
        end = self.tenant.hypervisor.status(self.tenant.tenant)
        self.trace.end = (end, self.tenant.assert_exact())
        for item in self.port.activity():
            is_own = {1: item.end <= held_until, 3: True, TAKEN: held_from <= item.first and item.end <= held_until}
            if is_own.get(item.core, False):
                self.trace.activity.append(item)
        if isinstance(self.port, RecordingPort):
            self.trace.beats = self.port.beats
        return self.trace

    def _leave_to_tenant(self, core: int) -> None:
        if self.neighbours is not None:
            self.neighbours.release(core)
        self._steps(SCRUB_STEPS)

    def _go(self, action: Callable[[], object]) -> None:
        self.port.step(self._next - self.port.cycle)
        self.trace.switches.append(action())
        self._next = -(-self.port.cycle // STEP_CYCLES) * STEP_CYCLES

    def _steps(self, count: int) -> None:
        for _ in range(count):
            self.port.step(self._next - self.port.cycle)
            self.trace.looks.append(self._look())
            if self.neighbours is not None:
                self.neighbours.act()
            self._next += STEP_CYCLES
            assert self.port.cycle <= self._next

    def _look(self) -> tuple[object, ...]:
        tenant = self.tenant.tenant
        registers = (Register.TENANT_STATE, Register.TENANT_BARRIERS, Register.TENANT_CYCLES, Register.TENANT_FAULT)
        look: list[ControlAccess] = [Write(Register.ARGUMENT_TENANT, tenant.number), *map(Read, registers)]
        for core in tenant.cores:
            look += [Write(Register.ARGUMENT_CORE, core)]
            look += [Read(register) for register in (Register.CORE_STATE, Register.CORE_OWNER, Register.CORE_VIRTUAL)]
        answers = self.port.transfer(look)
        content = self.port.read_memory(tenant.offset_bytes, tenant.length_bytes)
        return (*answers, self.port.cycle, hashlib.sha256(content.tobytes()).hexdigest())


def trace_of(port: PoolPort, network: str, seed: int | None) -> tuple[Trace, Neighbours | None]:
    scenario = Scenario(port, network, seed)
    trace = scenario.run()
    port.close()
    return trace, scenario.neighbours


PORTS: dict[str, Callable[[], PoolPort]] = {
    "pyrtl": lambda: RecordingPort(SMALL),
    "verilator": lambda: VerilatorPort(SMALL),
}


@pytest.mark.parametrize(("network", "seeds"), [("lenet", (1, 2, 3)), ("resnet8", (9,))])
@pytest.mark.parametrize("backend", PORTS)
def test_a_tenant_among_hostile_neighbours_has_the_trace_that_it_has_alone(
    backend: str, network: str, seeds: tuple[int, ...]
) -> None:
    alone, _ = trace_of(PORTS[backend](), network, None)
    assert len(alone.looks) > 100 and len(alone.activity) > 100
    assert backend != "pyrtl" or (sum(write for _, write, *_ in alone.beats) > 100 and len(alone.beats) > 1000)
    faults, commands, barriers = set(), set(), 0
    for seed in seeds:
        trace, neighbours = trace_of(PORTS[backend](), network, seed)
        assert trace == alone, f"seed {seed}"
        assert neighbours is not None and neighbours.refused > 20
        faults |= set(neighbours.faults)
        commands |= set(neighbours.accepted)
        barriers = max(barriers, neighbours.most_barriers)
    assert len(faults) >= 3 and barriers > 100 and commands >= HOSTILE, "the neighbours were not hostile enough"
