"""The baseline of the cost of virtualisation: the same accelerator, where core c works for task c, for ever.

It is the pool itself with each register that is there for the sake of sharing replaced by the value that it has where
nothing is shared; synthesis removes what hangs on them. What is left works (a test runs programs on it), and is what
any design needs that feeds M cores with programs and data over G channels. `KEPT` and `REMOVED` say what.

After reset it takes START; who wants to stop a task or to go on after a fault resets it.
"""

from __future__ import annotations

import io
import json
import operator
import sys
from collections.abc import Callable, Mapping
from functools import reduce
from pathlib import Path

import pyrtl
from pyrtl import Block, Const, Input, LogicNet, Register, WireVector

from formal.structure import clearing_registers
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState
from rtl.control_port import OF_CORES, order_name
from rtl.core import core
from rtl.core_ports import core_ports
from rtl.export import elaborated
from rtl.pool import core_stub, pool, real_cores
from rtl.sizes import output
from rtl.windows import Attachment

KEPT = (
    "wheel and slots: who moves a beat when (without host slots for the sweep)",
    "channel pipelines: stage, range check against the whole memory, request registers, record of what is in flight",
    "request and response crossbar between cores and channels",
    "prefetch: pointers, epochs and banks, a context for each task",
    "dispatcher and decoder: program counters, CALL and RETURN, credits, faults",
    "sync controller: a barrier for each task's core",
    "control port: START, arguments TENANT, CORE (read side) and START, status registers",
    "host port: the host's beats",
)
"""What the baseline's shell does."""

REMOVED = (
    "ownership table: state, owner, virtual index, timer of each core, and dispatch to cores by virtual index",
    "context switch: draining, scrub and scrub address of each core",
    "windows: base, limit and attachment of each tenant, selection by owner, addition of the base; overlap check",
    "sweep engine: counters of each channel, entries of the prefetch banks",
    "faults and barriers from any core to any tenant",
    "commands ATTACH, DETACH, GRANT, REVOKE, STOP, PAUSE, RESUME, their arguments and checks",
)
"""What the shell has beyond it: the cost of virtualisation."""


def fixed_registers(config: PoolConfig) -> dict[str, int]:
    """The shell's registers that sharing needs, by name, with the value that each has where nothing is shared."""
    fixed = {"sweep_is_busy": 0, "sweep_tenant": 0, "sweep_timer": 0}
    fixed |= {f"argument_{name}": 0 for name in ("virtual", "base", "limit")}
    for index in range(config.cores):
        fixed |= {
            f"core{index}_state": CoreState.HELD,
            f"core{index}_owner": index % config.tenants,
            f"core{index}_virtual": 0,
            f"core{index}_timer": 0,
            f"core{index}_scrub": 0,
            f"core{index}_scrub_address": 0,
        }
    for tenant in range(config.tenants):
        fixed |= {
            f"tenant{tenant}_attachment": Attachment.ACTIVE,
            f"tenant{tenant}_base": 0,
            f"tenant{tenant}_limit": config.memory_beats,
            f"tenant{tenant}_pause_pending": 0,
        }
    for command in Command:
        targets = config.cores if command in OF_CORES else config.tenants
        if command != Command.START:
            fixed |= {order_name(command, index): 0 for index in range(targets)}
    for channel in range(config.channels):
        fixed |= {f"channel{channel}_sweep_count": 0}
        if config.fetch_beats > config.channels:
            fixed |= {f"channel{channel}_sweep_entry": 0}
    return fixed


def dedicated_shell(config: PoolConfig) -> None:
    """The shell alone in PyRTL's working block, with the ports of `shell`."""
    pool(config, core_stub(config))
    fix(pyrtl.working_block(), fixed_registers(config))


def dedicated_core(config: PoolConfig) -> None:
    """A core in the working block that nothing scrubs, with the ports of `core`."""
    inputs = {port: Input(bits, port) for port, bits in core_ports(config).inputs.items()}
    for port, wire in core(config, inputs | _no_scrub(inputs)).items():
        output(f"{port}_o", wire)
    fix(pyrtl.working_block(), _awake(pyrtl.working_block(), ""))


def dedicated_pool(config: PoolConfig) -> None:
    """The whole accelerator in PyRTL's working block, with the ports of `pool`: for simulation."""
    cores = real_cores(config)
    pool(config, lambda index, inputs: cores(index, inputs | _no_scrub(inputs)))
    block = pyrtl.working_block()
    awake = [_awake(block, f"core{index}/") for index in range(config.cores)]
    fix(block, reduce(operator.or_, awake, fixed_registers(config)))


def _awake(block: Block, core_prefix: str) -> dict[str, int]:
    """The registers of a core that say whether the others are cleared, which alone have a reset, when they are not."""
    clears = clearing_registers(block).items()
    return {name: 1 - value for name, value in clears if name.startswith(core_prefix)}


def _no_scrub(inputs: Mapping[str, WireVector]) -> dict[str, WireVector]:
    return {name: Const(0, len(inputs[name])) for name in ("scrub", "scrub_address")}


def fix(block: Block, values: Mapping[str, int]) -> None:
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


def write_baseline(config: PoolConfig, directory: Path) -> None:
    """Write `dedicated_shell.v` (module shell) and `dedicated_core.v` (module core); the same bytes every time.

    Elaborates in a process of its own, as `rtl.export` does. Raises ExportError when that fails.
    """
    for name, text in elaborated("benchmarks.synthesis.dedicated", config, PYTHONHASHSEED="0").items():
        (directory / name).write_text(text, encoding="ascii")


def _text(module: str, build: Callable[[PoolConfig], None], config: PoolConfig) -> str:
    """Verilog of one module without hierarchy."""
    text = io.StringIO()
    with pyrtl.temp_working_block():
        build(config)
        pyrtl.output_to_verilog(text, add_reset=True, initialize_registers=False, module_name=module)
    return text.getvalue()


def _main() -> None:
    config = PoolConfig(**json.load(sys.stdin))
    texts = {
        "dedicated_shell.v": _text("shell", dedicated_shell, config),
        "dedicated_core.v": _text("core", dedicated_core, config),
    }
    json.dump(texts, sys.stdout)


if __name__ == "__main__":
    _main()
