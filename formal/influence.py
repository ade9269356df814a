"""What one changed net of the shell can influence, and whether it changes anything in a state that can be reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

import pyrtl
import z3
from pyrtl import Const, WireVector

from formal.accesses import access_lemmas, window_pair_lemmas
from formal.algebra import Term, Z3Algebra
from formal.classification import Viewer, classified
from formal.engine import Engine, Query, UndecidedError
from formal.lemmas import command_lemmas, core_lemmas, fetch_stage_lemmas, flight_lemmas, window_lemmas
from formal.logic import INTEGER_LOGIC, SYMBOLIC_LOGIC
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Frame, Problem, View
from formal.shell import shell_block
from formal.theorems import NAMES, theorem
from formal.transition import Evaluation, NextState, TransitionSystem
from isa.configuration import PoolConfig
from rtl.sizes import any_of, named

_RESOURCES = 20_000_000
"""What Z3 may spend on one question, in units of its own, which a busy machine does not change."""


def influenced(block: pyrtl.Block, wire: str) -> tuple[set[str], set[str]]:
    """Wires that depend on a wire in the same cycle, itself included; registers and memories that take what these hold.

    Of a register what it loads is meant.
    """
    readers: dict[str, list[pyrtl.LogicNet]] = {}
    for net in block.logic:
        for argument in net.args:
            readers.setdefault(argument.name, []).append(net)
    if any(net.op == "r" and net.dests[0].name == wire for net in block.logic):
        return set(), {wire}
    now, later, pending = {wire}, set[str](), [wire]
    while pending:
        for net in readers.get(pending.pop(), ()):
            if net.op == "@":
                later.add(net.op_param[1].name)
            elif net.op == "r":
                later.add(net.dests[0].name)
            else:
                fresh = {dest.name for dest in net.dests} - now
                now |= fresh
                pending += fresh
    return now, later


def felt_by_tenants(block: pyrtl.Block) -> set[str]:
    """Wires that, sooner or later, can influence an output that a tenant sees (`formal.classification`)."""
    drivers: dict[str, list[pyrtl.LogicNet]] = {}
    for net in block.logic:
        for dest in net.dests:
            drivers.setdefault(dest.name, []).append(net)
        if net.op == "@":
            drivers.setdefault(net.op_param[1].name, []).append(net)
    pending = [name for name, viewer in classified(block).items() if viewer is Viewer.TENANT]
    found = set(pending)
    while pending:
        for net in drivers.get(pending.pop(), ()):
            sources = {argument.name for argument in net.args}
            sources |= {net.op_param[1].name} if net.op == "m" else set()
            pending += sources - found
            found |= sources
    return found


def is_equivalent(config: PoolConfig, original: pyrtl.Block, changed: pyrtl.Block, wire: str, seconds: float) -> bool:
    """Whether a change of the net that drives `wire` makes no difference at the outputs, ever.

    Asked of every state in which the invariants hold that the theorems have proved of the original. A mutant that does
    the same in each of those, under all inputs, to outputs, registers and memories, never leaves them, and does the
    same for ever. So does one that does something else to a register, of which one cycle later nothing is left.
    """
    same = does_the_same(original, changed, wire, invariants(config), seconds)
    if same is None or same:
        return bool(same)
    lemmas = (command_lemmas, core_lemmas, window_lemmas, flight_lemmas, fetch_stage_lemmas, access_lemmas)
    few = [each for lemma in (*lemmas, window_pair_lemmas) for each in lemma(config)]
    return _is_forgotten(TransitionSystem(original), TransitionSystem(changed), few)


def does_the_same(
    original: pyrtl.Block,
    changed: pyrtl.Block,
    wire: str,
    known: Sequence[Candidate],
    seconds: float,
    only: Collection[str] | None = None,
) -> bool | None:
    """Whether outputs, registers and memories are the same functions, where `known` holds; None: undecided.

    `only`: these registers alone are compared.
    """
    block = monitored(original, lambda lookup: _compare(lookup, changed, wire, only))
    same = Claim("the mutant does the same", lambda logic, view: view["mutant_differs"] == 0)
    problem = Problem("equivalence", TransitionSystem(block), [same], known)
    try:
        return Engine(problem, known, seconds, exact_cores=False).decide(Query("", [0]), [same]) is None
    except UndecidedError:
        return None


@cache
def invariants(config: PoolConfig) -> tuple[Candidate, ...]:
    """What the theorems about single runs have proved of the shell's own registers, ghosts left out."""
    block = shell_block(config)
    system = TransitionSystem(block)
    found: list[Candidate] = []
    for name in NAMES:
        problem = theorem(name).problem(config, block)
        if problem.copies == 1:
            found += [each for each in problem.candidates if _read_by(each, problem) <= set(system.widths)]
    return tuple(found)


