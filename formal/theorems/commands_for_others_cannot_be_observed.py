"""No tenant can observe what the host does for others: grants, windows, sweeps and requests of theirs move nothing.

Take two runs of the shell from reset in which the host *acts on tenant A* alike, and in which everything else may be
different: the host's commands for other tenants, their number and their times, accepted or refused; when and where the
host asks for memory; and all that `neighbours_cannot_be_observed` leaves free: programs, data, cores that A does not
hold, the memory's answers to others. Then in every cycle A's view is the same:

- which cores are A's, as which virtual core, in what state (HELD, DRAINING, SCRUBBING) and since when;
- whether A is attached, to which window, and whether STOPPED or ACTIVE;
- every bit of every port into a core that is HELD (or DRAINING) for A, and the scrub ports of A's cores;
- A's context, and, while A is attached, A's prefetch memory. What the host reads of A is the same, one cycle later;
- A's accesses to memory: on which channel, in which cycle, fetch, read or write, address, data, strobe.

*The host acts on A* in a cycle if in that cycle a command takes effect that is about A (for REVOKE: about a core of
A's) and was accepted, not by the design but by a *reference automaton* that sees nothing but the host's inputs
(formal/host_automaton.py, an account of its own; the netlist says that it depends on them alone). To act alike is to
do so in the same cycles, with the same command and arguments. So what A may notice of others is this alone: a command
about A that is refused because a core is not FREE, a window is taken, or the port is busy. That is what the host
decided; no tenant can bring it about, for the automaton does not see what tenants do.

And in every cycle the design does what the automaton says: the same commands are accepted, at the same times, and the
ownership table, the windows, the timers and the sweep are the same. So no tenant can delay or refuse a command.

A is symbolic. Scope: any behaviour of the cores, any programs, every order of host commands, through any
re-assignment of cores. Unbounded in time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import pyrtl

from formal.accesses import by_age
from formal.algebra import Term
from formal.host_automaton import BUSY, JUDGED, PREFIX, VERDICT, depends_on_host_alone, twins, watch_host
from formal.lemmas import make
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem, closed_under_dependence
from formal.relations import (
    Pair,
    agreement_lemmas,
    compared,
    in_both,
    owned_stage,
    relate,
)
from formal.shell import Sight, age_of_answer
from formal.sweep import is_attached
from formal.theorems import neighbours_cannot_be_observed as with_equal_commands
from formal.theorems import nothing_is_inherited
from formal.transition import TransitionSystem
from formal.two_hosts import two_hosts
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState, Register, Result
from rtl.sizes import Sizes

ASSUMPTIONS = (
    "The host acts on A alike: accepted commands about A take effect in the same cycles, with the same arguments.",
    "The outputs of the cores that are HELD by A are equal in both runs.",
    "The memory answers A's fetches and reads with the same data in both runs.",
)
PREMISES = ("hand-over",)
"""Its invariants hold in each of the two runs; here they are hypotheses."""
_USED = {
    Command.ATTACH: ("argument_base", "argument_limit"),
    Command.GRANT: ("argument_core", "argument_virtual"),
    Command.REVOKE: ("argument_core",),
    Command.START: ("argument_start",),
}
"""Arguments of a command besides the tenant."""


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""

    def watch(lookup: Lookup) -> None:
        nothing_is_inherited.watch(config, lookup)
        watch_host(config, lookup)

    system = TransitionSystem(monitored(block, watch))
    depends_on_host_alone(system)
    return Problem(
        name="commands_for_others_cannot_be_observed",
        system=system,
        properties=list(_properties(config, system)),
        candidates=list(_candidates(config, system)),
        assumptions=list(_assumptions(config)),
        covers=[
            Claim("A's core gets an instruction while others hold other cores", compared(config, _served_differently)),
            Claim(
                "A's core gets data from memory while others hold other cores", compared(config, _answered_differently)
            ),
            Claim("the host acts on A while others hold other cores", compared(config, _ordered_differently)),
        ],
        copies=2,
        symbols={"A": Sizes(config).tenant},
        stimulus=two_hosts(config, system),
        free_memories={f"channel{channel}_prefetch" for channel in range(config.channels)},
        shared=closed_under_dependence(system, ["wheel_position", f"{PREFIX}wheel_position"]),
    )


# ---- assumptions


def _assumptions(config: PoolConfig) -> Iterator[Claim]:
    yield from with_equal_commands.tenant_assumptions(config)
    yield Claim("the host acts on A alike", compared(config, _acts_alike), "assumed")


def _acts(p: Pair, s: Sight) -> Term:
    """In one run, a command about A takes effect."""
    effect = s.all(s[BUSY] == 1, s[VERDICT] == int(Result.ACCEPTED))
    command, core = s[f"{PREFIX}command"], s[f"{PREFIX}argument_core"]
    revokes = command == int(Command.REVOKE)
    its_core = s.any(
        *(
            s.all(core == index, s.logic.equal(s[f"{PREFIX}core{index}_owner"], p.observer))
            for index in range(s.config.cores)
        )
    )
    about = s.logic.equal(s[f"{PREFIX}argument_tenant"], p.observer)
    return s.all(effect, s.any(s.all(revokes, its_core), s.all(s.no(revokes), about)))


def _acts_alike(p: Pair) -> Term:
    left, right = _acts(p, p.left), _acts(p, p.right)
    command = p.left[f"{PREFIX}command"]
    same = [p.same(f"{PREFIX}command")]
    for which, arguments in _USED.items():
        same.append(p.left.implies(command == int(which), p.left.all(*(p.same(PREFIX + each) for each in arguments))))
    return _alike(p, left, right, same)


def _alike(p: Pair, left: Term, right: Term, same: Iterable[Term]) -> Term:
    """What is so in the left run is so in the right one and the reverse, and then all of `same` holds."""
    return p.left.all(p.left.implies(right, left), p.left.implies(left, p.left.all(right, *same)))


# ---- claims


def _properties(config: PoolConfig, system: TransitionSystem) -> Iterator[Claim]:
    for name, claim in _reference_claims(config, system):
        yield Claim(f"{name} is that of the automaton", _in_each(config, claim), "reference")
    for core in range(config.cores):
        yield Claim(f"core{core} is A's in both runs", compared(config, _is_alike(core)), f"core{core}")
    for tenant in range(config.tenants):
        name = f"tenant{tenant} is attached in both runs, if it is A"
        yield Claim(name, compared(config, _attached_alike(tenant)), f"tenant{tenant}")
    yield from with_equal_commands.view_claims(config, system)
    yield Claim("the host reads the same about A", compared(config, _host_reads_the_same), "host")


def _in_each(config: PoolConfig, claim: Callable[[Sight], Term]) -> Callable[..., Term]:
    """A claim about one run, of both runs."""
    return compared(config, lambda p: p.left.all(claim(p.left), claim(p.right)))


def _reference_claims(config: PoolConfig, system: TransitionSystem) -> Iterator[tuple[str, Callable[[Sight], Term]]]:
    for name, ghost in twins(system):
        yield name, _shows_the_same(name, ghost)
    for stage, cycles in {"read": 3, "checked": 2, "decided": 1}.items():
        yield f"command_is_{stage}", _is_in(stage, cycles)
    yield "what the command was checked against", _judged_alike


def _shows_the_same(name: str, ghost: str) -> Callable[[Sight], Term]:
    return lambda s: s.logic.equal(s[name], s[ghost])


def _is_in(stage: str, cycles: int) -> Callable[[Sight], Term]:
    flag = f"command_is_{stage}"
    return lambda s: s.any(s.all(s[flag] == 1, s[BUSY] == cycles), s.all(s[flag] == 0, s.no(s[BUSY] == cycles)))


_CHECKS_IN_ORDER = (
    Result.UNKNOWN_COMMAND,
    Result.NO_SUCH_TENANT,
    Result.NO_SUCH_CORE,
    Result.TENANT_HOLDS_CORES,
    Result.WRONG_TENANT_STATE,
    Result.WRONG_CORE_STATE,
    Result.WINDOW_NOT_ALIGNED,
    Result.WINDOW_OUTSIDE_MEMORY,
    Result.WINDOW_OVERLAPS,
    Result.VIRTUAL_INDEX_TAKEN,
)


def _judged_alike(s: Sight) -> Term:
    """The first of the design's checks that applies is what the automaton found."""
    claims, none_before = [], s.all()
    for check in _CHECKS_IN_ORDER:
        applies = s[f"check_{check.name.lower()}"] == 1
        claims.append(s.implies(s.all(none_before, applies), s[JUDGED] == int(check)))
        none_before = s.all(none_before, s.no(applies))
    return s.all(*claims, s.implies(none_before, s.one_of(s[JUDGED], (Result.ACCEPTED,))))


