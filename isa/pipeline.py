"""Numbers of the core's pipelines, in cycles: the RTL is built from them and the timing model computes with them.

What they mean, cycle by cycle, stands in docs/microarchitecture.md ("Core: cycle table") and at the top of each
engine's file in rtl/. Pure numbers: nothing here depends on a pool except through an argument.
"""

from __future__ import annotations

ARRIVAL_TO_ISSUE = 1
"""From `instruction_valid` visible on the port to the first cycle in which the instruction can issue."""

# --- load ----------------------------------------------------------------------------------------------------

ISSUE_TO_REQUEST = 2
"""From the issue of a LOAD to its first beat on the request port, when the port is free."""
RESPONSE_TO_WRITE = 1
"""From a response on the port to the write of its first vectors; each cycle writes `port_vectors` of them."""

# --- save ----------------------------------------------------------------------------------------------------

SAVE_ISSUE_TO_READ = 1
"""From the issue of a SAVE to the read of its first vectors; each cycle reads one group of `port_vectors`."""
SAVE_READ_TO_REQUEST = 3
"""From the read of the last vectors of a beat to the beat on the request port, when the port is free."""
SYNC_ISSUE_TO_RAISE = 1
"""From the issue of SYNC_RAISE to `sync_local` on the port."""
RAISE_TO_RELEASE = 3
"""From the last `sync_local` on a port to `sync_global` on all ports of the tenant's cores."""

# --- walk ----------------------------------------------------------------------------------------------------

SETUP_CYCLES = 3
"""Cycles from the issue of a CONV or POOL until its first address is ready."""
ACCUMULATOR_REUSE = 3
"""Cycles from the read of an accumulator until it may be read again with its new value."""
ADDER_LEVELS_PER_STAGE = 2
"""Levels of the array's adder trees between two registers."""

# --- drain, ADD, LOOKUP --------------------------------------------------------------------------------------

DRAIN_SETUP = 9
"""Cycles from the hand-over of a bank until its first accumulator is read: meanwhile the parameters come in."""
DRAIN_READ_TO_LANE = 1
"""From the read of an accumulator to the input of the requantiser's lanes."""
ADD_READ_TO_LANE = 3
"""From the read of operand b to the input of the adder's lanes (operand a is read one cycle after b)."""
LANE_LATENCY = 19
"""From the input of a requantiser's or adder's lane to its output."""
LOOKUP_READ_TO_RESULT = 2
"""From the read of a LOOKUP's operand to the address of the table."""
RESULT_TO_WRITE = 2
"""From the output of a lane, through the table, to the write into the output buffer."""


def adder_stages(array: int) -> int:
    """Register stages of the adder tree of an array of this width."""
    levels = array.bit_length() - 1
    return -(-levels // ADDER_LEVELS_PER_STAGE)


def fill_cycles(slide: int) -> int:
    """Cycles from the issue of a CONV or POOL until its first pass can start: the first weight tile slides in.

    `slide`: cycles in which a tile does so (PoolConfig.slide_cycles).
    """
    return max(slide, SETUP_CYCLES)


def pass_cycles(slide: int, pixels: int) -> int:
    """Cycles of one pass of a CONV (a kernel tap of a channel block) over so many output pixels; `slide` as above."""
    return max(slide, ACCUMULATOR_REUSE, pixels)


def pool_pass_cycles(pixels: int) -> int:
    """Cycles of one pass of a POOL, which waits for no weights."""
    return max(ACCUMULATOR_REUSE, pixels)


def raster_cycles(slide: int, positions: int) -> int:
    """Cycles of the only pass of a depthwise CONV: its last pixel, too, settles before the next pass may read it."""
    return max(slide, positions + ACCUMULATOR_REUSE - 1)


def drain_groups(array: int, lanes: int) -> int:
    """Cycles in which the lanes work through one vector."""
    return array // lanes


def add_cycles(array: int, lanes: int) -> int:
    """Cycles for one vector of an ADD: two reads of the features buffer, and the lanes."""
    return max(2, drain_groups(array, lanes))
