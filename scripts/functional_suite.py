"""A functional test of the whole pool `tiny` as one run, recorded at the ports of the shell and played to its mutants.

The run: host accesses to memory; two tenants with a trained network each, pauses, a live switch, results compared byte
for byte with ONNX Runtime; every fault; every refusal; detaching, and that windows are zero then. `play` returns
what the host read while the networks ran, with the cycle, which is the same on every backend.

What the real cores, the memory and the host did in that run on PyRTL's netlist is the *recording*. A mutant of the
shell gets the same from all three; until it first shows something else at a port, that is what they would do. So a
shell that shows what was recorded, in every cycle, passes the test, and any other one fails it in some byte, some
cycle or some value read.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pyrtl

from compiler.compile import compile_model
from compiler.golden import Golden
from compiler.package import Package
from formal.recording import Recording
from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.hypervisor import Hypervisor, Tenant
from hypervisor.pool_port import PoolPort, Read, Write
from hypervisor.switch import begin, park, switch
from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, VIRTUAL_CORE_BITS
from isa.registers import CONTROL_DATA_BITS, Command, Register, Result
from rtl.compiled_netlist import Limbs
from rtl.core_ports import core_ports
from rtl.pool import pool, real_cores
from rtl.sizes import output
from scripts.functional_log import LIMIT, POOL, FunctionalError, Log
from scripts.functional_programs import edges, small_programs

NETWORKS = Path(__file__).parent.parent / "tests" / "networks"
_NETWORK = "lenet"
_SEEN = "_seen"


# ---- recording


def record() -> tuple[Recording, list[tuple[int, ...]]]:
    """Play the run on the netlist of the pool; what came and went at the shell's ports, and what the host read."""
    port = _RecordingPort(POOL)
    try:
        log = play(port)
        return port.recording(), log
    finally:
        port.close()


class _RecordingPort(PyrtlPort):
    """The pool with its cores' ports as outputs, too; keeps all that it was given and showed."""

    def __init__(self, config: PoolConfig) -> None:
        super().__init__(config, elaborate=_elaborate, description=inspect.getsource(_elaborate))
        self._blocks: list[tuple[Limbs, Limbs]] = []

    def _run(self, inputs: Limbs) -> Limbs:
        outputs = super()._run(inputs)
        self._blocks.append((inputs.copy(), outputs.copy()))
        return outputs

    def recording(self) -> Recording:
        """What has been kept, by the names of the shell's ports around free cores."""
        ports = [(0, name, where) for name, where in self._netlist.inputs.items()]
        ports += [(1, name, where) for name, where in self._netlist.outputs.items()]
        given: dict[str, list[int]] = {}
        shown: dict[str, list[int]] = {}
        for side, name, where in ports:
            columns = np.concatenate([block[side][:, where.columns] for block in self._blocks])
            values = [int.from_bytes(row.tobytes(), "little") for row in np.ascontiguousarray(columns)]
            if side == 0:
                given[name] = values
            elif name.endswith(_SEEN):
                given[f"{name.removesuffix(_SEEN)}_i"] = values
            else:
                shown[name] = values
        return Recording(given, shown)


def _elaborate(config: PoolConfig) -> None:
    build_core = real_cores(config)

    def build(index: int, inputs: Mapping[str, pyrtl.WireVector]) -> Mapping[str, pyrtl.WireVector]:
        outputs = build_core(index, inputs)
        for port in core_ports(config).inputs:
            output(f"core{index}_{port}_o", inputs[port])
        for port in core_ports(config).outputs:
            output(f"core{index}_{port}{_SEEN}", outputs[port])
        return outputs

    pool(config, build)


# ---- the run


def play(port: PoolPort) -> list[tuple[int, ...]]:
    """The run, on a pool `tiny` at reset; what the host read while the networks ran.

    Raises:
        FunctionalError: when bytes, faults or refusals are not those that they have to be.
    """
    log = Log(port)
    hypervisor = Hypervisor(port)
    _host_accesses(port)
    small_programs(log, hypervisor)
    for lengths in ((256, 2048), (1024, 128)):
        edges(log, hypervisor, lengths)
    _arguments(port)
    port.step(-port.cycle % POOL.period_cycles)
    log.begin()
    # All of the memory: so bases and limits have the bits that small windows leave 0.
    half = POOL.memory_beats // 2
    first, second = (_Network(hypervisor, beats) for beats in (half - POOL.fetch_beats, half + POOL.fetch_beats))
    _refusals(log)
    first.begin((0,))
    second.begin((1,))
    for look in range(14):
        port.step(500)
        log.look(look % 2)
    hypervisor.pause(second.tenant)
    hypervisor.wait([second.tenant], LIMIT)
    log.look(1)
    log.order(Command.START, Result.WRONG_TENANT_STATE, tenant=1, start=0)
    park(hypervisor, first.tenant)
    log.look(0)
    log.order(Command.GRANT, Result.VIRTUAL_INDEX_TAKEN, tenant=1, core=0, virtual=0)
    log.order(Command.GRANT, Result.WRONG_CORE_STATE, tenant=0, core=1, virtual=1)
    log.order(Command.STOP, Result.TENANT_HOLDS_CORES, tenant=1)
    second.switch((1, 0))
    log.look(1)
    hypervisor.wait([second.tenant], LIMIT)
    log.look(1)
    second.check()
    return log.entries


