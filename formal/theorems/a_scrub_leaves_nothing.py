"""L4: from any state a scrub leaves a core at reset, and there it stays until its first instruction.

- In each cycle of `scrub` from its third one on, whatever else the inputs are, every register of the core loads its
  reset value, pipeline and memory output registers included: 0, but 1 for those that clear all others.
- In each cycle of `scrub` in which every register is at reset, so in all but the first three of a sweep, every memory
  writes 0 at `scrub_address` modulo its depth, whatever else the inputs are. No memory has more words than the sweep
  has addresses, 0 to scrub_cycles - 1. One with fewer words is swept by more than once, so that each word is zeroed
  after the third cycle; one with as many words writes 0 in the first cycles, too, from any state.
- From a core whose registers are at reset and whose memories are 0, and as long as `instruction_valid` is 0, every
  register stays at reset and every word of memory 0, whatever the other inputs are.

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
