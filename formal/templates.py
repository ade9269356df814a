"""Conjectured invariants by pattern: registers are grouped by the index in their names, and patterns are tried on
every group. A schema is a pattern with the index removed, so what is inferred on a few cores applies to sixteen.

Which patterns a register takes part in depends on its width, so infer on a configuration where no width degenerates:
with two cores a core number has one bit and counts as a flag, with three it does not.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from formal.algebra import Term
from formal.problem import Candidate, Formula, View
from formal.transition import TransitionSystem

INDEXED_NAME = r"(?P<family>[A-Za-z_/]*[A-Za-z])(?P<index>\d+)[_/](?P<part>.+)"


@dataclass(frozen=True)
class Group:
    """Registers and memories that share a family and an index: core 3 is ("core", 3), and parts are `core3_*`.

    `registers` and `memories` map the part (the name without family and index) to the full name. Names without an
    index form the group with an empty family and index -1.
    """

    family: str
    index: int
    registers: dict[str, str]
    memories: dict[str, str]

    @property
    def name(self) -> str:
        """`core3`, or the empty string for names without index."""
        return f"{self.family}{self.index}" if self.index >= 0 else ""


def groups(system: TransitionSystem, pattern: str = INDEXED_NAME, leave_out: str | None = None) -> list[Group]:
    """Group the state of `system` by name.

    Args:
        system: where names come from.
        pattern: a regular expression with the groups `family`, `index` and `part`, matched against whole names.
        leave_out: names that match this expression anywhere are ignored (wide payload, for instance).
    """
    matcher = re.compile(pattern)
    hidden = re.compile(leave_out) if leave_out else None
    found: dict[tuple[str, int], Group] = {}
    for names, is_memory in ((system.registers, False), (system.memories, True)):
        for name in names:
            if hidden is not None and hidden.search(name):
                continue
            match = matcher.fullmatch(name)
            key = (match["family"], int(match["index"])) if match else ("", -1)
            group = found.setdefault(key, Group(*key, {}, {}))
            table = group.memories if is_memory else group.registers
            table[match["part"] if match else name] = name
    return [found[key] for key in sorted(found)]


@dataclass(frozen=True)
class _Guard:
    text: str
    register: str
    condition: Formula


def value_is(name: str, value: int) -> Formula:
    """The register or wire `name` is `value`."""
    return lambda logic, view: view[name] == value


def value_is_at_most(name: str, limit: int) -> Formula:
    """The register or wire `name` is no larger than `limit`, unsigned."""
    return lambda logic, view: logic.at_most(view[name], limit)


def values_equal(first: str, second: str) -> Formula:
    """Two registers or wires of equal width have the same value."""
    return lambda logic, view: view[first] == view[second]


def any_is_set(names: Sequence[str]) -> Formula:
    """At least one of several one-bit registers or wires is 1."""
    return lambda logic, view: logic.any(view[name] == 1 for name in names)


def implication(condition: Formula, claim: Formula) -> Formula:
    """Where `condition` holds, so does `claim`."""
    return lambda logic, view: logic.implies(condition(logic, view), claim(logic, view))


def negation(claim: Formula) -> Formula:
    """The claim does not hold."""
    return lambda logic, view: logic.negate(claim(logic, view))


def conjunction(*claims: Formula) -> Formula:
    """All of the claims; true when there is none."""
    return lambda logic, view: logic.all(claim(logic, view) for claim in claims)


def value_is_symbol(name: str, symbol: str) -> Formula:
    """In the left copy the register `name` equals a symbolic constant."""
    return lambda logic, view: view.left[name] == view.symbol(symbol)


def symbol_is(symbol: str, value: int) -> Formula:
    """A symbolic constant is `value`."""
    return lambda logic, view: view.symbol(symbol) == value


def _guards(system: TransitionSystem, group: Group, bits: int) -> list[_Guard]:
    """`register is value` for every register of up to `bits` bits."""
    return [
        _Guard(f"{group.family}.{part} is {value}", name, value_is(name, value))
        for part, name in group.registers.items()
        if system.registers[name][0] <= bits
        for value in range(1 << system.registers[name][0])
    ]


def unary(
    system: TransitionSystem,
    within: Sequence[Group],
    guard_bits: int = 1,
    equal_bits: Sequence[int] | None = None,
) -> list[Candidate]:
    """Invariants within one group, over one copy (asserted of both copies when there are two).

    Patterns: `x is 0`; `x <= 1`; `guard -> x is 0`; `x equals y`; `guard -> x equals y`; and for registers small
    enough to be guards `x is not v`, `guard -> x is v`, `guard -> x is not v` for every value v.
    Exclusion of two bits is `a -> b is 0`, so at most one of many is covered; exactly one needs `exactly_one`.

    Args:
        system: the transition system.
        within: groups, from `groups`.
        guard_bits: registers of at most this many bits serve as guards, one guard per value.
        equal_bits: widths for which registers are compared with each other; None means all wider than one bit.
    """
    found = []
    for group in within:
        widths = {part: system.registers[name][0] for part, name in group.registers.items()}
        guards = _guards(system, group, guard_bits)
        for part, name in group.registers.items():
            target = f"{group.family}.{part}"
            zero = f"{target} is 0"
            found.append(_candidate(zero, group, value_is(name, 0)))
            if widths[part] > 1:
                found.append(_candidate(f"{target} <= 1", group, value_is_at_most(name, 1), zero))
            values = range(1 << widths[part]) if widths[part] <= guard_bits else range(1)
            for guard, value in itertools.product(guards, values):
                if guard.register == name:
                    continue
                constant, excluded = f"{target} is {value}", f"{target} is not {value}"
                claim = implication(guard.condition, value_is(name, value))
                found.append(_candidate(f"{guard.text} -> {constant}", group, claim, constant))
                if 1 < widths[part] <= guard_bits:
                    claim = implication(guard.condition, negation(value_is(name, value)))
                    found.append(_candidate(f"{guard.text} -> {excluded}", group, claim, excluded))
            if 1 < widths[part] <= guard_bits:  # a state machine's unused encodings
                for value in values:
                    found.append(_candidate(f"{target} is not {value}", group, negation(value_is(name, value))))
        for first, second in itertools.combinations(group.registers, 2):
            bits = widths[first]
            if bits != widths[second] or bits == 1 or (equal_bits is not None and bits not in equal_bits):
                continue
            equal = values_equal(group.registers[first], group.registers[second])
            same = f"{group.family}.{first} equals {group.family}.{second}"
            found.append(_candidate(same, group, equal))
            for guard in guards:
                found.append(_candidate(f"{guard.text} -> {same}", group, implication(guard.condition, equal), same))
    return found


def bounds(system: TransitionSystem, within: Sequence[Group], limits: Iterable[int]) -> list[Candidate]:
    """`x <= limit` for every limit that the register's width does not already imply."""
    ordered = sorted(set(limits))
    found = []
    for group in within:
        for part, name in group.registers.items():
            bits = system.registers[name][0]
            stronger: list[str] = []
            for limit in ordered:
                if 0 < limit < (1 << bits) - 1:
                    schema = f"{group.family}.{part} <= {limit}"
                    found.append(_candidate(schema, group, value_is_at_most(name, limit), *stronger))
                    stronger.append(schema)
    return found


