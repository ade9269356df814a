"""The reference interpreter: what a tenant's program means, instruction by instruction, without any notion of time.

`Machine` runs the 128-bit words in a window as the dispatcher and the cores of one tenant would. Engines run
concurrently in hardware; every program whose tokens and barriers order its accesses gives the same result here. The
order here: level 1 fetches one word, a core instruction enters its engine's queue, and then every engine executes
whatever its tokens allow, before the next word is fetched. A queue that is full at that moment can never empty
again, so a program that would stop the hardware for ever ends as a deadlock here, and says who waits for whom.

Of several faults that nothing orders (two cores, or two in one LOAD) hardware reports the first in time, the machine
here the first in its own order. What memory holds behind a fault is as undefined as time is here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from isa.configuration import PoolConfig
from isa.core_semantics import execute
from isa.core_state import CoreState, Edge, MachineFault, WindowMemory
from isa.encoding import IllegalInstruction, decode
from isa.instructions import (
    INSTRUCTIONS,
    TOKEN_BITS,
    WORD_BYTES,
    Call,
    Conv,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Pool,
    Return,
    SyncRaise,
    SyncWait,
)
from isa.registers import Fault

INSTRUCTION_LIMIT = 1 << 24
"""Words after which a run is given up, unless the caller says otherwise. One level of CALL cannot loop for ever, but n
words can run n * n steps."""

Observer = Callable[[int | None, Instruction, int], None]
"""Called after every executed instruction: virtual core (None for level 1), instruction, word address."""
Capture = Callable[[int, WindowMemory], None]
"""Called when a barrier completes, before anything behind it runs: number of the barrier from 0, memory."""


class Outcome(Enum):
    """How a run ended."""

    DONE = "done"
    FAULT = "fault"
    DEADLOCK = "deadlock"
    LIMIT = "limit"


@dataclass(frozen=True)
class FaultReport:
    """What TENANT_FAULT and TENANT_FAULT_ADDRESS show, the core in question (None for level 1), and the reason."""

    cause: Fault
    address: int
    core: int | None
    detail: str


@dataclass(frozen=True)
class RunResult:
    """The end of a run.

    `instructions` counts the words that level 1 has consumed, `barriers` the completed barriers; `fault` is set for
    FAULT only; `detail` says in words what happened, and is empty for DONE.
    """

    outcome: Outcome
    instructions: int
    barriers: int
    fault: FaultReport | None = None
    detail: str = ""


class _Stopped(Exception):
    def __init__(self, outcome: Outcome, detail: str, fault: FaultReport | None = None) -> None:
        super().__init__(detail)
        self.outcome = outcome
        self.detail = detail
        self.fault = fault


class _Core:
    """A core with its queues: (instruction, word address), and its side of the barrier."""

    def __init__(self, config: PoolConfig) -> None:
        self.state = CoreState(config)
        self.queues: dict[Engine, deque[tuple[CoreInstruction, int]]] = {
            engine: deque() for engine in (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
        }
        self.raised = False  # SYNC_RAISE executed, its SYNC_WAIT not yet
        self.released = False  # sync_global has come, no SYNC_WAIT has taken it


@lru_cache(maxsize=1 << 16)
def _decode(word: int) -> Instruction:
    return decode(word)


def _edges(action: str) -> dict[type[Instruction], tuple[tuple[str, Edge], ...]]:
    """For each kind of instruction, its fields wait_X (or post_X) with the edge (giver, taker) that they name."""
    table = {}
    for kind in INSTRUCTIONS:
        own, edges = kind.engine(), []
        for name in (field.name for field in kind.layout()):
            if name.startswith(action + "_"):
                partner = Engine[name.removeprefix(action + "_").upper()]
                edges.append((name, (partner, own) if action == "wait" else (own, partner)))
        table[kind] = tuple(edges)
    return table


_WAITS = _edges("wait")
_POSTS = _edges("post")


def tokens_taken(instruction: Instruction) -> tuple[Edge, ...]:
    """The edges (giver, taker) on which an instruction takes a token when it issues."""
    return tuple(edge for name, edge in _WAITS[type(instruction)] if getattr(instruction, name))


def tokens_given(instruction: Instruction) -> tuple[Edge, ...]:
    """The edges (giver, taker) on which an instruction gives a token when it is complete."""
    edges = tuple(edge for name, edge in _POSTS[type(instruction)] if getattr(instruction, name))
    if isinstance(instruction, Conv | Pool) and not instruction.drain:
        edges = tuple(edge for edge in edges if edge[1] is not Engine.SAVE)
    return edges


class Machine:
    """The cores of one tenant and its window.

    memory: a WindowMemory, or uint8 [window_bytes] or [batch, window_bytes] (copied). With a batch, all images run
    through the program at once. cores: the virtual cores that the tenant holds, or how many: 0..cores-1. Cores and
    memory stay as they are from one run to the next, as they do for a tenant that is started again. Raises ValueError
    for memory that is no whole number of beats.
    """

    def __init__(
        self,
        config: PoolConfig,
        memory: WindowMemory | NDArray[np.uint8],
        cores: int | Sequence[int] = 1,
        *,
        observer: Observer | None = None,
        capture: Capture | None = None,
    ) -> None:
        held = range(cores) if isinstance(cores, int) else cores
        if not 1 <= len(held) <= config.cores:
            raise ValueError(f"pool {config.name!r} has {config.cores} cores, so a tenant cannot hold {cores}")
        self.config = config
        self.memory = memory if isinstance(memory, WindowMemory) else WindowMemory(config, memory)
        self.observer = observer
        self.capture = capture
        self._cores = {core: _Core(config) for core in held}
        self._barriers = 0
        self._stopped = False

    def core_state(self, core: int) -> CoreState:
        """Buffers, registers and tokens of a virtual core."""
        return self._cores[core].state

    def run(self, start_word: int = 0, limit: int = INSTRUCTION_LIMIT) -> RunResult:
        """Execute from a word address up to END, a fault, a deadlock, or `limit` words.

        Raises RuntimeError after a run that did not end well: the hardware would need STOP and scrubbed cores.
        """
        if self._stopped:
            raise RuntimeError("this machine has been stopped by a fault, deadlock or limit; build a new one")
        self._barriers = 0
        consumed = 0
        try:
            for instruction in self._level_1(start_word):
                consumed += 1
                if consumed >= limit and not isinstance(instruction, End):
                    raise _Stopped(Outcome.LIMIT, f"no END within {limit} instructions")
        except _Stopped as stop:
            self._stopped = True
            return RunResult(stop.outcome, consumed, self._barriers, stop.fault, stop.detail)
        waiting = self._waiting()
        detail = f"END left instructions behind: {'; '.join(waiting)}" if waiting else ""
        return RunResult(Outcome.DONE, consumed, self._barriers, detail=detail)

    # --- level 1 ---------------------------------------------------------------------------------------------

    def _level_1(self, counter: int) -> Iterator[Instruction]:
        """Fetch, decode and dispatch; yields each instruction when it has been consumed."""
        behind_call: int | None = None
        while True:
            if counter * WORD_BYTES >= self.memory.bytes:
                self._fault(Fault.FETCH_OUTSIDE_WINDOW, counter, f"the window has {self.memory.bytes} bytes")
            try:
                instruction = _decode(self.memory.word(counter))
            except IllegalInstruction as error:
                self._fault(Fault.ILLEGAL_INSTRUCTION, counter, str(error))
            address, counter = counter, counter + 1
            match instruction:
                case End():
                    if self._barriers < instruction.barriers:
                        self._deadlock(
                            f"END at word {address} waits for {instruction.barriers} barriers, "
                            f"{self._barriers} are complete"
                        )
                case Call():
                    if behind_call is not None:
                        self._fault(Fault.NESTED_CALL, address, f"inside the frame that word {behind_call - 1} called")
                    behind_call, counter = counter, instruction.address
                case Return():
                    if behind_call is None:
                        self._fault(Fault.RETURN_WITHOUT_CALL, address, "no CALL before it")
                    counter, behind_call = behind_call, None
                case CoreInstruction():
                    self._dispatch(instruction, address)
            if not isinstance(instruction, CoreInstruction) and self.observer:
                self.observer(None, instruction, address)
            yield instruction
            if isinstance(instruction, End):
                return

    def _dispatch(self, instruction: CoreInstruction, address: int) -> None:
        if instruction.core not in self._cores:
            detail = f"core {instruction.core} of a tenant with {len(self._cores)}"
            self._fault(Fault.UNMAPPED_CORE, address, detail, instruction.core)
        engine = instruction.engine()
        queue = self._cores[instruction.core].queues[engine]
        if len(queue) >= self.config.queue_instructions:
            self._deadlock(
                f"{instruction.mnemonic()} at word {address} finds the {engine.name.lower()} queue "
                f"of core {instruction.core} full"
            )
        queue.append((instruction, address))
        self._settle(instruction.core)
        self._complete_barriers()

    # --- cores -----------------------------------------------------------------------------------------------

    def _settle(self, number: int) -> None:
        """Let the engines of a core execute until all of them wait."""
        core = self._cores[number]
        moved = True
        while moved:
            moved = False
            for queue in core.queues.values():
                while queue and self._blocked_by(core, queue[0][0]) is None:
                    instruction, address = queue.popleft()
                    self._execute(number, core, instruction, address)
                    moved = True

    def _execute(self, number: int, core: _Core, instruction: CoreInstruction, address: int) -> None:
        tokens = core.state.tokens
        for edge in tokens_taken(instruction):
            tokens[edge] -= 1
        if isinstance(instruction, SyncWait):
            core.raised = core.released = False
        elif isinstance(instruction, SyncRaise):
            core.raised = True
        try:
            execute(core.state, self.memory, instruction)
        except MachineFault as fault:
            self._fault(fault.cause, address, f"{instruction.mnemonic()}: {fault}", number)
        for edge in tokens_given(instruction):
            if tokens[edge] == (1 << TOKEN_BITS) - 1:
                detail = f"{instruction.mnemonic()}: {tokens[edge]} tokens from {_edge_text(edge)} are waiting already"
                self._fault(Fault.TOKEN_OVERFLOW, address, detail, number)
            tokens[edge] += 1
        if self.observer:
            self.observer(number, instruction, address)

    def _complete_barriers(self) -> None:
        """Give sync_global while every core has arrived."""
        while all(core.raised and not core.released for core in self._cores.values()):
            self._barriers += 1
            if self.capture:
                self.capture(self._barriers - 1, self.memory)
            for core in self._cores.values():
                core.released = True
            for number in self._cores:
                self._settle(number)

    @staticmethod
    def _blocked_by(core: _Core, instruction: CoreInstruction) -> str | None:
        """What keeps an instruction from executing, in words; None if nothing does."""
        for edge in tokens_taken(instruction):
            if not core.state.tokens[edge]:
                return f"a token of the {edge[0].name.lower()} engine"
        if isinstance(instruction, SyncWait) and not core.released:
            return "sync_global" if core.raised else "sync_global, and the core has not raised sync_local"
        if isinstance(instruction, SyncRaise) and core.raised:
            return "the SYNC_WAIT that belongs to its previous SYNC_RAISE"
        return None

    # --- ends ------------------------------------------------------------------------------------------------

    def _fault(self, cause: Fault, address: int, detail: str, core: int | None = None) -> NoReturn:
        report = FaultReport(cause, address, core, detail)
        where = "" if core is None else f" (core {core})"
        raise _Stopped(Outcome.FAULT, f"{cause.name} at word {address}{where}: {detail}", report)

    def _deadlock(self, dispatcher: str) -> NoReturn:
        waiting = [dispatcher, *self._waiting()]
        for number, core in self._cores.items():
            if not core.raised and any(other.raised and not other.released for other in self._cores.values()):
                waiting.append(f"core {number} has not raised sync_local")
        raise _Stopped(Outcome.DEADLOCK, "deadlock: " + "; ".join(waiting))

    def _waiting(self) -> list[str]:
        """For each engine whose queue is not empty: what its first instruction waits for."""
        waiting = []
        for number, core in self._cores.items():
            for engine, queue in core.queues.items():
                if queue:
                    instruction, address = queue[0]
                    waiting.append(
                        f"core {number} {engine.name.lower()}: {instruction.mnemonic()} at word {address} waits for "
                        f"{self._blocked_by(core, instruction)}"
                    )
        return waiting


def _edge_text(edge: Edge) -> str:
    return f"{edge[0].name.lower()} to {edge[1].name.lower()}"
