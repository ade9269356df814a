"""Two runs of the shell, side by side: what must be the same in both as long as tenant A and the host do the same.

The control plane is the same because it depends on itself and the host alone; the prover checks that on the netlist
and gives both runs one set of variables for it (`Problem.shared`). Everything else is the same only as far as it is
A's, and every invariant here says of one register whose it is: the context of tenant n if A is n, what is at a core
if the core is A's, what is in flight if the slot was A's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from formal.accesses import stage_is_owners
from formal.algebra import Term
from formal.definitions import Agreement, InBoth, Leaf
from formal.lemmas import make
from formal.problem import Candidate, Formula, View
from formal.shell import CORE_KINDS, Sight, register_in_flight
from formal.sweep import is_attached, prefetch_entries, prefetch_leaf
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from rtl.channels import Kind
from rtl.core_ports import core_ports

CONTROL_PLANE = re.compile(
    r"core\d+_(state|owner|virtual|timer|scrub|scrub_address)|tenant\d+_(attachment|base|limit)|turn\d+_.*"
    r"|wheel_position|sweep_.*|channel\d+_sweep_count|host_taken|argument_.*|command(_is_.*|_verdict)?|check_.*"
)
"""Names of the registers that depend on nothing but themselves and the host's inputs."""
PAYLOADS = ("tenant", "base", "limit", "offset", "data", "strobe", "instruction")
OUTPUTS = ("valid", "write", "address", "data", "strobe")


@dataclass(frozen=True)
class Pair:
    """One cycle of both runs."""

    left: Sight
    right: Sight
    observer: Term
    """Tenant A."""

    def same(self, name: str) -> Term:
        """A register or wire has the same value in both runs."""
        return self.left.logic.equal(self.left[name], self.right[name])

    def is_observer(self, tenant: int) -> Term:
        """A is this tenant."""
        return self.observer == tenant

    def owns(self, core: int) -> Term:
        """The entry of the core names A."""
        return self.left.owned_by(core, self.observer)

    def uses(self, core: int) -> Term:
        """The core is HELD by A, or DRAINING still."""
        return self.left.all(self.left.in_use(core), self.owns(core))

    def holds(self, core: int) -> Term:
        """The core is HELD by A."""
        return self.left.all(self.left.is_held(core), self.owns(core))


@dataclass(frozen=True)
class Same:
    """The claim about a pair: where the condition holds, which is about the left run, both runs agree on the leaves."""

    condition: Callable[[Pair], Term]
    leaves: tuple[Leaf, ...]


Relation = Callable[[Pair], Term] | Same


def same_when(condition: Callable[[Pair], Term], *names: str) -> Same:
    """Where the condition holds, these registers or inputs are the same."""
    return Same(condition, tuple((name, None) for name in names))


def compared(config: PoolConfig, claim: Relation) -> Formula:
    """A claim about one cycle of both runs, as a formula."""
    if isinstance(claim, Same):
        return Agreement(_of_left(config, claim.condition), claim.leaves)

    def formula(logic: object, view: View) -> Term:
        symbols = {"A": view.symbol("A")}
        left, right = (Sight(config, logic, View([frame], symbols)) for frame in (view.left, view.right))  # type: ignore[arg-type]
        return claim(Pair(left, right, view.symbol("A")))

    return formula


def _of_left(config: PoolConfig, condition: Callable[[Pair], Term]) -> Formula:
    """A condition about the left run, of a view that may have no other."""

    def formula(logic: object, view: View) -> Term:
        observer = view.symbol("A")
        left = Sight(config, logic, View([view.left], {"A": observer}))  # type: ignore[arg-type]
        return condition(Pair(left, left, observer))

    return formula


def relate(config: PoolConfig, schema: str, group: str, claim: Relation, *near: str) -> Candidate:
    """An instance of a relational invariant; `near` are groups that its proof should try first."""
    return Candidate(schema, compared(config, claim), group, near=frozenset((group, *near)) if near else None)


def in_both(candidate: Candidate) -> Candidate:
    """An invariant of one run, of both runs."""

    return replace(candidate, formula=InBoth(candidate.formula))


def owned_stage(config: PoolConfig, channel: int) -> Candidate:
    """In both runs the stage holds the owner of the core and its window: a query of its own, for it needs little."""
    schema, group = "the stage holds the owner and its window", f"channel{channel} stage"
    made = in_both(make(config, schema, group, stage_is_owners(channel)))
    return replace(made, near=frozenset((group, *_WINDOW_OF_OWNER)))


_WINDOW_OF_OWNER = (
    "the owner of a core in use is attached", "a GRANT decided finds its core FREE",
    "a command decided suits the attachment", "an ATTACH decided brings an aligned window",
    "windows are aligned and inside the memory", "the sweep is over a DIRTY window",
    "a window that is live or dirty is not empty",
)  # fmt: skip


_SELECTED = ("a GRANT decided finds its core FREE", "windows are aligned and inside the memory")
"""What the agreement of the stage needs, seen in proofs; only a matter of time."""


# ---- what agrees


def context_registers(system: TransitionSystem, tenant: int) -> list[str]:
    """Registers of a tenant's context; its window and attachment belong to the control plane."""
    start = f"tenant{tenant}_"
    return [name for name in system.registers if name.startswith(start) and not CONTROL_PLANE.fullmatch(name)]


def context_agrees(tenant: int, name: str) -> Same:
    """A's context register is the same."""
    return same_when(lambda p: p.is_observer(tenant), name)


def port_agrees(core: int, port: str) -> Same:
    """A port into a core that A uses is the same."""
    return same_when(lambda p: p.uses(core), f"core{core}_{port}")


