"""Invariants about the accesses on their way to memory: whose they are, and that they stay in a window.

One cycle after its slot an access is in the stage, with the window of whoever owns it; one cycle later it is on the
channel's outputs, inside that window. The windows of tenants are disjoint because ATTACH was checked against all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from formal.algebra import Term
from formal.lemmas import STAGES, flight_in_use, make, pending
from formal.problem import Candidate
from formal.shell import CORE_KINDS, Sight
from isa.configuration import PoolConfig
from isa.registers import CONTROL_DATA_BITS, Command
from rtl.channels import Kind
from rtl.sizes import Sizes
from rtl.windows import Attachment

HOST_KINDS = (Kind.HOST_READ, Kind.HOST_WRITE)
WRITES = (Kind.WRITE, Kind.HOST_WRITE, Kind.SWEEP)


def is_live_or_dirty(s: Sight, tenant: int) -> Term:
    """The tenant has a window: it is attached, or detached and not yet swept."""
    return s.no(s.tenant(tenant, "attachment") == int(Attachment.DETACHED))


def physical_beat(s: Sight, channel: int) -> Term:
    """The beat of the whole memory that the channel's outputs name."""
    sizes = Sizes(s.config)
    address = s[f"channel{channel}_request_address"]
    if sizes.beat == sizes.channel:
        return s.logic.plus(0, channel, sizes.beat)
    return s.logic.plus(_shifted(s, address, sizes.channel, sizes.beat), channel, sizes.beat)


def _shifted(s: Sight, value: Term, places: int, bits: int) -> Term:
    """value * 2**places."""
    for _ in range(places):
        value = s.logic.plus(value, value, bits)
    return value


def in_window(s: Sight, beat: Term, tenant: int) -> Term:
    """A physical beat lies in the tenant's window; all sums with a bit to spare, so that nothing wraps."""
    base, limit = s.tenant(tenant, "base"), s.tenant(tenant, "limit")
    end = s.logic.plus(base, limit, Sizes(s.config).length + 1)
    return s.all(s.logic.at_most(base, beat), s.logic.less(beat, end))


def carries_of(s: Sight, channel: int, age: int, core: int) -> Term:
    """The slot of this core, `age` cycles ago, carried an access of a core: a fetch, a read or a write."""
    return s.all(s.one_of(s.in_flight(channel, age), CORE_KINDS), s.slot_names(core, channel, age))


def access_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """Ownership of what is in the stage and on the outputs of each channel."""
    for channel in range(config.channels):
        for age in (1, 2):
            group = f"channel{channel} age {age}"
            yield make(config, "an access belongs to a core in use", group, flight_in_use(channel, age))
            yield make(config, "a sweep in flight is not over", group, sweep_in_flight(channel, age))
        group = f"channel{channel} age 1"
        yield make(config, "the stage holds the owner and its window", group, stage_is_owners(channel))
        yield make(config, "the stage of a sweep holds its window", group, _stage_is_swept(channel))
        yield make(config, "the stage of a host access holds the whole memory", group, _stage_is_hosts(channel))
        yield make(config, "an offset in the stage lies on its channel", group, _stage_on_channel(channel))
        group = f"channel{channel} age 2"
        yield make(
            config, "the outputs show an access exactly when one is in flight", group, outputs_are_recorded(channel)
        )
        for core in range(config.cores):
            yield make(config, "an access is inside its owner's window", group, access_is_inside(channel, core))
        yield make(config, "a sweep is inside the window it sweeps", group, sweep_is_inside(channel))


def stage_is_owners(channel: int) -> Callable[[Sight], Term]:
    """The stage of an access of a core holds the owner of that core, and the owner's window."""

    def claim(s: Sight) -> Term:
        claims = []
        for core in range(s.config.cores):
            name = f"channel{channel}_stage_"
            here = carries_of(s, channel, 1, core)
            claims.append(s.implies(here, s.owned_by(core, s[f"{name}tenant"])))
            for tenant in range(s.config.tenants):
                same = [s[f"{name}{part}"] == s.tenant(tenant, part) for part in ("base", "limit")]
                claims.append(s.implies(s.all(here, s.owned_by(core, tenant)), s.all(*same)))
        return s.each(claims)

    return claim


