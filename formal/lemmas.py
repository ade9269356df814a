"""Invariants of the shell that several theorems rest on. Each is a conjecture until the prover has shown it inductive.

They follow the life of a command (checked, decided, in effect), of a core (who uses it, until when) and of an access
(from its slot along the delay line to the answer).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from formal.algebra import Term
from formal.problem import Candidate
from formal.shell import CORE_KINDS, Sight, age_of_answer, seen
from isa.configuration import PoolConfig
from isa.instructions import OPCODE_BITS, CoreInstruction
from isa.registers import Command, CoreState, Result
from rtl.channels import Kind
from rtl.control_port import OF_CORES, order_name
from rtl.decoder import TRAITS
from rtl.ownership import Turn, turn_name
from rtl.sizes import Sizes
from rtl.windows import Attachment

CHECKS = tuple(f"check_{result.name.lower()}" for result in Result if result > Result.ACCEPTED)
"""Registers with the reasons for which a command is refused, one cycle before its verdict."""
ATTACHED = (Attachment.STOPPED, Attachment.ACTIVE)
STAGES = ("checked", "decided")
TURN_PARTS = tuple(field.name for field in fields(Turn))


def make(config: PoolConfig, schema: str, group: str, claim: Callable[[Sight], Term]) -> Candidate:
    """An instance of an invariant."""
    return Candidate(schema, seen(config, claim), group)


# ---- commands


def pending(sight: Sight, stage: str, *commands: Command) -> Term:
    """One of these commands is in the stage `checked` or `decided`, and is going to be accepted."""
    orders = sight.one_of(sight["command"], commands)
    if stage == "checked":
        return sight.all(sight["command_is_checked"] == 1, orders, *(sight[check] == 0 for check in CHECKS))
    return sight.all(sight["command_is_decided"] == 1, orders, sight["command_verdict"] == int(Result.ACCEPTED))


def command_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """What was checked still holds when the command takes effect."""
    busy = [f"command_is_{stage}" for stage in ("read", *STAGES)]
    for index, first in enumerate(busy):
        for second in busy[index + 1 :]:
            yield make(config, "one command at a time", "command", _exclude_each_other(first, second))
    for stage in STAGES:
        for core in range(config.cores):
            yield make(config, f"a GRANT {stage} finds its core FREE", "command", _grant_finds_free(stage, core))
            yield make(config, f"a REVOKE {stage} finds its core HELD", "command", _revoke_finds_held(stage, core))
            yield make(config, f"a GRANT {stage} takes a new virtual index", "command", _grant_is_new(stage, core))
            yield make(
                config, f"a DETACH or STOP {stage} finds its tenant without cores", "command", _without(stage, core)
            )
        for tenant in range(config.tenants):
            yield make(config, f"a command {stage} suits the attachment", "command", _suits(stage, tenant))
        yield make(config, f"a command {stage} names a tenant", "command", _names_tenant(stage))
        yield make(config, f"an ATTACH {stage} brings an aligned window", "command", _window_fits(stage))
    yield from order_lemmas(config)


def order_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """What registers say ahead: that a command takes effect for a tenant or core, and whose turn it is."""
    for command in Command:
        for index in range(_targets(config, command)):
            yield make(config, "an order is the command decided", "command", _is_order(command, index))
    for channel in range(config.channels):
        yield make(config, "a turn is what the wheel says", "command", _is_turn(channel))


def command_registers(config: PoolConfig) -> list[str]:
    """What these invariants are about, whether what a theorem claims depends on all of it or not."""
    return [
        "command_verdict",
        *(order_name(each, index) for each in Command for index in range(_targets(config, each))),
        *(turn_name(channel, part) for channel in range(config.channels) for part in TURN_PARTS),
    ]


def _targets(config: PoolConfig, command: Command) -> int:
    return config.cores if command in OF_CORES else config.tenants


def _is_order(command: Command, index: int) -> Callable[[Sight], Term]:
    argument = "argument_core" if command in OF_CORES else "argument_tenant"

    def claim(s: Sight) -> Term:
        decided = s.all(pending(s, "decided", command), s[argument] == index)
        ordered = s[order_name(command, index)] == 1
        return _same(s, ordered, decided)

    return claim


def _is_turn(channel: int) -> Callable[[Sight], Term]:
    owner, is_held, is_host = (turn_name(channel, part) for part in ("owner", "is_held", "is_host"))

    def claim(s: Sight) -> Term:
        entries = [
            s.implies(
                s.slot_names(core, channel),
                s.all(s.owned_by(core, s[owner]), _same(s, s[is_held] == 1, s.is_held(core))),
            )
            for core in range(s.config.cores)
        ]
        return s.all(_same(s, s[is_host] == 1, s.is_slot_of_host(channel)), *entries)

    return claim


def word_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """What stage 1 of the dispatcher knows of its word."""
    yield make(config, "the traits are those of the word", "word", knows_traits)
    for core in range(config.cores):
        yield make(config, "the cores are those that the word names", "word", _knows_core(core))


def knows_traits(s: Sight) -> Term:
    """Beside the word that has been read are its traits."""
    word, known = s["dispatch_word"], s["dispatch_traits"]
    claims = []
    for index, trait in enumerate(TRAITS):
        if trait.stretch:
            first, behind = trait.stretch
            holds = s.no(s.logic.field(word, behind - 1, first) == 0)
        else:
            holds = s.one_of(s.logic.field(word, OPCODE_BITS - 1, 0), trait.opcodes)
        claims.append(_same(s, s.logic.field(known, index, index) == 1, holds))
    return s.each(claims)


def _is_named(s: Sight, core: int) -> Term:
    return s.logic.field(s["dispatch_cores"], core, core) == 1


def _knows_core(core: int) -> Callable[[Sight], Term]:
    """Beside the word that has been read is whether it names this core, as its tenant holds it."""
    layout = CoreInstruction.field_layout("core")

    def claim(s: Sight) -> Term:
        virtual = s.logic.field(s["dispatch_word"], layout.offset + layout.width - 1, layout.offset)
        names = s.logic.equal(s.core(core, "virtual"), virtual)
        return _same(s, _is_named(s, core), s.all(s.is_held(core), s.owned_by(core, s["dispatch_tenant"]), names))

    return claim


def named_core_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """A word names only cores that its tenant holds."""
    for core in range(config.cores):
        yield make(config, "a word names cores of its tenant", f"core{core}", _names_own(core))


def _names_own(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(_is_named(s, core), s.all(s.is_held(core), s.owned_by(core, s["dispatch_tenant"])))


def _same(s: Sight, one: Term, other: Term) -> Term:
    return s.all(s.implies(one, other), s.implies(other, one))


def _exclude_each_other(first: str, second: str) -> Callable[[Sight], Term]:
    return lambda s: s.any(s[first] == 0, s[second] == 0)


def _grant_finds_free(stage: str, core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(pending(s, stage, Command.GRANT), s["argument_core"] == core),
        s.core(core, "state") == int(CoreState.FREE),
    )


def _revoke_finds_held(stage: str, core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s.all(pending(s, stage, Command.REVOKE), s["argument_core"] == core), s.is_held(core))


def _owned_by_argument(s: Sight, core: int) -> Term:
    occupied = s.no(s.core(core, "state") == int(CoreState.FREE))
    return s.all(occupied, s.owned_by(core, s["argument_tenant"]))


def _grant_is_new(stage: str, core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(pending(s, stage, Command.GRANT), _owned_by_argument(s, core)),
        s.no(s.core(core, "virtual") == s["argument_virtual"]),
    )


def _without(stage: str, core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(pending(s, stage, Command.DETACH, Command.STOP), s.no(_owned_by_argument(s, core)))


def _suits(stage: str, tenant: int) -> Callable[[Sight], Term]:
    needed = {
        (Command.ATTACH,): (Attachment.DETACHED,),
        (Command.DETACH,): (Attachment.STOPPED,),
        (Command.GRANT, Command.START, Command.PAUSE, Command.RESUME, Command.STOP): ATTACHED,
    }

    def claim(s: Sight) -> Term:
        here = s["argument_tenant"] == tenant
        return s.each(
            s.implies(s.all(here, pending(s, stage, *commands)), s.one_of(s.tenant(tenant, "attachment"), states))
            for commands, states in needed.items()
        )

    return claim


def _names_tenant(stage: str) -> Callable[[Sight], Term]:
    commands = [command for command in Command if command != Command.REVOKE]
    return lambda s: s.implies(pending(s, stage, *commands), s.logic.less(s["argument_tenant"], s.config.tenants))


def fits(s: Sight, base: Term, limit: Term) -> Term:
    """A window of whole prefetch buffers, inside the memory."""
    sizes = Sizes(s.config)
    ring = sizes.channel + sizes.entry
    inside = [s.logic.at_most(value, s.config.memory_beats) for value in (base, limit)]
    end = s.logic.plus(base, limit, sizes.length + 1)
    aligned = [s.low(value, ring) == 0 for value in (base, limit)] if ring else []
    return s.all(*inside, s.logic.at_most(end, s.config.memory_beats), *aligned)


def _window_fits(stage: str) -> Callable[[Sight], Term]:
    return lambda s: s.implies(pending(s, stage, Command.ATTACH), fits(s, s["argument_base"], s["argument_limit"]))


# ---- windows and cores


def window_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """A tenant that uses a core keeps its window."""
    yield make(config, "the timer of the sweep counts while there is one", "window", _sweep_is_timed)
    yield make(config, "a sweep ends when all is written", "window", _all_written)
    for tenant in range(config.tenants):
        yield make(config, "windows are aligned and inside the memory", "window", _has_window(tenant))
        yield make(config, "the sweep is over a DIRTY window", "window", _sweep_is_dirty(tenant))
        for core in range(config.cores):
            yield make(config, "the owner of a core in use is attached", "window", _owner_is_attached(core, tenant))


def _has_window(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: fits(s, s.tenant(tenant, "base"), s.tenant(tenant, "limit"))


def _sweep_is_timed(s: Sight) -> Term:
    return s.any(s["sweep_timer"] == 0, s["sweep_is_busy"] == 1)


def _all_written(s: Sight) -> Term:
    """The timer of the sweep runs only when each channel's beats of the window have been written."""
    sizes = Sizes(s.config)
    claims = []
    for tenant in range(s.config.tenants):
        beats = s.logic.field(s.tenant(tenant, "limit"), sizes.length - 1, sizes.channel)
        written = s.all(
            *(s.logic.at_most(beats, s[f"channel{channel}_sweep_count"]) for channel in range(s.config.channels))
        )
        claims.append(s.implies(s["sweep_tenant"] == tenant, s.any(s["sweep_timer"] == 0, written)))
    return s.each(claims)


