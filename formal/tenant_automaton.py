"""The automaton of one tenant: what takes it from which state to which, and what is recorded of it.

An account of its own, written from docs/microarchitecture.md, isa/registers.py and the layouts of the instructions, not
from `rtl/`: a table of transitions over the eight states that the host can read. It is built from ghosts called
`automaton_{part}` in a monitored copy of the shell, for the tenant A that `watched_tenant` names. It looks at what
happens *to* A: the command that takes effect, the word in stage 1, the ports of A's cores, A's window and the wheel;
never at what the shell has recorded of A's state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pyrtl import Const, Register, WireVector, concat, select

from formal.ghosts import of_tenant, watched_tenant
from formal.monitor import Lookup
from isa.configuration import PoolConfig
from isa.instructions import (
    INSTRUCTION_ADDRESS_BITS,
    INSTRUCTIONS,
    OPCODE_BITS,
    WORD_BITS,
    Call,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Return,
)
from isa.registers import CONTROL_DATA_BITS, Command, CoreState, Fault, Result, TenantState
from rtl.core_ports import FAULT_CAUSE_BITS
from rtl.sizes import Sizes, all_of, any_of, lies_on, named

PREFIX = "automaton_"
STATE_BITS = max(TenantState).bit_length()


class Event(Enum):
    """What can happen to a tenant in a cycle."""

    STOP = "STOP takes effect"
    START = "START takes effect"
    FAULT = "a fault of its program, of an access, or of a core"
    END = "an END whose barriers have all completed is in stage 1"
    BARRIER = "a barrier completes while PAUSE is pending, and RESUME does not take effect"
    RESUME = "RESUME takes effect"
    PERIOD = "the last cycle of the wheel's whole period"
    ATTACH = "ATTACH takes effect"
    DETACH = "DETACH takes effect"
    SWEPT = "the sweep of its window is over"


_S = TenantState
TRANSITIONS: tuple[tuple[Event, tuple[TenantState, ...], TenantState], ...] = (
    (Event.STOP, (_S.STOPPED, _S.STARTING, _S.RUNNING, _S.PAUSED, _S.DONE, _S.FAULTED), _S.STOPPED),
    (Event.START, (_S.STOPPED, _S.DONE), _S.STARTING),
    (Event.FAULT, (_S.RUNNING, _S.PAUSED), _S.FAULTED),
    (Event.END, (_S.RUNNING,), _S.DONE),
    (Event.BARRIER, (_S.RUNNING,), _S.PAUSED),
    (Event.RESUME, (_S.PAUSED,), _S.RUNNING),
    (Event.PERIOD, (_S.STARTING,), _S.RUNNING),
    (Event.ATTACH, (_S.DETACHED,), _S.STOPPED),
    (Event.DETACH, (_S.STOPPED,), _S.DIRTY),
    (Event.SWEPT, (_S.DIRTY,), _S.DETACHED),
)
"""Event, the states in which it counts, and the state it leads to; of several in one cycle the first. Nothing else."""
MOVING = (_S.RUNNING, _S.PAUSED)
"""States in which A's cores have access to memory, and cycles are counted."""
SUITS: dict[Command, tuple[TenantState, ...]] = {
    Command.START: (_S.STOPPED, _S.DONE),
    Command.PAUSE: MOVING,
    Command.RESUME: MOVING,
}
"""Commands that are refused in the last moment, unless A is in one of these states."""


@dataclass(frozen=True)
class _Trouble:
    """A fault that would stop a tenant in this cycle."""

    valid: WireVector
    cause: WireVector
    address: WireVector


def watch_tenant(config: PoolConfig, lookup: Lookup) -> None:
    """Build the automaton of the tenant `watched_tenant` in a monitored copy of the shell of `config`."""
    _Automaton(config, lookup)


def ghost(part: str) -> str:
    """Name of a register of the automaton: `state`, or what is recorded."""
    return f"{PREFIX}{part}"


RECORDED = {
    "pause_pending": 1,
    "barriers": End.field_layout("barriers").width,
    "cycles": CONTROL_DATA_BITS,
    "fault": FAULT_CAUSE_BITS,
    "fault_address": INSTRUCTION_ADDRESS_BITS,
}
"""What is recorded beside the state, by the names of the context's registers, with bits. All of it is 0 after reset,
and again when A starts or stops."""


