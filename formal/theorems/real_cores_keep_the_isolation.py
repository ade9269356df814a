"""L7: with the real cores in place no tenant can observe its neighbours: joint induction over shell, cores and windows.

Take two runs of the whole pool in which the host acts on A alike (as in theorem 2b, independence), and in which what
it does for other tenants, and their programs, data and windows, may differ. By induction over the cycles: A holds the
same cores; A's view of the shell is the same; every core that A holds is in the same state, register by register and
word by word; every core that is FREE is at reset; A's window holds the same. For one cycle to the next this follows
from L0, L2, L3, L4, L5 and L6, over uninterpreted states of cores, views and windows (`formal/composition.py`), which
Z3 shows for all cores of the pool together; also that it does not follow without any of them, and that all of them can
hold at once. In the first cycle every core is SCRUBBING, hence neither held nor FREE, and the shell is at reset in
both runs. If the host does the same in both runs, the whole control plane is the same besides (L1, and theorem 2a in
L2).

It is proved when its premises are, at this pool: a premise that is refuted or undecided makes it unknown.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.composition import does_not_follow, starts_otherwise
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = (
    "The host acts on A alike in both runs, and writes the same to A's window; what A's window held when A was "
    "attached is the same, or A does not read it.",
    "The memory behind a channel answers with what was written last at that beat, after its fixed latency.",
)
PREMISES = ("L0", "L1", "L2", "L3", "L4", "L5", "L6")


def parts(config: PoolConfig) -> Sequence[str]:
    """The step and its start."""
    return ("step", "start")


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return does_not_follow(config.cores) if part == "step" else starts_otherwise(config)
