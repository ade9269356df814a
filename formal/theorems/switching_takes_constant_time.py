"""Every step of a switch takes a number of cycles that is known beforehand, whatever anybody does.

- A command written at t is carried out or refused with the effect visible at t + 4 (COMMAND_CYCLES): GRANT shows HELD,
  REVOKE shows DRAINING, ATTACH shows STOPPED, DETACH shows DIRTY, START shows STARTING. Only START, PAUSE and RESUME
  ask what the tenant does at that moment; their result is there at t + 4 too.
- A core that shows DRAINING first at d shows SCRUBBING at d + drain_cycles and FREE at
  d + drain_cycles + scrub_cycles + 4: exactly, counted by a ghost that looks at nothing but the state. After reset
  it is FREE at scrub_cycles + 4.
- A tenant that shows STARTING shows RUNNING in the first cycle of the wheel's next period, so after M * R cycles at
  most, and not before; only the host's STOP comes between.

Scope: every program, every answer of memory, every order of host commands, any behaviour of the cores.
Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl
from pyrtl import Const, Register, select

from formal.algebra import Term
from formal.busy_host import busy_host
from formal.lemmas import command_lemmas, command_registers, make, pending, window_lemmas
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, seen
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import COMMAND_CYCLES, Command, CoreState, Result, TenantState
from isa.registers import Register as Address
from rtl.context_switch import switch_cycles
from rtl.sizes import SCRUB_MARGIN_CYCLES
from rtl.windows import Attachment

ASSUMPTIONS: tuple[str, ...] = ()
_EFFECTS = {
    Command.ATTACH: Attachment.STOPPED,
    Command.DETACH: Attachment.DIRTY,
    Command.START: Attachment.ACTIVE,
    Command.STOP: Attachment.STOPPED,
}


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""
    roots = [f"core{core}_{part}" for core in range(config.cores) for part in ("state", "since_revoke")]
    roots += [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in ("progress", "attachment")]
    system = TransitionSystem(
        monitored(block, lambda lookup: _monitor(config, lookup)),
        [*roots, "command_age", "command_result", *command_registers(config)],
    )
    return Problem(
        name="switching_takes_constant_time",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[
            Claim("a core is taken back", seen(config, _taken_back)),
            Claim("a tenant begins to run", seen(config, _begins)),
        ],
        stimulus=busy_host(config, system),
    )


def _counter_bits(config: PoolConfig) -> int:
    return switch_cycles(config).bit_length() + 1


def _monitor(config: PoolConfig, lookup: Lookup) -> None:
    """`core{c}_since_revoke`: cycles since it was last HELD, FREE or reset; `command_age`: since COMMAND was written.

    A core that comes out of reset counts as if it had begun to scrub after DRAINING.
    """
    for core in range(config.cores):
        state = lookup(f"core{core}_state")
        counter = Register(_counter_bits(config), f"core{core}_since_revoke", reset_value=config.drain_cycles)
        switching = (state == int(CoreState.DRAINING)) | (state == int(CoreState.SCRUBBING))
        counter.next <<= select(switching, (counter + 1)[: len(counter)], Const(0, len(counter)))
    age = Register(3, "command_age", reset_value=0)
    idle = age == 0
    written = lookup("control_write") & (lookup("control_address") == int(Address.COMMAND))
    last = age == COMMAND_CYCLES - 1
    age.next <<= select(idle, written.zero_extended(3), select(last, Const(0, 3), (age + 1)[:3]))


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    yield claim("a command takes effect and has its result after 4 cycles", "command", _command_takes_four)
    for core in range(config.cores):
        yield claim(f"core{core} switches in constant time", f"core{core}", _switches(core))
        yield claim(f"core{core} obeys GRANT and REVOKE at once", f"core{core}", _obeys(core))
    for tenant in range(config.tenants):
        yield claim(f"tenant{tenant} starts with the wheel", f"tenant{tenant}", _starts(tenant))
        yield claim(f"tenant{tenant} is attached and detached at once", f"tenant{tenant}", _attaches(tenant))


def _command_takes_four(s: Sight) -> Term:
    """The ghost counts 1, 2, 3 while the command is read, checked and decided; then the result is there."""
    stages = {"read": 1, "checked": 2, "decided": 3}
    in_step = [
        s.any(
            s.all(s[f"command_is_{stage}"] == 1, s["command_age"] == age),
            s.all(s[f"command_is_{stage}"] == 0, s.no(s["command_age"] == age)),
        )
        for stage, age in stages.items()
    ]
    decided = s["command_age"] == COMMAND_CYCLES - 1
    answered = s.no(s.next("command_result") == int(Result.NONE))
    waits = s.implies(s.one_of(s["command_age"], (1, 2)), s.next("command_result") == s["command_result"])
    return s.all(*in_step, s.implies(decided, answered), waits)


def _switches(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        drain, total = s.config.drain_cycles, switch_cycles(s.config)
        since, following = s.core(core, "since_revoke"), s.next(f"core{core}_state")
        draining, scrubbing, free = (
            s.core(core, "state") == int(state) for state in (CoreState.DRAINING, CoreState.SCRUBBING, CoreState.FREE)
        )
        return s.all(
            s.implies(draining, s.logic.less(since, drain)),
            s.implies(scrubbing, s.all(s.logic.at_most(drain, since), s.logic.less(since, total))),
            s.implies(s.all(draining, since == drain - 1), following == int(CoreState.SCRUBBING)),
            s.implies(s.all(draining, s.no(since == drain - 1)), following == int(CoreState.DRAINING)),
            s.implies(s.all(scrubbing, since == total - 1), following == int(CoreState.FREE)),
            s.implies(s.all(scrubbing, s.no(since == total - 1)), following == int(CoreState.SCRUBBING)),
            s.implies(free, s.one_of(following, (CoreState.FREE, CoreState.HELD))),
            s.implies(s.is_held(core), s.one_of(following, (CoreState.HELD, CoreState.DRAINING))),
        )

    return claim


def _obeys(core: int) -> Callable[[Sight], Term]:
    """A core becomes HELD or DRAINING exactly when an accepted GRANT or REVOKE for it takes effect."""

    def claim(s: Sight) -> Term:
        following = s.next(f"core{core}_state")
        claims = []
        for command, state in ((Command.GRANT, CoreState.HELD), (Command.REVOKE, CoreState.DRAINING)):
            ordered = s.all(pending(s, "decided", command), s["argument_core"] == core)
            becomes = s.all(following == int(state), s.no(s.core(core, "state") == int(state)))
            claims += [s.implies(ordered, becomes), s.implies(becomes, ordered)]
        return s.all(*claims)

    return claim


def _starts(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        following = s.next(f"tenant{tenant}_progress")
        starting = s.tenant(tenant, "progress") == int(TenantState.STARTING)
        stopped = s.all(pending(s, "decided", Command.STOP), s["argument_tenant"] == tenant)
        turns = s["wheel_position"] == s.config.period_cycles - 1
        ordered = s.all(pending(s, "decided", Command.START), s["argument_tenant"] == tenant)
        idle = s.one_of(s.tenant(tenant, "progress"), (0, TenantState.DONE))
        return s.all(
            s.implies(s.all(starting, s.no(stopped), turns), following == int(TenantState.RUNNING)),
            s.implies(s.all(starting, s.no(stopped), s.no(turns)), following == int(TenantState.STARTING)),
            s.implies(s.all(ordered, idle), following == int(TenantState.STARTING)),
        )

    return claim


def _attaches(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        following = s.next(f"tenant{tenant}_attachment")
        here = s["argument_tenant"] == tenant
        return s.all(
            *(
                s.implies(s.all(here, pending(s, "decided", command)), following == int(attachment))
                for command, attachment in _EFFECTS.items()
            )
        )

    return claim


def _taken_back(s: Sight) -> Term:
    return s.any(
        *(
            s.all(s.core(core, "state") == int(CoreState.DRAINING), s.core(core, "since_revoke") == 1)
            for core in range(s.config.cores)
        )
    )


def _begins(s: Sight) -> Term:
    return s.any(
        *(
            s.all(
                s.tenant(tenant, "progress") == int(TenantState.STARTING),
                s.next(f"tenant{tenant}_progress") == int(TenantState.RUNNING),
            )
            for tenant in range(s.config.tenants)
        )
    )


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield make(config, "the age of a command is its stage", "command", _age_is_stage)
    yield make(config, "a command has no result before it is decided", "command", _no_result_yet)
    yield make(config, "a command that is decided has a verdict", "command", _has_verdict)
    for core in range(config.cores):
        yield make(config, "the timer counts the cycles since REVOKE", f"core{core}", _timer_is_since(core))


def _age_is_stage(s: Sight) -> Term:
    stages = [s[f"command_is_{stage}"] == 1 for stage in ("read", "checked", "decided")]
    ages = [s["command_age"] == age for age in (1, 2, 3)]
    same = [s.all(s.implies(stage, age), s.implies(age, stage)) for stage, age in zip(stages, ages, strict=True)]
    return s.all(s.logic.at_most(s["command_age"], COMMAND_CYCLES - 1), *same)


def _no_result_yet(s: Sight) -> Term:
    return s.any(s["command_age"] == 0, s["command_result"] == int(Result.NONE))


def _has_verdict(s: Sight) -> Term:
    return s.implies(s["command_is_decided"] == 1, s.no(s["command_verdict"] == int(Result.NONE)))


def _timer_is_since(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        drain, scrub = s.config.drain_cycles, s.config.scrub_cycles + SCRUB_MARGIN_CYCLES
        timer, since = s.core(core, "timer"), s.core(core, "since_revoke")
        draining, scrubbing = (
            s.core(core, "state") == int(state) for state in (CoreState.DRAINING, CoreState.SCRUBBING)
        )
        bits = _counter_bits(s.config)
        return s.all(
            s.implies(draining, s.all(s.logic.equal(since, timer), s.logic.less(timer, drain))),
            s.implies(
                scrubbing,
                s.all(s.logic.equal(since, s.logic.plus(timer, drain, bits)), s.logic.less(timer, scrub)),
            ),
            s.any(draining, scrubbing, timer == 0),
            s.any(s.no(s.is_held(core)), since == 0),
        )

    return claim
