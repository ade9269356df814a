"""The pool: the shell of one configuration around its cores, whoever builds them.

pool(config, flat_core_builder)    real cores, for PyRTL's simulators
pool(config, core_stub)            ports instead of cores: `shell.v`, and the proofs, which then hold for any core
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyrtl
from pyrtl import Input, Register, WireVector

from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS
from isa.registers import CONTROL_ADDRESS_BITS, CONTROL_DATA_BITS, Fault
from rtl.channels import (
    Due,
    HostPort,
    Slot,
    Violation,
    channel_pipeline,
    core_responses,
    host_port,
    host_responses,
    slot,
    slot_candidates,
)
from rtl.context_switch import context_switch
from rtl.control_port import control_port, tenant_events
from rtl.core_ports import FAULT_CAUSE_BITS, core_ports
from rtl.dispatcher import dispatcher
from rtl.hierarchy import hardware
from rtl.ownership import CoreEntry, ownership_table, turn_update, turns
from rtl.prefetch import BankResponse, fetch_pointers, fetch_wish, prefetch_banks, prefetch_write
from rtl.sizes import Sizes, any_of, chosen, first_of, output, register
from rtl.sync_controller import sync_controller
from rtl.tenants import FaultSource, tenant_progress, tenants
from rtl.wheel import wheel
from rtl.windows import sweep_engine, sweep_update, window_update, windows

CoreBuilder = Callable[[int, Mapping[str, WireVector]], Mapping[str, WireVector]]
"""Builds core `index` from its input ports and returns its output ports, by the names of `core_ports`."""


def real_cores(config: PoolConfig) -> CoreBuilder:
    """The cores that compute; everything in core c has a name that begins with `core{c}/`."""
    from rtl.core import core  # the shell itself needs no core

    def build(index: int, inputs: Mapping[str, WireVector]) -> Mapping[str, WireVector]:
        with pyrtl.name_scope(f"core{index}"):
            return core(config, inputs)

    return build


def core_stub(config: PoolConfig) -> CoreBuilder:
    """Cores that are nothing but ports: an Output `core{c}_{port}_o` per input port, an Input `.._i` per output."""

    def build(index: int, inputs: Mapping[str, WireVector]) -> Mapping[str, WireVector]:
        for port, wire in inputs.items():
            output(f"core{index}_{port}_o", wire)
        return {port: Input(bits, f"core{index}_{port}_i") for port, bits in core_ports(config).outputs.items()}

    return build


def pool(config: PoolConfig, core_builder: CoreBuilder) -> None:
    """Build the pool in PyRTL's working block. Raises ConfigurationError for sizes that the shell cannot serve."""
    sizes = Sizes(config)
    control = (
        Input(1, "control_write"),
        Input(CONTROL_ADDRESS_BITS, "control_address"),
        Input(CONTROL_DATA_BITS, "control_write_data"),
    )
    host = host_port(
        Input(1, "host_request_valid"),
        Input(1, "host_request_write"),
        Input(sizes.beat, "host_request_address"),
        Input(sizes.data, "host_request_data"),
        Input(config.vectors_per_beat, "host_request_strobe"),
    )
    responses = [Input(sizes.data, f"channel{channel}_response") for channel in range(config.channels)]

    inputs = [core_input_registers(config, core) for core in range(config.cores)]
    outputs = [core_builder(core, ports) for core, ports in enumerate(inputs)]
    for core, ports in enumerate(outputs):
        output(f"core{core}_activity", ports["activity"])

    shell(config, control, host, responses, inputs, outputs)


def core_input_registers(config: PoolConfig, core: int) -> dict[str, Register]:
    """The shell's registers that drive the input ports of one core."""
    return {port: register(f"core{core}_{port}", bits) for port, bits in core_ports(config).inputs.items()}