def _is_as(p: Pair, s: Sight, core: int) -> Term:
    """In one run, the core is A's: HELD, DRAINING or SCRUBBING."""
    return s.all(s.no(s.core(core, "state") == int(CoreState.FREE)), s.owned_by(core, p.observer))


def _is_alike(core: int) -> Callable[[Pair], Term]:
    def claim(p: Pair) -> Term:
        left, right = _is_as(p, p.left, core), _is_as(p, p.right, core)
        parts = ("state", "virtual", "timer", "scrub", "scrub_address")
        same = [p.same(f"core{core}_{part}") for part in parts]
        return _alike(p, left, right, same)

    return claim


def _attached_alike(tenant: int) -> Callable[[Pair], Term]:
    def claim(p: Pair) -> Term:
        left, right = (is_attached(s, tenant) for s in (p.left, p.right))
        same = [p.same(f"tenant{tenant}_{part}") for part in ("attachment", "base", "limit")]
        return p.left.implies(p.is_observer(tenant), _alike(p, left, right, same))

    return claim


def _host_reads_the_same(p: Pair) -> Term:
    """With A in ARGUMENT_TENANT and attached, asked for the same register of the tenant."""
    about = [s.logic.equal(s["argument_tenant"], p.observer) for s in (p.left, p.right)]
    attached = [p.left.all(p.is_observer(n), is_attached(p.left, n)) for n in range(p.left.config.tenants)]
    of_tenant = p.left.one_of(p.left["control_address"], [each for each in Register if each.name.startswith("TENANT_")])
    asked = p.left.all(*about, of_tenant, p.same("control_address"), p.left.any(*attached))
    return p.left.implies(asked, p.left.next("control_answer") == p.right.next("control_answer"))


