"""A tenant's state, its fault, and what is counted of its run are those of an automaton of its own, in every cycle.

The automaton is a table (formal/tenant_automaton.py). In each cycle the first row counts whose event happens to the
tenant A while A is in one of the states named; nothing else, and nobody else, changes A's state.

| event | in the states | A becomes |
|---|---|---|
| STOP takes effect | any but DETACHED and DIRTY | STOPPED |
| START takes effect | STOPPED, DONE | STARTING |
| a fault | RUNNING, PAUSED | FAULTED |
| END is in stage 1, and as many barriers as it names have completed | RUNNING | DONE |
| a barrier completes while PAUSE is pending, and no RESUME comes in that cycle | RUNNING | PAUSED |
| RESUME takes effect | PAUSED | RUNNING |
| the wheel ends its whole period | STARTING | RUNNING |
| ATTACH takes effect | DETACHED | STOPPED |
| DETACH takes effect | STOPPED | DIRTY |
| the sweep of its window is over | DIRTY | DETACHED |

- Faults, in the order in which the first of one cycle is found: of the word at A's program counter, when stage 1 acts
  for A: it lies behind the window (FETCH_OUTSIDE_WINDOW), it is no instruction (ILLEGAL_INSTRUCTION: an opcode unknown,
  or a bit set that no field of that instruction uses), CALL in a frame, RETURN outside one, or an instruction for a
  virtual core that no core HELD by A has; then an access beyond the window: a core of A's hears that a request was
  taken whose beat is not below the limit, those on the lowest channel first; then what the cores HELD by A report,
  the lowest one first. Cause and address of the fault that made A FAULTED are kept until A starts or stops.
- PAUSE in RUNNING is pending until a barrier of A completes, or RESUME, START or STOP takes effect.
- Barriers that complete are counted up to 65535, cycles in RUNNING and PAUSED modulo 2^32; START and STOP set both 0.
- START, PAUSE and RESUME are refused with WRONG_TENANT_STATE, when everything else is right, exactly if A is in none of
  the states in which they count (PAUSE and RESUME: RUNNING, PAUSED).
- The host reads these values, and no others, in the registers that show them, and `tenant{n}_state` shows the state
  while it is one from STARTING to FAULTED, else 0.

A barrier completes as in `barrier`. Which command is accepted by the host's side is a matter of `independence`; what
the word in stage 1 is, where the program counter goes, and when stage 1 acts, of `delivery`.

Scope: every program, every answer of memory, every behaviour of the cores, every order of host commands, for one tenant
A that is arbitrary. Unbounded in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl

from formal.algebra import Term
from formal.eventful_host import eventful_host
from formal.lemmas import command_lemmas, command_registers, make, window_lemmas, word_lemmas
from formal.monitor import monitored
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, seen
from formal.tenant_automaton import RECORDED, SUITS, ghost, watch_tenant
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState, Register, Result, TenantState
from rtl.channels import Kind
from rtl.sizes import Sizes
from rtl.windows import Attachment

ASSUMPTIONS: tuple[str, ...] = ()
_SHOWN = {
    Register.TENANT_STATE: "state",
    Register.TENANT_BARRIERS: "barriers",
    Register.TENANT_CYCLES: "cycles",
    Register.TENANT_FAULT: "fault",
    Register.TENANT_FAULT_ADDRESS: "fault_address",
}
_WITHOUT_CONTEXT = {
    TenantState.DETACHED: Attachment.DETACHED,
    TenantState.STOPPED: Attachment.STOPPED,
    TenantState.DIRTY: Attachment.DIRTY,
}
"""States in which a tenant has no context; in all others it is ACTIVE, and `progress` holds the state."""
_CORE_KINDS = (Kind.READ, Kind.WRITE)


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it.

    `over_approximate` lets the word that stage 0 reads be anything; a run of such a system is none of `block`.
    """
    roots = [ghost(part) for part in ("state", *RECORDED)]
    roots += [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in ("state", *RECORDED)]
    roots += ["command_result", "control_answer", *command_registers(config)]
    cuts = ["prefetch_word"]
    system = TransitionSystem(
        monitored(block, lambda lookup: watch_tenant(config, lookup)), roots, cuts if over_approximate else ()
    )
    return Problem(
        name="a_tenants_state_is_that_of_its_automaton",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[
            Claim(f"a tenant is {state.name}", seen(config, _somebody_is(state)))
            for state in (TenantState.RUNNING, TenantState.PAUSED, TenantState.DONE, TenantState.FAULTED)
        ],
        stimulus=eventful_host(config, system),
        free_memories={"watched_tenant_word"},
    )


def _somebody_is(state: TenantState) -> Callable[[Sight], Term]:
    return lambda s: s.any(*(s.tenant(n, "progress") == int(state) for n in range(s.config.tenants)))


def _is_in(*states: TenantState) -> Callable[[Sight], Term]:
    return lambda s: s.one_of(s[ghost("state")], states)


def _watched(tenant: int, claim: Callable[[Sight], Term]) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s["watched_tenant"] == tenant, claim(s))


# ---- claims


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for tenant in range(config.tenants):
        here = f"tenant{tenant}"
        yield claim(f"{here} is in the automaton's state", here, _watched(tenant, _same_state(tenant)))
        yield claim(f"{here} shows its state", here, _watched(tenant, _shows_state(tenant)))
        for part in RECORDED:
            yield claim(f"{here} has the automaton's {part}", here, _watched(tenant, _same(tenant, part)))
    yield claim("the host is refused what does not suit the state", "host", _refused)
    for register in _SHOWN:
        yield claim(f"the host reads {register.name}", "host", _read(register))


