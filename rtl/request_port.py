"""The request port of a core: one register, filled by the save engine first, the load engine second.

cycle   x                              x+1               t >= x+1         t+1
        the port is free, an engine    request visible   its slot comes   request_taken visible:
        has a request: it moves                                           the port is free again
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, WireVector, select

from rtl.scrubbed import Scrub


@dataclass(frozen=True)
class Request:
    """A request of an engine."""

    valid: WireVector
    address: WireVector
    instruction: WireVector


@dataclass(frozen=True)
class RequestPort:
    """The port, and what it tells the engines."""

    outputs: dict[str, WireVector]
    read_moves: WireVector
    read_taken: WireVector


def port_is_free(valid: WireVector, taken: WireVector) -> WireVector:
    """Whether a request may move to the port in this cycle."""
    return ~valid | taken


def request_port(
    scrub: Scrub,
    valid: WireVector,
    taken: WireVector,
    read: Request,
    write: Request,
    data: WireVector,
    strobe: WireVector,
) -> RequestPort:
    """The port's registers; `valid`, made by the caller, says that a request waits there. `data` and `strobe` belong
    to `write`."""
    is_free = port_is_free(valid, taken)
    moves = is_free & (write.valid | read.valid)
    is_write = scrub.kept(write.valid, moves, "request_write")
    scrub.load(valid, select(is_free, write.valid | read.valid, Const(1, 1)))
    return RequestPort(
        outputs={
            "request_valid": valid,
            "request_write": is_write,
            "request_address": scrub.kept(select(write.valid, write.address, read.address), moves, "request_address"),
            "request_data": scrub.kept(data, moves & write.valid, "request_data"),
            "request_strobe": scrub.kept(strobe, moves & write.valid, "request_strobe"),
            "request_instruction": scrub.kept(
                select(write.valid, write.instruction, read.instruction), moves, "request_instruction"
            ),
        },
        read_moves=is_free & read.valid & ~write.valid,
        read_taken=valid & taken & ~is_write,
    )