def _sweep_is_dirty(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s["sweep_is_busy"] == 1, s["sweep_tenant"] == tenant),
        s.tenant(tenant, "attachment") == int(Attachment.DIRTY),
    )


def _owner_is_attached(core: int, tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s.in_use(core), s.owned_by(core, tenant)), s.one_of(s.tenant(tenant, "attachment"), ATTACHED)
    )


def unique_virtual_index(first: int, second: int) -> Callable[[Sight], Term]:
    """Two cores in use by one tenant have different virtual indices."""
    return lambda s: s.implies(
        s.all(s.in_use(first), s.in_use(second), s.owned_by(first, s.core(second, "owner"))),
        s.no(s.core(first, "virtual") == s.core(second, "virtual")),
    )


def core_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """Which core is whose, and that what reaches a port reaches a core in use."""
    yield from named_core_lemmas(config)
    pulses = {"instruction_valid": 1, "request_taken": 1, "sync_global": 1}
    pulses |= dict.fromkeys(("response_valid", "write_acknowledged"), age_of_answer(config) + 1)
    for core in range(config.cores):
        for second in range(core):
            yield make(config, "virtual indices are unique", f"core{core}", unique_virtual_index(core, second))
        for port, cycles in pulses.items():
            yield make(config, f"{port} reaches cores in use", f"core{core}", _reaches(core, port, cycles))


