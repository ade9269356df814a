"""What the theorems say of a broken netlist: which proofs still hold, and which run refutes one.

Only what a changed net can influence is proved again: the rest is what was proved of the design. A mutant of which
everything is still proved is one that no theorem notices. Where a proof fails, its theorem is hunted: by random runs
from reset, then by bounded model checking from states that such runs have come through. A failed induction alone kills
nothing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyrtl
import z3

from formal.engine import Engine, Query, UndecidedError
from formal.host_automaton import AutomatonError
from formal.induction import property_queries
from formal.influence import influenced
from formal.logic import INTEGER_LOGIC, SYMBOLIC_LOGIC
from formal.problem import Inputs, Problem, Stimulus, View
from formal.refute import Unrolling, explore
from formal.relations import CONTROL_PLANE
from formal.shell import age_of_answer, register_in_flight
from formal.simulator import Simulator
from formal.stimulus import host_and_programs
from formal.theorems import NAMES, theorem
from formal.trace import Trace, replay
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.encoding import encode
from isa.instructions import INSTRUCTIONS, VIRTUAL_CORE_BITS, WORD_BITS, Call, CoreInstruction, Return
from rtl.channels import Kind

_EXACT = {
    "independence": CONTROL_PLANE.pattern,
    "answers": r"channel\d+_(stage|request|flight).*|core\d+_(request|response|write)_.*|host_.*",
    "barrier": r"core\d+_(arrived|sync_global)|tenant\d+_(release|pause_pending|barriers)",
    "delivery": r"core\d+_(instruction|credits).*|tenant\d+_(program|next|epoch).*|dispatch_.*|channel\d+_prefetch",
}
"""What a theorem states exactly, so that nearly every change of it is a violation."""


@dataclass(frozen=True)
class Effort:
    """How hard to try: `runs` and `states` of each theorem whose proof fails."""

    query_seconds: float = 3.0
    runs: int = 3
    states: int = 4
    depth: int = 6
    search_seconds: float = 3.0


@dataclass(frozen=True)
class Judgement:
    """KILLED with the theorem and the property that a run violates, BLIND, or OPEN with the proofs that fail."""

    verdict: str
    theorem: str = ""
    claim: str = ""


def judged(config: PoolConfig, block: pyrtl.Block, wire: str, effort: Effort | None = None) -> Judgement:
    """What the theorems say of `block`, which is the shell of `config` with another net for `wire`.

    Raises:
        ReplayError: when `pyrtl.Simulation` does not show what a search found.
    """
    limits = effort or Effort()
    likely = _likely(influenced(block, wire)[1])
    guesses = {name: _runnable(config, block, name) for name in likely}
    for name, trace in _hunted(config, guesses, limits, (1, 2)):
        if trace is not None:
            return _killed(name, guesses[name], trace)
    doubtful = [name for name in NAMES if not still_proved(config, block, wire, name, limits.query_seconds)]
    if not doubtful:
        return Judgement("BLIND")
    problems = {name: _runnable(config, block, name) for name in doubtful}
    for name, trace in _hunted(config, problems, limits, range(1, limits.runs + 1)):
        if trace is not None:
            return _killed(name, problems[name], trace)
    return Judgement("OPEN", ", ".join(doubtful))


def _killed(name: str, problem: Problem, trace: Trace) -> Judgement:
    replay(problem.system.block, problem, trace)
    return Judgement("KILLED", name, trace.claim)


def _likely(later: set[str]) -> list[str]:
    """Theorems that speak most exactly about these registers and memories, at most two: a guess that saves time."""
    found = [name for name, pattern in _EXACT.items() if any(re.fullmatch(pattern, each) for each in later)]
    return found[:2]


# ---- proofs


def still_proved(config: PoolConfig, block: pyrtl.Block, wire: str, name: str, seconds: float) -> bool:
    """Whether all that the net for `wire` can influence in the proof of a theorem can be proved as before."""
    try:
        problem = theorem(name).problem(config, block)
        engine = Engine(problem, problem.candidates, seconds, exact_cores=False)
        return all(engine.decide(query, properties) is None for query, properties in _touched(problem, engine, wire))
    except (UndecidedError, AutomatonError, ValueError, KeyError):
        return False


def _touched(problem: Problem, engine: Engine, wire: str) -> Iterator[tuple[Query, Sequence[Any] | None]]:
    """Queries with a goal, or any hypothesis, that reads what the net influences."""
    system = problem.system
    now, later = influenced(system.block, wire)
    states = [system.reset_state() for _ in range(problem.copies)]
    zeros = [dict.fromkeys(system.inputs, 0)] * problem.copies
    view = problem.concrete_view(states, zeros, dict.fromkeys(problem.symbols, 0))

    def read_by(claims: Sequence[Any]) -> set[tuple[str, bool]]:
        for frame in view.frames:
            frame.touched.clear()
        for claim in claims:
            claim.formula(INTEGER_LOGIC, view)
        return {read for frame in view.frames for read in frame.touched}

    def is_changed(name: str, is_next: bool) -> bool:
        """In the cycle itself; or after the step, where wires are functions of registers."""
        if not is_next:
            return name in now
        return name in now or any(leaf in later for leaf in system.support_names(system.support(name)))

    everything = any(is_changed(name, False) for name, _ in read_by([*problem.candidates, *problem.assumptions]))
    for query in engine.consecution_queries():
        goals = [problem.candidates[goal] for goal in query.goals]
        if everything or any(is_changed(name, True) for name, _ in read_by(goals)):
            yield query, None
    for query in property_queries(problem.properties):
        reads = read_by([problem.properties[goal] for goal in query.goals])
        if everything or any(name in later if is_next else name in now for name, is_next in reads):
            yield query, problem.properties


# ---- runs


def _hunted(
    config: PoolConfig, problems: Mapping[str, Problem], limits: Effort, seeds: Sequence[int]
) -> Iterator[tuple[str, Trace | None]]:
    yield from _explored(config, problems, seeds[0])
    for name, problem in problems.items():
        yield name, _searched(config, problem, seeds[-1], limits)
    careless = {
        name: replace(problem, stimulus=host_and_programs(config, problem.system))
        for name, problem in problems.items()
        if problem.copies == 1
    }
    for seed in seeds[1:]:
        for group in (problems, careless):
            varied = {name: replace(each, stimulus=_varied(config, each.stimulus)) for name, each in group.items()}
            yield from _explored(config, varied, seed)


def _varied(config: PoolConfig, stimulus: Stimulus | None) -> Stimulus:
    """As `stimulus`, but half of the fetched beats hold instructions of any kind, with any fields; others are noise."""
    assert stimulus is not None, "every theorem has one"
    kinds = [kind for kind in INSTRUCTIONS if issubclass(kind, CoreInstruction)]
    core = CoreInstruction.field_layout("core").offset

    def word(generator: random.Random) -> int:
        chance = generator.random()
        if chance < 0.2:
            return encode(Call(address=generator.randrange(8)) if chance < 0.1 else Return())
        kind = generator.choice(kinds)
        fields = generator.getrandbits(kind.used_bits()) & ~((1 << core + VIRTUAL_CORE_BITS) - 1)
        return fields | generator.randrange(2) << core | kind.opcode

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        inputs = stimulus(generator, states, symbols)
        beats = {}
        for name in inputs[0]:
            if not re.fullmatch(r"channel\d+_response", name):
                continue
            due = register_in_flight(int(name[len("channel") :].split("_")[0]), age_of_answer(config), "kind")
            if states[0].get(due) != Kind.FETCH:
                beats[name] = generator.getrandbits(8 * config.beat_bytes)
            elif generator.random() < 0.5:
                words = [word(generator) for _ in range(config.words_per_beat)]
                beats[name] = sum(each << WORD_BITS * place for place, each in enumerate(words))
        return tuple({**given, **beats} for given in inputs)

    return draw


def _runnable(config: PoolConfig, block: pyrtl.Block, name: str) -> Problem:
    """The theorem about all of the netlist: claims may read what nothing depends on any more since it is broken."""
    problem = theorem(name).problem(config, block, over_approximate=False)
    system = TransitionSystem(problem.system.block)
    others = {name: 0 for name in system.inputs if name not in problem.system.inputs}

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        assert problem.stimulus is not None, "every theorem has one"
        return tuple({**others, **given} for given in problem.stimulus(generator, states, symbols))

    return replace(problem, system=system, stimulus=draw)


def _explored(config: PoolConfig, problems: Mapping[str, Problem], seed: int) -> Iterator[tuple[str, Trace | None]]:
    for name, problem in problems.items():
        yield name, explore(problem, 1, _cycles(config), seed, keep_samples=False).violation


def _cycles(config: PoolConfig) -> int:
    """Past scrub and sweep, with tenants at work."""
    return config.scrub_cycles + 20 * config.channel_latency


def _searched(config: PoolConfig, problem: Problem, seed: int, limits: Effort) -> Trace | None:
    """Bounded model checking from some of the states of a random run, most of them behind the scrub after reset."""
    generator = random.Random(f"states {seed}")
    run = _run(problem, _cycles(config), generator)
    length = len(run.inputs)
    late = range(min(config.scrub_cycles, length // 2), length)
    places = [*generator.sample(late, min(limits.states - 1, len(late))), *generator.sample(range(length), 1)]
    for place in places:
        found = _From(problem, run, place).search(limits.depth, limits.search_seconds)
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
