"""The AXI4 slave through which the host reaches the whole memory, in the host's own slots: it disturbs no tenant.

One burst at a time: full-width beats, INCR (or a single beat), any length. Bits of an address within its beat are
ignored. Everything else is answered with SLVERR and changes nothing: other bursts, narrow beats, a strobe that splits a
vector, an access while the pool is halted; so is a beat that memory answered with an error.

Requests of a burst follow one another without waiting for answers, so a host's revolution carries up to M/2 beats.
"""

from __future__ import annotations

from collections.abc import Mapping

import pyrtl
from pyrtl import Const, WireVector, select

from isa.configuration import PoolConfig
from rtl.fifo import queue
from rtl.hierarchy import hardware
from rtl.sizes import Sizes, all_of, any_of, gated, lies_on, register

INCREMENTING = 1
LENGTH_BITS = 8
ID_BITS = 4
MOST_BEATS = 64
"""Beats of one burst that wait for the memory or for the master at most."""
COUNT_BITS = MOST_BEATS.bit_length()


def host_address_bits(config: PoolConfig) -> int:
    """Bits of a byte address of the pool's memory."""
    return (config.memory_bytes - 1).bit_length()


def axi_host_inputs(config: PoolConfig) -> dict[str, int]:
    """Input ports of the module and their bits."""
    sizes = Sizes(config)
    address = {
        f"{channel}{field}": bits
        for channel in ("aw", "ar")
        for field, bits in (
            ("valid", 1), ("id", ID_BITS), ("addr", host_address_bits(config)), ("len", LENGTH_BITS),
            ("size", 3), ("burst", 2),
        )
    }  # fmt: skip
    return {
        **address, "wvalid": 1, "wdata": sizes.data, "wstrb": config.beat_bytes, "bready": 1, "rready": 1,
        "enable": 1, "halted": 1, "restart": 1,
        "host_request_taken": 1, "host_response_valid": 1, "host_response_data": sizes.data,
        **{f"channel{channel}_host_failed": 1 for channel in range(config.channels)},
    }  # fmt: skip


@hardware()
def axi_host(config: PoolConfig, ports: Mapping[str, WireVector]) -> dict[str, WireVector]:
    """The whole module. `ports` are wires by the names of `axi_host_inputs`; returns the outputs by name.

    A burst is *broken* from where on all its beats are answered with SLVERR and none reaches the pool any more.
    """
    sizes = Sizes(config)
    enable, dies = ports["enable"], ports["halted"] | ports["restart"]
    is_busy, is_write, is_broken, has_failed = (
        register(name, 1) for name in ("is_busy", "is_write", "is_broken", "has_failed")
    )
    identity = register("identity", ID_BITS)
    to_ask, to_answer = register("to_ask", LENGTH_BITS + 1), register("to_answer", LENGTH_BITS + 1)
    next_asked, next_answered = register("next_asked", sizes.beat), register("next_answered", sizes.beat)
    in_pool, stored = register("in_pool", COUNT_BITS), register("stored", COUNT_BITS)

    # Whoever did not have the last turn goes first.
    had_write = register("had_write", 1)
    takes_write = ~is_busy & ports["awvalid"] & ~(had_write & ports["arvalid"])
    takes_read = ~is_busy & ports["arvalid"] & ~takes_write
    begins = takes_write | takes_read

    def asked_for(name: str) -> WireVector:
        return select(takes_write, ports[f"aw{name}"], ports[f"ar{name}"])

    length = (asked_for("len").zero_extended(LENGTH_BITS + 1) + 1)[: LENGTH_BITS + 1]
    first = asked_for("addr")[-sizes.beat :]
    is_legal = (asked_for("size") == (config.beat_bytes - 1).bit_length()) & (
        (asked_for("burst") == INCREMENTING) | (asked_for("len") == 0)
    )

    port_valid = register("port_valid", 1)
    taken = enable & ports["host_request_taken"] & port_valid
    may_ask = (~port_valid | taken) & ((in_pool + stored) < MOST_BEATS) & ~dies & ~is_broken & (to_ask != 0)
    vectors = [
        ports["wstrb"][vector * config.array : (vector + 1) * config.array] for vector in range(config.vectors_per_beat)
    ]
    is_whole = all_of([(strobes == 0) | (strobes == (1 << config.array) - 1) for strobes in vectors])
    wready = is_busy & is_write & (may_ask | (is_broken & (to_ask != 0)))
    accepts = wready & ports["wvalid"]
    asks = (is_busy & ~is_write & may_ask) | (accepts & ~is_broken & is_whole)

    answered = enable & ports["host_response_valid"] & ~dies
    on_channel = [answered & lies_on(next_answered, channel, sizes) for channel in range(config.channels)]
    fails = any_of([here & ports[f"channel{channel}_host_failed"] for channel, here in enumerate(on_channel)])
    answer = pyrtl.concat(fails, ports["host_response_data"])
    pops = WireVector(1, "answer_goes")
    stores = answered & ~is_write
    answers = queue("answers", len(answer), MOST_BEATS, stores, answer, pops)
    is_over = (in_pool == 0) & ~port_valid
    rvalid = is_busy & ~is_write & (answers.valid | (is_broken & is_over & answers.is_empty))
    bvalid = is_busy & is_write & (to_ask == 0) & is_over
    gives_read = rvalid & ports["rready"]
    pops <<= gives_read & answers.valid
    ends = (gives_read & (to_answer == 1)) | (bvalid & ports["bready"])

    for field, value in (
        (is_busy, begins | (is_busy & ~ends)),
        (is_write, select(begins, takes_write, is_write)),
        (had_write, select(begins, takes_write, had_write)),
        (identity, select(begins, asked_for("id"), identity)),
        (is_broken, select(begins, ~is_legal | dies, is_broken | (dies & ~bvalid) | (accepts & ~is_whole))),
        (has_failed, ~begins & (has_failed | fails)),
        (to_ask, select(begins, length, (to_ask - (accepts | (asks & ~is_write)))[: len(to_ask)])),
        (to_answer, select(begins, length, (to_answer - gives_read)[: len(to_answer)])),
        (next_asked, select(begins, first, (next_asked + asks)[: len(first)])),
        (next_answered, select(begins, first, (next_answered + answered)[: len(first)])),
        (in_pool, gated((in_pool + asks - answered)[:COUNT_BITS], ~dies)),
        (stored, (stored + stores - pops)[:COUNT_BITS]),
        (port_valid, ~dies & (asks | (port_valid & ~taken))),
    ):
        field.next <<= value
    outputs: dict[str, WireVector] = {"host_request_valid": port_valid}
    for name, value in (
        ("write", is_write),
        ("address", next_asked),
        ("data", gated(ports["wdata"], is_write)),
        ("strobe", gated(pyrtl.concat_list([strobes[0] for strobes in vectors]), is_write)),
    ):
        held = register(f"port_{name}", len(value))
        held.next <<= select(asks, value, held)
        outputs[f"host_request_{name}"] = held
    return outputs | {
        "awready": takes_write, "arready": takes_read, "wready": wready,
        "bvalid": bvalid, "bid": identity, "bresp": pyrtl.concat(is_broken | has_failed, Const(0, 1)),
        "rvalid": rvalid, "rid": identity, "rdata": gated(answers.head[: sizes.data], answers.valid),
        "rresp": pyrtl.concat(~answers.valid | answers.head[-1], Const(0, 1)), "rlast": to_answer == 1,
        **{f"channel{channel}_answers_host": here for channel, here in enumerate(on_channel)},
    }  # fmt: skip
