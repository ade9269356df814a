"""The value of every gate of a graph, for given values of its variables: what tests compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from formal.gates import TRUE, Gates


def evaluated(graph: Gates, variables: Mapping[int, bool]) -> dict[int, bool]:
    """Values by node; operands have smaller numbers than their gates."""
    values = {TRUE: True, **variables}

    def value(literal: int) -> bool:
        return values[abs(literal)] != (literal < 0)

    for node, gate in sorted(graph.gates.items()):
        if len(gate) == 2:
            values[node] = value(gate[0]) and value(gate[1])
        elif gate[2] == 0:
            values[node] = value(gate[0]) != value(gate[1])
        else:
            values[node] = value(gate[1]) if value(gate[0]) else value(gate[2])
    return values


def number(values: Mapping[int, bool], bits: Sequence[int]) -> int:
    """A word of literals, lowest bit first, as a number."""
    return sum((values[abs(bit)] != (bit < 0)) << place for place, bit in enumerate(bits))
