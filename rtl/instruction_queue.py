"""The queue in front of one engine.

    cycle   t                          t+1
            instruction_valid          head is valid, may issue

The head is a register; behind it lies a small memory. Credits of level 1 keep it from overflowing. `taken` is known
late: so every word is written, at a place that counts only if the head does not take the word at once, and the head
takes what there is whenever it may, 0 if there is nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyrtl
from pyrtl import Const, WireVector, select

from rtl.hierarchy import hardware
from rtl.scrubbed import Scrub, resized


@dataclass(frozen=True)
class QueueHead:
    """The oldest instruction of a queue."""

    valid: WireVector
    word: WireVector
    address: WireVector


@hardware()
def instruction_queue(
    scrub: Scrub, arrives: WireVector, word: WireVector, address: WireVector, taken: WireVector, depth: int
) -> QueueHead:
    """A queue of `depth` instructions; `taken` removes the head in the same cycle."""
    word_bits = len(word)
    memory = scrub.queue_memory(word_bits + len(address), max(2, depth), "waiting")
    pointer_bits = memory.address_bits
    write_pointer = scrub.register(pointer_bits, "write_pointer")
    read_pointer = scrub.register(pointer_bits, "read_pointer")
    head_valid = scrub.register(1, "head_valid")
    is_empty = write_pointer == read_pointer  # the head holds one of `depth`, so the memory is never full

    refills = ~head_valid | taken
    from_memory = refills & ~is_empty
    waits = arrives & ~(refills & is_empty)
    incoming = pyrtl.concat(address, word)
    # It comes from the port, not from a register that scrubbing makes 0.
    memory.write(write_pointer, select(scrub.active, Const(0, len(incoming)), incoming), arrives)
    # An empty memory reads 0; what is on the port while nothing arrives is nobody's instruction.
    bypassing = select(is_empty & arrives, incoming, Const(0, len(incoming)))
    head = scrub.kept(bypassing | memory.word(read_pointer), refills, "head")
    scrub.load(head_valid, select(refills, ~is_empty | arrives, head_valid))
    scrub.load(write_pointer, resized(write_pointer + waits, pointer_bits))
    scrub.load(read_pointer, resized(read_pointer + from_memory, pointer_bits))
    return QueueHead(valid=head_valid, word=head[:word_bits], address=head[word_bits:])
