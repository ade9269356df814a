"""A compiled network writes each output once, destroys nothing that is needed, and never stops: for every core count.

The theorem is about packages, one by one, and exact for each: the words in its window are followed for every number of
cores. What counts is what hardware keeps in order whatever the delays are (queues, tokens, barriers), in all runs:

- *Coverage.* The SAVEs of a layer write each vector of the layer's output exactly once, and nothing else.
- *Nothing live is overwritten.* Whatever an instruction reads, in a buffer of its core or in the window, was written
  before, and is not overwritten until it has been read, in every run. What a layer reads of tensors is its own inputs
  as their layers left them; what the host reads at the end is complete. Sums in the accumulators are drained before
  others take their place.
- *No deadlock.* Tokens that are given are taken, no counter overflows, and no instruction waits for anything that
  waits for it, through level 1's order and queues of any length that the pool has. The barriers are those that END
  counts.

So every run gives what the instructions mean one after another in the order of dispatch (`isa.interpreter`), which
`tenure run --check` compares with ONNX Runtime byte by byte.

Scope: here the three MNIST networks, compiled for the pool, on every number of cores. `tenure prove compilation
--package FILE` does the same for any package; without its network it takes the layers' inputs on trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from compiler.compile import compile_model
from formal.package_check import contradictions
from isa.configuration import PoolConfig

ASSUMPTIONS = (
    "An engine carries out its instructions in order, and keeps the order of its accesses to one buffer and to memory.",
)
NETWORKS = Path(__file__).parent.parent.parent / "tests" / "networks"


def parts(config: PoolConfig) -> Sequence[str]:
    """The networks."""
    return ("mobilenet", "resnet8", "lenet")


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts the theorem about one network."""
    network = onnx.load(NETWORKS / f"{part}.int8.onnx")
    return contradictions(compile_model(NETWORKS / f"{part}.int8.onnx", config), network)
