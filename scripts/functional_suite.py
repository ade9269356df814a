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
from hypervisor.backends.compiled_netlist import Limbs
from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.hypervisor import Hypervisor, Tenant
from hypervisor.pool_port import Idle, PoolPort, Read, Write
from hypervisor.switch import begin, park, switch
from isa.configuration import NAMED_POOLS, PoolConfig
from isa.encoding import encode_program
from isa.instructions import (
    INSTRUCTION_ADDRESS_BITS,
    INSTRUCTIONS,
    VIRTUAL_CORE_BITS,
    WORD_BITS,
    WORD_BYTES,
    Buffer,
    Call,
    ConfigLoad,
    End,
    Instruction,
    Load,
    Return,
    SyncRaise,
    SyncWait,
)
from isa.registers import COMMAND_CYCLES, CONTROL_DATA_BITS, Command, CoreState, Fault, Register, Result, TenantState
from rtl.context_switch import switch_cycles
from rtl.core_ports import core_ports
from rtl.pool import pool, real_cores
from rtl.sizes import output

POOL = NAMED_POOLS["tiny"]
NETWORKS = Path(__file__).parent.parent / "tests" / "networks"
_NETWORK = "lenet"
_LIMIT = 200_000
_SEEN = "_seen"


class FunctionalError(AssertionError):
    """The pool did not do what it has to."""


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
    log = _Log(port)
    hypervisor = Hypervisor(port)
    _host_accesses(port)
    _small_programs(log, hypervisor)
    for lengths in ((256, 2048), (1024, 128)):
        _edges(log, hypervisor, lengths)
    _arguments(port)
    port.step(-port.cycle % POOL.period_cycles)
    log.begin()
    first, second = (_Network(hypervisor) for _ in range(2))
    _refusals(log)
    first.begin((0,))
    second.begin((1,))
    for look in range(14):
        port.step(500)
        log.look(look % 2)
    hypervisor.pause(second.tenant)
    hypervisor.wait([second.tenant], _LIMIT)
    log.look(1)
    _order(log, Command.START, Result.WRONG_TENANT_STATE, tenant=1, start=0)
    park(hypervisor, first.tenant)
    log.look(0)
    _order(log, Command.GRANT, Result.VIRTUAL_INDEX_TAKEN, tenant=1, core=0, virtual=0)
    _order(log, Command.GRANT, Result.WRONG_CORE_STATE, tenant=0, core=1, virtual=1)
    _order(log, Command.STOP, Result.TENANT_HOLDS_CORES, tenant=1)
    second.switch((1, 0))
    log.look(1)
    hypervisor.wait([second.tenant], _LIMIT)
    log.look(1)
    second.check()
    return log.entries


class _Log:
    """What the host reads, with the cycle."""

    def __init__(self, port: PoolPort) -> None:
        self.port = port
        self.begin()

    def begin(self) -> None:
        """Forget what came before: of programs that fault, the model knows the cycles roughly."""
        self.entries: list[tuple[int, ...]] = []
        self._began = self.port.cycle

    def look(self, number: int) -> None:
        """Read all that the registers say of a tenant and of a core."""
        arguments = [Write(Register.ARGUMENT_TENANT, number), Write(Register.ARGUMENT_CORE, number)]
        self.note(*self.port.transfer([*arguments, *map(Read, Register)]))

    def note(self, *values: int) -> None:
        """Values that were read just now."""
        self.entries.append((self.port.cycle - self._began, *values))


class _Network:
    """A trained network in a window of its own."""

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor
        self._package: Package = compile_model(NETWORKS / f"{_NETWORK}.int8.onnx", POOL)
        self.tenant: Tenant = hypervisor.attach(self._package.window_bytes)
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
        if switch(self._hypervisor, self.tenant, self._package, cores, 0, _LIMIT) is None:
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


def _order(log: _Log, command: int, expected: Result, **arguments: int) -> None:
    """Give a command that has to be accepted, or refused for this reason."""
    accesses = [Write(Register[f"ARGUMENT_{name.upper()}"], value) for name, value in arguments.items()]
    order = [Write(Register.COMMAND, command), Idle(COMMAND_CYCLES - 1), Read(Register.COMMAND_RESULT)]
    (answer,) = log.port.transfer([*accesses, *order])
    log.note(answer)
    if answer != expected:
        raise FunctionalError(f"command {command} with {arguments}: {Result(answer).name}, not {expected.name}")


