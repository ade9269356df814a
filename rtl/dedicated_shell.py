"""The shell without virtualisation, as a baseline of cost: core c works for task c, for ever.

It is the shell itself in which every register that exists for the sake of sharing is a constant; synthesis removes
what hangs on them. What is left is what any design needs that feeds M cores with programs and data over G channels:

*Left*: the wheel, slots and channel pipelines with what is in flight; prefetch and dispatch with one context for each
task, decoder, credits, faults; barriers; the host's port; START, STOP and the status registers.

*Gone*: windows (registers, overlap, base and limit: addresses are physical); ownership table, virtual cores,
dispatch to foreign cores; context switch, scrub and sweep; ATTACH, DETACH, GRANT, REVOKE, PAUSE.
"""

from __future__ import annotations

import pyrtl
from pyrtl import Block, Const, LogicNet, Register, WireVector

from isa.configuration import PoolConfig
from isa.registers import CoreState
from rtl.pool import core_stub, pool
from rtl.windows import Attachment


def fixed_registers(config: PoolConfig) -> dict[str, int]:
    """The shell's registers that sharing needs, by name, with the value that each has where nothing is shared."""
    fixed = {"sweep_is_busy": 0, "sweep_tenant": 0, "sweep_timer": 0}
    fixed |= {f"argument_{name}": 0 for name in ("core", "virtual", "base", "limit")}
    for core in range(config.cores):
        fixed |= {
            f"core{core}_state": CoreState.HELD,
            f"core{core}_owner": core % config.tenants,
            f"core{core}_virtual": 0,
            f"core{core}_timer": 0,
            f"core{core}_scrub": 0,
            f"core{core}_scrub_address": 0,
        }
    for tenant in range(config.tenants):
        fixed |= {
            f"tenant{tenant}_attachment": Attachment.ACTIVE,
            f"tenant{tenant}_base": 0,
            f"tenant{tenant}_limit": config.memory_beats,
            f"tenant{tenant}_pause_pending": 0,
        }
    for channel in range(config.channels):
        fixed |= {f"channel{channel}_sweep_count": 0}
        if config.fetch_beats > config.channels:
            fixed |= {f"channel{channel}_sweep_entry": 0}
    return fixed


def dedicated_shell(config: PoolConfig) -> None:
    """Build it in PyRTL's working block, with the ports of `shell`."""
    pool(config, core_stub(config))
    fix(pyrtl.working_block(), fixed_registers(config))


def fix(block: Block, values: dict[str, int]) -> None:
    """Replace registers by constants. Raises KeyError for a register that is not there."""
    constants: dict[WireVector, WireVector] = {}
    for name, value in values.items():
        register = block.wirevector_by_name[name]
        if not isinstance(register, Register):
            raise KeyError(name)
        constants[register] = Const(int(value), len(register), block=block)
    for net in list(block.logic):
        if any(wire in constants for wire in net.args):
            replaced = tuple(constants.get(wire, wire) for wire in net.args)
            block.logic.remove(net)
            block.add_net(LogicNet(net.op, net.op_param, replaced, net.dests))
    for net in list(block.logic):
        if net.op == "r" and net.dests[0] in constants:
            block.logic.remove(net)
    for register in constants:
        block.remove_wirevector(register)
