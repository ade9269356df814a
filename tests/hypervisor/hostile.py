"""Hostile neighbours: other tenants' programs and commands, at random, as bad as the instruction set allows."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np

from hypervisor.pool_port import ControlAccess, Idle, PoolPort, Read, Write
from hypervisor.windows import Window
from isa.configuration import PoolConfig
from isa.encoding import encode_program
from isa.instructions import WORD_BYTES, Buffer, Call, End, Instruction, Load, Return, Save, SyncRaise, SyncWait
from isa.registers import COMMAND_CYCLES, Command, CoreState, Fault, Register, Result, TenantState
from tests.backends.random_programs import random_program

ORDERS_EACH_STEP = 3
ANYTHING = 0.15
"""How often a command is given without regard to the tenant's state."""
FRAME = 256
"""Word of a program's frame."""
DATA = 1024
"""Vector address of what programs read and write, behind the program."""
WINDOW_BEATS = 512


def barrier_storm(config: PoolConfig) -> bytes:
    """CALLs to a frame of nothing but barriers."""
    frame = encode_program([SyncRaise(core=0), SyncWait(core=0)] * 32 + [Return()])
    return _with_frame([Call(address=FRAME)] * 200 + [End(barriers=6400)], frame)


def flood(config: PoolConfig) -> bytes:
    """CALLs to a frame of reads and writes as fast as they go."""
    columns = min(64, config.output_vectors)
    moves: list[Instruction] = [
        Load(core=0, address=DATA, columns=columns),
        Save(core=0, address=DATA + 64, columns=columns),
    ]
    return _with_frame([Call(address=FRAME)] * 200 + [End()], encode_program([*moves * 16, Return()]))


def bad_addresses(config: PoolConfig) -> bytes:
    """Reads that begin in the window and end far outside, from several cores."""
    reads = [Load(core=core, buffer=Buffer.WEIGHTS, address=DATA, columns=64, rows=64) for core in (0, 0, 1)]
    writes = [Save(core=0, address=(1 << 30) + 5, columns=8)]
    return encode_program([*reads, *writes, End(barriers=1)])


def never_ends(config: PoolConfig) -> bytes:
    """Waits for a barrier that nobody raises, behind a load."""
    return encode_program([Load(core=0, columns=64), SyncWait(core=0), End(barriers=1)])


def rubbish(config: PoolConfig) -> bytes:
    """A few loads, then words that are no instruction."""
    return encode_program([Load(core=0, columns=64)] * 5) + b"\xff" * WORD_BYTES


PROGRAMS = (barrier_storm, flood, bad_addresses, never_ends, rubbish)


def _with_frame(head: list[Instruction], frame: bytes) -> bytes:
    return encode_program(head).ljust(FRAME * WORD_BYTES, b"\0") + frame


class Neighbours:
    """All tenants but number `victim`. `cores` are those that they may be given, and it may change."""

    def __init__(self, port: PoolPort, victim: int, victim_window: Window, cores: set[int], seed: int) -> None:
        self.port = port
        self.config = port.config
        self.random = Random(seed)
        self.cores = cores
        self.accepted: Counter[Command] = Counter()
        self.refused = 0
        self.faults: Counter[Fault] = Counter()
        self.most_barriers = 0
        self._victim_window = victim_window
        others = [number for number in range(self.config.tenants) if number != victim]
        self._windows = {
            number: Window(victim_window.end + place * WINDOW_BEATS, WINDOW_BEATS)
            for place, number in enumerate(others)
        }

    def act(self) -> None:
        """Look at some tenants, and give each a command, wise or not."""
        for _ in range(ORDERS_EACH_STEP):
            number = self.random.choice(list(self._windows))
            look: list[ControlAccess] = [Write(Register.ARGUMENT_TENANT, number), Read(Register.TENANT_STATE)]
            look += [Read(Register.TENANT_FAULT), Read(Register.TENANT_BARRIERS)]
            for core in sorted(self.cores):
                look += [Write(Register.ARGUMENT_CORE, core), Read(Register.CORE_STATE), Read(Register.CORE_OWNER)]
            state, fault, barriers, *cores = self.port.transfer(look)
            if state == TenantState.FAULTED:
                self.faults[Fault(fault)] += 1
            self.most_barriers = max(self.most_barriers, barriers)
            owners = [owner for core, owner in zip(cores[0::2], cores[1::2], strict=True) if core == CoreState.HELD]
            command = self._command(TenantState(state), number in owners)
            if command is not None:
                self._order(command, self._arguments(command, number))

    def _command(self, state: TenantState, holds: bool) -> Command | None:
        """What keeps a tenant busy in this state, most likely."""
        if self.random.random() < ANYTHING:
            return self.random.choice(list(Command))
        match state:
            case TenantState.DETACHED:
                return Command.ATTACH
            case TenantState.STOPPED | TenantState.DONE:
                return Command.START if holds else Command.GRANT
            case TenantState.RUNNING | TenantState.STARTING:
                return self.random.choice((None, None, None, None, Command.GRANT, Command.PAUSE))
            case TenantState.PAUSED:
                return Command.RESUME
            case TenantState.FAULTED:
                return Command.REVOKE if holds else Command.STOP
        return None

    def release(self, core: int) -> None:
        """Take a core from whoever holds it, and never give it to a neighbour again."""
        self.cores.discard(core)
        self._order(Command.REVOKE, {Register.ARGUMENT_CORE: core})

    def _arguments(self, command: Command, number: int) -> dict[Register, int]:
        arguments = {Register.ARGUMENT_TENANT: number}
        window = self._windows[number]
        match command:
            case Command.ATTACH:
                if self.random.random() < 0.2:  # over the victim's window: refused
                    window = self._victim_window
                arguments |= {Register.ARGUMENT_BASE: window.base, Register.ARGUMENT_LIMIT: window.beats}
            case Command.GRANT:
                core, virtual = self._core(), self.random.choice((0, 0, 0, 1))
                arguments |= {Register.ARGUMENT_CORE: core, Register.ARGUMENT_VIRTUAL: virtual}
            case Command.REVOKE:
                arguments = {Register.ARGUMENT_CORE: self._core()}
            case Command.START:
                self._write_program(window)
                arguments |= {Register.ARGUMENT_START: 0}
        return arguments

    def _core(self) -> int:
        return self.random.choice(sorted(self.cores))

    def _write_program(self, window: Window) -> None:
        if self.random.random() < 0.3:
            content = random_program(self.config, self.random.randrange(100), 1).window
        else:
            program = self.random.choice(PROGRAMS)(self.config)
            content = np.frombuffer(program, np.uint8)
        room = window.beats * self.config.beat_bytes
        self.port.write_memory(window.base * self.config.beat_bytes, content[:room])

    def _order(self, command: Command, arguments: dict[Register, int]) -> None:
        accesses: list[ControlAccess] = [Write(register, value) for register, value in arguments.items()]
        accesses += [Write(Register.COMMAND, command), Idle(COMMAND_CYCLES), Read(Register.COMMAND_RESULT)]
        (answer,) = self.port.transfer(accesses)
        if answer == Result.ACCEPTED:
            self.accepted[command] += 1
        else:
            self.refused += 1
