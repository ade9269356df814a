"""L2: as long as A's cores show the same in two runs, A's view is the same, and so is what its cores get.

This is theorem 2a, non-interference, for free cores. Checked here: that it speaks of every port of every core and of
every channel, and that it assumes nothing of the cores and of memory but what L7 discharges.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.composition import unsaid
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()
PREMISES = ("non-interference",)


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("statement",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return unsaid(config, "L2")
