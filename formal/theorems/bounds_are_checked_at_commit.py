"""L6: what reaches memory from a core lies in its owner's window, and no other live or dirty window has a beat of that.

This is theorem 3, memory: it speaks of the outputs of the channels, behind the limit check, where an access is
committed. Checked here: that it says so of every core on every channel and of every two tenants.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.composition import unsaid
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()
PREMISES = ("memory",)


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("statement",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return unsaid(config, "L6")
