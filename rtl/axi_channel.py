"""One AXI memory behind one channel of the pool, which sees a memory of constant latency.

The pool lives in *pool time*: its clock ticks only in cycles with `enable`. What it asks for in pool cycle t is on
`response` in pool cycle t + L. A beat that has not come by then makes `is_ready` 0, and so stops the clock of the whole
pool until it has: in pool time nothing is ever late.

    pool cycle t        the request is on the pool's outputs, and enters the queue
    clock cycle + 2     it is at the head; it goes out unless a request of the other kind to the same beat is in flight
    clock cycle + 3     ARVALID, or AWVALID and WVALID: single beats, in the order of their slots, all with one ID
    R, B at u           entered into the queue of answers, at whose head it is at u + 2
    pool cycle t + L    due: taken from the queue, or awaited

AXI orders reads with reads and writes with writes of one ID, but not one with the other. So a read waits for earlier
writes to its beat to be answered, and a write for earlier reads: memory seems to serve the slots one after another,
even for programs that read what is still being written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyrtl
from pyrtl import WireVector, select

from isa.configuration import PoolConfig
from rtl.fifo import in_flight, power_of_two, queue, shifted
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, gated, named, register

RESPONSE_BITS = 2
"""RRESP and BRESP: 0 is OKAY, everything else an error here."""
ID_BITS = 1
COMPARED_ADDRESS_BITS = 12
"""Bits of a beat's address that decide whether two requests may be to the same beat."""


@dataclass(frozen=True)
class AxiChannelSizes:
    """Sizes of the adapter of one channel."""

    latency: int
    """L: pool cycles from a request to its response."""
    address_bits: int
    """Address of a beat in the channel."""
    data_bits: int
    strobe_bits: int
    compared_bits: int = COMPARED_ADDRESS_BITS

    @staticmethod
    def of(config: PoolConfig) -> AxiChannelSizes:
        """Those of a pool's channels."""
        sizes = Sizes(config)
        return AxiChannelSizes(config.channel_latency, sizes.channel_address, sizes.data, config.vectors_per_beat)

    @property
    def inputs(self) -> dict[str, int]:
        """Input ports and their bits: the pool's side, then AXI's."""
        return {
            "enable": 1, "hold": 1, "request_valid": 1, "request_write": 1, "request_address": self.address_bits,
            "request_data": self.data_bits, "request_strobe": self.strobe_bits,
            "arready": 1, "rvalid": 1, "rid": ID_BITS, "rdata": self.data_bits, "rresp": RESPONSE_BITS, "rlast": 1,
            "awready": 1, "wready": 1, "bvalid": 1, "bid": ID_BITS, "bresp": RESPONSE_BITS,
        }  # fmt: skip


@hardware()
def axi_channel(sizes: AxiChannelSizes, ports: Mapping[str, WireVector]) -> dict[str, WireVector]:
    """The adapter of one channel. `ports` are wires by the names of `sizes.inputs`; returns the outputs by name.

    enable              1: the pool's clock ticks at the end of this cycle
    hold                1: send nothing new; `is_idle` then tells when all that was sent has been answered
    is_ready            0: an answer is due in this pool cycle that has not come
    response            what is due: data of a read; 0 for an error, or for anything else
    is_error            1: what is due has come with an error (also of a beat with a foreign ID, or one not the last)
    arvalid, araddr,    AXI, addresses in beats of the channel; RREADY and BREADY are always 1, because
    awvalid, awaddr,    there is room for every answer
    wvalid, wdata, wstrb
    """
    request = (ports["request_write"], ports["request_strobe"], ports["request_address"], ports["request_data"])
    asks = ports["enable"] & ports["request_valid"]
    pop = WireVector(1, "request_goes")
    requests = queue("requests", sum(map(len, request)), sizes.latency, asks, pyrtl.concat(*request), pop)
    write, strobe, address, data = pyrtl.chop(requests.head, *map(len, request))

    ar_valid, aw_valid, w_valid = (register(f"{name}_valid", 1) for name in ("ar", "aw", "w"))
    ar_is_free, aw_is_free, w_is_free = (
        ~valid | ports[ready] for valid, ready in ((ar_valid, "arready"), (aw_valid, "awready"), (w_valid, "wready"))
    )
    sends_read, sends_write = WireVector(1, "sends_read"), WireVector(1, "sends_write")
    compared = named("compared_address", address[: min(sizes.compared_bits, sizes.address_bits)])
    depth = power_of_two(sizes.latency)
    read_answered, write_answered = WireVector(1, "read_answered"), WireVector(1, "write_answered")
    reads = in_flight("read", depth, compared, sends_read, read_answered, compared)
    writes = in_flight("write", depth, compared, sends_write, write_answered, compared)
    read_answered <<= ports["rvalid"] & reads.is_any
    write_answered <<= ports["bvalid"] & writes.is_any
    may_send = requests.valid & ~ports["hold"]
    sends_read <<= may_send & ~write & ar_is_free & ~writes.matches
    sends_write <<= may_send & write & aw_is_free & w_is_free & ~reads.matches
    pop <<= sends_read | sends_write

    outputs: dict[str, WireVector] = {"arvalid": ar_valid, "awvalid": aw_valid, "wvalid": w_valid}
    for valid, sends, is_free in (
        (ar_valid, sends_read, ar_is_free), (aw_valid, sends_write, aw_is_free), (w_valid, sends_write, w_is_free),
    ):  # fmt: skip
        valid.next <<= sends | ~is_free
    for port, sends, value in (
        ("araddr", sends_read, address), ("awaddr", sends_write, address),
        ("wdata", sends_write, data), ("wstrb", sends_write, strobe),
    ):  # fmt: skip
        field = register(port + "_register", len(value))
        field.next <<= select(sends, value, field)
        outputs[port] = field

    read_due = named(
        "read_is_due", shifted("reads_due", sizes.latency, asks & ~ports["request_write"], ports["enable"])
    )
    write_due = named(
        "write_is_due", shifted("writes_due", sizes.latency, asks & ports["request_write"], ports["enable"])
    )
    read_fails = named("read_fails", (ports["rresp"] != 0) | ~ports["rlast"] | (ports["rid"] != 0))
    write_fails = named("write_fails", (ports["bresp"] != 0) | (ports["bid"] != 0))
    answer = pyrtl.concat(read_fails, gated(ports["rdata"], ~read_fails))
    answers = queue("answers", len(answer), sizes.latency, read_answered, answer, ports["enable"] & read_due)
    acknowledgements = queue(
        "acknowledgements", 1, sizes.latency, write_answered, write_fails, ports["enable"] & write_due
    )
    outputs["is_ready"] = (~read_due | answers.valid) & (~write_due | acknowledgements.valid)
    outputs["response"] = gated(answers.head[: sizes.data_bits], read_due)
    outputs["is_error"] = (read_due & answers.head[-1]) | (write_due & acknowledgements.head)
    outputs["is_idle"] = ~(ar_valid | aw_valid | w_valid | reads.is_any | writes.is_any)
    return outputs