def exactly_one(system: TransitionSystem, within: Sequence[Group], sizes: Sequence[int] = (2, 3, 4)) -> list[Candidate]:
    """At least one of 2, 3, ... bits of a group is set; with the exclusions of `unary`, exactly one."""
    found = []
    for group in within:
        bits = [part for part, name in group.registers.items() if system.registers[name][0] == 1]
        for size in sizes:
            for parts in itertools.combinations(bits, size):
                names = [group.registers[part] for part in parts]
                listed = ", ".join(parts)
                found.append(_candidate(f"{group.family}: one of {listed}", group, any_is_set(names)))
    return found


def sweeps(system: TransitionSystem, within: Sequence[Group], largest: int = 64) -> list[Candidate]:
    """While a flag has a value, a memory is zero; or a pointer divides it, and words above (or below) are zero."""
    found = []
    for group in within:
        for memory_part, memory in group.memories.items():
            shape = system.memories[memory]
            if 1 << shape.address_bits > largest:
                continue
            words = range(1 << shape.address_bits)
            for guard, word in itertools.product(_guards(system, group, 1), words):
                schema = f"{guard.text} -> {group.family}.{memory_part} is 0"
                found.append(_candidate(schema, group, implication(guard.condition, _word_is_zero(memory, word))))
            for part, pointer in group.registers.items():
                if system.registers[pointer][0] < shape.address_bits:
                    continue
                for guard, word in itertools.product(_guards(system, group, 1), words):
                    for side in ("above", "below"):
                        schema = f"{guard.text} -> {group.family}.{memory_part} is 0 {side} {group.family}.{part}"
                        found.append(_candidate(schema, group, _swept(guard, pointer, memory, word, side)))
    return found


