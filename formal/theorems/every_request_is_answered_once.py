"""Every request is taken in its own slot, goes to memory as it was asked, and is answered once, L + 3 cycles later.

- Taken: a core hears `request_taken` exactly when in the cycle before a request was on its port that had not been taken
  yet, and the wheel named the core, not the host, on the channel of the request's beat, while the core was HELD, its
  owner RUNNING or PAUSED, and no fetch of the owner's went first. A fetch goes first exactly if the owner is RUNNING,
  its next beat of instructions lies on that channel and inside the window, and its prefetch has room. The host hears
  `host_request_taken` exactly when its request was there and the slot of the beat's channel was the host's. No other
  tenant, and no other core of the same tenant's, has any part in this.
- As it was asked: two cycles after that slot the channel's outputs show the request: read or write, the beat
  base + address of the window that the core's owner had in the slot, and data and strobes of a write. If the address
  is not below the limit, nothing is sent; the owner, unless it has stopped by itself, is FAULTED then.
- Answered once: L + 3 cycles after the slot of a read that was sent, the data that were on that channel's input in the
  cycle before are on the core's port, with `response_valid`; `write_acknowledged` is there for a write. The port shows
  neither in any other cycle, and data 0 without `response_valid`. The host's requests are answered alike.

Scope: every program, every behaviour of the cores and of memory, every order of host commands and requests, for one
core that is arbitrary. Unbounded in time. L = channel latency. Whom the answer reaches is whoever held the core in the
slot: `ownership`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl
from pyrtl import Const, Register, WireVector, select

from formal.accesses import HOST_KINDS, by_age
from formal.algebra import Term
from formal.busy_host import busy_host
from formal.ghosts import arbitrary, of_core, of_tenant
from formal.lemmas import command_registers, make, order_lemmas, pending
from formal.monitor import Lookup, monitored
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, age_of_answer, seen
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import Command, TenantState
from rtl.channels import KIND_BITS, Kind
from rtl.sizes import Sizes, lies_on, named

ASSUMPTIONS: tuple[str, ...] = ()
_CORE_KINDS = (Kind.READ, Kind.WRITE)
_STAGE = ("tenant", "base", "limit", "offset", "data", "strobe")
_REQUEST = ("write", "address", "data", "strobe")
_OUTPUTS = ("valid", "write", "address", "data", "strobe")
_ANSWERS = ("request_taken", "response_valid", "response_data", "write_acknowledged")


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it; nothing is over-approximated."""
    roots = [f"core{core}_{port}" for core in range(config.cores) for port in _ANSWERS]
    roots += [f"tenant{tenant}_progress" for tenant in range(config.tenants)]
    roots += ["host_taken", "host_answer_valid", "host_answer_data", *command_registers(config)]
    for channel in range(config.channels):
        roots += [f"channel{channel}_request_{port}" for port in _OUTPUTS]
        roots += [f"channel{channel}_stage_{part}" for part in _STAGE]
        roots.append(_told(channel, age_of_answer(config)))
    roots += [f"was_{part}" for part in ("owner", *_STAGE[1:3], *_REQUEST)] + [f"host_was_{part}" for part in _REQUEST]
    system = TransitionSystem(monitored(block, lambda lookup: _monitor(config, lookup)), roots)
    return Problem(
        name="every_request_is_answered_once",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[
            Claim("a core's read is answered", seen(config, lambda s: _is_answered(s, Kind.READ))),
            Claim("a core's write is acknowledged", seen(config, lambda s: _is_answered(s, Kind.WRITE))),
            Claim("the host's read is answered", seen(config, lambda s: _is_answered(s, Kind.HOST_READ))),
        ],
        stimulus=busy_host(config, system),
        free_memories={"watched_core_word"},
    )


# ---- ghosts


def _told(channel: int, age: int) -> str:
    """What the watched core or the host was told of its request on a channel `age` cycles ago, as a `Kind`."""
    return f"told_{channel}_{age}"


