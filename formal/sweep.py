"""The sweep of a DIRTY window also zeroes its tenant's prefetch: ghosts that count, and the invariants that say so.

Each write of the sweep leaves in a host slot, and zeroes one prefetch entry when its answer is due, D = L + 2 cycles
later. The ghost `channel{g}_swept_{a}` is the number of writes that had left `a` cycles ago, so `.._swept_D` is the
number of answers so far; the entry that the next answer zeroes is that number modulo the entries of a bank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from pyrtl import Const, Register, WireVector, select

from formal.accesses import sweep_in_flight
from formal.algebra import Term
from formal.definitions import Fixed
from formal.lemmas import ATTACHED, STAGES, make, pending
from formal.monitor import Lookup
from formal.problem import Candidate
from formal.shell import Sight, age_of_answer, seen
from isa.configuration import PoolConfig
from isa.registers import Command
from rtl.channels import Kind
from rtl.sizes import Sizes, named
from rtl.windows import Attachment


def watch_sweep(config: PoolConfig, lookup: Lookup) -> None:
    """Build the ghosts `channel{g}_swept_{a}`, all 0 while no sweep is busy, and `sweep_length`.

    The latter is the limit of the window that is swept, as it was when the sweep began: so that what is said of the
    sweep later needs nothing of windows.
    """
    limit, swept = lookup("tenant0_limit"), lookup("sweep_tenant")
    for tenant in range(1, config.tenants):
        limit = select(swept == tenant, lookup(f"tenant{tenant}_limit"), limit)
    was_busy, at_first = Register(1, "sweep_swept_before", reset_value=0), Register(len(limit), "length_swept_before")
    length = named("sweep_length", select(was_busy, at_first, limit))
    was_busy.next <<= lookup("sweep_is_busy")
    at_first.next <<= length
    for channel in range(config.channels):
        count: WireVector = named(f"channel{channel}_swept_0", lookup(f"channel{channel}_sweep_count"))
        for age in range(1, age_of_answer(config) + 1):
            later = Register(len(count), f"channel{channel}_swept_{age}", reset_value=0)
            later.next <<= select(lookup("sweep_is_busy"), count, Const(0, len(count)))
            count = later


def prefetch_entries(config: PoolConfig) -> int:
    """Entries of one tenant in the prefetch bank of one channel."""
    return config.fetch_beats // config.channels


def prefetched(s: Sight, channel: int, tenant: int, entry: int) -> Term:
    """The beat in this entry of the tenant's prefetch."""
    memory, place = prefetch_leaf(s.config, channel, tenant, entry)
    return s[memory][place]


def prefetch_leaf(config: PoolConfig, channel: int, tenant: int, entry: int) -> tuple[str, int]:
    """The memory that holds this entry, and its place there."""
    return f"channel{channel}_prefetch", tenant * prefetch_entries(config) + entry


def is_attached(s: Sight, tenant: int) -> Term:
    """The tenant is STOPPED or ACTIVE."""
    return s.one_of(s.tenant(tenant, "attachment"), ATTACHED)


def prefetch_is_clean(config: PoolConfig, channel: int, tenant: int, entry: int) -> Fixed:
    """A DETACHED tenant's prefetch entry holds 0."""
    is_detached = seen(config, lambda s: s.tenant(tenant, "attachment") == int(Attachment.DETACHED))
    return Fixed(is_detached, prefetch_leaf(config, channel, tenant, entry), 0)


def sweep_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """How far a sweep is, and that what it has visited is zero."""
    yield from sweep_progress_lemmas(config)
    for channel in range(config.channels):
        for tenant in range(config.tenants):
            for entry in range(prefetch_entries(config)):
                group = f"channel{channel} prefetch of tenant{tenant}"
                near = _near_prefetch(config, group, channel)
                for schema, formula in (
                    ("what was swept is zero", _swept_is_zero(config, channel, tenant, entry)),
                    ("a detached tenant's prefetch is zero", prefetch_is_clean(config, channel, tenant, entry)),
                ):
                    yield Candidate(schema, formula, group, near=near)


def prefetch_lemma(
    config: PoolConfig, schema: str, group: str, channel: int, claim: Callable[[Sight], Term]
) -> Candidate:
    """An invariant about the prefetch bank of a channel that rests on what the sweep does there."""
    return replace(make(config, schema, group, claim), near=_near_prefetch(config, group, channel))


def _near_prefetch(config: PoolConfig, group: str, channel: int) -> frozenset[str]:
    answers = (f"channel{channel} {what} {age_of_answer(config)}" for what in ("age", "sweep"))
    return frozenset((group, f"channel{channel}", *answers, "window", "command"))