def _stage_is_swept(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        swept = s.in_flight(channel, 1) == int(Kind.SWEEP)
        return s.each(
            s.implies(
                s.all(swept, s["sweep_tenant"] == tenant),
                s.all(*(s[f"channel{channel}_stage_{part}"] == s.tenant(tenant, part) for part in ("base", "limit"))),
            )
            for tenant in range(s.config.tenants)
        )

    return claim


def _stage_is_hosts(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        base, limit = (s[f"channel{channel}_stage_{part}"] for part in ("base", "limit"))
        whole = s.all(base == 0, limit == s.config.memory_beats)
        return s.implies(s.one_of(s.in_flight(channel, 1), HOST_KINDS), whole)

    return claim


def _stage_on_channel(channel: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        bits = Sizes(s.config).channel
        on_channel = s.low(s[f"channel{channel}_stage_offset"], bits) == channel
        return s.any(s.in_flight(channel, 1) == int(Kind.NOTHING), on_channel)

    return claim


def sweep_in_flight(channel: int, age: int) -> Callable[[Sight], Term]:
    """A write of the sweep is in flight only while the sweep that sent it is not over."""
    return lambda s: s.implies(
        s.in_flight(channel, age) == int(Kind.SWEEP),
        s.all(s["sweep_is_busy"] == 1, s.logic.less(s["sweep_timer"], age)),
    )


def outputs_are_recorded(channel: int) -> Callable[[Sight], Term]:
    """The shell's record of what it sends is the truth: there is an access if it says so, and a write if it says so."""

    def claim(s: Sight) -> Term:
        kind = s.in_flight(channel, 2)
        valid, write = (s[f"channel{channel}_request_{port}"] == 1 for port in ("valid", "write"))
        idle = [s[f"channel{channel}_request_{port}"] == 0 for port in ("write", "address", "data", "strobe")]
        return s.all(
            s.implies(valid, s.no(kind == int(Kind.NOTHING))),
            s.any(valid, s.all(kind == int(Kind.NOTHING), *idle)),
            s.implies(write, s.one_of(kind, WRITES)),
            s.implies(s.one_of(kind, WRITES), write),
        )

    return claim


def access_is_inside(channel: int, core: int) -> Callable[[Sight], Term]:
    """An access from a slot of this core is inside the window of the tenant that owns it, and that window is live."""

    def claim(s: Sight) -> Term:
        beat = physical_beat(s, channel)
        return s.each(
            s.implies(
                s.all(carries_of(s, channel, 2, core), s.owned_by(core, tenant)),
                s.all(s.in_use(core, 2), in_window(s, beat, tenant), is_live_or_dirty(s, tenant)),
            )
            for tenant in range(s.config.tenants)
        )

    return claim


def sweep_is_inside(channel: int) -> Callable[[Sight], Term]:
    """A write of the sweep is inside the window that it sweeps, which is DIRTY."""

    def claim(s: Sight) -> Term:
        swept = s.in_flight(channel, 2) == int(Kind.SWEEP)
        beat = physical_beat(s, channel)
        return s.each(
            s.implies(
                s.all(swept, s["sweep_tenant"] == tenant),
                s.all(s.tenant(tenant, "attachment") == int(Attachment.DIRTY), in_window(s, beat, tenant)),
            )
            for tenant in range(s.config.tenants)
        )

    return claim


def by_age(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """What is in flight moves on by one stage a cycle: so try the stages before, commands and windows first."""
    for candidate in candidates:
        match = re.fullmatch(r"(channel\d+) age (\d+)", candidate.group)
        if match and int(match[2]) > 2 and candidate.near is None:
            before = {f"{match[1]} age {int(match[2]) - past}" for past in (1, 2)}
            candidate = replace(candidate, near=frozenset({candidate.group, *before, "command", "window"}))
        yield candidate


# ---- windows do not overlap


def disjoint(first: int, second: int) -> Callable[[Sight], Term]:
    """Two tenants' windows, live or dirty, have no beat in common."""

    def claim(s: Sight) -> Term:
        both = s.all(is_live_or_dirty(s, first), is_live_or_dirty(s, second))
        return s.implies(
            both,
            _apart(
                s,
                (s.tenant(first, "base"), s.tenant(first, "limit")),
                (s.tenant(second, "base"), s.tenant(second, "limit")),
                Sizes(s.config).length + 1,
            ),
        )

    return claim


def _apart(s: Sight, first: tuple[Term, Term], second: tuple[Term, Term], bits: int) -> Term:
    """Two ranges (base, length) have no beat in common; `bits` hold any sum."""
    return s.any(
        s.logic.at_most(s.logic.plus(*first, bits), s.logic.plus(0, second[0], bits)),
        s.logic.at_most(s.logic.plus(*second, bits), s.logic.plus(0, first[0], bits)),
    )


def window_pair_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """Windows are disjoint, and one that ATTACH is about to set is disjoint from all others."""
    for first in range(config.tenants):
        for second in range(first):
            group = pair_group(first, second)
            near = frozenset((group, "command", f"new window {first}", f"new window {second}"))
            yield replace(make(config, "windows are disjoint", group, disjoint(first, second)), near=near)
        for stage in STAGES:
            schema, group = f"an ATTACH {stage} brings a window of its own", f"new window {first}"
            near = frozenset((group, "command"))
            yield replace(make(config, schema, group, _is_new(stage, first)), near=near)


def pair_group(first: int, second: int) -> str:
    """Group of what is claimed of the windows of two tenants."""
    return f"windows {first} and {second}"


def _is_new(stage: str, tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        new = (s["argument_base"], s["argument_limit"])
        old = (s.tenant(tenant, "base"), s.tenant(tenant, "limit"))
        ordered = s.all(pending(s, stage, Command.ATTACH), is_live_or_dirty(s, tenant))
        return s.implies(ordered, _apart(s, new, old, CONTROL_DATA_BITS + 1))

    return claim
