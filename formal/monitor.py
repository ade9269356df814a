"""Ghost logic: registers that watch a netlist so that a theorem can speak about its past, and that cannot touch it."""

from __future__ import annotations

from collections.abc import Callable

import pyrtl

from formal.mutation import copy_netlist, wire

Lookup = Callable[[str], pyrtl.WireVector]


class MonitorError(Exception):
    """Ghost logic drives the design, which would make theorems about the pair worthless."""


def monitored(block: pyrtl.Block, monitor: Callable[[Lookup], None]) -> pyrtl.Block:
    """A copy of `block` with ghost logic added.

    Args:
        block: the design (or a mutant of it); not changed.
        monitor: builds PyRTL logic in the copy. It gets a function that returns the design's wires by name; it may
            add inputs, which the theorem leaves free, to choose what is watched.

    Raises:
        MonitorError: when an original net changed, or ghost logic drives or writes something of the design.
    """
    copied = copy_netlist(block)
    nets, wires = set(copied.logic), set(copied.wirevector_set)
    memories = {net.op_param[1].name for net in nets if net.op in "m@"}
    with pyrtl.set_working_block(copied):
        monitor(lambda name: wire(copied, name))
    if not nets <= copied.logic:
        raise MonitorError("a net of the design was removed or replaced")
    for net in copied.logic - nets:
        if any(dest in wires for dest in net.dests):
            raise MonitorError(f"ghost logic drives {net.dests[0].name}")
        if net.op == "@" and net.op_param[1].name in memories:
            raise MonitorError(f"ghost logic writes memory {net.op_param[1].name}")
    copied.sanity_check()
    return copied