class _Network:
    """A trained network in a window of its own, of so many beats."""

    def __init__(self, hypervisor: Hypervisor, beats: int) -> None:
        self._hypervisor = hypervisor
        self._package: Package = compile_model(NETWORKS / f"{_NETWORK}.int8.onnx", POOL)
        self.tenant: Tenant = hypervisor.attach(beats * POOL.beat_bytes)
        pixels = np.load(NETWORKS / "mnist_test.npz")["images"][self.tenant.number]
        self._image = {"image": pixels[None, None].astype(np.float32) / np.float32(255)}
        hypervisor.write(self.tenant, 0, self._package.image())
        self._inference = self._package.inference(self._image)
        for write in self._inference.before(0, self._read):
            hypervisor.write(self.tenant, write.offset, write.data)

    def _read(self, offset: int, length: int) -> bytes:
        return self._hypervisor.read(self.tenant, offset, length).tobytes()

    def begin(self, cores: Sequence[int]) -> None:
        begin(self._hypervisor, self.tenant, self._package, cores, 0)

    def switch(self, cores: Sequence[int]) -> None:
        if switch(self._hypervisor, self.tenant, self._package, cores, 0, LIMIT) is None:
            raise FunctionalError("the network ended before it could switch")

    def check(self) -> None:
        expected = Golden(onnx.load(NETWORKS / f"{_NETWORK}.int8.onnx")).tensors(self._image)
        for name, value in self._inference.outputs(self._read).items():
            if not (value == expected[name]).all():
                raise FunctionalError(f"output {name} is not that of ONNX Runtime")


def _host_accesses(port: PoolPort) -> None:
    generator = np.random.default_rng(1)
    beats = [int(beat) for beat in generator.integers(32, POOL.memory_beats, 6)] + [POOL.memory_beats - 1]
    data = [generator.integers(0, 256, POOL.beat_bytes, np.uint8) for _ in beats]
    for beat, content in zip(beats, data, strict=True):
        port.host_write(beat, content)
    for beat, content in zip(beats, data, strict=True):
        if not (port.host_read(beat) == content).all():
            raise FunctionalError(f"beat {beat} is not what the host wrote")
    for beat in beats:
        port.host_write(beat, np.zeros(POOL.beat_bytes, np.uint8))


def _arguments(port: PoolPort) -> None:
    """Arguments keep what is written, as many bits as they have, and only they."""
    registers = [register for register in Register if register.name.startswith("ARGUMENT")]
    kept = {
        Register.ARGUMENT_VIRTUAL: (1 << VIRTUAL_CORE_BITS) - 1,
        Register.ARGUMENT_START: (1 << INSTRUCTION_ADDRESS_BITS) - 1,
    }
    for pattern in (0xA5A5A5A5, 0x5A5A5A5A, (1 << CONTROL_DATA_BITS) - 1, 0):
        values = [pattern ^ index * 0x01010101 for index in range(len(registers))]
        read = port.transfer([*map(Write, registers, values), *map(Read, registers)])
        if read != [value & kept.get(register, value) for register, value in zip(registers, values, strict=True)]:
            raise FunctionalError(f"arguments read {read} after {values} were written")


def _refusals(log: Log) -> None:
    """Both tenants are attached, STOPPED, and hold no core."""
    fetch = POOL.fetch_beats
    log.order(0, Result.UNKNOWN_COMMAND)
    log.order(len(Command) + 1, Result.UNKNOWN_COMMAND)
    for command in (Command.ATTACH, Command.DETACH, Command.GRANT, Command.START, Command.STOP):
        log.order(command, Result.NO_SUCH_TENANT, tenant=POOL.tenants, core=0)
    log.look(max(POOL.tenants, POOL.cores))
    log.order(Command.GRANT, Result.NO_SUCH_CORE, tenant=0, core=POOL.cores)
    log.order(Command.REVOKE, Result.NO_SUCH_CORE, core=POOL.cores + 1)
    log.order(Command.REVOKE, Result.WRONG_CORE_STATE, core=0)
    log.order(Command.ATTACH, Result.WRONG_TENANT_STATE, tenant=0, base=0, limit=fetch)
    log.order(Command.PAUSE, Result.WRONG_TENANT_STATE, tenant=0)
    log.order(Command.RESUME, Result.WRONG_TENANT_STATE, tenant=1)