def _monitor(config: PoolConfig, lookup: Lookup) -> None:
    """What the watched core and the host asked for in the cycle before, in whose window; and what became of it.

    The ghosts look at ports, ownership table and windows only, never at what the shell itself has recorded.
    """
    sizes = Sizes(config)
    core = arbitrary("watched_core", max(1, sizes.core), config.cores)
    owner = of_core(lookup, config, core, "owner")
    was = {"owner": _before("was_owner", owner)}
    for part in ("base", "limit"):
        was[part] = _before(f"was_{part}", of_tenant(lookup, config, owner, part))
    for port in ("write", "address"):
        asked = of_core(lookup, config, core, f"request_{port}_i")
        if config.shows_next_request:
            behind = of_core(lookup, config, core, f"request_next_{port}_i")
            asked = select(of_core(lookup, config, core, "request_taken"), behind, asked)
        was[port] = _before(f"was_{port}", asked)
    for port in ("data", "strobe"):
        was[port] = _before(f"was_{port}", of_core(lookup, config, core, f"request_{port}_i"))
    host = {port: _before(f"host_was_{port}", lookup(f"host_request_{port}")) for port in _REQUEST}

    taken, hosts_taken = of_core(lookup, config, core, "request_taken"), lookup("host_taken")
    is_inside = named("was_inside", was["address"] < was["limit"])
    for channel in range(config.channels):
        here = taken & lies_on(was["address"], channel, sizes)
        hosts = hosts_taken & lies_on(host["address"], channel, sizes)
        told = named(
            _told(channel, 1),
            select(
                here,
                select(was["write"], _kind(Kind.WRITE), _kind(Kind.READ)),
                select(
                    hosts, select(host["write"], _kind(Kind.HOST_WRITE), _kind(Kind.HOST_READ)), _kind(Kind.NOTHING)
                ),
            ),
        )
        told = select(here & ~is_inside, _kind(Kind.NOTHING), told)
        for age in range(2, age_of_answer(config) + 1):
            told = _before(_told(channel, age), told)


def _before(name: str, wire: WireVector) -> WireVector:
    """What a wire showed in the cycle before."""
    register = Register(len(wire), name)
    register.next <<= wire
    return register


def _kind(kind: Kind) -> WireVector:
    return Const(kind, KIND_BITS)


# ---- claims


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for core in range(config.cores):
        here = f"core{core}"
        yield claim(
            f"{here} hears that its request is taken in its slot, and then only", here, _hears_in_its_slot(core)
        )
        yield claim(f"{here} is answered when it was told so, and then only", here, _is_answered_once(core))
    yield claim("the host hears that its request is taken in its slot, and then only", "host", _host_hears_in_its_slot)
    yield claim("the host is answered when it was told so, and then only", "host", _host_is_answered_once)
    for channel in range(config.channels):
        here = f"channel{channel}"
        yield claim(f"{here} carries fetches that can be made, and no other", here, _fetches(channel))
        yield claim(f"{here} shows what was asked", here, _goes_as_asked(channel))
        yield claim(f"{here} carries nothing that was not asked", here, _is_recorded(channel, 2))
        for tenant in range(config.tenants):
            yield claim(f"{here} beyond the window stops tenant{tenant}", here, _stops(channel, tenant))


