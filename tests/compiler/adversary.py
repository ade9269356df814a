"""Executes a program in any order that tokens and barriers allow, with drains that end as late as they may.

The reference interpreter takes one order. Hardware takes another one, and a missing token shows only where two
engines meet in the wrong order; so this machine draws the next engine at random, and favours one of them for a while.
A drain reads its parameter block and the table until it is over: they must not change until then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compiler.package import Package
from isa.configuration import PoolConfig
from isa.core_semantics import execute
from isa.core_state import CoreState, WindowMemory
from isa.encoding import decode_program
from isa.instructions import (
    PARAMETER_VECTORS,
    Add,
    Buffer,
    Call,
    Conv,
    CoreInstruction,
    Engine,
    Instruction,
    Lookup,
    Pool,
    Return,
    SyncRaise,
    SyncWait,
)
from isa.interpreter import tokens_given, tokens_taken

TO_SAVE = (Engine.COMPUTE, Engine.SAVE)


def dispatched(package: Package, cores: int, first_layer: int = 0) -> list[Instruction]:
    """The instructions of a program in the order of dispatch, calls resolved."""
    image = package.image()
    result: list[Instruction] = []
    for instruction in decode_program(package.program(cores, first_layer).words):
        if not isinstance(instruction, Call):
            result.append(instruction)
            continue
        word = instruction.address
        while not isinstance(inside := decode_program(image[word * 16 : word * 16 + 16])[0], Return):
            result.append(inside)
            word += 1
    return result


@dataclass
class _Drain:
    """A drain under way: its instruction, and what it reads while it runs."""

    instruction: Conv | Pool
    read: NDArray[np.int8]


@dataclass
class _Core:
    state: CoreState
    queues: dict[Engine, deque[CoreInstruction]]
    undrained: _Drain | None = None
    job: _Drain | None = None
    raised: bool = False
    released: bool = False


class Adversary:
    """The cores of one program; `run` executes everything and raises AssertionError for what may not happen."""

    def __init__(self, package: Package, config: PoolConfig, cores: int, memory: WindowMemory, seed: int) -> None:
        self._memory = memory
        self._random = np.random.default_rng(seed)
        engines = (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
        self._cores = [_Core(CoreState(config), {engine: deque() for engine in engines}) for _ in range(cores)]
        for instruction in dispatched(package, cores):
            if isinstance(instruction, CoreInstruction):
                self._cores[instruction.core].queues[instruction.engine()].append(instruction)

    def run(self) -> None:
        favourite: tuple[int, Engine] | None = None
        while any(queue for core in self._cores for queue in core.queues.values()):
            ready = [
                (number, engine)
                for number, core in enumerate(self._cores)
                for engine, queue in core.queues.items()
                if queue and self._may(core, queue[0])
            ]
            drains = [core for core in self._cores if core.job or core.undrained]
            if not ready or (drains and self._random.random() < 0.02):
                assert drains, "deadlock"
                self._advance_drain(drains[int(self._random.integers(len(drains)))])
                continue
            if favourite not in ready or self._random.random() < 0.1:
                favourite = ready[int(self._random.integers(len(ready)))]
            number, engine = favourite
            self._step(self._cores[number], self._cores[number].queues[engine].popleft())
        for core in self._cores:
            while core.job or core.undrained:
                self._advance_drain(core)
            assert not any(core.state.tokens.values()), core.state.tokens
            assert not core.raised

    def _may(self, core: _Core, head: CoreInstruction) -> bool:
        if any(not core.state.tokens[edge] for edge in tokens_taken(head)):
            return False
        if isinstance(head, SyncWait):
            return core.released
        if isinstance(head, SyncRaise):
            return not core.raised
        if isinstance(head, Conv | Pool):
            same_bank = core.job is not None and core.job.instruction.bank == head.bank
            undrained_bank = core.undrained is not None and core.undrained.instruction.bank == head.bank
            return not same_bank and not undrained_bank and not (core.undrained and core.job)
        return not (isinstance(head, Add | Lookup) and (core.job or core.undrained))

    def _step(self, core: _Core, instruction: CoreInstruction) -> None:
        for edge in tokens_taken(instruction):
            core.state.tokens[edge] -= 1
        if isinstance(instruction, SyncWait):
            core.raised = core.released = False
        elif isinstance(instruction, SyncRaise):
            core.raised = True
            if all(each.raised and not each.released for each in self._cores):
                for each in self._cores:
                    each.released = True
        if isinstance(instruction, Conv | Pool) and core.undrained:
            core.job, core.undrained = core.undrained, None
        execute(core.state, self._memory, instruction)
        given = list(tokens_given(instruction))
        if isinstance(instruction, Conv | Pool) and instruction.drain:
            core.undrained = _Drain(instruction, self._read(core, instruction))
            given = [edge for edge in given if edge != TO_SAVE]
        for edge in given:
            core.state.tokens[edge] += 1
            assert core.state.tokens[edge] < 64

    def _advance_drain(self, core: _Core) -> None:
        """Hand a bank over to the drain, or end the drain that runs."""
        if core.job is None:
            core.job, core.undrained = core.undrained, None
            return
        instruction = core.job.instruction
        assert (self._read(core, instruction) == core.job.read).all(), "refilled while a drain reads it"
        core.job = None
        if instruction.post_save:
            core.state.tokens[TO_SAVE] += 1

    @staticmethod
    def _read(core: _Core, instruction: Conv | Pool) -> NDArray[np.int8]:
        """What a drain of the instruction reads: its parameter block, and the table if it uses it."""
        parameters = core.state.buffers[Buffer.PARAMETERS].data
        block = parameters[instruction.parameters : instruction.parameters + PARAMETER_VECTORS].ravel()
        table = core.state.buffers[Buffer.TABLE].data[:, :, 0].ravel() if instruction.lookup else block[:0]
        return np.concatenate([block, table])
