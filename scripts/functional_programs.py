"""Small programs of the functional test: every fault, both edges of windows, and cores from GRANT to FREE."""

from __future__ import annotations

from collections.abc import Sequence

from hypervisor.hypervisor import Hypervisor, Tenant
from hypervisor.pool_port import Read, Write
from isa.encoding import encode_program
from isa.instructions import (
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
from isa.registers import Command, CoreState, Fault, Register, Result, TenantState
from rtl.context_switch import switch_cycles
from scripts.functional_log import LIMIT, POOL, FunctionalError, Log
from scripts.functional_words import illegal_words, legal_words


def small_programs(log: Log, hypervisor: Hypervisor) -> None:
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
        hypervisor.wait(tenants, LIMIT)
        for tenant in tenants:
            status = hypervisor.status(tenant)
            log.look(tenant.number)
            if status.fault is not fault or (status.state is TenantState.DONE) != (fault is Fault.NONE):
                raise FunctionalError(f"{fault.name} was expected of tenant {tenant.number}, {status} came")
        hypervisor.revoke(*tenants)
        for tenant in tenants:
            hypervisor.stop(tenant)
    illegal_words(hypervisor, tenants)
    legal_words(log, hypervisor, tenants)
    for pattern in (0x2A, 0x15):
        _ownership(log, tenants, [pattern ^ core for core in range(POOL.cores)])
    for tenant in tenants:
        hypervisor.detach(tenant)
        log.look(tenant.number)
        if hypervisor.port.read_memory(tenant.offset_bytes, tenant.length_bytes).any():
            raise FunctionalError("a window that was detached is not zero")


def _refused_windows(log: Log, tenant: Tenant) -> None:
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
        log.order(Command.ATTACH, reason, tenant=1, base=first, limit=beats)


def _pause_and_resume(log: Log, hypervisor: Hypervisor, tenants: Sequence[Tenant]) -> None:
    """Tenants that have just been started stop at their barrier, and go on."""
    hypervisor.port.step(-hypervisor.port.cycle % POOL.period_cycles)
    for tenant in tenants:
        hypervisor.pause(tenant)
    hypervisor.wait(tenants, LIMIT)
    for tenant in tenants:
        log.look(tenant.number)
        if hypervisor.status(tenant).state is not TenantState.PAUSED:
            raise FunctionalError(f"tenant {tenant.number} did not pause")
        hypervisor.resume(tenant)


def edges(log: Log, hypervisor: Hypervisor, lengths: Sequence[int]) -> None:
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
            hypervisor.wait(tenants, LIMIT)
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


def _ownership(log: Log, tenants: Sequence[Tenant], virtuals: Sequence[int]) -> None:
    """The last tenant gets every core, with these virtual indices; they are its own until they are FREE, then nobody's.

    Virtual indices are not those that a hypervisor would give: the pool takes any that are not taken.
    """
    owner = tenants[-1].number
    for core, virtual in enumerate(virtuals):
        log.order(Command.GRANT, Result.ACCEPTED, tenant=owner, core=core, virtual=virtual)
    _entries(log, [(CoreState.HELD, owner, virtual) for virtual in virtuals])
    for core in range(POOL.cores):
        log.order(Command.REVOKE, Result.ACCEPTED, core=core)
    _entries(log, [(CoreState.DRAINING, owner, virtual) for virtual in virtuals])
    log.port.step(POOL.drain_cycles)
    _entries(log, [(CoreState.SCRUBBING, owner, virtual) for virtual in virtuals])
    log.port.step(switch_cycles(POOL) - POOL.drain_cycles)
    _entries(log, [(CoreState.FREE, 0, 0)] * POOL.cores)


def _entries(log: Log, expected: Sequence[tuple[int, int, int]]) -> None:
    """What the ownership table says of each core: state, owner, virtual index."""
    for core, entry in enumerate(expected):
        columns = map(Read, (Register.CORE_STATE, Register.CORE_OWNER, Register.CORE_VIRTUAL))
        found = log.port.transfer([Write(Register.ARGUMENT_CORE, core), *columns])
        log.note(*found)
        if tuple(found) != entry:
            raise FunctionalError(f"core {core} shows state, owner and virtual index {found}, not {entry}")
