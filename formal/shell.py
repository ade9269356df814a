"""The shell as theorems see it: its netlist with free cores, and its registers in the words of the architecture."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pyrtl

from formal.algebra import Term
from formal.logic import Logic
from formal.problem import Formula, View
from isa.configuration import PoolConfig
from isa.registers import CoreState, TenantState
from rtl.channels import Kind
from rtl.pool import core_stub, pool
from rtl.sizes import Sizes

CORE_KINDS = (Kind.FETCH, Kind.READ, Kind.WRITE)
"""What a slot of a core can carry."""


def shell_block(config: PoolConfig) -> pyrtl.Block:
    """The emitted netlist of the shell around cores that are nothing but ports, so that they may do anything."""
    previous = pyrtl.working_block()
    block = pyrtl.Block()
    pyrtl.set_working_block(block)
    try:
        pool(config, core_stub(config))
    finally:
        pyrtl.set_working_block(previous)
    return block


def age_of_answer(config: PoolConfig) -> int:
    """Cycles from the slot of an access to the cycle in which the channel's input answers it."""
    return config.channel_latency + 2


@dataclass(frozen=True)
class Sight:
    """One cycle of the shell, for claims: registers by core, tenant and channel, and the logic to combine them."""

    config: PoolConfig
    logic: Logic
    view: View

    def __getitem__(self, name: str) -> Any:
        return self.view[name]

    def next(self, name: str) -> Any:
        """A register after this cycle."""
        return self.view.next(name)

    # ---- logic

    def all(self, *claims: Term) -> Term:
        """Conjunction."""
        return self.logic.all(claims)

    def any(self, *claims: Term) -> Term:
        """Disjunction."""
        return self.logic.any(claims)

    def each(self, claims: Iterable[Term]) -> Term:
        """Conjunction of many."""
        return self.logic.all(claims)

    def implies(self, condition: Term, claim: Term) -> Term:
        """Where the condition holds, so does the claim."""
        return self.logic.implies(condition, claim)

    def no(self, claim: Term) -> Term:
        """Negation."""
        return self.logic.negate(claim)

    def low(self, value: Term, bits: int) -> Term:
        """The lowest bits of a value; 0 for no bits."""
        if bits == 0:
            return 0
        return self.logic.field(value, bits - 1, 0)

    def one_of(self, value: Term, numbers: Iterable[int]) -> Term:
        """The value is one of some numbers."""
        return self.logic.any(value == int(number) for number in numbers)

    # ---- cores

    def core(self, core: int, part: str) -> Any:
        """Register `part` of a core's entry, ports or counters."""
        return self.view[f"core{core}_{part}"]

    def is_held(self, core: int) -> Term:
        """The core executes for its owner."""
        return self.core(core, "state") == int(CoreState.HELD)

    def in_use(self, core: int, cycles: int | None = None) -> Term:
        """The core is HELD or DRAINING; with `cycles`, DRAINING for fewer cycles than that."""
        drains = self.core(core, "state") == int(CoreState.DRAINING)
        if cycles is not None:
            drains = self.all(drains, self.logic.less(self.core(core, "timer"), cycles))
        return self.any(self.is_held(core), drains)

    def owned_by(self, core: int, tenant: int | Term) -> Term:
        """The entry of the core names the tenant."""
        return self.logic.equal(self.core(core, "owner"), tenant)

    # ---- tenants

    def tenant(self, tenant: int, part: str) -> Any:
        """Register `part` of a tenant's context or window."""
        return self.view[f"tenant{tenant}_{part}"]

    def is_running(self, tenant: int) -> Term:
        """The dispatcher fetches and executes for the tenant."""
        return self.tenant(tenant, "progress") == int(TenantState.RUNNING)

    # ---- slots and what is in flight

    def slot_names(self, core: int, channel: int, age: int = 0) -> Term:
        """The wheel named this core in the channel's slot `age` cycles ago."""
        bits = Sizes(self.config).core
        if bits == 0:
            return self.all()
        place = (core + age + channel * self.config.slot_spacing) % self.config.cores
        return self.low(self.view["wheel_position"], bits) == place

    def is_slot_of_host(self, channel: int, age: int = 0) -> Term:
        """The channel's slot `age` cycles ago was in the host's revolution of the wheel."""
        bits = Sizes(self.config).wheel
        ago = (age + channel * self.config.slot_spacing) % self.config.period_cycles
        position = self.logic.minus(self.view["wheel_position"], ago, bits)
        revolution = self.logic.field(position, bits - 1, Sizes(self.config).core)
        return revolution == self.config.host_revolutions - 1

    def in_flight(self, channel: int, age: int) -> Any:
        """Kind of the access whose slot was `age` cycles ago: 1 is the stage, then the delay line."""
        return self.view[register_in_flight(channel, age, "kind")]


def register_in_flight(channel: int, age: int, part: str) -> str:
    """Name of the register that remembers `kind` or `epoch` of the access whose slot was `age` cycles ago."""
    return f"channel{channel}_stage_{part}" if age == 1 else f"channel{channel}_flight{age - 2}_{part}"


def seen(config: PoolConfig, claim: Callable[[Sight], Term]) -> Formula:
    """A claim about one cycle of the shell, as a formula."""
    return lambda logic, view: claim(Sight(config, logic, view))