def _word_is_zero(memory: str, word: int) -> Formula:
    return lambda logic, view: view[memory][word] == 0


def _swept(guard: _Guard, pointer: str, memory: str, word: int, side: str) -> Formula:
    def formula(logic: Any, view: View) -> Term:
        done = logic.less(view[pointer], word) if side == "above" else logic.less(word, view[pointer])
        return logic.implies(logic.all([guard.condition(logic, view), done]), view[memory][word] == 0)

    return formula


def agreements(
    system: TransitionSystem,
    within: Sequence[Group],
    symbol: str,
    families: Sequence[str] = (),
    owners: Sequence[str] = (),
    guard_bits: int = 1,
) -> list[Candidate]:
    """Relational invariants over two copies: a register or memory word is the same in both, perhaps under a guard.

    Guards are tried from the weakest (so strongest invariant) on, and weaker ones make the others superfluous:
    none; `index == symbol` in the groups of `families` (tenant contexts); `owner == symbol` in groups that have one
    of the registers `owners`, alone or together with a small register's value (cores). Guards read the left copy.
    """
    found = []
    for group in within:
        guards = list(_agreement_guards(system, group, symbol, families, owners, guard_bits))
        for part, name in group.registers.items():
            found += list(_agreement(group, part, guards, name, None))
        for part, name in group.memories.items():
            for word in range(1 << system.memories[name].address_bits):
                found += list(_agreement(group, part, guards, name, word))
    return found


def _agreement_guards(
    system: TransitionSystem,
    group: Group,
    symbol: str,
    families: Sequence[str],
    owners: Sequence[str],
    guard_bits: int,
) -> Iterator[tuple[str, Formula, tuple[str, ...]]]:
    """(text, condition, texts of weaker guards) for one group."""
    yield "always", conjunction(), ()
    if group.family in families:
        yield f"{symbol} is index", symbol_is(symbol, group.index), ("always",)
    for owner in owners:
        if owner not in group.registers:
            continue
        text = f"{owner} is {symbol}"
        owned = value_is_symbol(group.registers[owner], symbol)
        yield text, owned, ("always",)
        for guard in _guards(system, group, guard_bits):
            yield f"{text} and {guard.text}", conjunction(owned, guard.condition), ("always", text)


def _agreement(
    group: Group, part: str, guards: Sequence[tuple[str, Formula, tuple[str, ...]]], name: str, word: int | None
) -> Iterator[Candidate]:
    def same(logic: Any, view: View) -> Term:
        if word is None:
            return view.left[name] == view.right[name]
        return view.left[name][word] == view.right[name][word]

    schema = f"{group.family}.{part} agrees when "
    for text, condition, weaker in guards:
        yield _candidate(schema + text, group, implication(condition, same), *(schema + other for other in weaker))


def _candidate(schema: str, group: Group, formula: Formula, *implied_by: str) -> Candidate:
    return Candidate(schema, formula, group.name, frozenset(implied_by) - {schema})