def _elsewhere(p: Pair) -> Term:
    """A core that is HELD by another tenant in one run, and FREE in the other."""
    return p.left.any(
        *(
            p.left.all(
                p.left.is_held(core),
                p.left.no(p.owns(core)),
                p.right.core(core, "state") == int(CoreState.FREE),
            )
            for core in range(p.left.config.cores)
        )
    )


def _served_differently(p: Pair) -> Term:
    return p.left.all(_gets(p, "instruction_valid"), _elsewhere(p))


def _answered_differently(p: Pair) -> Term:
    return p.left.all(_gets(p, "response_valid"), _elsewhere(p))


def _gets(p: Pair, port: str) -> Term:
    """A core of A's gets something at that port."""
    cores = range(p.left.config.cores)
    return p.left.any(*(p.left.all(p.holds(core), p.left.core(core, port) == 1) for core in cores))


def _ordered_differently(p: Pair) -> Term:
    return p.left.all(_acts(p, p.left), _elsewhere(p))


# ---- invariants


_GROUPS = {
    "a detached tenant's prefetch is zero": "{} when DETACHED",
}


def _candidates(config: PoolConfig, system: TransitionSystem) -> Iterator[Candidate]:
    for name, claim in _reference_claims(config, system):
        group = "what takes effect" if name.startswith(("argument", "command")) else "reference"
        yield in_both(make(config, f"{name} is that of the automaton", group, claim))
    for candidate in by_age(nothing_is_inherited.invariants(config, system)):
        group = _GROUPS.get(candidate.schema, "{}").format(candidate.group)
        yield replace(in_both(candidate), group=group, proved_by=PREMISES[0])
    for channel in range(config.channels):
        yield owned_stage(config, channel)
    for core in range(config.cores):
        yield relate(config, "A's cores are A's in both runs", "A's cores", _is_alike(core))
    for tenant in range(config.tenants):
        yield relate(config, "A is attached in both runs", f"tenant{tenant} attachment", _attached_alike(tenant))
    for candidate in agreement_lemmas(config, system, age_of_answer(config)):
        yield replace(candidate, near=_near(config, candidate))


