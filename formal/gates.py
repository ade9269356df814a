"""A netlist and claims about it as a graph of gates, in which what is equal by structure is one node.

Literals are those of SAT solvers: node n is n, its inverse -n, and node 1 is true. Gates are conjunctions, exclusive
ors and multiplexers; a gate whose value follows from constants or from equal operands is never made. So the cycles of
two runs share what they cannot differ in, and a question becomes clauses without any further translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from formal.algebra import Term

TRUE, FALSE = 1, -1
Gate = tuple[int, ...]
"""Two literals: their conjunction. Three, the last one 0: the exclusive or of the first two. Three: the first chooses
the second, or else the third."""


class Gates:
    """The graph. `gates` has the operands of each node that is no variable."""

    def __init__(self) -> None:
        self.nodes = 1
        self.gates: dict[int, Gate] = {}
        self._known: dict[Gate, int] = {}

    def variable(self) -> int:
        """A new node that may be true or false."""
        self.nodes += 1
        return self.nodes

    def both(self, a: int, b: int) -> int:
        """Conjunction."""
        if a > b:
            a, b = b, a
        if a == b or b == TRUE:
            return a
        if a == -b or a == FALSE or b == FALSE:
            return FALSE
        return b if a == TRUE else self._node((a, b))

    def either(self, a: int, b: int) -> int:
        """Disjunction."""
        return -self.both(-a, -b)

    def differ(self, a: int, b: int) -> int:
        """Exclusive or."""
        sign = 1
        if a < 0:
            a, sign = -a, -sign
        if b < 0:
            b, sign = -b, -sign
        if a == b:
            return -sign
        if a > b:
            a, b = b, a
        return -sign * b if a == TRUE else sign * self._node((a, b, 0))

    def choose(self, condition: int, accepted: int, rejected: int) -> int:
        """Multiplexer."""
        if condition < 0:
            condition, accepted, rejected = -condition, rejected, accepted
        if condition == TRUE or accepted == rejected:
            return accepted
        if accepted == -rejected:
            return self.differ(condition, rejected)
        if accepted in (TRUE, condition):
            return self.either(condition, rejected)
        if accepted in (FALSE, -condition):
            return self.both(-condition, rejected)
        if rejected in (TRUE, -condition):
            return self.either(-condition, accepted)
        if rejected in (FALSE, condition):
            return self.both(condition, accepted)
        if accepted < 0:
            return -self._node((condition, -accepted, -rejected))
        return self._node((condition, accepted, rejected))

    def _node(self, gate: Gate) -> int:
        node = self._known.get(gate)
        if node is None:
            self.nodes += 1
            node = self._known[gate] = self.nodes
            self.gates[node] = gate
        return node

    def is_larger(self, literal: int, limit: int) -> bool:
        """Whether a literal depends on more gates than that."""
        found: set[int] = set()
        pending = [abs(literal)]
        while pending and len(found) <= limit:
            node = pending.pop()
            if node in self.gates and node not in found:
                found.add(node)
                pending += map(abs, self.gates[node])
        return len(found) > limit

    def all(self, literals: Sequence[int]) -> int:
        """Conjunction of many, as a balanced tree."""
        while len(literals) > 1:
            pairs = [self.both(a, b) for a, b in zip(literals[::2], literals[1::2], strict=False)]
            literals = [*pairs, literals[-1]] if len(literals) % 2 else pairs
        return literals[0] if literals else TRUE

    def sum(self, left: Sequence[int], right: Sequence[int], carry: int, bits: int) -> tuple[int, ...]:
        """Sum of two numbers and a carry, modulo 2**bits; missing bits are 0."""
        total = []
        for place in range(bits):
            a = left[place] if place < len(left) else FALSE
            b = right[place] if place < len(right) else FALSE
            half = self.differ(a, b)
            total.append(self.differ(half, carry))
            carry = self.choose(half, carry, a)
        return tuple(total)

    def less(self, left: Sequence[int], right: Sequence[int]) -> int:
        """Unsigned comparison."""
        below = FALSE
        for place in range(max(len(left), len(right))):
            a = left[place] if place < len(left) else FALSE
            b = right[place] if place < len(right) else FALSE
            below = self.choose(self.differ(a, b), b, below)
        return below

    def equal(self, left: Sequence[int], right: Sequence[int]) -> int:
        """Equality of numbers."""
        if len(left) < len(right):
            left, right = right, left
        same = [-self.differ(a, b) for a, b in zip(left, right, strict=False)]
        return self.all(same + [-a for a in left[len(right) :]])


class Word:
    """Bits of a number, lowest first; a claim is a word of one bit. Claims can compare words, and nothing else."""

    __slots__ = ("bits", "graph")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, graph: Gates, bits: Sequence[int]) -> None:
        self.graph, self.bits = graph, bits

    def __eq__(self, other: object) -> Any:
        return Word(self.graph, (self.graph.equal(self.bits, _bits(other)),))

    def __ne__(self, other: object) -> Any:
        return Word(self.graph, (-self.graph.equal(self.bits, _bits(other)),))

    def __bool__(self) -> bool:
        raise TypeError("the value of a gate is not known; use the logic's connectives")


def _bits(value: object) -> Sequence[int]:
    if isinstance(value, Word):
        return value.bits
    if isinstance(value, bool | int):
        return _number(int(value), max(1, int(value).bit_length()))
    raise TypeError(f"{value!r} is no value of a claim")


def _number(value: int, bits: int) -> tuple[int, ...]:
    return tuple(TRUE if value >> place & 1 else FALSE for place in range(bits))


class GateAlgebra:
    """PyRTL's operations as gates; see `formal.algebra.Algebra`. A memory is a list of words."""

    def __init__(self, graph: Gates) -> None:
        self.graph = graph

    def constant(self, value: int, bits: int) -> Word:
        """See `Algebra`."""
        return Word(self.graph, _number(value, bits))

    def variable(self, bits: int) -> Word:
        """A number that may have any value."""
        return Word(self.graph, tuple(self.graph.variable() for _ in range(bits)))

    def words(self, values: Sequence[int], bits: int) -> list[Word]:
        """See `Algebra`."""
        return [self.constant(value, bits) for value in values]

    def read(self, memory: Sequence[Word], address: Word) -> Word:
        """See `Algebra`: a tree of multiplexers."""
        choose, rows = self.graph.choose, [word.bits for word in memory]
        for bit in address.bits:
            rows = [
                odd if odd == even else tuple(choose(bit, b, a) for a, b in zip(even, odd, strict=True))
                for even, odd in zip(rows[::2], rows[1::2], strict=True)
            ]
        return Word(self.graph, rows[0])

    def write(self, memory: Sequence[Word], address: Word, data: Word, enable: Word) -> list[Word]:
        """See `Algebra`."""
        graph, written = self.graph, []
        for index, word in enumerate(memory):
            here = graph.both(enable.bits[0], graph.equal(address.bits, _number(index, len(address.bits))))
            bits = tuple(graph.choose(here, new, old) for new, old in zip(data.bits, word.bits, strict=True))
            written.append(Word(graph, bits))
        return written

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Word], widths: Sequence[int], bits: int
    ) -> Word:
        """See `Algebra`."""
        if operation == "w":
            return arguments[0]
        return Word(self.graph, self._operate(operation, parameter, [each.bits for each in arguments], bits))

    def _operate(self, operation: str, parameter: Any, operands: Sequence[Sequence[int]], bits: int) -> Sequence[int]:
        graph, first = self.graph, operands[0]
        match operation:
            case "~":
                return tuple(-bit for bit in first)
            case "x":
                condition = first[0]
                return tuple(graph.choose(condition, b, a) for a, b in zip(operands[1], operands[2], strict=True))
            case "c":
                return tuple(bit for part in reversed(operands) for bit in part)
            case "s":
                return tuple(first[place] for place in parameter)
        second = operands[1]
        match operation:
            case "&":
                return tuple(map(graph.both, first, second))
            case "|":
                return tuple(map(graph.either, first, second))
            case "^":
                return tuple(map(graph.differ, first, second))
            case "n":
                return tuple(-graph.both(a, b) for a, b in zip(first, second, strict=True))
            case "+":
                return graph.sum(first, second, FALSE, bits)
            case "-":
                return graph.sum(first, _negative(second, bits), TRUE, bits)
            case "*":
                return self._product(first, second, bits)
            case "=":
                return (graph.equal(first, second),)
            case "<":
                return (graph.less(first, second),)
            case ">":
                return (graph.less(second, first),)
        raise ValueError(f"operation {operation!r} is not one of PyRTL's")

    def _product(self, first: Sequence[int], second: Sequence[int], bits: int) -> Sequence[int]:
        graph, total = self.graph, _number(0, bits)
        for place, enable in enumerate(second[:bits]):
            row = [FALSE] * place + [graph.both(enable, bit) for bit in first]
            total = graph.sum(total, row, FALSE, bits)
        return total