def _reaches(core: int, port: str, cycles: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s.core(core, port) == 1, s.in_use(core, cycles))


# ---- accesses in flight


def flight_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """An access of a core is in flight only as long as the core is in use: DRAINING outlives it."""
    for channel in range(config.channels):
        for age in range(1, age_of_answer(config) + 1):
            yield make(
                config, "what is in flight belongs to a core in use", f"channel{channel} age {age}",
                flight_in_use(channel, age),
            )  # fmt: skip


def flight_in_use(channel: int, age: int) -> Callable[[Sight], Term]:
    """Whatever a core's slot `age` cycles ago carried, that core is still in use."""

    def claim(s: Sight) -> Term:
        carries = s.one_of(s.in_flight(channel, age), CORE_KINDS)
        return s.each(
            s.implies(s.all(carries, s.slot_names(core, channel, age)), s.in_use(core, age))
            for core in range(s.config.cores)
        )

    return claim


def fetch_of(s: Sight, channel: int, age: int, core: int) -> Term:
    """The slot of this core, `age` cycles ago, carried a fetch."""
    return s.all(s.in_flight(channel, age) == int(Kind.FETCH), s.slot_names(core, channel, age))


def fetch_stage_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """The stage of a fetch holds the window of the core's owner, and an offset inside it, on this channel."""
    for channel in range(config.channels):
        group = f"channel{channel} age 1"
        claim = make(config, "a fetch is inside its owner's window", group, _stage_is_inside(channel))
        yield replace(claim, near=frozenset((group, "window", "command")))


def _stage_is_inside(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        sizes = Sizes(s.config)
        name = f"channel{channel}_stage_"
        inside = s.logic.less(s[f"{name}offset"], s[f"{name}limit"])
        on_channel = s.low(s[f"{name}offset"], sizes.channel) == channel if sizes.channel else s.all()
        claims = [s.implies(s.in_flight(channel, 1) == int(Kind.FETCH), s.all(inside, on_channel))]
        for core in range(s.config.cores):
            for tenant in range(s.config.tenants):
                owner = s.all(fetch_of(s, channel, 1, core), s.owned_by(core, tenant))
                same = [s[f"{name}{part}"] == s.tenant(tenant, part) for part in ("base", "limit")]
                claims.append(s.implies(owner, s.all(*same)))
        return s.each(claims)

    return claim