@hardware()
def shell(
    config: PoolConfig,
    control: tuple[WireVector, WireVector, WireVector],
    host: HostPort,
    responses: Sequence[WireVector],
    inputs: Sequence[Mapping[str, Register]],
    outputs: Sequence[Mapping[str, WireVector]],
) -> None:
    """The trusted base. `inputs` and `outputs` are the cores' ports as a core names them; all registers here."""
    time = wheel(config)
    entries = ownership_table(config)
    table = windows(config)
    contexts = tenants(config)
    banks = prefetch_banks(config)
    sweep = sweep_engine(config, table)
    commands = control_port(config, *control, entries, contexts, table)

    following = []
    for core, entry in enumerate(entries):
        grant, revoke = commands.grants[core], commands.revokes[core]
        following.append(context_switch(config, entry, grant, revoke, commands.tenant, commands.virtual, inputs[core]))
    turn = turns(config)
    turn_update(time, turn, following)

    wishes = [fetch_wish(config, context, window) for context, window in zip(contexts, table, strict=True)]
    requests = [pending_request(ports, inputs[core]["request_taken"]) for core, ports in enumerate(outputs)]
    candidates = slot_candidates(config, time, requests)
    slots: list[Slot] = []
    violations: list[Violation] = []
    due: list[Due] = []
    for channel, response in enumerate(responses):
        here = slot(config, channel, time, turn[channel], contexts, table, wishes, candidates, host, sweep)
        violation, answer = channel_pipeline(config, channel, here.access, response, time.response_core[channel])
        slots.append(here)
        violations.append(violation)
        due.append(answer)
    core_responses(config, due, slots, inputs)
    host_responses(config, host, slots, due)
    swept = sweep_update(config, sweep, table, [each.is_sweep for each in slots])

    owners = [entry.owner for entry in entries]
    bank_responses = [
        BankResponse(answer.is_fetch, answer.epoch, chosen(answer.core, owners), answer.is_sweep, answer.data)
        for answer in due
    ]
    arrivals = prefetch_write(config, banks, bank_responses, contexts, sweep.tenant)
    dispatch = dispatcher(
        config, turn[0], entries, contexts, table, banks, following,
        commands.starts, commands.stops, commands.start, outputs, inputs,
    )  # fmt: skip
    barriers = sync_controller(config, entries, contexts, outputs, inputs)

    for index, (context, window) in enumerate(zip(contexts, table, strict=True)):
        window_update(window, commands.windows[index], commands.base, commands.limit, swept[index])
        requested = [each.is_fetch & (each.owner == index) for each in slots]
        fetch_pointers(
            config, context, dispatch.jumps[index], commands.stops[index], pyrtl.rtl_any(*requested), arrivals[index]
        )
        faults = [dispatch.faults[index], *access_faults(index, violations), core_faults(index, entries, outputs)]
        events = tenant_events(commands, index, dispatch.finishes[index], barriers[index])
        tenant_progress(context, events, faults, time.is_last_position)
        output(f"tenant{index}_state", context.progress)


@hardware()
def pending_request(ports: Mapping[str, WireVector], taken: WireVector) -> dict[str, WireVector]:
    """The request of one core, by the names of its ports; while `taken` shows, the first one there is gone already."""
    requests = {name: wire for name, wire in ports.items() if name.startswith("request_") and "next" not in name}
    if "request_next_valid" not in ports:
        return requests | {"request_valid": requests["request_valid"] & ~taken}
    following = {name: ports[f"request_next_{name}"] for name in ("valid", "write", "address", "instruction")}
    return requests | {
        f"request_{name}": pyrtl.select(taken, wire, requests[f"request_{name}"]) for name, wire in following.items()
    }


@hardware(merged=True)
def access_faults(tenant: int, violations: Sequence[Violation]) -> list[FaultSource]:
    """Accesses of one tenant beyond its window, lowest channel first."""
    cause = pyrtl.Const(Fault.ACCESS_OUTSIDE_WINDOW, FAULT_CAUSE_BITS)
    return [
        FaultSource(violation.valid & (violation.tenant == tenant), cause, violation.instruction)
        for violation in violations
    ]


@hardware()
def core_faults(tenant: int, entries: Sequence[CoreEntry], outputs: Sequence[Mapping[str, WireVector]]) -> FaultSource:
    """What the cores of one tenant report, the lowest core first: chosen by its number, for the fields are wide."""
    reports = [
        entry.is_held & entry.owned_by[tenant] & ports["fault_valid"]
        for entry, ports in zip(entries, outputs, strict=True)
    ]
    bits = max(1, (len(reports) - 1).bit_length())
    first = first_of([(here, pyrtl.Const(core, bits)) for core, here in enumerate(reports)], pyrtl.Const(0, bits))
    return FaultSource(
        any_of(reports),
        chosen(first, [ports["fault_cause"] for ports in outputs]),
        chosen(first, [ports["fault_address"][:INSTRUCTION_ADDRESS_BITS] for ports in outputs]),
    )