def sweep_progress_lemmas(config: PoolConfig) -> Iterator[Candidate]:
    """What has been swept, what is in flight, and that a sweep ends only when all of it has been answered."""
    oldest = age_of_answer(config)
    for tenant in range(config.tenants):
        yield make(config, "a window that is live or dirty is not empty", "window", _not_empty(tenant))
        yield make(config, "the sweep is as long as its window", "window", _length_is_limit(tenant))
    yield make(config, "the sweep names a tenant", "window", _names_tenant)
    for stage in STAGES:
        yield make(config, f"an ATTACH {stage} brings a window that is not empty", "command", _brings_some(stage))
    for channel in range(config.channels):
        for age in range(oldest + 1):
            group, before = f"channel{channel} sweep {age}", f"channel{channel} sweep {age - 1}"
            near = frozenset((group, before, *(("window", "command") if age <= 1 else ())))
            claims = [
                ("the timer runs when all has been sent", _all_sent(channel, age)),
                ("the sweep sends no more than its window has", _no_more(channel, age)),
            ]
            if age >= 1:
                claims += [
                    ("a sweep in flight is not over", sweep_in_flight(channel, age)),
                    ("what the sweep has in flight was counted", _counted(channel, age)),
                ]
            if age == 1:
                claims.append(("a sweep in the stage is inside its window", _inside(channel)))
            for schema, claim in claims:
                yield replace(make(config, schema, group, claim), near=near)
        if Sizes(config).entry:
            yield make(
                config, "the next entry to sweep follows from the answers", f"channel{channel}", _next_entry(channel)
            )


def _names_tenant(s: Sight) -> Term:
    return s.logic.less(s["sweep_tenant"], s.config.tenants)


def _not_empty(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.any(
        s.tenant(tenant, "attachment") == int(Attachment.DETACHED), s.no(s.tenant(tenant, "limit") == 0)
    )


def _brings_some(stage: str) -> Callable[[Sight], Term]:
    return lambda s: s.implies(pending(s, stage, Command.ATTACH), s.no(s["argument_limit"] == 0))


def _counted(channel: int, age: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        newer, older = (s[f"channel{channel}_swept_{a}"] for a in (age - 1, age))
        bits = Sizes(s.config).length - Sizes(s.config).channel
        one_more = newer == s.logic.plus(older, 1, bits)
        sweeps = s.in_flight(channel, age) == int(Kind.SWEEP)
        busy = s["sweep_is_busy"] == 1
        return s.all(s.implies(s.all(busy, sweeps), one_more), s.any(s.no(busy), sweeps, newer == older))

    return claim


def _length_is_limit(tenant: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s.all(s["sweep_is_busy"] == 1, s["sweep_tenant"] == tenant), s["sweep_length"] == s.tenant(tenant, "limit")
    )


def _length_here(s: Sight) -> Term:
    """Beats on each channel of the window that is swept."""
    sizes = Sizes(s.config)
    return s.logic.field(s["sweep_length"], sizes.length - 1, sizes.channel)


def _all_sent(channel: int, age: int) -> Callable[[Sight], Term]:
    """While the timer shows `age` or more, all writes had left `age` cycles ago already."""

    def claim(s: Sight) -> Term:
        waits = s.logic.less(age, s["sweep_timer"]) if age == 0 else s.logic.at_most(age, s["sweep_timer"])
        complete = s.logic.at_most(_length_here(s), s[f"channel{channel}_swept_{age}"])
        return s.implies(waits, s.all(s["sweep_is_busy"] == 1, complete))

    return claim


def _no_more(channel: int, age: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(
        s["sweep_is_busy"] == 1, s.logic.at_most(s[f"channel{channel}_swept_{age}"], _length_here(s))
    )


def _inside(channel: int) -> Callable[[Sight], Term]:
    """An offset of the sweep is below the limit of the window, and fits the counter of the channel."""
    return lambda s: s.implies(
        s.in_flight(channel, 1) == int(Kind.SWEEP),
        s.logic.less(s[f"channel{channel}_stage_offset"], s[f"channel{channel}_stage_limit"]),
    )


def _next_entry(channel: int) -> Callable[[Sight], Term]:
    return lambda s: s.all(
        s.implies(
            s["sweep_is_busy"] == 1,
            s[f"channel{channel}_sweep_entry"]
            == s.low(s[f"channel{channel}_swept_{age_of_answer(s.config)}"], Sizes(s.config).entry),
        ),
        s.implies(s["sweep_is_busy"] == 0, s[f"channel{channel}_sweep_entry"] == 0),
    )


def is_swept(s: Sight, channel: int, tenant: int, entry: int) -> Term:
    """The sweep of the tenant's window, still busy, has visited this entry of its prefetch."""
    here = s.all(s["sweep_is_busy"] == 1, s["sweep_tenant"] == tenant)
    return s.all(here, s.logic.less(entry, s[f"channel{channel}_swept_{age_of_answer(s.config)}"]))


def _swept_is_zero(config: PoolConfig, channel: int, tenant: int, entry: int) -> Fixed:
    swept = seen(config, lambda s: is_swept(s, channel, tenant, entry))
    return Fixed(swept, prefetch_leaf(config, channel, tenant, entry), 0)
