"""Seeded bugs of the shell, and the theorem that has to refute each. A theorem that no mutant refutes proves nothing.

A mutant is a patched copy of the emitted netlist; the design has no switches for bugs. The pool is as small as a pool
can be, so that a run from reset through scrub, attach, grant and start takes some hundred cycles.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyrtl

from formal.mutation import (
    Patch,
    PatchError,
    constant,
    driver,
    mutated,
    nets_between,
    replace_net,
    shift_constant,
    swap_arms,
    tie,
)
from formal.problem import Problem
from formal.refute import explore
from formal.shell import shell_block
from formal.stimulus import host_and_programs
from formal.theorems import theorem
from formal.trace import replay
from formal.verdict import Refuted, Unknown
from isa.configuration import PoolConfig

MUTANT_POOL = PoolConfig(
    name="mutant", cores=2, array=4, tenants=2, channels=1, beat_bytes=32, features_vectors=16, weights_vectors=16,
    parameters_vectors=8, output_vectors=16, residual_vectors=16, accumulator_pixels=16, line_vectors=16, lanes=2,
    memory_beats=64, host_revolutions=2, fetch_beats=2,
)  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A bug: its name, what is wrong in a sentence, the theorem that refutes it, and how the netlist is patched."""

    name: str
    wrong: str
    theorem: str
    patches: tuple[Patch, ...]


def hunt(mutant: Mutant, runs: int = 12, cycles: int = 2500, seed: int = 1) -> tuple[Problem, Refuted | Unknown]:
    """Look for a run from reset of the patched netlist that violates the mutant's theorem, and replay it on PyRTL.

    The host behaves as the theorem suggests; of a theorem about one run it also gives commands that ought to be
    refused, in turn.

    Returns:
        The theorem about the patched netlist (`problem.system.block`), and the verdict.

    Raises:
        ReplayError: when `pyrtl.Simulation` does not show what the search found.
    """
    started = time.monotonic()
    block = mutated(shell_block(MUTANT_POOL), *mutant.patches)
    problem = theorem(mutant.theorem).problem(MUTANT_POOL, block, over_approximate=False)
    hosts = {"busy": problem}
    if problem.copies == 1:
        hosts["careless"] = replace(problem, stimulus=host_and_programs(MUTANT_POOL, problem.system))
    for run in range(runs):
        for tried in hosts.values():
            trace = explore(tried, 1, cycles, seed + run, keep_samples=False).violation
            if trace is not None:
                replay(problem.system.block, problem, trace)
                return problem, Refuted(problem.name, time.monotonic() - started, trace)
    reason = f"no violation in {runs} random runs of {cycles} cycles, of a host that is {' or '.join(hosts)}"
    return problem, Unknown(problem.name, time.monotonic() - started, reason)


# ---- patches


def _only(nets: list[pyrtl.LogicNet], what: str) -> pyrtl.LogicNet:
    if len(nets) != 1:
        raise PatchError(f"expected one net: {what}; found {len(nets)}")
    return nets[0]


def _compare(source: str, sink: str, *arguments: str) -> Callable[[pyrtl.Block], pyrtl.LogicNet]:
    """The equality from `source` to `sink` that reads all of the named wires."""

    def find(block: pyrtl.Block) -> pyrtl.LogicNet:
        nets = nets_between(block, source, sink, "=")
        nets = [net for net in nets if set(arguments) <= {argument.name for argument in net.args}]
        return _only(nets, f"= from {source} to {sink}")

    return find


def ignore(find: Callable[[pyrtl.Block], pyrtl.LogicNet]) -> Patch:
    """A comparison is always true."""
    return lambda block: replace_net(block, find(block), "w", constant(block, 1, 1))


def _owner_at_most(core: int) -> Patch:
    """The dispatcher takes a core for the tenant's if owner <= tenant, rather than owner == tenant."""

    def patch(block: pyrtl.Block) -> None:
        net = _compare(f"core{core}_owner", "dispatch_cores", "turn0_owner")(block)
        above = pyrtl.WireVector(1, block=block)
        owner, tenant = sorted(net.args, key=lambda argument: argument.name == "turn0_owner")
        block.add_net(pyrtl.LogicNet(">", None, (owner, tenant), (above,)))
        replace_net(block, net, "~", above)

    return patch


def _drain_at_once(core: int) -> Patch:
    """DRAINING lasts one cycle."""

    def patch(block: pyrtl.Block) -> None:
        last = MUTANT_POOL.drain_cycles - 1
        nets = nets_between(block, f"core{core}_timer", f"core{core}_state", "=")
        nets = [net for net in nets if any(isinstance(a, pyrtl.Const) and a.val == last for a in net.args)]
        net = _only(nets, f"timer of core {core} compared with {last}")
        replace_net(block, net, "=", net.args[0], constant(block, 0, len(net.args[0])))

    return patch


