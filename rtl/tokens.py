"""Tokens between the engines of a core, and the faults that its engines raise.

cycle   t        t+1
        given    available: an instruction that waits for it may issue
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrtl import Const, WireVector, select

from isa.instructions import TOKEN_BITS
from isa.registers import Fault
from rtl.core_ports import FAULT_CAUSE_BITS
from rtl.hierarchy import hardware
from rtl.scrubbed import Scrub, any_of, resized


@dataclass(frozen=True)
class Tokens:
    """One edge: the giver drives `given`, the taker `taken`."""

    given: WireVector
    taken: WireVector
    available: WireVector
    overflows: WireVector


@hardware()
def token_counter(scrub: Scrub, name: str) -> Tokens:
    """Counts the tokens of one edge. A token more than it can count is dropped, and `overflows` in that cycle."""
    given, taken = WireVector(1), WireVector(1)
    count = scrub.register(TOKEN_BITS, name)
    is_full = count == (1 << TOKEN_BITS) - 1
    up = given & ~taken
    down = taken & ~given
    overflows = up & is_full
    stepped = select(up & ~is_full, count + 1, select(down, count - 1, count.zero_extended(TOKEN_BITS + 1)))
    scrub.load(count, resized(stepped, TOKEN_BITS))
    return Tokens(given=given, taken=taken, available=count != 0, overflows=overflows)


@dataclass(frozen=True)
class FaultSignal:
    """A reason to stop an engine, in this cycle."""

    valid: WireVector
    cause: Fault
    address: WireVector


@hardware()
def fault_output(scrub: Scrub, signals: Sequence[FaultSignal]) -> tuple[WireVector, WireVector, WireVector]:
    """Registers (valid, cause, address) for the first of the signals that is valid."""
    cause: WireVector = Const(0, FAULT_CAUSE_BITS)
    address: WireVector = Const(0, len(signals[0].address))
    for signal in reversed(signals):
        cause = select(signal.valid, Const(int(signal.cause), FAULT_CAUSE_BITS), cause)
        address = select(signal.valid, signal.address, address)
    return (
        scrub.stage(any_of(signal.valid for signal in signals), "fault_valid"),
        scrub.stage(cause, "fault_cause"),
        scrub.stage(address, "fault_address"),
    )


def halt(scrub: Scrub, signals: Sequence[FaultSignal]) -> tuple[WireVector, WireVector]:
    """(halted, stops): a register that is 1 behind the first of these faults, and whether one comes in this cycle."""
    stops = any_of(signal.valid for signal in signals)
    halted = scrub.register(1, "halted")
    scrub.load(halted, halted | stops)
    return halted, stops