def _negative(bits: Sequence[int], width: int) -> list[int]:
    """The inverse of each bit of a number, which is as wide as wanted."""
    return [-bit for bit in bits[:width]] + [TRUE] * (width - len(bits))


class GateLogic:
    """Claims as gates; see `formal.logic.Logic`."""

    def __init__(self, graph: Gates) -> None:
        self.graph = graph

    def _claim(self, literal: int) -> Word:
        return Word(self.graph, (literal,))

    def all(self, claims: Iterable[Term]) -> Word:
        """See `Logic`."""
        return self._claim(self.graph.all([_bits(claim)[0] for claim in claims]))

    def any(self, claims: Iterable[Term]) -> Word:
        """See `Logic`."""
        return self._claim(-self.graph.all([-_bits(claim)[0] for claim in claims]))

    def negate(self, claim: Term) -> Word:
        """See `Logic`."""
        return self._claim(-_bits(claim)[0])

    def implies(self, condition: Term, claim: Term) -> Word:
        """See `Logic`."""
        return self._claim(self.graph.either(-_bits(condition)[0], _bits(claim)[0]))

    def less(self, left: Term, right: Term) -> Word:
        """See `Logic`."""
        return self._claim(self.graph.less(_bits(left), _bits(right)))

    def at_most(self, left: Term, right: Term) -> Word:
        """See `Logic`."""
        return self._claim(-self.graph.less(_bits(right), _bits(left)))

    def equal(self, left: Term, right: Term) -> Word:
        """See `Logic`."""
        if isinstance(left, Sequence):
            return self.all(self.equal(a, b) for a, b in zip(left, right, strict=True))
        return self._claim(self.graph.equal(_bits(left), _bits(right)))

    def choose(self, condition: Term, accepted: Term, rejected: Term) -> Word:
        """See `Logic`."""
        first, second = _bits(accepted), _bits(rejected)
        width, which = max(len(first), len(second)), _bits(condition)[0]
        pairs = zip(_wide(first, width), _wide(second, width), strict=True)
        return Word(self.graph, tuple(self.graph.choose(which, a, b) for a, b in pairs))

    def plus(self, left: Term, right: Term, bits: int) -> Word:
        """See `Logic`."""
        return Word(self.graph, self.graph.sum(_modulo(left, bits), _modulo(right, bits), FALSE, bits))

    def minus(self, left: Term, right: Term, bits: int) -> Word:
        """See `Logic`."""
        return Word(self.graph, self.graph.sum(_modulo(left, bits), _negative(_modulo(right, bits), bits), TRUE, bits))

    def field(self, value: Term, high: int, low: int) -> Word:
        """See `Logic`."""
        return Word(self.graph, _bits(value)[low : high + 1])


def _modulo(value: Term, bits: int) -> Sequence[int]:
    return _number(value, bits) if isinstance(value, int) else _bits(value)


def _wide(bits: Sequence[int], width: int) -> Sequence[int]:
    return [*bits, *[FALSE] * (width - len(bits))]
