"""Looks for a run from reset in which a broken netlist violates a theorem: the only thing that kills a mutant.

In the order of what it costs: random runs, of the theorem's own stimulus and of a restless host; a recorded run of the
whole pool, in which cores, memory and host do what they really did; and bounded model checking, from states of random
runs, above all from those in which the broken net has just done damage.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyrtl
import z3

from formal.eventful_host import eventful_host
from formal.host_automaton import HOST_INPUTS
from formal.logic import SYMBOLIC_LOGIC
from formal.problem import Inputs, Problem, Stimulus, View
from formal.recording import Recording
from formal.refute import Row, Unrolling, explore, first_violation
from formal.restless_host import endless_barriers, restless_host
from formal.simulator import Simulator
from formal.theorems import theorem
from formal.trace import Trace
from formal.transition import State, TransitionSystem
from formal.two_hosts import equal_hosts, observed_inputs, two_hosts
from isa.configuration import PoolConfig
from rtl.tenants import BARRIER_BITS

_AFTERWARDS = 400
"""Cycles of a recorded run that are looked at behind the first in which the mutant shows something else."""
_WATCHES = 6
"""Draws of what a theorem watches, each of which sees the recorded run once."""


@dataclass(frozen=True)
class Effort:
    """How hard to try: random `runs` with each host, `states` to begin model checking from, `depth` cycles deep."""

    runs: int = 3
    states: int = 4
    depth: int = 6
    search_seconds: float = 3.0


def runnable(config: PoolConfig, block: pyrtl.Block, name: str) -> Problem:
    """The theorem about all of the netlist: claims may read what nothing depends on any more since it is broken."""
    problem = theorem(name).problem(config, block, over_approximate=False)
    system = TransitionSystem(problem.system.block)
    others = {name: 0 for name in system.inputs if name not in problem.system.inputs}

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        assert problem.stimulus is not None, "every theorem has one"
        return tuple({**others, **given} for given in problem.stimulus(generator, states, symbols))

    return replace(problem, system=system, stimulus=draw)


# ---- random runs


def explored(config: PoolConfig, problem: Problem, seed: int, hosts: int | None = None) -> Trace | None:
    """A violation in a random run with each host that suits the theorem, or the first `hosts` of them.

    The first one is the theorem's own; others run for longer.
    """
    for host in _hosts(config, problem)[:hosts]:
        cycles = (1 if host is problem.stimulus else 2) * config.scrub_cycles + 20 * config.channel_latency
        found = explore(replace(problem, stimulus=host), 1, cycles, seed, keep_samples=False).violation
        if found is not None:
            return found
    return None


def _hosts(config: PoolConfig, problem: Problem) -> list[Stimulus]:
    assert problem.stimulus is not None, "every theorem has one"
    system = problem.system
    if problem.copies == 1:
        return [problem.stimulus, restless_host(config, system), eventful_host(config, system)]
    hosts = [problem.stimulus, equal_hosts(config, system, restless_host)]
    return hosts if set(HOST_INPUTS) <= problem.shared else [*hosts, two_hosts(config, system, restless_host)]


def endured(config: PoolConfig, problem: Problem) -> Trace | None:
    """A violation in a run as long as the largest number of barriers that is counted, of a theorem about one run."""
    host = endless_barriers(config, problem.system)
    cycles = config.scrub_cycles + 20 * config.channel_latency + (1 << BARRIER_BITS)
    return explore(replace(problem, stimulus=host), 1, cycles, keep_samples=False).violation


# ---- the recorded run


def replayed(config: PoolConfig, problem: Problem, recording: Recording, cycles: int) -> Trace | None:
    """A violation in the first `cycles` of a recorded run, and some more.

    In the second run of a theorem about two the host does the same; what is not A's is drawn at random.
    """
    for seed in range(_WATCHES if problem.copies == 1 and problem.free_memories else max(1, config.tenants)):
        found = _replayed(config, problem, recording, min(cycles + _AFTERWARDS, recording.cycles), seed)
        if found is not None:
            return found
    return None


def _replayed(config: PoolConfig, problem: Problem, recording: Recording, cycles: int, seed: int) -> Trace | None:
    generator = random.Random(f"watch {seed}")
    symbols = {name: seed % (1 << bits) for name, bits in problem.symbols.items()}
    simulator = Simulator(problem.system)
    states = initial = problem.initial_states(generator)
    history: list[tuple[Inputs, ...]] = []
    rows: list[tuple[Row, ...]] = []

    def draw(cycle: int) -> tuple[Inputs, ...] | None:
        known = {name: values[cycle] for name, values in recording.inputs.items()}
        if problem.copies == 1 and not problem.assumptions and set(problem.system.inputs) <= set(known):
            return (known,)
        assert problem.stimulus is not None, "every theorem has one"
        for _ in range(30):
            first, *others = problem.stimulus(generator, states, symbols)
            given = {name: known.get(name, value) for name, value in first.items()}
            inputs = [given]
            for other in others:
                same = {*HOST_INPUTS, *observed_inputs(config, states[0], symbols["A"])} & set(given)
                inputs.append({**other, **{name: given[name] for name in same}})
            if problem.admissible(problem.concrete_view(states, inputs, symbols)):
                return tuple(inputs)
        return None

    for cycle in range(cycles):
        inputs = draw(cycle)
        if inputs is None:
            return None
        history.append(inputs)
        stepped = [simulator.cycle(state, given) for state, given in zip(states, inputs, strict=True)]
        after = tuple(after for _, after in stepped)
        rows.append(tuple(map(Row, states, inputs, (wires for wires, _ in stepped), after)))
        states = after
        if len(rows) == 200 or cycle == cycles - 1:
            failure = first_violation(problem, rows, symbols)
            if failure is not None:
                name, place = failure
                return Trace(name, initial, tuple(history[: len(history) - len(rows) + place + 1]), symbols)
            rows = []
    return None


# ---- bounded model checking


def searched(config: PoolConfig, problem: Problem, original: Problem, seed: int, effort: Effort) -> Trace | None:
    """Bounded model checking from states of a random run: where damage is done, or anywhere if none is.

    `original` is the same theorem about the netlist that is not broken.
    """
    hosts = _hosts(config, problem)
    host = hosts[seed % len(hosts)]
    generator = random.Random(f"states {seed}")
    cycles = config.scrub_cycles + 20 * config.channel_latency
    run = _run(replace(problem, stimulus=host), cycles, generator)
    places = _damaged(run, original, effort.states)
    if not places:
        late = range(min(config.scrub_cycles, len(run.inputs) // 2), len(run.inputs))
        places = generator.sample(late, min(effort.states, len(late)))
    for place in places:
        found = _From(problem, run, place).search(effort.depth, effort.search_seconds)
        if found is not None:
            return found
    return None


@dataclass(frozen=True)
class _Run:
    symbols: Mapping[str, int]
    states: Sequence[tuple[State, ...]]
    inputs: Sequence[tuple[Inputs, ...]]


def _run(problem: Problem, cycles: int, generator: random.Random) -> _Run:
    simulator = Simulator(problem.system, observed=())
    symbols = {name: generator.getrandbits(bits) for name, bits in problem.symbols.items()}
    states, inputs = [problem.initial_states(generator)], []
    for _ in range(cycles):
        drawn = problem.draw_inputs(generator, states[-1], symbols)
        if drawn is None:
            break
        inputs.append(drawn)
        states.append(tuple(simulator.cycle(s, i)[1] for s, i in zip(states[-1], drawn, strict=True)))
    return _Run(symbols, states, inputs)


def _damaged(run: _Run, original: Problem, most: int) -> list[int]:
    """Places of states after which the unbroken netlist would have come to another one; spread over the run."""
    simulator = Simulator(original.system, observed=())
    found: list[int] = []
    for place, (states, inputs) in enumerate(zip(run.states, run.inputs, strict=False)):
        after = run.states[place + 1]
        if any(simulator.cycle(s, i)[1] != wrong for s, i, wrong in zip(states, inputs, after, strict=True)):
            found.append(place)
    return [found[index * len(found) // most] for index in range(min(most, len(found)))] if found else []


class _From(Unrolling):
    """The system unrolled from a state of a run; symbolic constants are those of the run."""

    def __init__(self, problem: Problem, run: _Run, place: int) -> None:
        self._run, self._place = run, place
        super().__init__(problem)
        self.solver.add(*(term == run.symbols[name] for name, term in self._symbols.items()))

    def _initial_state(self, copy: int) -> State:
        system, state = self.problem.system, self._run.states[self._place][copy]
        found: State = {n: self._algebra.constant(state[n], bits) for n, (bits, _) in system.registers.items()}
        found |= {n: self._algebra.words(state[n], memory.bits) for n, memory in system.memories.items()}
        return found

    def search(self, depth: int, seconds: float) -> Trace | None:
        """A violation within `depth` cycles, as a run from reset."""
        for cycle in range(depth):
            view: View = self.extend()
            goals = [SYMBOLIC_LOGIC.negate(claim.formula(SYMBOLIC_LOGIC, view)) for claim in self.problem.properties]
            literal = z3.Bool(f"goal@{cycle}")
            self.solver.add(z3.Implies(literal, z3.Or(goals)))
            self.solver.set("timeout", int(1000 * seconds))
            answer = self.solver.check(literal)
            if answer == z3.unknown:
                return None
            if answer == z3.sat:
                model = self.solver.model()
                claims = zip(self.problem.properties, goals, strict=True)
                hit = next(claim for claim, goal in claims if z3.is_true(model.eval(goal, model_completion=True)))
                suffix = self.trace(hit.name)
                prefix = tuple(self._run.inputs[: self._place])
                return Trace(hit.name, self._run.states[0], prefix + suffix.inputs, dict(self._run.symbols))
        return None
