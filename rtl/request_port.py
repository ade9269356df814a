"""The request port of a core: a request, filled by the save engine first, the load engine second; or two.

cycle   x                              x+1               t >= x+1         t+1
        the port has room, an engine   request visible   its slot comes   request_taken visible:
        has a request: it moves                                           there is room again

A core that can use a slot in every cycle shows the next request, too, as `request_next_*`: in the cycle in which
`request_taken` is visible the first one has been taken already, and the slot is for the next one, which becomes the
first. There is one `request_data`, so a write moves only if what is left on the port is a read; a read may go before
it then.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import WireVector, select

from isa.configuration import PoolConfig
from rtl.hierarchy import hardware
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
    write_may_move: WireVector
    """The save engine's request moves in this cycle, if there is one."""
    read_moves: WireVector
    read_taken: WireVector


@dataclass(frozen=True)
class _Entry:
    """A request on the port, or on its way there."""

    valid: WireVector
    write: WireVector
    address: WireVector
    instruction: WireVector


@hardware()
def request_port(
    config: PoolConfig,
    scrub: Scrub,
    taken: WireVector,
    read: Request,
    write: Request,
    data: WireVector,
    strobe: WireVector,
) -> RequestPort:
    """The port's registers. `data` and `strobe` belong to `write`; `taken` is 1 only while a request is shown."""
    head = _registers(scrub, read, "request")
    if config.shows_next_request:
        following = _registers(scrub, read, "request_next")
        left = _Entry(
            *[select(taken, later, first) for first, later in zip(_wires(head), _wires(following), strict=True)]
        )
        is_full = following.valid & ~taken
        write_may_move = ~is_full & ~(left.valid & left.write)
    else:
        is_full = head.valid & ~taken
        write_may_move = ~is_full

    write_moves = write.valid & write_may_move
    read_moves = read.valid & ~is_full & ~write_moves
    new = _Entry(
        valid=write_moves | read_moves,
        write=write_moves,
        address=select(write_moves, write.address, read.address),
        instruction=select(write_moves, write.instruction, read.instruction),
    )
    shown = {"request": head}
    if config.shows_next_request:
        shown["request_next"] = following
        behind = left.valid & new.valid
        for register, stays, comes in zip(_wires(head), _wires(left), _wires(new), strict=True):
            scrub.load(register, select(left.valid, stays, comes))
        _take(scrub, following, new, behind)
        scrub.load(following.valid, is_full | behind)
    else:
        _take(scrub, head, new, new.valid)
        scrub.load(head.valid, is_full | new.valid)
    return RequestPort(
        outputs={
            **{f"{name}_{port}": wire for name, entry in shown.items() for port, wire in vars(entry).items()},
            "request_data": scrub.kept(data, write_moves, "request_data"),
            "request_strobe": scrub.kept(strobe, write_moves, "request_strobe"),
        },
        write_may_move=write_may_move,
        read_moves=read_moves,
        read_taken=head.valid & taken & ~head.write,
    )


def _wires(entry: _Entry) -> list[WireVector]:
    return list(vars(entry).values())


def _registers(scrub: Scrub, request: Request, name: str) -> _Entry:
    bits = {"valid": 1, "write": 1, "address": len(request.address), "instruction": len(request.instruction)}
    return _Entry(**{port: scrub.register(width, f"{name}_{port}") for port, width in bits.items()})


def _take(scrub: Scrub, entry: _Entry, new: _Entry, enable: WireVector) -> None:
    """The registers of an entry, `valid` apart, take the new request where `enable` is 1."""
    for register, value in list(zip(_wires(entry), _wires(new), strict=True))[1:]:
        scrub.load(register, select(enable, value, register))
