"""The statement of a theorem: a system, claims over its wires, assumptions on its inputs, and how it is looked at."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from formal.algebra import Algebra, Term
from formal.logic import INTEGER_LOGIC, Logic, batch
from formal.transition import INTEGERS, Evaluation, Memory, State, TransitionSystem

Inputs = dict[str, int]
Stimulus = Callable[[random.Random, Sequence[State], Mapping[str, int]], tuple[Inputs, ...]]


class Frame:
    """One copy of the system during one cycle, as claims see it.

    `frame["name"]` is any wire, register, input or memory (a list of words, or a Z3 array); `frame.next("name")`
    is a register or memory after the cycle. `touched` collects what was read, which is how a claim's variables
    are known without searching its term.
    """

    def __init__(self, cycle: Evaluation, wires: Mapping[str, Term] | None = None) -> None:
        self.cycle = cycle
        self._wires = wires or {}
        self.touched: set[tuple[str, bool]] = set()

    def __getitem__(self, name: str) -> Any:
        self.touched.add((name, False))
        if name in self._wires:
            return self._wires[name]
        if name in self.cycle.system.memories:
            return self.cycle.state[name]
        return self.cycle[name]

    def next(self, name: str) -> Any:
        """Value of a register or memory after the clock edge."""
        self.touched.add((name, True))
        return self.cycle.next(name)


class View:
    """What a claim is a function of: one copy (`left`), or two (`left`, `right`), and symbolic constants."""

    def __init__(self, frames: Sequence[Any], symbols: Mapping[str, Term]) -> None:
        self.frames = tuple(frames)
        self.left = frames[0]
        self.right = frames[-1]
        self._symbols = symbols

    def __getitem__(self, name: str) -> Any:
        """The value in the left (or only) copy."""
        return self.left[name]

    def next(self, name: str) -> Any:
        """The next value in the left (or only) copy."""
        return self.left.next(name)

    def of(self, copy: int) -> View:
        """One copy alone."""
        return View(self.frames[copy : copy + 1], self._symbols)

    def symbol(self, name: str) -> Any:
        """A constant that is the same in every cycle and otherwise arbitrary, such as the tenant under study."""
        return self._symbols[name]


class SampleFrame:
    """One copy of the system in many sampled states: every value is a numpy array with one element per state."""

    def __init__(self, system: TransitionSystem, states: Sequence[State]) -> None:
        self._system = system
        self._states = states
        self._cycles = [Evaluation(system, INTEGERS, state, {}) for state in states]
        self._columns: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._columns:
            system = self._system
            if name in system.memories:
                memory = system.memories[name]
                self._columns[name] = [
                    batch([state[name][index] for state in self._states], memory.bits)
                    for index in range(1 << memory.address_bits)
                ]
            else:
                self._columns[name] = batch([cycle[name] for cycle in self._cycles], system.widths[name])
        return self._columns[name]


Formula = Callable[[Any, View], Term]  # (logic, view) -> claim; the logic is a `Logic`


@dataclass(frozen=True)
class Claim:
    """A named statement about one cycle: a property, an assumption or a cover.

    `group` bundles claims into one solver query; claims about the same core belong together. `near` as in
    `Candidate`.
    """

    name: str
    formula: Formula
    group: str = ""
    near: frozenset[str] | None = None

    def holds(self, view: View, logic: Logic = INTEGER_LOGIC) -> Term:
        """The claim over `view`."""
        return self.formula(logic, view)


@dataclass(frozen=True)
class Candidate:
    """One instance of a conjectured invariant, over registers and memories (and wires that depend on those only).

    Attributes:
        schema: the pattern, indices removed; all instances of a schema live or die together.
        formula: the invariant; it may not read inputs nor `next`.
        group: instances of a group are proved inductive in one query.
        implied_by: schemas that make this one superfluous while they live.
        near: groups and schemas whose invariants its proof tries first; the prover adds what else it turns out to
            need. None means all that speak of nothing but what the next state depends on.
        proved_by: a theorem that has this among its invariants, if it rests there: here it is a hypothesis, and no
            goal. Such a candidate is never dropped.
    """

    schema: str
    formula: Formula
    group: str = ""
    implied_by: frozenset[str] = frozenset()
    near: frozenset[str] | None = None
    proved_by: str = ""


@dataclass(frozen=True)
class Problem:
    """Everything a theorem says.

    Attributes:
        name: the theorem's name.
        system: the netlist as a transition system.
        properties: must hold in every reachable cycle in which, and before which, the assumptions hold.
        candidates: conjectured invariants that help to prove them.
        assumptions: what inputs (and symbols) may be taken for granted; each is a proof obligation of the user.
        covers: situations that a run under the assumptions must be able to reach, else the theorem is vacuous.
        copies: 1, or 2 for relational claims over two runs of the system.
        symbols: bits of each symbolic constant.
        stimulus: random inputs, one dictionary per copy, from (random, states, symbols); None draws them at will.
        free_memories: memories that hold anything after reset (the same in both copies only if assumed so); others
            hold zeros. True means all, False none.
        shared: registers, memories and inputs that are the same in both copies in every cycle. Of an input that is
            an assumption; of a register it is checked on the netlist: its next value may depend on shared things only.
    """

    name: str
    system: TransitionSystem
    properties: Sequence[Claim]
    candidates: Sequence[Candidate] = ()
    assumptions: Sequence[Claim] = ()
    covers: Sequence[Claim] = ()
    copies: int = 1
    symbols: Mapping[str, int] = field(default_factory=dict)
    stimulus: Stimulus | None = None
    free_memories: bool | Collection[str] = False
    shared: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        """Raises ValueError when a shared register or memory can come to differ between the copies."""
        if self.shared - closed_under_dependence(self.system, self.shared):
            raise ValueError(f"shared, but not a function of what is shared: {min(self._not_closed())}")
        free = [name for name in self.shared if name in self.system.memories and self.starts_free(name)]
        if free:
            raise ValueError(f"shared memory {free[0]} may differ after reset")

    def _not_closed(self) -> frozenset[str]:
        return self.shared - closed_under_dependence(self.system, self.shared)

    def starts_free(self, memory: str) -> bool:
        """Whether a memory holds anything after reset."""
        return self.free_memories if isinstance(self.free_memories, bool) else memory in self.free_memories

    def reset_state(self, algebra: Algebra, free: Callable[[str, Memory], Any]) -> State:
        """State after reset; `free` gives the contents of memories that start free, as a function of name and shape."""

        def fill(name: str, memory: Memory) -> Any:
            if self.starts_free(name):
                return free(name, memory)
            return algebra.words([0] * (1 << memory.address_bits), memory.bits)

        return self.system.reset_state(algebra, fill)

    def concrete_view(
        self,
        states: Sequence[Mapping[str, Any]],
        inputs: Sequence[Mapping[str, int]],
        symbols: Mapping[str, int],
        wires: Sequence[Mapping[str, int]] | None = None,
    ) -> View:
        """View of concrete states; `wires` gives values already known."""
        frames = [
            Frame(Evaluation(self.system, INTEGERS, state, given), known)
            for state, given, known in zip(states, inputs, wires or [{}] * self.copies, strict=True)
        ]
        return View(frames, symbols)

    def admissible(self, view: View) -> bool:
        """Whether every assumption holds in a concrete cycle."""
        if any(view.left[name] != view.right[name] for name in self.shared if name in self.system.inputs):
            return False
        return all(claim.holds(view) for claim in self.assumptions)

    def initial_states(self, generator: random.Random) -> tuple[State, ...]:
        """One state after reset per copy."""

        def noise(name: str, memory: Memory) -> list[int]:
            return [generator.getrandbits(memory.bits) for _ in range(1 << memory.address_bits)]

        return tuple(self.reset_state(INTEGERS, noise) for _ in range(self.copies))

    def draw_inputs(
        self, generator: random.Random, states: Sequence[State], symbols: Mapping[str, int], tries: int = 30
    ) -> tuple[Inputs, ...] | None:
        """Random inputs that satisfy the assumptions in these states, or None when `tries` draws did not."""
        for attempt in range(tries):
            if self.stimulus is not None:
                inputs = self.stimulus(generator, states, symbols)
            else:
                inputs = self._random_inputs(generator, attempt)
            if not (self.assumptions or self.shared) or self.admissible(self.concrete_view(states, inputs, symbols)):
                return inputs
        return None

    def _random_inputs(self, generator: random.Random, attempt: int) -> tuple[Inputs, ...]:
        """Random bits; a second copy differs in ever fewer inputs, as relational assumptions want agreement."""
        first = {name: random_word(generator, bits) for name, bits in self.system.inputs.items()}
        if self.copies == 1:
            return (first,)
        second = dict(first)
        for name, bits in self.system.inputs.items():
            if generator.random() * (attempt + 1) < 0.5:
                second[name] = random_word(generator, bits)
        return first, second


def closed_under_dependence(system: TransitionSystem, names: Collection[str]) -> frozenset[str]:
    """The largest part of `names` in which every register and memory depends on members only; inputs all stay."""
    members = {name for name in names if name in system.leaves}
    while True:
        mask = sum(system.support(name) for name in members)
        leaving = {name for name in members if name not in system.inputs and system.next_support(name) & ~mask}
        if not leaving:
            return frozenset(members)
        members -= leaving


def random_word(generator: random.Random, bits: int) -> int:
    """A random number that is small, sparse or all ones more often than uniform draws are."""
    shape = generator.random()
    if bits == 1 or shape < 0.6:
        return generator.getrandbits(bits)
    if shape < 0.85:
        return generator.getrandbits(min(bits, 2))
    return 0 if shape < 0.95 else (1 << bits) - 1


def schemas_of(candidates: Iterable[Candidate]) -> frozenset[str]:
    """Names of the schemas that occur."""
    return frozenset(candidate.schema for candidate in candidates)
