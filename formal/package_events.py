"""A compiled program as a partial order of events: what hardware keeps in order, whatever memory's delays are.

Of each core: `load` (a LOAD issues), `loaded` (its last vector is in the buffer), `compute` (issues), `walked`
(features and weights are read), `handed` (its sums go to the drain), `drained` (its outputs are written), `save`
(issues), `read` (the output buffer is read), `written` (memory has acknowledged). Of level 1: `dispatch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.package import Package
from formal.happens_before import Events
from isa.configuration import PoolConfig
from isa.encoding import decode_program
from isa.instructions import (
    TOKEN_BITS,
    WORD_BYTES,
    Add,
    Call,
    Conv,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Load,
    Lookup,
    Pool,
    Return,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.interpreter import tokens_given, tokens_taken

Edge = tuple[Engine, Engine]


@dataclass
class Timed:
    """An instruction of a core in a program: its layer (None before and behind the layers), and its events.

    `begins` its reads, `reads` them all, `writes_from` the first write on, `ends`: the events of these moments.
    """

    instruction: CoreInstruction
    layer: int | None
    begins: int = -1
    reads: int = -1
    writes_from: int = -1
    ends: int = -1


def program_of(package: Package, cores: int, stage: int) -> tuple[list[tuple[Instruction, int | None]], int]:
    """The instructions of a stage's program in the order of dispatch, each with its layer; and END's barriers."""
    first = package.stages[stage].first_layer
    program = package.program(cores, first)
    window = bytearray(package.image())
    window[program.offset_bytes : program.offset_bytes + len(program.words)] = program.words
    frames = {package.layers[n].frames[cores].word: n for n in range(first, package.stages[stage].end_layer)}
    flow: list[tuple[Instruction, int | None]] = []
    place, behind, layer = program.start_word, -1, None
    while True:
        (instruction,) = decode_program(bytes(window[place * WORD_BYTES : (place + 1) * WORD_BYTES]))
        place += 1
        match instruction:
            case End():
                return flow, instruction.barriers
            case Call():
                behind, place, layer = place, instruction.address, frames.get(instruction.address)
            case Return():
                place, layer = behind, None
            case _:
                flow.append((instruction, layer))


class _CoreOrder:
    """Events of one core as they are added."""

    def __init__(self, events: Events, core: int, depth: int) -> None:
        self.events, self.core, self._depth = events, core, depth
        self.issued: dict[Engine, list[int]] = {engine: [] for engine in Engine}
        self.given: dict[Edge, list[int]] = {}
        self.taken: dict[Edge, list[int]] = {}
        self.raises: list[int] = []
        self.waits: list[int] = []
        self._last: dict[str, int] = {}

    def chain(self, name: str, label: str, *waits: int) -> int:
        """A new event of a chain of this core."""
        event = self.events.add(f"{self.core} {name}", label, [wait for wait in waits if wait >= 0])
        self._last[name] = event
        return event

    def last(self, name: str) -> int:
        """The last event of a chain, or -1."""
        return self._last.get(name, -1)

    def add(self, instruction: CoreInstruction, layer: int | None, word: int) -> Timed:
        """The events of the next instruction in the order of dispatch."""
        engine = instruction.engine()
        queue = self.issued[engine]
        label = f"{instruction.mnemonic()} (instruction {word}, core {self.core})"
        room = [queue[-self._depth]] if len(queue) >= self._depth else []
        dispatch = self.events.add("dispatch", label, room)
        issue = self.chain(engine.name.lower(), label, dispatch)
        queue.append(issue)
        timed = Timed(instruction, layer, issue, issue, issue, issue)
        match instruction:
            case Load():
                timed.reads = timed.ends = self.chain("loaded", label, issue)
            case Save():
                timed.reads = self.chain("read", label, issue)
                timed.ends = self.chain("written", label, timed.reads)
            case Conv() | Pool():
                self._walk(instruction, timed, label)
            case Add() | Lookup():
                for other in ("walked", "drained"):
                    if self.last(other) >= 0:
                        self.events.wait(issue, self.last(other))
                timed.reads = self.chain("walked", label, issue)
                timed.ends = self.chain("drained", label, timed.reads)
                self._last["operands"] = timed.reads
            case SyncRaise():
                if self.last("written") >= 0:
                    self.events.wait(issue, self.last("written"))
                self.raises.append(issue)
            case SyncWait():
                self.waits.append(issue)
        for edge in tokens_taken(instruction):
            self.taken.setdefault(edge, []).append(issue)
        for edge in tokens_given(instruction):
            early = engine is Engine.COMPUTE and edge[1] is Engine.LOAD
            self.given.setdefault(edge, []).append(timed.reads if early or engine is Engine.SAVE else timed.ends)
        return timed

    def _walk(self, walk: Conv | Pool, timed: Timed, label: str) -> None:
        if self.last("operands") >= 0:
            self.events.wait(timed.begins, self.last("operands"))
        timed.reads = timed.ends = self.chain("walked", label, timed.begins, self.last("handed"))
        if walk.drain:
            timed.writes_from = self.chain("handed", label, timed.reads, self.last("drained"))
            timed.ends = self.chain("drained", label, timed.writes_from)


@dataclass(frozen=True)
class ProgramOrder:
    """The events of a program, its instructions, and what makes it stop or fault, in words."""

    events: Events
    instructions: Sequence[Timed]
    problems: list[str]


def program_order(package: Package, config: PoolConfig, cores: int, stage: int) -> ProgramOrder:
    """The partial order of a stage's program for virtual cores 0..cores-1."""
    flow, barriers = program_of(package, cores, stage)
    events = Events()
    order = [_CoreOrder(events, core, config.queue_instructions) for core in range(cores)]
    timed, problems = [], []
    for word, (instruction, layer) in enumerate(flow):
        if not isinstance(instruction, CoreInstruction) or instruction.core >= cores:
            return ProgramOrder(events, [], [f"instruction {word}, {instruction}, is for no core of the program"])
        timed.append(order[instruction.core].add(instruction, layer, word))
    for core in order:
        problems += _match_tokens(core)
    problems += _match_barriers(order, barriers)
    circle = events.order()
    if circle:
        problems.append(f"deadlock: {events.labels[min(circle)]} waits for something that waits for it")
    else:
        problems += [line for core in order for line in _overflows(core)]
    return ProgramOrder(events, timed, problems)


