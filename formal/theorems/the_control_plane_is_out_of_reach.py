"""L1: the next state of the control plane depends on the control plane and the host's inputs, and on nothing else.

The control plane is the ownership table, virtual indices, attachments, windows, timers, scrub ports, the sweep, the
wheel, and the command with its checks (`formal.relations.CONTROL_PLANE`).

Scope: the netlist of the shell with free cores, by search; every state, every input.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.shell import shell_block
from formal.structure import control_plane_leaks
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("netlist",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return control_plane_leaks(shell_block(config))
