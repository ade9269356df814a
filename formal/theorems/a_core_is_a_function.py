"""L3: a core is a function: its next state and its outputs follow from its state and its inputs.

Each memory has one write port and one read port; when they meet at a word, nothing depends on what is read. So no
memory, however it is made, can answer with a choice of its own, in any state, reachable or not.

Scope: the netlist of the real core; every state, every input; Z3 decides each memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.structure import collisions, core_block
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("netlist",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return collisions(core_block(config))
