"""Trained networks on tenants of pool `small`, and when exactly they come to which barrier."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import onnx

from compiler.compile import compile_model
from compiler.golden import Golden
from compiler.latencies import time_stage
from compiler.package import Package
from hypervisor.hypervisor import Hypervisor, Tenant
from hypervisor.pool_port import CONTROL_READ_CYCLES, Read, Write
from hypervisor.switch import ANSWER_CYCLES, COMMAND_PERIOD, LOOK_CYCLES, Switch, begin, switch
from isa.configuration import NAMED_POOLS
from isa.registers import COMMAND_CYCLES, Register, TenantState

SMALL = NAMED_POOLS["small"]
NETWORKS = Path(__file__).parents[1] / "networks"
LIMIT = 1_000_000
Cores = tuple[int, ...]


@cache
def package_of(name: str) -> Package:
    return compile_model(NETWORKS / f"{name}.int8.onnx", SMALL)


@cache
def image() -> dict[str, np.ndarray]:
    pixels = np.load(NETWORKS / "mnist_test.npz")["images"][0]
    return {"image": pixels[None, None].astype(np.float32) / np.float32(255)}


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    return Golden(onnx.load(NETWORKS / f"{name}.int8.onnx")).tensors(image())


@cache
def barriers_of(name: str, cores: Cores, layer: int = 0) -> tuple[int, ...]:
    """Cycles of the barriers of the program from `layer` on, then that of its end, since RUNNING."""
    package = package_of(name)
    timing = time_stage(package, layer, cores, SMALL, package.window())
    return (*timing.barriers, timing.cycles)


def first_withheld(looked: int, barriers: Sequence[int]) -> int | None:
    """Index of the barrier at which `switch` pauses, which looks from cycle `looked` on; None: all come before.

    `barriers` are cycles since reset in which they are visible, ascending. PAUSE was written COMMAND_PERIOD +
    CONTROL_READ_CYCLES cycles before `looked`, and withholds what would be visible COMMAND_CYCLES + 1 cycles later.
    """
    pending = looked - COMMAND_PERIOD - CONTROL_READ_CYCLES + COMMAND_CYCLES + 1
    return next((index for index, cycle in enumerate(barriers) if cycle >= pending), None)


def noticed_at(looked: int, boundary: int) -> int:
    """The cycle in which `switch` knows of a pause visible since cycle `boundary`; its first look is in `looked`."""
    return looked + max(0, -(-(boundary - looked) // LOOK_CYCLES)) * LOOK_CYCLES + ANSWER_CYCLES


class Running:
    """A network on a tenant: attached at once, started on `cores` by `begin`."""

    def __init__(self, hypervisor: Hypervisor, name: str) -> None:
        self.hypervisor = hypervisor
        self.package = package_of(name)
        self.name = name
        self.cores: Cores = ()
        self.layer = 0
        self.running = 0
        self.tenant: Tenant = hypervisor.attach(self.package.window_bytes)
        hypervisor.write(self.tenant, 0, self.package.image())
        self._inference = self.package.inference(image())
        for write in self._inference.before(0, self._read):
            hypervisor.write(self.tenant, write.offset, write.data)

    def begin(self, cores: Cores) -> Running:
        self.cores = cores
        self.running = begin(self.hypervisor, self.tenant, self.package, cores, 0)
        return self

    def _read(self, offset: int, length: int) -> bytes:
        return self.hypervisor.read(self.tenant, offset, length).tobytes()

    @property
    def barriers(self) -> list[int]:
        """Cycles since reset in which its barriers come, then its end."""
        return [self.running + cycle for cycle in barriers_of(self.name, self.cores, self.layer)]

    def switch(self, cores: Cores) -> Switch | None:
        found = switch(self.hypervisor, self.tenant, self.package, cores, self.layer, LIMIT)
        if found is not None:
            self.cores, self.layer, self.running = cores, found.layer, found.running
        return found

    def measured_start(self) -> int:
        """The first cycle of RUNNING by the pool's own count, once it is past."""
        port = self.hypervisor.port
        port.step(max(0, self.running - port.cycle))
        now = port.cycle
        (cycles,) = port.transfer([Write(Register.ARGUMENT_TENANT, self.tenant.number), Read(Register.TENANT_CYCLES)])
        return now + 1 - cycles

    def assert_exact(self) -> int:
        """Wait for the end, require ONNX Runtime's outputs; the cycles of the program that ended."""
        self.hypervisor.wait([self.tenant], LIMIT)
        status = self.hypervisor.status(self.tenant)
        assert status.state is TenantState.DONE, status
        for name, value in self._inference.outputs(self._read).items():
            assert (value == golden(self.name)[name]).all(), name
        return status.cycles
