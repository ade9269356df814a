"""L4: from any state a scrub leaves a core at reset, and there it stays until its first instruction.

- In each cycle of `scrub`, whatever else the inputs are, every register of the core loads 0, pipeline and memory output
  registers included, and every memory writes 0 at `scrub_address` modulo its depth. No memory has more words than the
  sweep has addresses.
- From a core whose registers and memories are 0, and as long as `instruction_valid` is 0, every register stays 0 and
  every word of memory, whatever the other inputs are.

So every register of a core that has been swept is at its reset value when GRANT takes effect, literally.

Scope: the netlist of the real core, by propagation of constants; every state, every input.
"""

from __future__ import annotations

from collections.abc import Sequence

from formal.structure import core_block, leaves_reset, left_by_scrub
from isa.configuration import PoolConfig

ASSUMPTIONS: tuple[str, ...] = ()


def parts(config: PoolConfig) -> Sequence[str]:
    """One part."""
    return ("netlist",)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the lemma on this pool."""
    block = core_block(config)
    return [*left_by_scrub(config, block), *leaves_reset(block)]
