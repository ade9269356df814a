"""Shell and real cores together: the joint induction (L7), and which theorem each of its premises is.

The shell's theorems hold for free cores; what they assume of A's cores, and what they say of a core that is handed
over, meets here what the lemmas say of the real core. One step of the whole pool is stated over uninterpreted sorts:
A's view of the shell, the state of each core, its inputs and outputs, A's window, and A's accesses to it, in two runs;
and for each core and run, whether it is A's, FREE, or clean, for the hosts may do different things for others.
Z3 shows that the invariant follows for the next cycle; that no premise is idle (without it, it does not follow); and
that all of them can hold. A premise is a theorem: each names the claims that say it, of the theorem's own formal
statement, and is refused when one is not there, or when that theorem assumes anything that is not listed here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import z3

from formal.algebra import Term
from formal.problem import Problem
from formal.shell import shell_block
from formal.theorems import theorem
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.core_ports import core_ports


@dataclass(frozen=True)
class Premise:
    """What the joint induction uses: a lemma or theorem by its short name, and what it says of a step."""

    lemma: str
    says: str
    formula: Callable[[Pool], Term]


class Pool:
    """One step of a pool of `cores` cores in two runs, whose hosts act on A alike. Every pair is of the two runs."""

    def __init__(self, cores: int) -> None:
        names = ("View", "State", "Inputs", "Outputs", "Window", "Access", "Data")
        sorts = {name: z3.DeclareSort(name) for name in names}
        self.cores = range(cores)
        view, state, inputs, outputs = (sorts[name] for name in ("View", "State", "Inputs", "Outputs"))
        self.core_step = z3.Function("core_step", state, inputs, state)
        self.core_shows = z3.Function("core_shows", state, outputs)
        self.has_instruction = z3.Function("has_instruction", inputs, z3.BoolSort())
        self.reset = z3.Const("reset", state)
        self.window_step = z3.Function("window_step", sorts["Window"], sorts["Access"], sorts["Data"], sorts["Window"])
        self.answer = z3.Function("answer", sorts["Window"], sorts["Access"], sorts["Data"])
        self.host_writes = z3.Const("host_writes_to_A", sorts["Data"])
        self.view, self.next_view = self._both("view", view), self._both("next_view", view)
        self.access = self._both("access", sorts["Access"])
        self.data = self._both("data", sorts["Data"])
        self.window, self.next_window = (
            self._both("window", sorts["Window"]),
            self._both("next_window", sorts["Window"]),
        )
        self.states = [self._both(f"state_{core}", state) for core in self.cores]
        self.next_states = [self._both(f"next_state_{core}", state) for core in self.cores]
        self.inputs = [self._both(f"inputs_{core}", inputs) for core in self.cores]
        self.outputs = [self._both(f"outputs_{core}", outputs) for core in self.cores]
        self.is_as = self._flags("held_by_A")
        self.becomes_as = self._flags("next_held_by_A")
        self.is_free = self._flags("free")
        self.becomes_free = self._flags("next_free")
        self.is_clean = self._flags("clean")
        self.ends_sweep = self._flags("ends_its_sweep")

    def _both(self, name: str, sort: z3.SortRef) -> tuple[Term, Term]:
        return z3.Const(f"{name}_1", sort), z3.Const(f"{name}_2", sort)

    def _flags(self, name: str) -> list[tuple[Term, Term]]:
        """What is so of each core, in each run: hosts that do different things for others leave it different."""
        return [self._both(f"core_{core}_{name}", z3.BoolSort()) for core in self.cores]

    def stepped(self, core: int, run: int) -> Term:
        """The state that follows from a core's state and inputs."""
        return self.core_step(self.states[core][run], self.inputs[core][run])

    def becomes_clean(self, core: int, run: int) -> Term:
        """Swept now, or swept before and without an instruction since."""
        idle = z3.Not(self.has_instruction(self.inputs[core][run]))
        return z3.Or(self.ends_sweep[core][run], z3.And(self.is_clean[core][run], idle))

    def invariant(self, after: bool) -> Term:
        """A's view and window agree, and so do A's cores; a core that has been swept is at reset."""
        states = self.next_states if after else self.states
        held, free = (self.becomes_as, self.becomes_free) if after else (self.is_as, self.is_free)
        claims = [_same(self.next_view if after else self.view), _same(self.next_window if after else self.window)]
        for core in self.cores:
            claims += [_same(held[core]), z3.Implies(held[core][0], _same(states[core]))]
            for run in (0, 1):
                clean = self.becomes_clean(core, run) if after else self.is_clean[core][run]
                claims.append(z3.Implies(clean, states[core][run] == self.reset))
                claims.append(z3.Implies(free[core][run], clean))
        return z3.And(claims)