def _refused_windows(log: _Log, tenant: Tenant) -> None:
    """Tenant 1 is not attached."""
    fetch, memory, base = POOL.fetch_beats, POOL.memory_beats, tenant.window.base
    end = base + tenant.window.beats
    for reason, first, beats in (
        (Result.WINDOW_NOT_ALIGNED, end + 1, fetch),
        (Result.WINDOW_NOT_ALIGNED, end, fetch + 2),
        (Result.WINDOW_NOT_ALIGNED, end, 0),
        (Result.WINDOW_OUTSIDE_MEMORY, memory, fetch),
        (Result.WINDOW_OUTSIDE_MEMORY, memory - fetch, 2 * fetch),
        (Result.WINDOW_OUTSIDE_MEMORY, 1 << 31, 1 << 31),
        (Result.WINDOW_OVERLAPS, end - fetch, fetch),
        (Result.WINDOW_OVERLAPS, base, end),
        (Result.WINDOW_OVERLAPS, max(0, base - fetch), 2 * fetch),
    ):
        _order(log, Command.ATTACH, reason, tenant=1, base=first, limit=beats)


def _refusals(log: _Log) -> None:
    """Both tenants are attached, STOPPED, and hold no core."""
    fetch = POOL.fetch_beats
    _order(log, 0, Result.UNKNOWN_COMMAND)
    _order(log, len(Command) + 1, Result.UNKNOWN_COMMAND)
    for command in (Command.ATTACH, Command.DETACH, Command.GRANT, Command.START, Command.STOP):
        _order(log, command, Result.NO_SUCH_TENANT, tenant=POOL.tenants, core=0)
    _order(log, Command.GRANT, Result.NO_SUCH_CORE, tenant=0, core=POOL.cores)
    _order(log, Command.REVOKE, Result.NO_SUCH_CORE, core=POOL.cores + 1)
    _order(log, Command.REVOKE, Result.WRONG_CORE_STATE, core=0)
    _order(log, Command.ATTACH, Result.WRONG_TENANT_STATE, tenant=0, base=0, limit=fetch)
    _order(log, Command.PAUSE, Result.WRONG_TENANT_STATE, tenant=0)
    _order(log, Command.RESUME, Result.WRONG_TENANT_STATE, tenant=1)


def _small_programs(log: _Log, hypervisor: Hypervisor) -> None:
    """Both tenants run into every fault of level 1, of the shell and of a core; through a frame, too; and leave."""
    first = hypervisor.attach(2048)
    _refused_windows(log, first)
    tenants = (first, hypervisor.attach(2048))
    outside = first.length_bytes // POOL.array
    overrun = Load(core=0, buffer=Buffer.FEATURES, destination=POOL.features_vectors - 1, columns=9)
    beyond = Load(core=0, buffer=Buffer.FEATURES, address=outside, columns=4)
    load = ConfigLoad(core=0, row_pitch=1, plane_pitch=1)
    cases: list[tuple[Sequence[Instruction] | bytes, Fault]] = [
        (b"\xff" * 32, Fault.ILLEGAL_INSTRUCTION),
        ([load, ConfigLoad(core=5)], Fault.UNMAPPED_CORE),
        ([Call(address=1 << 20)], Fault.FETCH_OUTSIDE_WINDOW),
        ([Call(address=2), End(), Call(address=3), End()], Fault.NESTED_CALL),
        ([load, Return()], Fault.RETURN_WITHOUT_CALL),
        *[([load, beyond, End(barriers=1)], Fault.ACCESS_OUTSIDE_WINDOW)] * 2,
        *[([load, overrun, End(barriers=1)], Fault.BUFFER_OVERRUN)] * 2,
        ([Call(address=3), SyncWait(core=0), End(barriers=1), SyncRaise(core=0), Return()], Fault.NONE),
    ]
    for turn, (program, fault) in enumerate(cases):  # what comes twice, each tenant does on each core
        words = program if isinstance(program, bytes) else encode_program(list(program))
        for tenant in tenants:
            hypervisor.write(tenant, 0, words + encode_program([load] * 12))
            hypervisor.grant(tenant, [(tenant.number + turn) % POOL.cores])
        hypervisor.start([(tenant, 0) for tenant in tenants])
        if fault is Fault.NONE:
            _pause_and_resume(log, hypervisor, tenants)
        hypervisor.wait(tenants, _LIMIT)
        for tenant in tenants:
            status = hypervisor.status(tenant)
            log.look(tenant.number)
            if status.fault is not fault or (status.state is TenantState.DONE) != (fault is Fault.NONE):
                raise FunctionalError(f"{fault.name} was expected of tenant {tenant.number}, {status} came")
        hypervisor.revoke(*tenants)
        for tenant in tenants:
            hypervisor.stop(tenant)
    _reserved_bits(hypervisor, tenants)
    for pattern in (0x2A, 0x15):
        _ownership(log, tenants, [pattern ^ core for core in range(POOL.cores)])
    for tenant in tenants:
        hypervisor.detach(tenant)
        log.look(tenant.number)
        if hypervisor.port.read_memory(tenant.offset_bytes, tenant.length_bytes).any():
            raise FunctionalError("a window that was detached is not zero")


