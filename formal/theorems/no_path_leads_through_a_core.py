"""L0: no combinational path leads through a core, because each of its outputs is a register.

Hence what a core shows in a cycle is a function of its state alone, and shell and cores can be reasoned about one cycle
at a time. The shell's ports into a core are registers, too, by their construction (`rtl.pool.core_input_registers`).

Scope: the netlist of the real core, by search; every state, every input.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.structure import combinational_paths, core_block
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("netlist",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    return combinational_paths(config, core_block(config))