def _read_by(candidate: Candidate, problem: Problem) -> set[str]:
    view = problem.concrete_view([problem.system.reset_state()], [dict.fromkeys(problem.system.inputs, 0)], {})
    candidate.formula(INTEGER_LOGIC, view)
    return {name for name, _ in view.left.touched}


def _is_forgotten(original: TransitionSystem, changed: TransitionSystem, known: Sequence[Candidate]) -> bool:
    """Whether what the mutant does to a state shows at no output, then or one cycle later, and is gone then.

    From a state p both step, to s and s'. Outputs are equal before and after; and from s' the mutant comes to where it
    would have come from s: there it is one step of its own away from a state of the original's again.
    """
    algebra = Z3Algebra()
    state = original.state_variables(algebra, "state ")
    inputs = [original.input_variables(algebra, f"{step} ") for step in range(2)]
    right, wrong = (Evaluation(system, algebra, state, inputs[0]) for system in (original, changed))
    right_after = Evaluation(original, algebra, NextState(right), inputs[1])
    wrong_after, corrected = (Evaluation(changed, algebra, NextState(cycle), inputs[1]) for cycle in (wrong, right))
    outputs = [wire.name for wire in original.block.wirevector_subset(pyrtl.Output)]
    pairs = [
        (first[name], second[name])
        for name in outputs
        for first, second in ((right, wrong), (right_after, wrong_after))
    ]
    pairs += [(wrong_after.next(name), corrected.next(name)) for name in (*original.registers, *original.memories)]
    different = [
        SYMBOLIC_LOGIC.negate(SYMBOLIC_LOGIC.equal(first, second))
        for first, second in pairs
        if not is_same(first, second)
    ]
    solver = z3.Solver()
    solver.set("rlimit", _RESOURCES)
    view = View([Frame(right)], {})
    solver.add(*(each.formula(SYMBOLIC_LOGIC, view) for each in known), z3.Or(different))
    return bool(solver.check() == z3.unsat)


def is_same(first: Term, second: Term) -> bool:
    """The same term: no question for a solver."""
    if isinstance(first, list):
        return all(map(is_same, first, second))
    return bool(z3.eq(first, second))


def _compare(lookup: Lookup, changed: pyrtl.Block, wire: str, only: Collection[str] | None) -> None:
    """Build what the changed net influences once more, as it is in the mutant, and compare what comes of it."""
    now, _ = influenced(changed, wire)
    drivers = {dest.name: net for net in changed.logic if net.op != "r" for dest in net.dests}
    block = pyrtl.working_block()
    originals = {net.dests[0].name: net for net in block.logic if net.op == "r"}
    memories = {net.op_param[1].name: net.op_param for net in block.logic if net.op in "m@"}
    built: dict[str, WireVector] = {}

    def value(source: WireVector) -> WireVector:
        """The wire of the copy that shows what this one shows in the mutant."""
        pending = [source]
        while pending:
            here = pending[-1]
            net = drivers.get(here.name)
            is_new = here.name not in block.wirevector_by_name
            if here.name in built:
                pending.pop()
            elif isinstance(here, Const):
                built[here.name] = Const(here.val, len(here))
            elif net is None or not (is_new or here.name in now):
                built[here.name] = lookup(here.name)
            elif missing := [argument for argument in net.args if argument.name not in built]:
                pending += missing
            else:
                parameter = memories[net.op_param[1].name] if net.op == "m" else net.op_param
                result = WireVector(len(here))
                arguments = tuple(built[argument.name] for argument in net.args)
                block.add_net(pyrtl.LogicNet(net.op, parameter, arguments, (result,)))
                built[here.name] = result
        return built[source.name]

    differences = [Const(0, 1)]
    for output in changed.wirevector_subset(pyrtl.Output):
        if output.name in now and only is None:
            differences.append(value(output) != lookup(output.name))
    for net in list(changed.logic):
        compared = only is None or net.dests[0].name in only if net.op == "r" else only is None
        if compared and net.op == "r" and (net.args[0].name in now or net.dests[0].name == wire):
            differences.append(value(net.args[0]) != originals[net.dests[0].name].args[0])
        if compared and net.op == "@" and any(argument.name in now for argument in net.args):
            address, data, enable = (value(argument) for argument in net.args)
            was_address, was_data, was_enable = (lookup(argument.name) for argument in net.args)
            elsewhere = (address != was_address) | (data != was_data)
            differences.append((enable != was_enable) | (enable & elsewhere))
    named("mutant_differs", any_of(differences))