def _match_tokens(core: _CoreOrder) -> list[str]:
    """The n-th instruction that waits takes what the n-th one that posts has given."""
    problems = []
    for edge in {*core.given, *core.taken}:
        given, taken = core.given.get(edge, []), core.taken.get(edge, [])
        if len(given) != len(taken):
            name = f"{edge[0].name.lower()} to {edge[1].name.lower()}"
            problems.append(f"core {core.core}: {len(given)} tokens from {name} are given, {len(taken)} are taken")
        for give, take in zip(given, taken, strict=False):
            core.events.wait(take, give)
    return problems


def _overflows(core: _CoreOrder) -> list[str]:
    """A token counter may have to hold more than it can."""
    most = (1 << TOKEN_BITS) - 1
    problems = []
    for edge, given in core.given.items():
        taken = core.taken.get(edge, [])
        chain = f"{core.core} {edge[1].name.lower()}"
        for number in range(most, len(given)):
            taker = taken[number - most] if number - most < len(taken) else -1
            if taker < 0 or core.events.before(given[number], chain) < core.events.place(taker):
                problems.append(f"{core.events.labels[given[number]]} may give more than {most} tokens")
                break
    return problems


def _match_barriers(order: Sequence[_CoreOrder], barriers: int) -> list[str]:
    problems = []
    for core in order:
        raised, waited = len(core.raises), len(core.waits)
        if (raised, waited) != (barriers, barriers):
            problems.append(f"core {core.core} raises {raised} barriers and waits for {waited}; END counts {barriers}")
        for number, wait in enumerate(core.waits):
            for other in order:
                if number < len(other.raises):
                    core.events.wait(wait, other.raises[number])
        for number, again in enumerate(core.raises[1:]):
            if number < len(core.waits):
                core.events.wait(again, core.waits[number])
    return problems