def _hears_in_its_slot(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        address = _asked(s, core, "address")
        slots = [
            s.all(
                _is_slot_of(s, core, channel), _lies_on(s, address, channel),
                s.no(s.next(f"channel{channel}_stage_kind") == int(Kind.FETCH)),
            )
            for channel in range(s.config.channels)
        ]  # fmt: skip
        moves = _owned_by_one_in(s, core, TenantState.RUNNING, TenantState.PAUSED)
        return _same(s, s.next(f"core{core}_request_taken") == 1, s.all(_is_asking(s, core), moves, s.any(*slots)))

    return claim


def _host_hears_in_its_slot(s: Sight) -> Term:
    channels = range(s.config.channels)
    slots = [s.all(s.is_slot_of_host(g), _lies_on(s, s["host_request_address"], g)) for g in channels]
    asks = s.all(s["host_request_valid"] == 1, s["host_taken"] == 0)
    return _same(s, s.next("host_taken") == 1, s.all(asks, s.any(*slots)))


def _fetches(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        config, sizes = s.config, Sizes(s.config)
        bits = (config.fetch_beats - 1).bit_length() + 1
        wishes = []
        for tenant in range(config.tenants):
            beat = s.tenant(tenant, "next_request")
            program = s.logic.field(s.tenant(tenant, "program_counter"), sizes.pointer + sizes.word - 1, sizes.word)
            has_room = s.no(s.low(s.logic.minus(beat, program, sizes.pointer), bits) == config.fetch_beats)
            inside = s.logic.less(beat, s.tenant(tenant, "limit"))
            wants = s.all(s.is_running(tenant), has_room, inside, _lies_on(s, beat, channel))
            owners = (s.all(_is_slot_of(s, core, channel), s.owned_by(core, tenant)) for core in range(config.cores))
            wishes.append(s.all(wants, s.any(*owners)))
        return _same(s, s.next(f"channel{channel}_stage_kind") == int(Kind.FETCH), s.any(*wishes))

    return claim


def _goes_as_asked(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        told, sizes = s[_told(channel, 1)], Sizes(s.config)

        def sent(whose: str, base: Term, write: Kind) -> Term:
            beat = s.logic.plus(base, s.low(s[f"{whose}address"], sizes.beat), sizes.beat)
            address = s.logic.field(beat, sizes.beat - 1, sizes.channel) if sizes.beat > sizes.channel else 0
            shown = {"valid": 1, "address": address}
            shown |= {port: s.logic.choose(told == int(write), s[f"{whose}{port}"], 0) for port in ("data", "strobe")}
            same = [s.logic.equal(s.next(f"channel{channel}_request_{port}"), value) for port, value in shown.items()]
            return s.all(*same, _same(s, s.next(f"channel{channel}_request_write") == 1, told == int(write)))

        cores, is_inside = s.one_of(told, _CORE_KINDS), s["was_inside"] == 1
        return s.all(
            s.implies(s.all(cores, is_inside), sent("was_", s["was_base"], Kind.WRITE)),
            s.implies(s.all(cores, s.no(is_inside)), s.next(f"channel{channel}_request_valid") == 0),
            s.implies(s.one_of(told, HOST_KINDS), sent("host_was_", 0, Kind.HOST_WRITE)),
        )

    return claim


def _stops(channel: int, tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        beyond = s.all(s.one_of(s[_told(channel, 1)], _CORE_KINDS), s["was_inside"] == 0, s["was_owner"] == tenant)
        moves = s.one_of(s.tenant(tenant, "progress"), (TenantState.RUNNING, TenantState.PAUSED))
        ordered = s.all(pending(s, "decided", Command.START, Command.STOP), s["argument_tenant"] == tenant)
        faulted = s.next(f"tenant{tenant}_progress") == int(TenantState.FAULTED)
        return s.implies(s.all(beyond, moves), s.any(faulted, ordered))

    return claim


def _is_answered_once(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        port = f"core{core}_"
        exact = [
            _same(s, s.next(f"{port}{name}") == 1, _is_answered(s, kind))
            for name, kind in (("response_valid", Kind.READ), ("write_acknowledged", Kind.WRITE))
        ]
        return s.implies(s["watched_core"] == core, s.all(*exact, _brings(s, f"{port}response_data", Kind.READ)))

    return claim


def _host_is_answered_once(s: Sight) -> Term:
    answered = s.any(*(_is_answered(s, kind) for kind in HOST_KINDS))
    exact = _same(s, s.next("host_answer_valid") == 1, answered)
    return s.all(exact, _brings(s, "host_answer_data", Kind.HOST_READ))


def _is_answered(s: Sight, kind: Kind) -> Term:
    """What was told L + 2 cycles ago, and is due on some channel now, is of this kind."""
    return s.any(*(_due(s, channel) == int(kind) for channel in range(s.config.channels)))


def _due(s: Sight, channel: int) -> Term:
    return s[_told(channel, age_of_answer(s.config))]


def _brings(s: Sight, port: str, read: Kind) -> Term:
    """The port takes what is on the input of the channel where a read is due; 0 when none is."""
    data = s.next(port)
    claims = [
        s.implies(_due(s, channel) == int(read), s.logic.equal(data, s[f"channel{channel}_response"]))
        for channel in range(s.config.channels)
    ]
    return s.all(*claims, s.any(_is_answered(s, read), data == 0))


def _same(s: Sight, first: Term, second: Term) -> Term:
    """Either both hold, or neither does."""
    return s.all(s.implies(first, second), s.implies(second, first))


def _asked(s: Sight, core: int, port: str) -> Term:
    """What the core's port asks for: where it shows two requests, the second one once the first has been taken."""
    first = s[f"core{core}_request_{port}_i"]
    if not s.config.shows_next_request:
        return first
    return s.logic.choose(s.core(core, "request_taken") == 1, s[f"core{core}_request_next_{port}_i"], first)


def _is_asking(s: Sight, core: int) -> Term:
    """There is a request on the port that has not been taken yet."""
    valid = _asked(s, core, "valid") == 1
    return valid if s.config.shows_next_request else s.all(valid, s.core(core, "request_taken") == 0)


def _owned_by_one_in(s: Sight, core: int, *states: TenantState) -> Term:
    """The owner of the core is in one of these states."""
    tenants = range(s.config.tenants)
    return s.any(*(s.all(s.owned_by(core, n), s.one_of(s.tenant(n, "progress"), states)) for n in tenants))


def _is_slot_of(s: Sight, core: int, channel: int) -> Term:
    """The channel's slot is this core's, which is HELD."""
    return s.all(s.slot_names(core, channel), s.no(s.is_slot_of_host(channel)), s.is_held(core))


def _lies_on(s: Sight, beat: Term, channel: int) -> Term:
    bits = Sizes(s.config).channel
    return s.low(beat, bits) == channel if bits else s.all()


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from by_age(_made(config))


def _made(config: PoolConfig) -> Iterator[Candidate]:
    yield from order_lemmas(config)
    for channel in range(config.channels):
        for core in range(config.cores):
            for schema, claim in _age_1(channel):
                yield make(config, schema, f"channel{channel} age 1 of core{core}", _if_watched(core, claim))
        for age in range(1, age_of_answer(config) + 1):
            group = f"channel{channel} age {age}"
            if age > 1:
                yield make(config, "what is in flight was told, and nothing else", group, _is_recorded(channel, age))
            for other in range(channel):
                yield make(config, "the host has one access of an age", group, _not_both(channel, other, age))


def _age_1(channel: int) -> Iterator[tuple[str, Callable[[Sight], Term]]]:
    """What holds one cycle after the slot; proved core by core, which spares the solver wide multiplexers."""
    yield "what is in the stage was told, and nothing else", _is_recorded(channel, 1)
    for part in _STAGE:
        yield f"the stage holds the {part} that was asked", _stage_is_as_asked(channel, part)


def _if_watched(core: int, claim: Callable[[Sight], Term]) -> Callable[[Sight], Term]:
    return lambda s: s.implies(s["watched_core"] == core, claim(s))


def _is_recorded(channel: int, age: int) -> Callable[[Sight], Term]:
    """Of the watched core's and the host's accesses the shell has recorded those that were told, and no others."""

    def claim(s: Sight) -> Term:
        kind = s.in_flight(channel, age)
        cores = range(s.config.cores)
        of_core = s.any(*(s.all(s["watched_core"] == c, s.slot_names(c, channel, age)) for c in cores))
        theirs = s.any(s.one_of(kind, HOST_KINDS), s.all(of_core, s.one_of(kind, _CORE_KINDS)))
        return s.logic.equal(s[_told(channel, age)], s.logic.choose(theirs, kind, int(Kind.NOTHING)))

    return claim


def _not_both(first: int, second: int, age: int) -> Callable[[Sight], Term]:
    return lambda s: s.no(s.all(*(s.one_of(s.in_flight(channel, age), HOST_KINDS) for channel in (first, second))))


def _stage_is_as_asked(channel: int, part: str) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        told, stage = s[_told(channel, 1)], s[f"channel{channel}_stage_{part}"]

        def asked(whose: str, window: dict[str, Term], write: Kind) -> Term:
            if part in window:
                return s.logic.equal(stage, window[part])
            if part == "offset":
                return s.logic.equal(stage, s[f"{whose}address"])
            return s.implies(told == int(write), s.logic.equal(stage, s[f"{whose}{part}"]))

        owners = {"tenant": s["was_owner"], "base": s["was_base"], "limit": s["was_limit"]}
        whole = {"base": 0, "limit": s.config.memory_beats}
        of_core = s.implies(s.one_of(told, _CORE_KINDS), asked("was_", owners, Kind.WRITE))
        if part == "tenant":  # of a host's access nobody asks whose it is
            return of_core
        return s.all(of_core, s.implies(s.one_of(told, HOST_KINDS), asked("host_was_", whole, Kind.HOST_WRITE)))

    return claim
