"""L5: a core that is FREE has been swept word by word, and the shell's registers for it and its slots are at reset.

This is part of theorem 4, hand-over. Checked here: that it says so of every core, that a core becomes HELD from FREE
only, and that instructions come to cores in use only; and that it assumes nothing that is not discharged.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.composition import unsaid
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()
PREMISES = ("hand-over",)


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("statement",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return unsaid(config, "L5")
