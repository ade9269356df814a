"""Small designs that exercise the proof kit: every operation of PyRTL, and a dispatcher in the shell's style."""

from __future__ import annotations

import pyrtl
from pyrtl import Const, Input, MemBlock, Output, Register, RomBlock, WireVector, concat, select


def _output(name: str, value: WireVector) -> None:
    wire = Output(len(value), name)
    wire <<= value


def arithmetic() -> pyrtl.Block:
    """Every combinational operation, on narrow and wide operands."""
    pyrtl.reset_working_block()
    left, right, wide = Input(13, "left"), Input(7, "right"), Input(150, "wide")
    total = Register(200, "total", reset_value=(1 << 199) + 5)
    total.next <<= (total + wide + left * right)[:200]
    _output("product", left * right)
    _output("difference", left - right)
    _output("comparisons", concat(left < right, left > right, left == right, left <= right))
    _output("nand", left.nand(concat(right, Const(5, 6))))
    _output("logic", (left & 0x1F0F) | (left ^ 0x0FF0) ^ ~left)
    _output("scattered", concat(*[wide[index] for index in (149, 3, 77, 0, 1, 2, 64)]))
    _output("slices", concat(wide[20:90], wide[-3:], left[5:6]))
    _output("chosen", select(left == 3, wide[:13], total[180:193]))
    square = Register(40, "square")
    square.next <<= select(left[0], (square * square)[7:47], concat(left, wide[:27]))
    return pyrtl.working_block()


def memories() -> pyrtl.Block:
    """Two write ports on one memory, an enable, a ROM, a registered read, a memory that feeds itself."""
    pyrtl.reset_working_block()
    address, data, enable = Input(4, "address"), Input(9, "data"), Input(1, "enable")
    bank = MemBlock(9, 4, "bank", asynchronous=True, max_write_ports=2)
    table = RomBlock(12, 4, [(37 * i * i + 11) % 4096 for i in range(16)], "table", asynchronous=True)
    large = MemBlock(17, 9, "large", asynchronous=True)
    counter = Register(4, "counter", reset_value=9)
    counter.next <<= (counter + 1)[:4]
    held = Register(9, "held")
    held.next <<= bank[address]
    # The write ports never collide: PyRTL leaves the winner open.
    bank[concat(address[1:], Const(0, 1))] <<= MemBlock.EnabledWrite(data, enable)
    bank[concat(counter[1:], Const(1, 1))] <<= MemBlock.EnabledWrite((held + 3)[:9], counter[0])
    large[concat(counter, address)[:8].zero_extended(9)] <<= MemBlock.EnabledWrite(
        concat(data, table[counter])[:17], enable
    )
    _output("looked_up", table[address ^ held[:4]])
    _output("fetched", large[concat(address, counter, Const(0, 1))])
    return pyrtl.working_block()


