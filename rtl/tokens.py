"""Tokens between the engines of a core, and the faults that its engines raise.

cycle   t        t+1
        given    available: an instruction that waits for it may issue

cycle   t             t+1                                             t+2
        a fault is    which fault is it, of all of the core? its      on the port; halted: the engine issues
        seen          engine stops                                    nothing, and what faults now is not told
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, concat, select

from isa.instructions import TOKEN_BITS
from isa.registers import Fault
from rtl.core_ports import FAULT_CAUSE_BITS
from rtl.hierarchy import hardware
from rtl.scrubbed import Scrub, any_of


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
    full = (1 << TOKEN_BITS) - 1
    # Known late, and counted one cycle later.
    up, down = given & ~taken, taken & ~given
    was_up, was_down = scrub.register(1, f"{name}_up"), scrub.stage(down, f"{name}_down")
    count = scrub.register(TOKEN_BITS, name)
    step = concat(was_down.sign_extended(TOKEN_BITS - 1), was_up | was_down)  # 1, 0 or -1
    present = (count + step)[:TOKEN_BITS]
    scrub.load(count, present)
    is_full, is_last = present == full, present == 1
    overflows = up & is_full
    scrub.load(was_up, up & ~is_full)
    available = scrub.register(1, f"{name}_available")  # what many instructions wait for: there is one
    scrub.load(available, up | (available & ~(down & is_last)))
    return Tokens(given=given, taken=taken, available=available, overflows=overflows)


@dataclass(frozen=True)
class FaultSignal:
    """A reason to stop an engine, in this cycle."""

    valid: WireVector
    cause: Fault
    address: WireVector


@dataclass(frozen=True)
class FaultReport:
    """The first of an engine's faults of a cycle; `cause` and `address` mean nothing unless `valid`."""

    valid: WireVector
    cause: WireVector
    address: WireVector


@dataclass(frozen=True)
class Halt:
    """What an engine makes of its faults."""

    halted: Register
    """Behind the cycle in which the first one stopped the engine."""
    stops: WireVector
    """There was one in the cycle before."""
    report: FaultReport
    """What stopped it, in the cycle behind, which is the last one before the engine is halted."""


def halt(scrub: Scrub, signals: Sequence[FaultSignal]) -> Halt:
    """Registers take what an engine sees, and stop it from there: the faults of three engines end many long paths."""
    addresses: dict[WireVector, Register] = {}
    seen: list[FaultSignal] = []
    for signal in signals:
        if signal.address not in addresses:
            addresses[signal.address] = scrub.stage(signal.address, f"fault_address_{len(addresses)}")
        valid = scrub.stage(signal.valid, f"fault_{len(seen)}")
        seen.append(FaultSignal(valid, signal.cause, addresses[signal.address]))
    stops = any_of(signal.valid for signal in seen)
    halted = scrub.register(1, "halted")
    scrub.load(halted, halted | stops)
    # Which one is told needs no look at whether one is.
    cause: WireVector = Const(int(seen[-1].cause), FAULT_CAUSE_BITS)
    address = seen[-1].address
    for signal in reversed(seen[:-1]):
        cause = select(signal.valid, Const(int(signal.cause), FAULT_CAUSE_BITS), cause)
        address = select(signal.valid, signal.address, address)
    return Halt(halted, stops, FaultReport(stops & ~halted, cause, address))


@hardware()
def fault_output(scrub: Scrub, reports: Sequence[FaultReport]) -> tuple[WireVector, WireVector, WireVector]:
    """Registers (valid, cause, address) for the first of the reports that is valid; 0 if none is."""
    is_told: WireVector = Const(0, 1)
    cause: WireVector = Const(0, FAULT_CAUSE_BITS)
    address: WireVector = Const(0, len(reports[0].address))
    for report in reports:
        is_first = report.valid & ~is_told
        cause = cause | select(is_first, report.cause, Const(0, len(cause)))
        address = address | select(is_first, report.address, Const(0, len(address)))
        is_told = is_told | report.valid
    return scrub.stage(is_told, "fault_valid"), scrub.stage(cause, "fault_cause"), scrub.stage(address, "fault_address")