def _edges(log: _Log, hypervisor: Hypervisor, lengths: Sequence[int]) -> None:
    """Tenants with windows of so many bytes: each may use all of its own, data and program, and not a vector more."""
    tenants = [hypervisor.attach(length) for length in lengths]
    for beyond in (0, 1):
        for by_program in (False, True):
            for tenant in tenants:
                words, vectors = tenant.length_bytes // WORD_BYTES, tenant.length_bytes // POOL.array
                call = [Call(address=words - 1 + beyond), End()]
                load = [
                    Load(core=0, address=vectors - 1 + beyond),
                    SyncRaise(core=0),
                    SyncWait(core=0),
                    End(barriers=1),
                ]
                hypervisor.write(tenant, 0, encode_program(call if by_program else load))
                hypervisor.write(tenant, tenant.length_bytes - WORD_BYTES, encode_program([End()]))
                hypervisor.grant(tenant, [tenant.number])
            hypervisor.start([(tenant, 0) for tenant in tenants])
            hypervisor.wait(tenants, _LIMIT)
            outside = Fault.FETCH_OUTSIDE_WINDOW if by_program else Fault.ACCESS_OUTSIDE_WINDOW
            expected = outside if beyond else Fault.NONE
            for tenant in tenants:
                log.look(tenant.number)
                if hypervisor.status(tenant).fault is not expected:
                    raise FunctionalError(f"{expected.name} was expected at the edge of window {tenant.number}")
            hypervisor.revoke(*tenants)
            for tenant in tenants:
                hypervisor.stop(tenant)
    for tenant in tenants:
        hypervisor.detach(tenant)


def _ownership(log: _Log, tenants: Sequence[Tenant], virtuals: Sequence[int]) -> None:
    """The last tenant gets every core, with these virtual indices; they are its own until they are FREE, then nobody's.

    Virtual indices are not those that a hypervisor would give: the pool takes any that are not taken.
    """
    owner = tenants[-1].number
    for core, virtual in enumerate(virtuals):
        _order(log, Command.GRANT, Result.ACCEPTED, tenant=owner, core=core, virtual=virtual)
    _entries(log, [(CoreState.HELD, owner, virtual) for virtual in virtuals])
    for core in range(POOL.cores):
        _order(log, Command.REVOKE, Result.ACCEPTED, core=core)
    _entries(log, [(CoreState.DRAINING, owner, virtual) for virtual in virtuals])
    log.port.step(POOL.drain_cycles)
    _entries(log, [(CoreState.SCRUBBING, owner, virtual) for virtual in virtuals])
    log.port.step(switch_cycles(POOL) - POOL.drain_cycles)
    _entries(log, [(CoreState.FREE, 0, 0)] * POOL.cores)


def _entries(log: _Log, expected: Sequence[tuple[int, int, int]]) -> None:
    """What the ownership table says of each core: state, owner, virtual index."""
    for core, entry in enumerate(expected):
        columns = map(Read, (Register.CORE_STATE, Register.CORE_OWNER, Register.CORE_VIRTUAL))
        found = log.port.transfer([Write(Register.ARGUMENT_CORE, core), *columns])
        log.note(*found)
        if tuple(found) != entry:
            raise FunctionalError(f"core {core} shows state, owner and virtual index {found}, not {entry}")


def _reserved_bits(hypervisor: Hypervisor, tenants: Sequence[Tenant]) -> None:
    """Each kind of instruction, with a bit that it does not have: all are illegal. The tenants share them out.

    The bits are those at which the fields of some kind end: a decoder may compare what lies between two of
    them at once.
    """
    ends = sorted({kind.used_bits() for kind in INSTRUCTIONS} - {WORD_BITS})
    words = [(kind, bit) for kind in INSTRUCTIONS for bit in ends if bit >= kind.used_bits()]
    for first in range(0, len(words), len(tenants)):
        trials = list(zip(tenants, words[first:], strict=False))
        for tenant, (kind, bit) in trials:
            hypervisor.write(tenant, 0, (kind.opcode | 1 << bit).to_bytes(WORD_BYTES, "little"))
            hypervisor.grant(tenant, [tenant.number])
        hypervisor.start([(tenant, 0) for tenant, _ in trials])
        hypervisor.wait([tenant for tenant, _ in trials], _LIMIT)
        for tenant, (kind, bit) in trials:
            if hypervisor.status(tenant).fault is not Fault.ILLEGAL_INSTRUCTION:
                raise FunctionalError(f"{kind.__name__} with the reserved bit {bit} set is no fault")
        hypervisor.revoke(*(tenant for tenant, _ in trials))
        for tenant, _ in trials:
            hypervisor.stop(tenant)


def _pause_and_resume(log: _Log, hypervisor: Hypervisor, tenants: Sequence[Tenant]) -> None:
    """Tenants that have just been started stop at their barrier, and go on."""
    hypervisor.port.step(-hypervisor.port.cycle % POOL.period_cycles)
    for tenant in tenants:
        hypervisor.pause(tenant)
    hypervisor.wait(tenants, _LIMIT)
    for tenant in tenants:
        log.look(tenant.number)
        if hypervisor.status(tenant).state is not TenantState.PAUSED:
            raise FunctionalError(f"tenant {tenant.number} did not pause")
        hypervisor.resume(tenant)