def counter_agrees(core: int, part: str) -> Same:
    """What the shell counts for a core that A holds is the same."""
    return same_when(lambda p: p.holds(core), f"core{core}_{part}")


def of_observer(p: Pair, s: Sight, channel: int, age: int) -> Term:
    """In one run: A's slot `age` cycles ago carried an access."""
    return s.all(s.one_of(s.in_flight(channel, age), CORE_KINDS), named_observer(p, channel, age))


def named_observer(p: Pair, channel: int, age: int) -> Term:
    """The slot `age` cycles ago named a core that A uses."""
    cores = range(p.left.config.cores)
    return p.left.any(*(p.left.all(p.left.slot_names(core, channel, age), p.uses(core)) for core in cores))


def flight_agrees(channel: int, age: int) -> Callable[[Pair], Term]:
    """What A has in flight is the same: kind, and the epoch of a fetch."""

    def claim(p: Pair) -> Term:
        left, right = p.left.in_flight(channel, age), p.right.in_flight(channel, age)
        carries = p.left.any(p.left.one_of(left, CORE_KINDS), p.right.one_of(right, CORE_KINDS))
        epoch = p.left.implies(left == int(Kind.FETCH), p.same(register_in_flight(channel, age, "epoch")))
        return p.left.implies(
            p.left.all(carries, named_observer(p, channel, age)), p.left.all(p.left.logic.equal(left, right), epoch)
        )

    return claim


def stage_agrees(channel: int, part: str) -> Same:
    """A's access in the stage is the same."""
    return same_when(lambda p: of_observer(p, p.left, channel, 1), f"channel{channel}_stage_{part}")


def request_agrees(channel: int, port: str) -> Same:
    """A's access on the channel's outputs is the same."""
    return same_when(lambda p: of_observer(p, p.left, channel, 2), f"channel{channel}_request_{port}")


def _dispatches(p: Pair, s: Sight) -> Term:
    return s.all(s["dispatch_valid"] == 1, s.logic.equal(s["dispatch_tenant"], p.observer))


def dispatch_agrees(p: Pair) -> Term:
    """Level 1 has a word of A's in both runs or in neither."""
    left, right = _dispatches(p, p.left), _dispatches(p, p.right)
    return p.left.all(p.left.implies(left, right), p.left.implies(right, left))


def word_agrees(name: str) -> Same:
    """What level 1 knows about A's word is the same."""
    return same_when(lambda p: _dispatches(p, p.left), name)


def word_of_agrees(tenant: int) -> Same:
    """The word that level 1 has read for A, if A is this tenant, is the same."""
    return same_when(
        lambda p: p.left.all(p.is_observer(tenant), _dispatches(p, p.left)),
        "dispatch_word",
        "dispatch_traits",
        "dispatch_cores",
    )


def prefetch_agrees(config: PoolConfig, channel: int, tenant: int, entry: int) -> Same:
    """A's prefetch entry is the same while A is attached."""
    return Same(
        lambda p: p.left.all(p.is_observer(tenant), is_attached(p.left, tenant)),
        (prefetch_leaf(config, channel, tenant, entry),),
    )


def shell_to_core(config: PoolConfig) -> list[str]:
    """Ports into a core that are not the control plane's."""
    return [port for port in core_ports(config).inputs if not port.startswith("scrub")]


def agreement_lemmas(config: PoolConfig, system: TransitionSystem, oldest: int) -> Iterator[Candidate]:
    """The whole invariant that is relational, register by register."""
    for tenant in range(config.tenants):
        for name in context_registers(system, tenant):
            part = name.removeprefix(f"tenant{tenant}_")
            yield relate(config, f"A's {part} agrees", f"tenant{tenant}", context_agrees(tenant, name))
        for channel in range(config.channels):
            for entry in range(prefetch_entries(config)):
                swept, group = (f"channel{channel} prefetch of {whom}" for whom in (f"tenant{tenant}", f"A, {tenant}"))
                near = (swept, f"channel{channel} age {oldest}", "window", "command", f"tenant{tenant}")
                yield relate(
                    config, "A's prefetch agrees", group, prefetch_agrees(config, channel, tenant, entry), *near
                )
    for core in range(config.cores):
        for port in shell_to_core(config):
            yield relate(config, f"{port} of A's cores agrees", f"core{core} {port}", port_agrees(core, port))
        for part in ("arrived", "credits_load", "credits_compute", "credits_save"):
            yield relate(config, f"{part} of A's cores agrees", f"core{core} counters", counter_agrees(core, part))
    for channel in range(config.channels):
        for age in range(1, oldest + 1):
            group = f"channel{channel} age {age}"
            yield relate(config, "what A has in flight agrees", group, flight_agrees(channel, age))
        for part in PAYLOADS:
            group = f"channel{channel} stage of A"
            yield relate(config, f"{part} of A's stage agrees", group, stage_agrees(channel, part), *_SELECTED)
        for port in OUTPUTS:
            group = f"channel{channel} age 2"
            yield relate(config, f"{port} of A's request agrees", group, request_agrees(channel, port))
    for tenant in range(config.tenants):
        rings = [f"channel{channel} prefetch of A, {tenant}" for channel in range(config.channels)]
        hints = (*rings, f"tenant{tenant}", "window", "dispatch")
        yield relate(config, "A's word agrees", f"word of tenant{tenant}", word_of_agrees(tenant), *hints)
    yield relate(config, "level 1 serves A in both runs", "dispatch", dispatch_agrees)
    for name in ("dispatch_address", "dispatch_is_outside"):
        yield relate(config, f"{name} of A agrees", "dispatch", word_agrees(name))
