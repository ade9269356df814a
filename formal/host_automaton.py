"""The reference automaton: what the host's commands do to ownership table and windows, told by the host's inputs alone.

A second account of the control plane, written from docs/microarchitecture.md and not from `rtl/`: which core is whose
and in what state, which window is whose, how far the sweep is, which command is being decided, and its verdict. It is
built from ghosts, called `reference_{register}` after the register of the design that ought to show the same. Its
inputs are the control port and the host's requests; no tenant, core or memory has a say, which `depends_on_host_alone`
reads off the netlist. START, PAUSE and RESUME are judged as far as the host alone decides; whether they suit the
tenant's progress is a matter of that tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyrtl
from pyrtl import Const, Register, WireVector, select

from formal.monitor import Lookup
from formal.problem import closed_under_dependence
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS, VIRTUAL_CORE_BITS
from isa.registers import COMMAND_CYCLES, CONTROL_DATA_BITS, Command, CoreState, Result
from isa.registers import Register as Address
from rtl.ownership import CORE_STATE_BITS
from rtl.sizes import SCRUB_MARGIN_CYCLES, Sizes, any_of, named
from rtl.windows import ATTACHMENT_BITS, Attachment

PREFIX = "reference_"
HOST_INPUTS = ("control_write", "control_address", "control_write_data", "host_request_valid", "host_request_address")
"""The only inputs of the automaton."""
BUSY = f"{PREFIX}busy"
"""Cycles until the command in hand is done: it is read while 3, checked while 2, and takes effect while 1."""
JUDGED, VERDICT = f"{PREFIX}judged", f"{PREFIX}command_verdict"
"""A Result: what the check one cycle ago found, and two cycles ago."""
_ARGUMENTS = {
    Address.ARGUMENT_TENANT: CONTROL_DATA_BITS,
    Address.ARGUMENT_CORE: CONTROL_DATA_BITS,
    Address.ARGUMENT_VIRTUAL: VIRTUAL_CORE_BITS,
    Address.ARGUMENT_BASE: CONTROL_DATA_BITS,
    Address.ARGUMENT_LIMIT: CONTROL_DATA_BITS,
    Address.ARGUMENT_START: INSTRUCTION_ADDRESS_BITS,
}
_RESULT_BITS = 4


class AutomatonError(Exception):
    """The automaton looks at something that is not the host's."""


def watch_host(config: PoolConfig, lookup: Lookup) -> None:
    """Build the automaton in a monitored copy of the shell of `config`."""
    host = {name: lookup(name) for name in HOST_INPUTS}
    _Automaton(config, host)


def ghosts(system: TransitionSystem) -> list[str]:
    """Registers of the automaton."""
    return [name for name in system.registers if name.startswith(PREFIX)]


def twins(system: TransitionSystem) -> list[tuple[str, str]]:
    """Registers of the design with the ghost that ought to be equal in every cycle."""
    return [
        (name.removeprefix(PREFIX), name) for name in ghosts(system) if name.removeprefix(PREFIX) in system.registers
    ]


def depends_on_host_alone(system: TransitionSystem) -> None:
    """Check on the netlist that the automaton is a function of the host's inputs.

    Raises:
        AutomatonError: naming a ghost whose next value depends on anything else.
    """
    wanted = {*ghosts(system), *HOST_INPUTS}
    others = wanted - closed_under_dependence(system, wanted)
    if others:
        raise AutomatonError(f"{min(others)} depends on more than the host's inputs")


def _ghost(name: str, bits: int, reset: int = 0) -> Register:
    return Register(bits, f"{PREFIX}{name}", reset_value=reset)


@dataclass(frozen=True)
class _Core:
    state: Register
    owner: Register
    virtual: Register
    timer: Register


@dataclass(frozen=True)
class _Window:
    attachment: Register
    base: Register
    limit: Register