_WHO_HAS_WHAT = (
    "A's cores", "A is attached in both runs", "what takes effect", "the host acts on A alike",
    "a GRANT decided finds its core FREE", "a REVOKE decided finds its core HELD", "a command decided names a tenant",
    "a command decided suits the attachment", "the owner of a core in use is attached", "A is a tenant",
    "an order is the command decided", "a turn is what the wheel says",
)  # fmt: skip
_SLOT = (
    "A's next_request agrees", "A's program_counter agrees", "A's progress agrees", "A's epoch agrees",
    "progress is 0 unless ACTIVE", "next_request is 0 unless ACTIVE", "request_taken of A's cores agrees",
    "a FREE core is at reset", "windows are aligned and inside the memory", "the stage holds the owner and its window",
)  # fmt: skip
_LEVEL_1 = (
    "level 1 serves A in both runs", "A's word agrees", "dispatch_address of A agrees",
    "dispatch_is_outside of A agrees", "A's program_counter agrees", "A's progress agrees", "A's in_frame agrees",
    "credits_load of A's cores agrees", "credits_compute of A's cores agrees", "credits_save of A's cores agrees",
    "arrived of A's cores agrees", "a word names cores of its tenant",
)  # fmt: skip
_WORD = (
    "A's program_counter agrees", "A's progress agrees", "progress is 0 unless ACTIVE", "level 1 serves A in both runs",
)  # fmt: skip


def _near(config: PoolConfig, candidate: Candidate) -> frozenset[str] | None:
    """What the proof of an agreement tries first: seen in proofs, and only a matter of time."""
    oldest, group = age_of_answer(config), candidate.group
    outputs = [f"core{core} does the same when HELD by A" for core in range(config.cores)]
    if match := re.fullmatch(r"(channel\d+) (age 1|stage of A)", group):
        return frozenset((f"{match[1]} age 1", *_WHO_HAS_WHAT, *_SLOT, *outputs))
    if match := re.fullmatch(r"(channel\d+) age (\d+)", group):
        age = int(match[2])
        return frozenset((group, f"{match[1]} age {age - 1}", *_WHO_HAS_WHAT))
    if match := re.fullmatch(r"(channel\d+) prefetch of A, (\d+)", group):
        channel, tenant = match[1], f"tenant{match[2]}"
        when_detached, answers = f"{channel} prefetch of {tenant} when DETACHED", f"{channel} answers A alike"
        due = (f"{channel} age {oldest}", f"{channel} sweep {oldest}", "the sweep is over a DIRTY window", answers)
        pointers = ("A's epoch agrees", "A's next_arrival agrees")
        return frozenset((group, when_detached, *due, *pointers, *_WHO_HAS_WHAT))
    if re.fullmatch(r"core\d+ (instruction.*|counters)", group):
        return frozenset((group, *_LEVEL_1, *_WHO_HAS_WHAT, *outputs))
    if re.fullmatch(r"core\d+ request_taken", group):
        return frozenset((group, *_WHO_HAS_WHAT, *_SLOT, *outputs))
    if re.fullmatch(r"core\d+ (response_.*|write_acknowledged)", group):
        answered = (f"channel{channel} age {oldest}" for channel in range(config.channels))
        return frozenset((group, *answered, *_WHO_HAS_WHAT))
    if match := re.fullmatch(r"word of tenant(\d+)", group):
        rings = (f"channel{channel} prefetch of A, {match[1]}" for channel in range(config.channels))
        return frozenset((group, *rings, *_WORD, *_WHO_HAS_WHAT))
    return candidate.near
