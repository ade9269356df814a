"""The AXI4-Lite slave: the pool's control registers, those of the adapter itself, interrupts, errors and reset.

One access at a time. An access to a register of the pool waits for a tick of the pool's clock; after COMMAND the
write is answered only when its result can be read, so that no write is ever lost in a command's decision. Everything
that cannot be done is answered with SLVERR and changes nothing: an address that is no multiple of 4 or no register,
a read of what can only be written or the reverse, a write without all four strobes, and any register of the pool
while that is halted.

The pool's clock ticks unless a due beat is missing; not at all while the pool is *halted*: because a beat was later
than PATIENCE, because the zeroing of a window failed, or while it is being reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

import pyrtl
from pyrtl import Const, WireVector, select

from isa.configuration import PoolConfig
from isa.registers import (
    AXI_ADDRESS_BITS,
    AXI_CORE_IN_QUARANTINE,
    AXI_PATIENCE,
    AXI_REGISTERS,
    COMMAND_CYCLES,
    CONTROL_ADDRESS_BITS,
    CONTROL_DATA_BITS,
    REGISTERS,
    Access,
    AxiInterrupt,
    AxiRegister,
    AxiStatus,
    Command,
)
from isa.registers import Register as Address
from rtl.axi_errors import axi_errors, ended_tenants, flags
from rtl.hierarchy import hardware
from rtl.sizes import all_of, any_of, chosen, first_of, gated, register
from rtl.tenants import PROGRESS_BITS

OKAY, SLAVE_ERROR = 0, 2
STROBES = CONTROL_DATA_BITS // 8
_LAST_COUNT = (1 << CONTROL_DATA_BITS) - 1
_WORD_BITS = AXI_ADDRESS_BITS - 2


class _State(IntEnum):
    """What becomes of the access that is being served."""

    IDLE = 0
    BEGINS = 1
    AT_POOL = 2
    DECIDES = 3
    TAKES = 4
    ANSWERS = 5


def axi_control_inputs(config: PoolConfig) -> dict[str, int]:
    """Input ports of the module and their bits."""
    per_channel = {
        f"channel{channel}_{port}": 1
        for channel in range(config.channels)
        for port in ("is_ready", "is_error", "is_idle", "answers_host")
    }
    return {
        "awvalid": 1, "awaddr": AXI_ADDRESS_BITS, "wvalid": 1, "wdata": CONTROL_DATA_BITS, "wstrb": STROBES,
        "bready": 1, "arvalid": 1, "araddr": AXI_ADDRESS_BITS, "rready": 1,
        "control_read_data": CONTROL_DATA_BITS, **per_channel,
        **{f"tenant{tenant}_state": PROGRESS_BITS for tenant in range(config.tenants)},
    }  # fmt: skip


@hardware()
def axi_control(config: PoolConfig, ports: Mapping[str, WireVector]) -> dict[str, WireVector]:
    """The whole module. `ports` are wires by the names of `axi_control_inputs`; returns the outputs by name.

    channel{g}_is_ready, .._is_error, .._is_idle   of the channels' adapters
    channel{g}_answers_host   the host port's answer in this pool cycle was on this channel in the one before
    enable                    the pool's clock ticks at the end of this cycle
    halted                    the pool's clock does not tick, and nothing new is sent to memory
    restart                   the pool and the adapters of its channels are reset at the end of this cycle
    channel{g}_host_failed    in the pool cycle before, a slot of the host on this channel was answered with an error
    """
    enable, halted, restart = WireVector(1, "ticks"), WireVector(1, "is_halted"), register("restarts", 1)
    access = _Access(ports)

    errors = axi_errors(config, ports, enable, restart)
    cleared = access.written(AxiRegister.QUARANTINE)
    quarantine = flags("quarantine", errors.cores, cleared, restart)
    ended = flags("ended", ended_tenants(config, ports), access.written(AxiRegister.ENDED), restart)

    patience = register("patience", CONTROL_DATA_BITS, AXI_PATIENCE)
    patience.next <<= select(access.writes(AxiRegister.PATIENCE), access.data, patience)
    enabled = register("interrupt_enable", len(AxiInterrupt))
    enabled.next <<= select(access.writes(AxiRegister.INTERRUPT_ENABLE), access.data[: len(enabled)], enabled)

    is_resetting = register("is_resetting", 1)
    is_idle = all_of([ports[f"channel{channel}_is_idle"] for channel in range(config.channels)])
    is_resetting.next <<= (is_resetting & ~restart) | access.writes(AxiRegister.RESET)
    restart.next <<= is_resetting & is_idle  # two cycles, as the pool needs them

    is_ready = all_of([ports[f"channel{channel}_is_ready"] for channel in range(config.channels)])
    halted_late, halted_sweep = register("halted_late", 1), register("halted_sweep", 1)
    waited, late = register("waited", CONTROL_DATA_BITS), register("late", CONTROL_DATA_BITS)
    halted <<= halted_late | halted_sweep | is_resetting
    waits = ~is_ready & ~halted & ~restart
    waited.next <<= gated((waited + 1)[:CONTROL_DATA_BITS], waits)
    late.next <<= gated((late + (waits & (late != _LAST_COUNT)))[:CONTROL_DATA_BITS], ~restart)
    halted_late.next <<= (halted_late | (waits & (waited >= patience))) & ~restart
    halted_sweep.next <<= (halted_sweep | errors.sweep) & ~restart
    enable <<= restart | (is_ready & ~halted)

    status = pyrtl.concat(is_resetting, halted_sweep, halted_late)
    assert list(AxiStatus) == [AxiStatus.HALTED_LATE, AxiStatus.HALTED_SWEEP, AxiStatus.RESETTING]
    interrupts = pyrtl.concat(halted_late | halted_sweep, quarantine.shown != 0, ended.shown != 0)
    assert list(AxiInterrupt) == [AxiInterrupt.ENDED, AxiInterrupt.QUARANTINE, AxiInterrupt.HALTED]
    line = register("interrupt_line", 1)
    line.next <<= (interrupts & enabled) != 0

    outputs = access.serve(
        {
            AxiRegister.STATUS: status, AxiRegister.LATE: late, AxiRegister.PATIENCE: patience,
            AxiRegister.QUARANTINE: quarantine.shown, AxiRegister.ENDED: ended.shown,
            AxiRegister.INTERRUPT_ENABLE: enabled, AxiRegister.INTERRUPTS: interrupts,
        },
        quarantine.flags, enable, halted | restart,
    )  # fmt: skip
    outputs |= {"enable": enable, "halted": halted, "restart": restart, "interrupt": line}
    return outputs | {f"channel{channel}_host_failed": failed for channel, failed in enumerate(errors.host)}


class _Access:
    """One access of the host at a time; what it writes to the adapter's own registers it writes in BEGINS."""

    def __init__(self, ports: Mapping[str, WireVector]) -> None:
        self.ports = ports
        self.state = register("state", len(_State).bit_length())
        self.is_write, self.is_refused = register("is_write", 1), register("is_refused", 1)
        self.word, self.data = register("word", _WORD_BITS), register("data", CONTROL_DATA_BITS)

    def writes(self, which: AxiRegister) -> WireVector:
        """Register `which` of the adapter is written in this cycle."""
        return (self.state == _State.BEGINS) & ~self.is_refused & self.is_write & (self.word == int(which))

    def written(self, which: AxiRegister) -> WireVector:
        """The bits that are written as 1 to register `which` in this cycle."""
        return gated(self.data, self.writes(which))

    def serve(
        self,
        own: Mapping[AxiRegister, WireVector],
        quarantine: Sequence[WireVector],
        enable: WireVector,
        halted: WireVector,
    ) -> dict[str, WireVector]:
        """Drive everything; `own` are the values of the adapter's registers. Returns the outputs to AXI and pool."""
        ports, state = self.ports, self.state

        def at(which: _State) -> WireVector:
            return state == which

        answered = at(_State.ANSWERS) & select(self.is_write, ports["bready"], ports["rready"])
        taken, fields = {}, {}
        for channel, done, field in (
            ("aw", self.is_write, "awaddr"), ("w", self.is_write, "wdata"), ("ar", ~self.is_write, "araddr"),
        ):  # fmt: skip
            taken[channel] = register(f"{channel}_taken", 1)
            arrives = ports[f"{channel}valid"] & ~taken[channel]
            taken[channel].next <<= arrives | (taken[channel] & ~(answered & done))
            for name in (field, *(["wstrb"] if channel == "w" else [])):
                fields[name] = register(f"{name}_taken", len(ports[name]))
                fields[name].next <<= select(arrives, ports[name], fields[name])

        writes = taken["aw"] & taken["w"]
        begins = at(_State.IDLE) & (writes | taken["ar"])
        address = select(writes, fields["awaddr"], fields["araddr"])
        word = address[2:]
        readable = any_of([word == at_word for at_word in _words(Access.READ)])
        writable = any_of([word == at_word for at_word in _words(Access.WRITE)])
        refused = (address[:2] != 0) | select(writes, ~writable | (fields["wstrb"] != (1 << STROBES) - 1), ~readable)
        for register_, value in (
            (self.is_write, writes), (self.word, word), (self.data, fields["wdata"]), (self.is_refused, refused),
        ):  # fmt: skip
            register_.next <<= select(begins, value, register_)

        is_own = self.word[CONTROL_ADDRESS_BITS:] != 0
        reaches_pool = at(_State.AT_POOL) & ~halted & enable
        is_command = self.is_write & (self.word == int(Address.COMMAND))
        count = register("decision_count", COMMAND_CYCLES.bit_length())
        count.next <<= gated((count + enable)[: len(count)], at(_State.DECIDES))
        is_decided = enable & (count == COMMAND_CYCLES - 1)
        waits_for_pool = any_of([at(each) for each in (_State.AT_POOL, _State.DECIDES)])
        fails = (at(_State.BEGINS) & (self.is_refused | (~is_own & halted))) | (waits_for_pool & halted)
        after_pool = select(
            is_command, Const(_State.DECIDES, len(state)),
            select(self.is_write, Const(_State.ANSWERS, len(state)), Const(_State.TAKES, len(state))),
        )  # fmt: skip
        state.next <<= first_of(
            [
                (begins, Const(_State.BEGINS, len(state))),
                (fails, Const(_State.ANSWERS, len(state))),
                (at(_State.BEGINS) & is_own, Const(_State.ANSWERS, len(state))),
                (at(_State.BEGINS), Const(_State.AT_POOL, len(state))),
                (reaches_pool, after_pool),
                ((at(_State.DECIDES) & is_decided) | at(_State.TAKES), Const(_State.ANSWERS, len(state))),
                (answered, Const(_State.IDLE, len(state))),
            ],
            state,
        )

        written = reaches_pool & self.is_write
        core = register("argument_core_shown", CONTROL_DATA_BITS)
        core.next <<= select(written & (self.word == int(Address.ARGUMENT_CORE)), self.data, core)
        in_quarantine = (core < len(quarantine)) & chosen(core, quarantine)
        forbidden = is_command & (self.data == int(Command.GRANT)) & in_quarantine
        was_forbidden = register("was_forbidden", 1)
        was_forbidden.next <<= select(written & is_command, forbidden, was_forbidden)

        pool_value = select(
            was_forbidden & (self.word == int(Address.COMMAND_RESULT)),
            Const(AXI_CORE_IN_QUARANTINE, CONTROL_DATA_BITS),
            ports["control_read_data"],
        )
        own_value = first_of(
            [(self.word == int(which), value.zero_extended(CONTROL_DATA_BITS)) for which, value in own.items()],
            Const(0, CONTROL_DATA_BITS),
        )
        value, response = register("rdata_register", CONTROL_DATA_BITS), register("response_register", 2)
        nothing = Const(0, CONTROL_DATA_BITS)
        value.next <<= first_of(
            [(fails, nothing), (at(_State.TAKES), pool_value), (at(_State.BEGINS), own_value)], value
        )
        response.next <<= first_of([(fails, Const(SLAVE_ERROR, 2)), (at(_State.BEGINS), Const(OKAY, 2))], response)
        return {
            "awready": ~taken["aw"], "wready": ~taken["w"], "arready": ~taken["ar"],
            "bvalid": at(_State.ANSWERS) & self.is_write, "bresp": response,
            "rvalid": at(_State.ANSWERS) & ~self.is_write, "rdata": value, "rresp": response,
            "control_write": at(_State.AT_POOL) & ~halted & self.is_write,
            "control_address": self.word[:CONTROL_ADDRESS_BITS],
            # A forbidden GRANT goes to the pool as a command that it does not know.
            "control_write_data": gated(self.data, ~forbidden),
        }  # fmt: skip


def _words(access: Access) -> list[int]:
    """Addresses of all registers that the host may use in this way."""
    described = (*REGISTERS, *AXI_REGISTERS)
    return [int(entry.register) for entry in described if entry.access in (access, Access.READ_WRITE)]
