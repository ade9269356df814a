"""L2: as long as A's cores show the same in two runs, A's view is the same, and so is what its cores get.

These are theorems 2a, non-interference, and 2b, independence, for free cores: with hosts that do the same, and with
hosts that act on A alike. Checked here: that both speak of every port of every core and of every channel, and of whose
a core is, and that they assume nothing of the cores and of memory but what L7 discharges.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.composition import unsaid
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()
PREMISES = ("non-interference", "independence")


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("statement",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return unsaid(config, "L2")
