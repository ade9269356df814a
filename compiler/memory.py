"""Places for tensors in the activation area: two that are needed at the same time never overlap.

Time runs in steps: layer i computes at 2 i + 1; the host acts at 2 i before layer i.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Lifetime:
    """Vectors that are needed from time `birth` to `death`, both included."""

    vectors: int
    birth: int
    death: int


def layer_time(layer: int) -> int:
    """When a layer reads its inputs and writes its outputs."""
    return 2 * layer + 1


def host_time(layer: int) -> int:
    """When the host reads and writes before a layer."""
    return 2 * layer


def allocate(lifetimes: dict[str, Lifetime], alignment: int) -> tuple[dict[str, int], int]:
    """First vectors of all tensors (multiples of `alignment`), and the length of the area.

    The largest come first, each at the lowest place that is free throughout its life.
    """
    places: dict[str, int] = {}
    end = 0
    for name in sorted(lifetimes, key=lambda key: (-lifetimes[key].vectors, lifetimes[key].birth, key)):
        own = lifetimes[name]
        taken = sorted(
            (places[other], places[other] + lifetimes[other].vectors)
            for other in places
            if lifetimes[other].birth <= own.death and own.birth <= lifetimes[other].death
        )
        place = 0
        for first, last in taken:
            if place + own.vectors <= first:
                break
            place = max(place, -(-last // alignment) * alignment)
        places[name] = place
        end = max(end, place + own.vectors)
    return places, -(-end // alignment) * alignment
