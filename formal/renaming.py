"""Goals that are others with their variables renamed: the bits of a word, of which only one need be proved.

That a literal follows from hypotheses holds for all values of the variables. So it stays true when variables are
replaced by others: where the goal becomes another goal, and each hypothesis becomes one that is known as well, that
other goal is proved, too. What replaces what is found by walking through both goals side by side, gate by gate: they
must be of one shape, and below gates that they share nothing may be replaced. Hypotheses are built anew with the
variables replaced; what is equal by structure is one node, so that known ones are recognised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from formal.gates import TRUE, Gates
from formal.questions import Question

_WORD = 32
"""What holds of so many bits in the same way is proved of one of them."""
_FAILED, _ROUNDS = 3, 8
"""After so many goals that stand for no others, or models that ask for other hypotheses, the rest is left."""
_TRIED = 6
"""If none of so many goals is another one renamed, the rest is not tried."""


def conjuncts(graph: Gates, literal: int) -> list[int]:
    """Literals whose conjunction is the literal; what a condition implies together, it implies one by one."""
    gate = graph.gates.get(abs(literal), ())
    if len(gate) != 2:
        return [literal]
    if literal > 0:
        return [part for operand in gate for part in conjuncts(graph, operand)]
    sides = [conjuncts(graph, -operand) if operand < 0 else [-operand] for operand in gate]
    longer = 0 if len(sides[0]) >= len(sides[1]) else 1
    if len(sides[longer]) == 1:
        return [literal]
    return [graph.either(part, -gate[1 - longer]) for part in sides[longer]]


def renaming(graph: Gates, literal: int, other: int) -> tuple[dict[int, int], list[int]] | None:
    """How a literal becomes another one of the same shape; None when it is of another shape.

    Returns:
        Variables of the literal with what stands in their place, and the nodes that both share: the one literal is the
        other with variables replaced if none of these depends on any variable that is.
    """
    gates, places, moved, same = graph.gates, dict[int, int](), dict[int, int](), list[int]()
    pending = [(literal, other)]
    while pending:
        node, here = pending.pop()
        if node < 0:
            node, here = -node, -here
        if node in places:
            if places[node] != here:
                return None
            continue
        places[node] = here
        if node == here:
            same.append(node)
            continue
        gate = gates.get(node)
        if gate is None:
            if node == TRUE:
                return None
            moved[node] = here
            continue
        there = gates.get(abs(here), ())
        if len(there) != len(gate) or (here < 0 and len(gate) == 2) or (gate[-1] == 0) != (there[-1] == 0):
            return None
        a, b, *rest = gate
        c, d, *others = there
        if not rest or rest == [0]:
            if a == d or b == c:
                c, d = d, c
            rest, others = [], []
        if here < 0:  # the inverse of an exclusive or, or of a multiplexer
            c, d, *others = (-c, d) if not others else (c, -d, -others[0])
        pending += zip([a, b, *rest], [c, d, *others], strict=True)
    return moved, same


class Touches:
    """Which of some variables literals depend on, as a set of bits by the variables' owners."""

    def __init__(self, graph: Gates, owners: Mapping[int, int]) -> None:
        self._gates = graph.gates
        self._known: dict[int, int] = {TRUE: 0, **owners}

    def of(self, literal: int) -> int:
        """The owners, each a bit, of the variables that the literal depends on."""
        known, gates = self._known, self._gates
        pending = [abs(literal)]
        while pending:
            node = pending[-1]
            if node in known:
                pending.pop()
                continue
            gate = gates.get(node)
            if gate is None:
                known[node] = 0
                continue
            missing = [abs(operand) for operand in gate if operand and abs(operand) not in known]
            if missing:
                pending += missing
                continue
            total = 0
            for operand in gate:
                if operand:
                    total |= known[abs(operand)]
            known[node] = total
        return known[abs(literal)]


class Renamed:
    """Literals with some of their variables replaced."""

    def __init__(self, graph: Gates, moved: Mapping[int, int], touches: Touches) -> None:
        self._graph, self._touches = graph, touches
        self._done: dict[int, int] = dict(moved)

    def of(self, literal: int) -> int:
        """The literal that this one becomes."""
        node = abs(literal)
        if node not in self._done:
            self._build(node)
        return self._done[node] if literal > 0 else -self._done[node]

    def _build(self, root: int) -> None:
        graph, done = self._graph, self._done
        pending = [root]
        while pending:
            node = pending[-1]
            if node in done:
                pending.pop()
                continue
            gate = graph.gates.get(node)
            if gate is None or not self._touches.of(node):
                done[node] = node
                continue
            missing = [abs(operand) for operand in gate if operand and abs(operand) not in done]
            if missing:
                pending += missing
                continue
            a, b, *rest = (done[operand] if operand > 0 else -done[-operand] for operand in gate if operand)
            if rest:
                done[node] = graph.choose(a, b, rest[0])
            else:
                done[node] = graph.both(a, b) if len(gate) == 2 else graph.differ(a, b)