class _Automaton:
    def __init__(self, config: PoolConfig, host: Mapping[str, WireVector]) -> None:
        self.config, self.sizes, self.host = config, Sizes(config), host
        sizes = self.sizes
        self.position = _ghost("wheel_position", sizes.wheel)
        self.position.next <<= (self.position + 1)[: sizes.wheel]
        self.cores = [
            _Core(
                _ghost(f"core{core}_state", CORE_STATE_BITS, CoreState.SCRUBBING),
                _ghost(f"core{core}_owner", sizes.tenant),
                _ghost(f"core{core}_virtual", VIRTUAL_CORE_BITS),
                _ghost(f"core{core}_timer", sizes.core_timer),
            )
            for core in range(config.cores)
        ]
        self.windows = [
            _Window(
                _ghost(f"tenant{tenant}_attachment", ATTACHMENT_BITS, Attachment.DIRTY),
                _ghost(f"tenant{tenant}_base", sizes.beat, tenant * config.fetch_beats),
                _ghost(f"tenant{tenant}_limit", sizes.length, config.fetch_beats),
            )
            for tenant in range(config.tenants)
        ]
        self.arguments = {name: _ghost(name.name.lower(), bits) for name, bits in _ARGUMENTS.items()}
        self.command = _ghost("command", CONTROL_DATA_BITS)
        accepted = self._command_in_hand()
        for index, core in enumerate(self.cores):
            self._move_core(
                core, *(accepted & self._names_core(index, which) for which in (Command.GRANT, Command.REVOKE))
            )
        swept = self._sweep()
        for tenant, window in enumerate(self.windows):
            self._move_window(window, accepted & (self.arguments[Address.ARGUMENT_TENANT] == tenant), swept[tenant])

    # ---- the command in hand

    def _command_in_hand(self) -> WireVector:
        """Take a write if no command is in hand; 1 in the cycle in which one takes effect that was accepted."""
        busy = Register(2, BUSY, reset_value=0)
        address, data = self.host["control_address"], self.host["control_write_data"]
        listens = self.host["control_write"] & (busy == 0)
        for name, argument in self.arguments.items():
            argument.next <<= select(listens & (address == name), data[: len(argument)], argument)
        orders = listens & (address == Address.COMMAND)
        self.command.next <<= select(orders, data, self.command)
        one_less = select(busy == 0, Const(0, 2), (busy - 1)[:2])
        busy.next <<= select(orders, Const(COMMAND_CYCLES - 1, 2), one_less)
        judged = Register(_RESULT_BITS, JUDGED, reset_value=Result.ACCEPTED)
        verdict = Register(_RESULT_BITS, VERDICT, reset_value=Result.NONE)
        result: WireVector = Const(Result.ACCEPTED, _RESULT_BITS)
        for reason, applies in reversed(self._refusals()):
            result = select(applies, Const(reason, _RESULT_BITS), result)
        judged.next <<= result
        verdict.next <<= judged
        return named(f"{PREFIX}accepts", (busy == 1) & (verdict == Result.ACCEPTED))

    def _is(self, *commands: Command) -> WireVector:
        return any_of([self.command == command for command in commands])

    def _names_core(self, core: int, command: Command) -> WireVector:
        return self._is(command) & (self.arguments[Address.ARGUMENT_CORE] == core)

    def _refusals(self) -> list[tuple[Result, WireVector]]:
        """The reasons, the first one that applies first, in the order of docs/microarchitecture.md."""
        config, is_ = self.config, self._is
        tenant, base, limit = (
            self.arguments[name] for name in (Address.ARGUMENT_TENANT, Address.ARGUMENT_BASE, Address.ARGUMENT_LIMIT)
        )
        core = self.arguments[Address.ARGUMENT_CORE]
        end = base + limit
        about_core, about_window = is_(Command.GRANT, Command.REVOKE), is_(Command.ATTACH)
        its_cores = [(each.state != CoreState.FREE) & (each.owner.zero_extended(32) == tenant) for each in self.cores]
        same_index = [each.virtual == self.arguments[Address.ARGUMENT_VIRTUAL] for each in self.cores]

        def tenant_is(*wanted: Attachment) -> WireVector:
            return any_of(
                [
                    (tenant == index) & any_of([window.attachment == each for each in wanted])
                    for index, window in enumerate(self.windows)
                ]
            )

        def core_is(wanted: CoreState) -> WireVector:
            return any_of([(core == index) & (each.state == wanted) for index, each in enumerate(self.cores)])

        needed = {
            (Command.ATTACH,): (Attachment.DETACHED,),
            (Command.DETACH,): (Attachment.STOPPED,),
            (Command.GRANT, Command.START, Command.PAUSE, Command.RESUME, Command.STOP): (
                Attachment.STOPPED,
                Attachment.ACTIVE,
            ),
        }
        in_the_way = [
            (window.attachment != Attachment.DETACHED)
            & (base < window.base + window.limit)
            & (window.base.zero_extended(CONTROL_DATA_BITS + 1) < end)
            for window in self.windows
        ]
        ring = config.fetch_beats
        return [
            (Result.UNKNOWN_COMMAND, ~is_(*Command)),
            (Result.NO_SUCH_TENANT, ~is_(Command.REVOKE) & (tenant >= config.tenants)),
            (Result.NO_SUCH_CORE, about_core & (core >= config.cores)),
            (Result.TENANT_HOLDS_CORES, is_(Command.DETACH, Command.STOP) & any_of(its_cores)),
            (
                Result.WRONG_TENANT_STATE,
                any_of([is_(*commands) & ~tenant_is(*states) for commands, states in needed.items()]),
            ),
            (
                Result.WRONG_CORE_STATE,
                (is_(Command.GRANT) & ~core_is(CoreState.FREE)) | (is_(Command.REVOKE) & ~core_is(CoreState.HELD)),
            ),
            (
                Result.WINDOW_NOT_ALIGNED,
                about_window & (((base & (ring - 1)) != 0) | ((limit & (ring - 1)) != 0) | (limit == 0)),
            ),
            (Result.WINDOW_OUTSIDE_MEMORY, about_window & (end > config.memory_beats)),
            (Result.WINDOW_OVERLAPS, about_window & any_of(in_the_way)),
            (
                Result.VIRTUAL_INDEX_TAKEN,
                is_(Command.GRANT) & any_of([its & same for its, same in zip(its_cores, same_index, strict=True)]),
            ),
        ]

    # ---- cores and windows

    def _move_core(self, core: _Core, granted: WireVector, revoked: WireVector) -> None:
        """HELD by GRANT, DRAINING by REVOKE for drain_cycles, SCRUBBING for scrub_cycles and a margin, FREE."""
        drains, scrubs = core.state == CoreState.DRAINING, core.state == CoreState.SCRUBBING
        drained = drains & (core.timer == self.config.drain_cycles - 1)
        scrubbed = scrubs & (core.timer == self.config.scrub_cycles + SCRUB_MARGIN_CYCLES - 1)
        timed = (drains & ~drained) | (scrubs & ~scrubbed)
        core.timer.next <<= select(timed, (core.timer + 1)[: len(core.timer)], Const(0, len(core.timer)))
        with pyrtl.conditional_assignment:
            with granted:
                core.state.next |= CoreState.HELD
                core.owner.next |= self.arguments[Address.ARGUMENT_TENANT][: len(core.owner)]
                core.virtual.next |= self.arguments[Address.ARGUMENT_VIRTUAL]
            with revoked:
                core.state.next |= CoreState.DRAINING
            with drained:
                core.state.next |= CoreState.SCRUBBING
            with scrubbed:
                core.state.next |= CoreState.FREE
                core.owner.next |= 0
                core.virtual.next |= 0

    def _move_window(self, window: _Window, accepted: WireVector, swept: WireVector) -> None:
        """Set by ATTACH, DIRTY by DETACH, and gone when it has been swept."""
        with pyrtl.conditional_assignment:
            with accepted & self._is(Command.ATTACH):
                window.attachment.next |= Attachment.STOPPED
                window.base.next |= self.arguments[Address.ARGUMENT_BASE][: len(window.base)]
                window.limit.next |= self.arguments[Address.ARGUMENT_LIMIT][: len(window.limit)]
            with accepted & self._is(Command.STOP):
                window.attachment.next |= Attachment.STOPPED
            with accepted & self._is(Command.START):
                window.attachment.next |= Attachment.ACTIVE
            with accepted & self._is(Command.DETACH):
                window.attachment.next |= Attachment.DIRTY
            with swept:
                window.attachment.next |= Attachment.DETACHED
                window.base.next |= 0
                window.limit.next |= 0

    # ---- the sweep

    def _host_slot(self, channel: int) -> WireVector:
        """The channel's slot is the host's: position - channel * M / G lies in the last revolution."""
        first = (self.config.host_revolutions - 1) * self.config.cores
        places = [
            (place + channel * self.config.slot_spacing) % self.config.period_cycles
            for place in range(first, self.config.period_cycles)
        ]
        return any_of([self.position == place for place in places])

    def _sweep(self) -> list[WireVector]:
        """Zero one DIRTY window after the other, beat by beat in host slots that the host leaves; done, per tenant."""
        sizes = self.sizes
        taken = _ghost("host_taken", 1)
        busy, tenant = _ghost("sweep_is_busy", 1), _ghost("sweep_tenant", sizes.tenant)
        timer = _ghost("sweep_timer", self.config.drain_cycles.bit_length())
        counts = [
            _ghost(f"channel{channel}_sweep_count", sizes.length - sizes.channel)
            for channel in range(self.config.channels)
        ]
        limit: WireVector = Const(0, sizes.length)
        for index, window in enumerate(self.windows):
            limit = select(tenant == index, window.limit, limit)
        address, asks = self.host["host_request_address"], self.host["host_request_valid"] & ~taken
        left = [count < limit[sizes.channel :] for count in counts]
        all_written = busy & ~any_of(left)
        done = all_written & (timer == self.config.drain_cycles)
        served = []
        for channel, count in enumerate(counts):
            slot = self._host_slot(channel)
            here = (address[: sizes.channel] == channel) if sizes.channel else Const(1, 1)
            served.append(slot & asks & here)
            writes = slot & ~served[-1] & busy & left[channel]
            count.next <<= select(busy & ~done, (count + writes)[: len(count)], Const(0, len(count)))
        taken.next <<= any_of(served)
        timer.next <<= select(all_written & ~done, (timer + 1)[: len(timer)], Const(0, len(timer)))
        dirty = [window.attachment == Attachment.DIRTY for window in self.windows]
        with pyrtl.conditional_assignment:
            with done:
                busy.next |= 0
            with ~busy:
                busy.next |= any_of(dirty)
                for index, is_dirty in enumerate(dirty):
                    with is_dirty:
                        tenant.next |= index
        return [done & (tenant == index) for index in range(self.config.tenants)]