def _same_state(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        state, progress, attachment = s[ghost("state")], s.tenant(tenant, "progress"), s.tenant(tenant, "attachment")
        without = s.one_of(state, _WITHOUT_CONTEXT)
        active = s.all(attachment == int(Attachment.ACTIVE), s.logic.equal(progress, state))
        others = (
            s.implies(state == int(shown), s.all(attachment == int(side), progress == 0))
            for shown, side in _WITHOUT_CONTEXT.items()
        )
        return s.all(s.any(without, active), *others)

    return claim


def _shows_state(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        state = s[ghost("state")]
        shown = s.logic.choose(s.one_of(state, _WITHOUT_CONTEXT), 0, state)
        return s.logic.equal(s[f"tenant{tenant}_state"], shown)

    return claim


def _same(tenant: int, part: str) -> Callable[[Sight], Term]:
    return lambda s: s.logic.equal(s.tenant(tenant, part), s[ghost(part)])


def _refused(s: Sight) -> Term:
    """The result of a command about A that the host's side accepts."""
    ordered = s.all(s["command_is_decided"] == 1, s["command_verdict"] == int(Result.ACCEPTED))
    about = s.all(ordered, s.logic.equal(s["argument_tenant"], s["watched_tenant"]))
    unsuitable = s.any(
        *(s.all(s["command"] == int(command), s.no(_is_in(*states)(s))) for command, states in SUITS.items())
    )
    result = s.next("command_result")
    others = [command for command in Command if command not in SUITS]
    return s.all(
        s.implies(s.all(about, unsuitable), result == int(Result.WRONG_TENANT_STATE)),
        s.implies(s.all(about, s.no(unsuitable)), result == int(Result.ACCEPTED)),
        s.implies(s.all(ordered, s.one_of(s["command"], others)), result == int(Result.ACCEPTED)),
    )


def _read(register: Register) -> Callable[[Sight], Term]:
    """What the host asks for in this cycle it reads in the next; nothing of a tenant that does not exist."""

    def claim(s: Sight) -> Term:
        asks, about = s["control_address"] == int(register), s["argument_tenant"]
        mine = s.logic.equal(about, s["watched_tenant"])
        nobody = s.no(s.logic.less(about, s.config.tenants))
        answer = s.next("control_answer")
        value = s.logic.equal(answer, s[ghost(_SHOWN[register])])
        return s.all(s.implies(s.all(asks, mine), value), s.implies(s.all(asks, nobody), answer == 0))

    return claim


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield from word_lemmas(config)
    for tenant in range(config.tenants):
        here = f"tenant{tenant}"
        yield make(config, "the state is the automaton's", here, _watched(tenant, _same_state(tenant)))
        for part in RECORDED:
            yield make(config, f"{part} is the automaton's", here, _watched(tenant, _same(tenant, part)))
        yield make(config, "the word in stage 1 is at the program counter", here, _watched(tenant, _at_counter(tenant)))
    for core in range(config.cores):
        here = f"core{core}"
        yield make(config, "the shell's record of arrivals is right", here, _arrived(core))
        yield make(config, "who hears of a request is in use", here, _taken_in_use(core))
        for channel in range(config.channels):
            yield make(config, "the stage holds what was asked", here, _stage_is_as_asked(core, channel))


def _at_counter(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        counter = s.tenant(tenant, "program_counter")
        beat = s.logic.field(counter, sizes.pointer + sizes.word - 1, sizes.word)
        outside = s.logic.at_most(s.tenant(tenant, "limit"), beat)
        recorded = s["dispatch_is_outside"] == 1
        same = s.all(s.implies(outside, recorded), s.implies(recorded, outside))
        acts = s.all(s["dispatch_valid"] == 1, s["dispatch_tenant"] == tenant, s.is_running(tenant))
        return s.implies(acts, s.all(s.logic.equal(s["dispatch_address"], counter), same))

    return claim


def _arrived(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        mine = s.logic.equal(s.core(core, "owner"), s["watched_tenant"])
        here = s.all(s.is_held(core), mine)
        return s.all(
            s.implies(here, s.core(core, "arrived") == s.core(core, "waits_for_a")),
            s.implies(s.core(core, "waits_for_a") == 1, s.all(s.in_use(core, 1), mine)),
            s.implies(s.core(core, "state") == int(CoreState.FREE), s.core(core, "arrived") == 0),
        )

    return claim


def _taken_in_use(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s.core(core, "request_taken") == 1, s.in_use(core, 1))


def _stage_is_as_asked(core: int, channel: int) -> Callable[[Sight], Term]:
    """The stage holds what a core hears is taken, and a core hears of what is in the stage."""

    def claim(s: Sight) -> Term:
        name, sizes = f"channel{channel}_stage_", Sizes(s.config)
        asked, taken = s.core(core, "asked_address"), s.core(core, "request_taken") == 1
        lies_here = s.low(asked, sizes.channel) == channel if sizes.channel else s.all()
        carries = s.all(s.one_of(s.in_flight(channel, 1), _CORE_KINDS), s.slot_names(core, channel, 1))
        as_asked = [
            taken,
            lies_here,
            s.in_use(core, 1),
            s.owned_by(core, s[f"{name}tenant"]),
            s.logic.equal(s[f"{name}offset"], asked),
            s.logic.equal(s[f"{name}instruction"], s.core(core, "asked_instruction")),
        ]
        for tenant in range(s.config.tenants):
            limit = s.logic.equal(s[f"{name}limit"], s.tenant(tenant, "limit"))
            as_asked.append(s.implies(s[f"{name}tenant"] == tenant, limit))
        return s.all(s.implies(carries, s.all(*as_asked)), s.implies(s.all(taken, lies_here), carries))

    return claim