def _same(pair: tuple[Term, Term]) -> Term:
    return pair[0] == pair[1]


def _in_both(claim: Callable[[Pool, int, int], Term]) -> Callable[[Pool], Term]:
    """What holds of each core in each run."""
    return lambda pool: z3.And([claim(pool, core, run) for core in pool.cores for run in (0, 1)])


def _shell(pool: Pool) -> Term:
    """Theorem 2b, one step: with A's cores and A's answers equal, A's view and which cores are A's stay equal."""
    held = [_same(pool.is_as[core]) for core in pool.cores]
    same_cores = [z3.Implies(pool.is_as[core][0], _same(pool.outputs[core])) for core in pool.cores]
    still = z3.And(_same(pool.next_view), *(_same(pool.becomes_as[core]) for core in pool.cores))
    step = z3.Implies(z3.And(_same(pool.view), _same(pool.data), *held, *same_cores), still)
    ports = [z3.Implies(pool.is_as[core][0], _same(pool.inputs[core])) for core in pool.cores]
    return z3.And(step, z3.Implies(z3.And(_same(pool.view), *held), z3.And(_same(pool.access), *ports)))


def _stays_at_reset(pool: Pool) -> Term:
    inputs = [given for both in pool.inputs for given in both]
    stays = [z3.Implies(z3.Not(pool.has_instruction(i)), pool.core_step(pool.reset, i) == pool.reset) for i in inputs]
    return z3.And(stays)


PREMISES = (
    Premise(
        "L0", "what a core shows is a function of its state",
        _in_both(lambda p, core, run: p.outputs[core][run] == p.core_shows(p.states[core][run])),
    ),
    Premise(
        "L3", "the next state of a core is a function of its state and its inputs",
        _in_both(lambda p, core, run: p.next_states[core][run] == p.stepped(core, run)),
    ),
    Premise("L2", "equal cores and answers of A's give A an equal view, and its cores equal inputs", _shell),
    Premise(
        "L4", "a sweep ends at reset",
        _in_both(lambda p, core, run: z3.Implies(p.ends_sweep[core][run], p.next_states[core][run] == p.reset)),
    ),
    Premise("L4", "a core at reset stays there until an instruction comes", _stays_at_reset),
    Premise(
        "L5", "a core becomes FREE when it has been swept, and stays so without an instruction",
        _in_both(lambda p, core, run: z3.Implies(p.becomes_free[core][run], p.becomes_clean(core, run))),
    ),
    Premise(
        "L5", "A's core was A's before, or FREE",
        _in_both(
            lambda p, core, run: z3.Implies(
                p.becomes_as[core][run], z3.Or(p.is_as[core][run], p.is_free[core][run])
            )
        ),
    ),
    Premise(
        "L5", "a FREE core gets no instruction",
        _in_both(lambda p, core, run: z3.Implies(p.is_free[core][run], z3.Not(p.has_instruction(p.inputs[core][run])))),
    ),
    Premise(
        "L6", "nobody but A and the host writes A's window, or reads what A is answered",
        lambda p: z3.And(
            [p.next_window[run] == p.window_step(p.window[run], p.access[run], p.host_writes) for run in (0, 1)]
            + [p.data[run] == p.answer(p.window[run], p.access[run]) for run in (0, 1)]
        ),
    ),
)  # fmt: skip
"""With hosts that do the same, which act on A alike, the control plane is the same besides (L1 and theorem 2a)."""