def dispatcher(cores: int, tenants: int, depth: int = 2, payload_bits: int = 8, drain: int = 3) -> pyrtl.Block:
    """Tenants send to physical cores that they own; each core queues, drains and changes hands.

    The flavour of the real shell at a hundredth of its size: a fetch wheel, one held instruction per tenant, a queue
    per core with a ghost tag of the sender, a host command that gates, drains, scrubs and re-assigns a core.
    Wires `core{c}_receive`, `core{c}_tag`, `core{c}_data` are what the core sees.
    """
    pyrtl.reset_working_block()
    owner_bits, core_bits = tenants.bit_length(), max(1, (cores - 1).bit_length())
    free = tenants
    host_valid, host_core = Input(1, "host_valid"), Input(core_bits, "host_core")
    host_tenant = Input(owner_bits, "host_tenant")
    wheel = Register(max(1, (tenants - 1).bit_length()), "wheel")
    wheel.next <<= select(wheel == tenants - 1, Const(0, len(wheel)), (wheel + 1)[: len(wheel)])
    owner = [Register(owner_bits, f"core{c}_owner", reset_value=free) for c in range(cores)]
    running = [Register(1, f"core{c}_running", reset_value=1) for c in range(cores)]
    full = [[Register(1, f"core{c}_full{i}") for i in range(depth)] for c in range(cores)]
    held = [Register(1, f"tenant{t}_held") for t in range(tenants)]
    held_core = [Register(core_bits, f"tenant{t}_held_core") for t in range(tenants)]
    held_data = [Register(payload_bits, f"tenant{t}_held_data") for t in range(tenants)]
    accepted = []
    for t in range(tenants):
        may_send = []
        for c in range(cores):
            owned = WireVector(1, f"tenant{t}_owns{c}")
            owned <<= owner[c] == t
            accept = WireVector(1, f"tenant{t}_accepted{c}")
            accept <<= held[t] & (held_core[t] == c) & owned & running[c] & ~full[c][depth - 1]
            may_send.append(accept)
        accepted.append(may_send)
        mine = pyrtl.rtl_any(*[(held_core[t] == c) & (owner[c] == t) for c in range(cores)])
        fault = held[t] & ~mine
        take = Input(1, f"tenant{t}_valid") & (wheel == t) & ~held[t]
        held[t].next <<= take | (held[t] & ~(pyrtl.rtl_any(*may_send) | fault))
        held_core[t].next <<= select(take, Input(core_bits, f"tenant{t}_core"), held_core[t])
        held_data[t].next <<= select(take, Input(payload_bits, f"tenant{t}_data"), held_data[t])
        _output(f"tenant{t}_fault", fault)
        _output(f"tenant{t}_ready", (wheel == t) & ~held[t])
    for c in range(cores):
        stall = Input(1, f"core{c}_stall")
        next_owner = Register(owner_bits, f"core{c}_next_owner", reset_value=free)
        draining, timer = Register(1, f"core{c}_draining"), Register(drain.bit_length(), f"core{c}_timer")
        command = WireVector(1, f"core{c}_command")
        command <<= host_valid & (host_core == c) & running[c]
        done = draining & (timer == 0)
        running[c].next <<= (running[c] & ~command) | done
        draining.next <<= (draining & ~done) | command
        next_owner.next <<= select(command, host_tenant, next_owner)
        owner[c].next <<= select(done, next_owner, owner[c])
        timer.next <<= select(command, Const(drain, len(timer)), select(timer == 0, timer, (timer - 1)[: len(timer)]))
        data = [Register(payload_bits, f"core{c}_data{i}") for i in range(depth)]
        tags = [Register(owner_bits, f"core{c}_tag{i}") for i in range(depth)]
        push = pyrtl.rtl_any(*[accepted[t][c] for t in range(tenants)])
        pushed_data = pyrtl.tree_reduce(
            lambda a, b: a | b,
            [select(accepted[t][c], held_data[t], Const(0, payload_bits)) for t in range(tenants)],
        )
        pushed_tag = pyrtl.tree_reduce(
            lambda a, b: a | b,
            [select(accepted[t][c], Const(t, owner_bits), Const(0, owner_bits)) for t in range(tenants)],
        )
        receive = WireVector(1, f"core{c}_receive")
        receive <<= full[c][0] & ~stall
        flush = WireVector(1, f"core{c}_flush")
        flush <<= done
        shifted = [select(receive, full[c][i + 1] if i + 1 < depth else Const(0, 1), full[c][i]) for i in range(depth)]
        for i in range(depth):
            last = i + 1 == depth
            put = push & ~shifted[i] & (shifted[i - 1] if i else Const(1, 1))
            full[c][i].next <<= (shifted[i] | put) & ~flush
            data[i].next <<= select(
                put, pushed_data, select(receive, Const(0, payload_bits) if last else data[i + 1], data[i])
            )
            tags[i].next <<= select(
                put, pushed_tag, select(receive, Const(0, owner_bits) if last else tags[i + 1], tags[i])
            )
        _output(f"core{c}_tag", tags[0])
        _output(f"core{c}_data", select(receive, data[0], Const(0, payload_bits)))
        _output(f"core{c}_owned_by", owner[c])
    return pyrtl.working_block()


def scrubber(address_bits: int = 3) -> pyrtl.Block:
    """A memory that `start` sweeps to zero, from the top down; `clean` follows the last word's write."""
    pyrtl.reset_working_block()
    start, address, data = Input(1, "start"), Input(address_bits, "address"), Input(8, "data")
    bank = MemBlock(8, address_bits, "unit0_bank", asynchronous=True)
    sweeping, pointer = Register(1, "unit0_sweeping"), Register(address_bits, "unit0_pointer")
    clean = Register(1, "unit0_clean")
    finished = sweeping & (pointer == 0)
    begin = start & ~sweeping
    sweeping.next <<= (sweeping & ~finished) | begin
    top = (1 << address_bits) - 1
    pointer.next <<= select(begin, Const(top, address_bits), select(sweeping, (pointer - 1)[:address_bits], pointer))
    clean.next <<= finished | (clean & sweeping)
    bank[select(sweeping, pointer, address)] <<= MemBlock.EnabledWrite(select(sweeping, Const(0, 8), data), ~clean)
    _output("read_back", bank[address])
    return pyrtl.working_block()
