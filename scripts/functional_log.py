"""What the functional test of the pool reads and orders: noted with the cycle, and compared with what it has to be."""

from __future__ import annotations

from hypervisor.pool_port import Idle, PoolPort, Read, Write
from isa.configuration import NAMED_POOLS
from isa.registers import COMMAND_CYCLES, Register, Result

POOL = NAMED_POOLS["tiny"]
LIMIT = 200_000
"""Cycles within which every program of the test ends."""


class FunctionalError(AssertionError):
    """The pool did not do what it has to."""


class Log:
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

    def order(self, command: int, expected: Result, **arguments: int) -> None:
        """Give a command that has to be accepted, or refused for this reason."""
        accesses = [Write(Register[f"ARGUMENT_{name.upper()}"], value) for name, value in arguments.items()]
        order = [Write(Register.COMMAND, command), Idle(COMMAND_CYCLES - 1), Read(Register.COMMAND_RESULT)]
        (answer,) = self.port.transfer([*accesses, *order])
        self.note(answer)
        if answer != expected:
            raise FunctionalError(f"command {command} with {arguments}: {Result(answer).name}, not {expected.name}")