def _first_argument(
    source: str, sink: str, value: Callable[[pyrtl.Block, pyrtl.WireVector], pyrtl.WireVector]
) -> Patch:
    """The concatenation (tenant, entry) from `source` to `sink` takes another tenant."""

    def patch(block: pyrtl.Block) -> None:
        net = _only(nets_between(block, source, sink, "c"), f"concatenation from {source} to {sink}")
        replace_net(block, net, "c", value(block, net.args[0]), *net.args[1:])

    return patch


def _entry_inverted(block: pyrtl.Block) -> None:
    net = _only(nets_between(block, "tenant0_next_arrival", "channel0_prefetch", "c"), "write address of the prefetch")
    other = pyrtl.WireVector(len(net.args[1]), block=block)
    block.add_net(pyrtl.LogicNet("~", None, (net.args[1],), (other,)))
    replace_net(block, net, "c", net.args[0], other)


def _valid_sticks(block: pyrtl.Block) -> None:
    register = block.wirevector_by_name["core0_instruction_valid"]
    net = driver(block, register.name, through_copies=False)
    sticky = pyrtl.WireVector(1, block=block)
    block.add_net(pyrtl.LogicNet("|", None, (net.args[0], register), (sticky,)))
    replace_net(block, net, "r", sticky)


def _no_fetch_limit(block: pyrtl.Block) -> None:
    """Neither the fetch's wish nor the check in the stage looks at the limit."""
    for tenant in range(MUTANT_POOL.tenants):
        nets = nets_between(block, f"tenant{tenant}_limit", "channel0_stage_kind", "<")
        request = f"tenant{tenant}_next_request"
        wish = _only([net for net in nets if request in {a.name for a in net.args}], f"limit of {request}")
        replace_net(block, wish, "w", constant(block, 1, 1))
    check = _only(nets_between(block, "channel0_stage_limit", "channel0_request_valid", "<"), "limit check")
    replace_net(block, check, "w", constant(block, 1, 1))


_OWNER, _ARRIVES = "cores_obey_only_their_owner", "every_instruction_arrives_once"
_CORES = range(MUTANT_POOL.cores)

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "owner_at_most", "core 1 obeys every tenant from its owner on upwards: <= instead of ==", _OWNER,
        (_owner_at_most(1),),
    ),
    Mutant(
        "no_drain", "a revoked core drains for one cycle, while answers to its requests are in flight", _OWNER,
        tuple(_drain_at_once(core) for core in _CORES),
    ),
    Mutant(
        "grant_in_use", "GRANT and REVOKE do not look at the state of the core: one in use changes its owner", _OWNER,
        (tie("check_wrong_core_state", 0),),
    ),
    Mutant(
        "duplicate_virtual_index", "GRANT accepts a virtual index that the tenant already has", _OWNER,
        (tie("check_virtual_index_taken", 0),),
    ),
    Mutant(
        "word_of_another_tenant", "stage 0 reads the prefetch memory at tenant 0, whoever's turn it is", _OWNER,
        (_first_argument("turn0_owner", "dispatch_word", lambda block, old: constant(block, 0, len(old))),),
    ),
    Mutant(
        "base_of_another_tenant", "an access gets the base of the other tenant's window", _OWNER,
        (swap_arms("tenant0_base", "channel0_stage_base"),),
    ),
    Mutant(
        "fetch_beyond_the_limit", "nobody compares program counter and fetch with the limit of the window", _OWNER,
        (_no_fetch_limit, tie("dispatch_is_outside", 0)),
    ),
    Mutant(
        "answer_for_the_next_core", "answers are taken for those of the slot after theirs", _OWNER,
        (shift_constant("wheel_position", "core0_response_valid", "-", 1),),
    ),
    Mutant(
        "virtual_index_ignored", "core 1 takes every instruction of its owner, whatever core it names", _ARRIVES,
        (ignore(_compare("core1_virtual", "dispatch_cores")),),
    ),
    Mutant(
        "other_word_of_the_beat", "the multiplexer of words takes the other word of the beat", _ARRIVES,
        (swap_arms("tenant0_program_counter", "prefetch_word"),),
    ),
    Mutant(
        "epoch_ignored", "an answer to a fetch from before a jump is taken for one of the jump's target", _ARRIVES,
        tuple(ignore(_compare(f"tenant{n}_epoch", f"tenant{n}_next_arrival")) for n in range(1)),
    ),
    Mutant(
        "answer_in_the_wrong_entry", "a beat is written into another entry of the ring", _ARRIVES, (_entry_inverted,)
    ),
    Mutant("instruction_twice", "an instruction stays valid on the port of core 0", _ARRIVES, (_valid_sticks,)),
)  # fmt: skip
"""Every mutant, the six that the architecture names among them."""
