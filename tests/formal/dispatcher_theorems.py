"""The ownership theorem of the toy dispatcher, at any size, as a theorem file of the real shell would state it."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pyrtl

from formal.problem import Candidate, Claim, Formula, Problem, View
from formal.templates import agreements, bounds, exactly_one, groups, unary
from formal.transition import State, TransitionSystem


def _receives_only_from_its_owner(core: int) -> Formula:
    return lambda logic, view: logic.implies(
        view[f"core{core}_receive"] == 1, logic.equal(view[f"core{core}_tag"], view[f"core{core}_owner"])
    )


def _host_names_tenants(tenants: int) -> Formula:
    return lambda logic, view: logic.less(view["host_tenant"], tenants)


def _stimulus(cores: int, tenants: int) -> Any:
    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[dict[str, int]]:
        inputs = {"host_valid": int(generator.random() < 0.15), "host_core": generator.randrange(cores)}
        inputs["host_tenant"] = generator.randrange(tenants)
        for tenant in range(tenants):
            owned = [c for c in range(cores) if states[0][f"core{c}_owner"] == tenant]
            friendly = owned and generator.random() < 0.8
            inputs[f"tenant{tenant}_core"] = generator.choice(owned) if friendly else generator.randrange(cores)
            inputs[f"tenant{tenant}_valid"] = int(generator.random() < 0.8)
            inputs[f"tenant{tenant}_data"] = generator.getrandbits(8)
        for core in range(cores):
            inputs[f"core{core}_stall"] = int(generator.random() < 0.3)
        return (inputs,)

    return draw


def ownership(block: pyrtl.Block, cores: int, tenants: int) -> Problem:
    """No core receives an instruction of a tenant that does not own it."""
    roots = [f"core{c}_{part}" for c in range(cores) for part in ("receive", "tag", "owner")]
    system = TransitionSystem(block, roots)
    control = groups(system, leave_out="data")
    return Problem(
        name="ownership",
        system=system,
        properties=[
            Claim(f"core{c} receives only from its owner", _receives_only_from_its_owner(c), f"core{c}")
            for c in range(cores)
        ],
        candidates=[*unary(system, control), *exactly_one(system, control), *bounds(system, control, [1, 2, 3])],
        assumptions=[Claim("the host names tenants", _host_names_tenants(tenants))],
        covers=[
            Claim(
                "an instruction arrives after a hand-over",
                lambda logic, view: logic.any(
                    logic.all([view[f"core{c}_receive"] == 1, view[f"core{c}_owner"] == 1]) for c in range(cores)
                ),
            )
        ],
        stimulus=_restricted(_stimulus(cores, tenants), system),
    )


def _restricted(stimulus: Any, system: TransitionSystem) -> Any:
    def draw(
        generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]
    ) -> tuple[dict[str, int], ...]:
        return tuple({name: inputs[name] for name in system.inputs} for inputs in stimulus(generator, states, symbols))

    return draw


def isolation(block: pyrtl.Block, cores: int, tenants: int) -> Problem:
    """With equal host commands, what tenant A's cores receive does not depend on the other tenants."""
    system = TransitionSystem(block)
    everything = groups(system)

    def same_for(names: Sequence[str]) -> Formula:
        return lambda logic, view: logic.all(view.left[name] == view.right[name] for name in names)

    def own_inputs(tenant: int) -> Formula:
        names = [f"tenant{tenant}_{part}" for part in ("valid", "core", "data")]
        return lambda logic, view: logic.implies(view.symbol("A") == tenant, same_for(names)(logic, view))

    def stalls(core: int) -> Formula:
        return lambda logic, view: logic.implies(
            view.left[f"core{core}_owner"] == view.symbol("A"), same_for([f"core{core}_stall"])(logic, view)
        )

    def observes(core: int, part: str) -> Formula:
        return lambda logic, view: logic.implies(
            view.left[f"core{core}_owner"] == view.symbol("A"), same_for([f"core{core}_{part}"])(logic, view)
        )

    def sees(tenant: int, part: str) -> Formula:
        return lambda logic, view: logic.implies(
            view.symbol("A") == tenant, same_for([f"tenant{tenant}_{part}"])(logic, view)
        )

    def draw(
        generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]
    ) -> tuple[dict[str, int], ...]:
        single = _stimulus(cores, tenants)
        (left,), (right,) = single(generator, states[:1], symbols), single(generator, states[1:], symbols)
        shared = ["host_valid", "host_core", "host_tenant"]
        shared += [f"tenant{symbols['A']}_{part}" for part in ("valid", "core", "data")]
        shared += [f"core{c}_stall" for c in range(cores) if states[0][f"core{c}_owner"] == symbols["A"]]
        return left, {**right, **{name: left[name] for name in shared if name in left}}

    def arrives(logic: Any, view: View) -> Any:
        return logic.any(
            logic.all([view[f"core{c}_receive"] == 1, view[f"core{c}_owner"] == view.symbol("A")]) for c in range(cores)
        )

    candidates: list[Candidate] = agreements(system, everything, "A", families=["tenant"], owners=["owner"])
    candidates += agreements(system, everything, "A", families=["tenant"], owners=["next_owner"])
    return Problem(
        name="isolation",
        system=system,
        properties=[
            *(Claim(f"core{c} {p}", observes(c, p), f"core{c}") for c in range(cores) for p in ("receive", "data")),
            *(Claim(f"tenant{t} {p}", sees(t, p), f"tenant{t}") for t in range(tenants) for p in ("ready", "fault")),
        ],
        candidates=candidates,
        assumptions=[
            Claim("A is a tenant", lambda logic, view: logic.less(view.symbol("A"), tenants)),
            Claim("the host names tenants", _host_names_tenants(tenants)),
            Claim("host commands are equal", same_for(["host_valid", "host_core", "host_tenant"])),
            *(Claim(f"A's own inputs are equal ({t})", own_inputs(t)) for t in range(tenants)),
            *(Claim(f"A's cores stall alike ({c})", stalls(c)) for c in range(cores)),
        ],
        covers=[Claim("A receives an instruction", arrives)],
        copies=2,
        symbols={"A": tenants.bit_length()},
        stimulus=draw,
    )