class _Automaton:
    def __init__(self, config: PoolConfig, lookup: Lookup) -> None:
        self.config, self.sizes, self.lookup = config, Sizes(config), lookup
        self.tenant = watched_tenant(config)
        self.state = Register(STATE_BITS, ghost("state"), reset_value=_S.DIRTY)
        self.recorded = {part: Register(bits, ghost(part), reset_value=0) for part, bits in RECORDED.items()}
        self.limit = of_tenant(lookup, config, self.tenant, "limit")
        cores = range(config.cores)
        self.owned = [lookup(f"core{core}_owner") == self.tenant for core in cores]
        self.held = [
            owned & (lookup(f"core{core}_state") == CoreState.HELD)
            for core, owned in zip(cores, self.owned, strict=True)
        ]
        self.counter = of_tenant(lookup, config, self.tenant, "program_counter")
        self.word = self._word()
        barrier = self._barrier()
        first = self._first([self._of_program(), *self._of_accesses(), *self._of_cores()])
        resumes, pending = self._orders(Command.RESUME), self.recorded["pause_pending"]
        happened = {
            Event.STOP: self._orders(Command.STOP),
            Event.START: self._orders(Command.START),
            Event.FAULT: first.valid,
            Event.END: self._ends(),
            Event.BARRIER: barrier & pending & ~resumes,
            Event.RESUME: resumes,
            Event.PERIOD: lookup("wheel_position") == config.period_cycles - 1,
            Event.ATTACH: self._orders(Command.ATTACH),
            Event.DETACH: self._orders(Command.DETACH),
            Event.SWEPT: self._is_swept(),
        }
        counts = self._transitions(happened)
        self._record(counts, first, barrier, resumes)

    def _is_in(self, *states: TenantState) -> WireVector:
        return any_of([self.state == state for state in states])

    def _transitions(self, happened: Mapping[Event, WireVector]) -> dict[Event, WireVector]:
        """Drive the state by the table; the events that counted."""
        earlier: WireVector = Const(0, 1)
        following: WireVector = self.state
        counts = {}
        for event, sources, target in TRANSITIONS:
            counts[event] = happened[event] & self._is_in(*sources) & ~earlier
            earlier = earlier | counts[event]
            following = select(counts[event], Const(target, STATE_BITS), following)
        self.state.next <<= following
        return counts

    def _record(
        self, counts: Mapping[Event, WireVector], first: _Trouble, barrier: WireVector, resumes: WireVector
    ) -> None:
        """What is recorded beside the state: 0 when A starts or stops; the first fault; barriers and cycles."""
        restarts = counts[Event.START] | counts[Event.STOP]
        kept = self.recorded
        pauses = self._orders(Command.PAUSE) & self._is_in(_S.RUNNING)
        taken_back = barrier | (resumes & self._is_in(*MOVING))
        is_full = kept["barriers"] == (1 << len(kept["barriers"])) - 1
        following = {
            "pause_pending": pauses | (kept["pause_pending"] & ~taken_back),
            "barriers": select(barrier & ~is_full, kept["barriers"] + 1, kept["barriers"]),
            "cycles": select(self._is_in(*MOVING), kept["cycles"] + 1, kept["cycles"]),
            "fault": select(counts[Event.FAULT], first.cause, kept["fault"]),
            "fault_address": select(counts[Event.FAULT], first.address, kept["fault_address"]),
        }
        for part, value in following.items():
            kept[part].next <<= select(restarts, Const(0, len(kept[part])), value[: len(kept[part])])

    # ---- the host

    def _orders(self, command: Command) -> WireVector:
        """The command takes effect for A in this cycle, as far as the host's side of the pool decides."""
        look = self.lookup
        is_accepted = look("command_is_decided") & (look("command_verdict") == Result.ACCEPTED)
        return is_accepted & (look("command") == command) & (look("argument_tenant") == self.tenant)

    def _is_swept(self) -> WireVector:
        look = self.lookup
        is_over = look("sweep_is_busy") & (look("sweep_timer") == self.config.drain_cycles)
        return is_over & (look("sweep_tenant") == self.tenant)

    # ---- barriers

    def _barrier(self) -> WireVector:
        """A barrier of A completes: it is RUNNING, holds cores, and each of them has raised `sync_local`."""
        waits = [Register(1, f"core{core}_waits_for_a", reset_value=0) for core in range(self.config.cores)]
        everybody = all_of([~mine | waiting for mine, waiting in zip(self.held, waits, strict=True)])
        completes = named(f"{PREFIX}barrier", self._is_in(_S.RUNNING) & any_of(self.held) & everybody)
        for core, (mine, waiting) in enumerate(zip(self.held, waits, strict=True)):
            waiting.next <<= mine & (self.lookup(f"core{core}_sync_local_i") | (waiting & ~completes))
        return completes

    # ---- the program

    def _acts(self) -> WireVector:
        """Stage 1 acts for A."""
        return self.lookup("dispatch_valid") & (self.lookup("dispatch_tenant") == self.tenant)

    def _word(self) -> WireVector:
        """The word in stage 1."""
        return self.lookup("dispatch_word")

    def _is(self, *kinds: type[Instruction]) -> WireVector:
        """The word is a legal instruction of one of these kinds: its opcode, and 0 in all bits that no field uses."""
        word, legal = self.word, []
        for kind in kinds:
            used = kind.used_bits()
            rest = word[used:] == 0 if used < WORD_BITS else Const(1, 1)
            legal.append((word[:OPCODE_BITS] == kind.opcode) & rest)
        return any_of(legal)

    def _field(self, kind: type[Instruction], name: str) -> WireVector:
        layout = kind.field_layout(name)
        return self.word[layout.offset : layout.offset + layout.width]

    def _ends(self) -> WireVector:
        return self._acts() & self._is(End) & (self.recorded["barriers"] >= self._field(End, "barriers"))

    def _of_program(self) -> _Trouble:
        """What stage 1 finds wrong with the word at A's program counter; the address is the word's."""
        in_frame = of_tenant(self.lookup, self.config, self.tenant, "in_frame")
        for_cores = [kind for kind in INSTRUCTIONS if kind.engine() != Engine.LEVEL_1]
        virtual = self._field(CoreInstruction, "core")
        named_core = any_of(
            [mine & (self.lookup(f"core{core}_virtual") == virtual) for core, mine in enumerate(self.held)]
        )
        troubles = [
            (Fault.FETCH_OUTSIDE_WINDOW, self.counter[self.sizes.word :] >= self.limit),
            (Fault.ILLEGAL_INSTRUCTION, ~self._is(*INSTRUCTIONS)),
            (Fault.NESTED_CALL, self._is(Call) & in_frame),
            (Fault.RETURN_WITHOUT_CALL, self._is(Return) & ~in_frame),
            (Fault.UNMAPPED_CORE, self._is(*for_cores) & ~named_core),
        ]
        acts = self._acts() & self._is_in(_S.RUNNING)
        first = self._first(
            [_Trouble(wrong, Const(cause, FAULT_CAUSE_BITS), self.counter) for cause, wrong in troubles]
        )
        return _Trouble(acts & first.valid, first.cause, first.address)

    # ---- accesses and cores

    def _of_accesses(self) -> list[_Trouble]:
        """For each channel: a core of A's hears that a request was taken which lies behind the end of A's window."""
        taken = []
        for core, owned in enumerate(self.owned):
            asked = {part: self._asked(core, part) for part in ("address", "instruction")}
            beyond = self.lookup(f"core{core}_request_taken") & owned & (asked["address"] >= self.limit)
            taken.append((beyond, asked))
        found = []
        for channel in range(self.config.channels):
            here = [(beyond & lies_on(asked["address"], channel, self.sizes), asked) for beyond, asked in taken]
            address = any_of([concat(*[valid] * len(a["instruction"])) & a["instruction"] for valid, a in here])
            cause = Const(Fault.ACCESS_OUTSIDE_WINDOW, FAULT_CAUSE_BITS)
            found.append(_Trouble(any_of([valid for valid, _ in here]), cause, address))
        return found

    def _asked(self, core: int, part: str) -> Register:
        """What the core asked for in the cycle before; where it shows two requests, the one not taken yet."""
        shown = self.lookup(f"core{core}_request_{part}_i")
        if self.config.shows_next_request:
            behind = self.lookup(f"core{core}_request_next_{part}_i")
            shown = select(self.lookup(f"core{core}_request_taken"), behind, shown)
        asked = Register(len(shown), f"core{core}_asked_{part}", reset_value=0)
        asked.next <<= shown
        return asked

    def _of_cores(self) -> list[_Trouble]:
        """What A's cores report."""
        return [
            _Trouble(
                mine & self.lookup(f"core{core}_fault_valid_i"),
                self.lookup(f"core{core}_fault_cause_i"),
                self.lookup(f"core{core}_fault_address_i"),
            )
            for core, mine in enumerate(self.held)
        ]

    def _first(self, troubles: Sequence[_Trouble]) -> _Trouble:
        """The first one of those in this cycle."""
        cause: WireVector = Const(Fault.NONE, FAULT_CAUSE_BITS)
        address: WireVector = Const(0, INSTRUCTION_ADDRESS_BITS)
        for trouble in reversed(troubles):
            cause = select(trouble.valid, trouble.cause, cause)
            address = select(trouble.valid, trouble.address, address)
        return _Trouble(any_of([trouble.valid for trouble in troubles]), cause, address)