_MINE = 1
"""As an owner of variables: the goal itself. Its instances are the other bits."""


class Pattern:
    """A goal and its instances, which are the goal with variables replaced; `use` finds what it may be proved from."""

    def __init__(self, graph: Gates, goal: int, others: Sequence[int]) -> None:
        self.goal = goal
        self.instances: list[int] = []
        self._find(graph, others[:: max(1, len(others) // _TRIED)])
        if self.instances:
            self._find(graph, others)

    def _find(self, graph: Gates, others: Sequence[int]) -> None:
        found = {other: fit for other in others if (fit := renaming(graph, self.goal, other)) is not None}
        owners: dict[int, int] = {}
        for index, (moved, _) in enumerate(found.values(), 1):
            for variable, place in moved.items():
                owners[variable] = owners.get(variable, 0) | _MINE
                owners[abs(place)] = owners.get(abs(place), 0) | _MINE << index
        touches = self._touches = Touches(graph, owners)
        self._renamed = {
            other: Renamed(graph, moved, touches)
            for other, (moved, same) in found.items()
            if not any(touches.of(node) & _MINE for node in same)
        }
        self.instances = list(self._renamed)

    def use(self, hypotheses: Iterable[int]) -> list[int]:
        """Some of these hypotheses. If the goal follows from them, `instances`, as they are now, follow from all."""
        known, touches = set(hypotheses), self._touches
        first = self._renamed[self.instances[0]]
        mine = [each for each in known if touches.of(each) == _MINE and first.of(each) in known]
        self.instances = [
            other for other in self.instances if all(self._renamed[other].of(each) in known for each in mine)
        ]
        return [*(each for each in known if not touches.of(each)), *mine]


def decide_bits(
    graph: Gates,
    literal: int,
    enabled: set[int],
    parts: Callable[[int], Sequence[int]],
    broken: Callable[[Mapping[int, bool]], Iterable[int]],
    seconds: float,
) -> tuple[list[int], int]:
    """Prove what a literal says of a word by proving it of one bit, as far as the bits are alike.

    Args:
        graph: what literals mean.
        literal: what follows from the hypotheses, if it does.
        enabled: the hypotheses to be used, by number; those that a model breaks are added.
        parts: literals whose conjunction is the hypothesis of that number.
        broken: the hypotheses that a model breaks.
        seconds: time limit of one call of a solver.

    Returns:
        A literal that is still to be proved, or nothing, and how many goals were proved for others.
    """
    left, apart, proved = conjuncts(graph, literal), list[int](), 0
    if len(left) < _WORD:
        return [literal], 0
    while len(left) >= _WORD and len(apart) < _FAILED:
        goal = left.pop(len(left) // 2)
        pattern = Pattern(graph, goal, left)
        if len(pattern.instances) < _WORD - 1:
            apart.append(goal)
        elif _follows(graph, pattern, enabled, parts, broken, seconds):
            done = set(pattern.instances)
            left = [part for part in left if part not in done]
            proved += 1
        else:
            apart.append(goal)
            break
    apart += left
    return [graph.all(apart)] if apart else [], proved


def _follows(
    graph: Gates,
    pattern: Pattern,
    enabled: set[int],
    parts: Callable[[int], Sequence[int]],
    broken: Callable[[Mapping[int, bool]], Iterable[int]],
    seconds: float,
) -> bool:
    """Whether a goal, and with it the instances that are left, was proved."""
    for _ in range(_ROUNDS):
        given = pattern.use(part for index in enabled for part in parts(index))
        question = Question(graph, seconds, exact=False)
        try:
            reply = question.ask(-pattern.goal, dict(enumerate(given)), thorough=False)
        finally:
            question.close()
        if not reply.satisfiable or not pattern.instances:
            return reply.satisfiable is False
        missing = set(broken(reply.values)) - enabled
        if not missing:
            return False
        enabled |= missing
    return False