def does_not_follow(cores: int, premises: tuple[Premise, ...] = PREMISES) -> list[str]:
    """What is wrong with the composition: it does not follow, a premise is idle, or all together cannot hold."""
    pool = Pool(cores)
    formulas = [premise.formula(pool) for premise in premises]
    before, after = pool.invariant(after=False), pool.invariant(after=True)
    found = (
        [] if _impossible(before, *formulas, z3.Not(after)) else ["the invariant does not follow for the next cycle"]
    )
    if _impossible(before, *formulas):
        found.append("the premises contradict one another")
    for place, premise in enumerate(premises):
        others = [*formulas[:place], *formulas[place + 1 :]]
        if not found and _impossible(before, *others, z3.Not(after)):
            found.append(f"{premise.lemma} is not needed: {premise.says}")
    return found


def _impossible(*claims: Term) -> bool:
    solver = z3.Solver()
    solver.add(*claims)
    return bool(solver.check() == z3.unsat)


def starts_otherwise(config: PoolConfig) -> list[str]:
    """Cores that are not SCRUBBING after reset, for which the invariant would have to hold in the first cycle."""
    registers = TransitionSystem(shell_block(config)).registers
    states = {f"core{core}_state": registers[f"core{core}_state"][1] for core in range(config.cores)}
    return [f"{name} is {state} after reset" for name, state in states.items() if state != CoreState.SCRUBBING]


# ---- what the theorems say


_VIEW = (
    "core{core}_{port} is the same for A",
    "channel{channel} carries the same for A",
    "channel{channel}_address is the same for A",
    "channel{channel}_data is the same for A",
)
SAID: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "L2": {
        "non-interference": (*_VIEW, "core{core}_state is the same", "core{core}_owner is the same"),
        "independence": (*_VIEW, "core{core} is A's in both runs"),
    },
    "L5": {
        "hand-over": (
            "core{core} is at reset when FREE",
            "core{core} is scrubbed before it is FREE",
            "core{core} is swept word by word",
            "core{core} becomes HELD from FREE",
            "core{core} gets an instruction only in use",
        ),
    },
    "L6": {
        "memory": (
            "channel{channel}: core{core} stays in its owner's window",
            "channel{channel}: what is sent is what is recorded",
            "channel{channel}: the sweep stays in the window it sweeps",
            "windows of tenant{tenant} and tenant{other} are disjoint",
        ),
    },
}
"""Of the lemmas that are theorems of the shell: which, and which of their claims say so, for each core and so on."""

ASSUMED: Mapping[str, str] = {
    r"A is a tenant": "A is any tenant.",
    r"\w+ is equal": "assumed of the host",
    r"the host acts on A alike": "assumed of the host",
    r"core\d+ does the same when HELD by A": "discharged here: L0 and the invariant",
    r"channel\d+ answers A alike": "discharged here: L6 and the invariant",
}
"""What the shell's theorem assumes, as patterns of its claims, and what becomes of it."""


def unsaid(config: PoolConfig, lemma: str) -> list[str]:
    """Claims that a lemma rests on and that its theorems do not make, and assumptions that nobody has discharged."""
    found = []
    for name, patterns in SAID[lemma].items():
        problem = theorem(name).problem(config, shell_block(config))
        made = {claim.name for claim in problem.properties}
        found += [f"{name} does not say: {claim}" for claim in _claims(config, patterns) if claim not in made]
        found += [f"{name} assumes, and nothing discharges: {claim}" for claim in _undischarged(problem)]
    return found


def _claims(config: PoolConfig, patterns: tuple[str, ...]) -> Iterator[str]:
    ports = [port for port in core_ports(config).inputs if not port.startswith("scrub")]
    for pattern in patterns:
        for core in range(config.cores):
            for channel in range(config.channels):
                for port in ports if "{port}" in pattern else ports[:1]:
                    for tenant in range(1, config.tenants) if "{tenant}" in pattern else range(1):
                        for other in range(tenant) if "{tenant}" in pattern else range(1):
                            yield pattern.format(core=core, channel=channel, port=port, tenant=tenant, other=other)


def _undischarged(problem: Problem) -> Iterator[str]:
    for claim in problem.assumptions:
        if not any(re.fullmatch(pattern, claim.name) for pattern in ASSUMED):
            yield claim.name
