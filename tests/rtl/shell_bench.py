"""The shell on PyRTL's simulator with port stubs: scripted Python cores, and memory with a fixed latency.

Channel inputs carry noise whenever no response is due: whoever looks at them then sees nonsense.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

import pyrtl

from isa.configuration import PoolConfig
from isa.encoding import encode_program
from isa.instructions import Instruction
from isa.registers import COMMAND_CYCLES, Command, CoreState, Register, Result, TenantState
from rtl.core_ports import core_ports
from rtl.pool import core_stub, pool

MINI = PoolConfig(
    name="mini", cores=4, array=4, tenants=3, channels=1, beat_bytes=32, features_vectors=64, weights_vectors=64,
    parameters_vectors=16, output_vectors=64, residual_vectors=16, accumulator_pixels=16, line_vectors=16, lanes=2,
    memory_beats=128, host_revolutions=4, fetch_beats=4,
)  # fmt: skip
WIDE = PoolConfig(
    name="wide", cores=16, array=4, tenants=5, channels=4, beat_bytes=32, features_vectors=64, weights_vectors=64,
    parameters_vectors=16, output_vectors=64, residual_vectors=16, accumulator_pixels=16, line_vectors=16, lanes=2,
    memory_beats=256, host_revolutions=4, fetch_beats=8,
)  # fmt: skip


@dataclass
class Request:
    """A request of a scripted core."""

    address: int
    write: bool = False
    data: int = 0
    strobe: int = 0
    instruction: int = 0


@dataclass
class ScriptedCore:
    """A core that records what it sees, with the cycle, and sends what a test puts into its queues."""

    gives_credit: bool = True
    shows_next_request: bool = False
    requests: deque[Request] = field(default_factory=deque)
    pulses: dict[int, dict[str, int]] = field(default_factory=dict)
    """Cycle -> output ports that differ from 0 in this cycle."""
    instructions: list[tuple[int, int, int]] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    responses: list[tuple[int, int]] = field(default_factory=list)
    acknowledged: list[int] = field(default_factory=list)
    released: list[int] = field(default_factory=list)
    scrubbed: list[tuple[int, int]] = field(default_factory=list)

    def outputs(self, cycle: int) -> dict[str, int]:
        """What the core's output registers show in this cycle."""
        shown = dict(self.pulses.get(cycle, {}))
        if self.requests:
            request = self.requests[0]
            shown |= {
                "request_valid": 1,
                "request_write": int(request.write),
                "request_address": request.address,
                "request_data": request.data,
                "request_strobe": request.strobe,
                "request_instruction": request.instruction,
            }
        if self.shows_next_request and len(self.requests) > 1:
            following = self.requests[1]
            assert not (self.requests[0].write and following.write)
            shown |= {
                "request_next_valid": 1,
                "request_next_write": int(following.write),
                "request_next_address": following.address,
                "request_next_instruction": following.instruction,
            }
            if following.write:
                shown |= {"request_data": following.data, "request_strobe": following.strobe}
        return shown

    def observe(self, cycle: int, seen: dict[str, int]) -> None:
        """What the core's input ports show in this cycle; payload must be 0 without its valid bit."""
        if seen["instruction_valid"]:
            self.instructions.append((cycle, seen["instruction"], seen["instruction_address"]))
            if self.gives_credit:
                engine = (seen["instruction"] >> 4 & 3) - 1
                self.pulses.setdefault(cycle + 2, {})["credit"] = 1 << engine
        else:
            assert seen["instruction"] == 0 and seen["instruction_address"] == 0
        if seen["request_taken"]:
            self.taken.append(cycle)
            self.requests.popleft()
        if seen["response_valid"]:
            self.responses.append((cycle, seen["response_data"]))
        else:
            assert seen["response_data"] == 0
        for port, log in (("write_acknowledged", self.acknowledged), ("sync_global", self.released)):
            if seen[port]:
                log.append(cycle)
        if seen["scrub"]:
            self.scrubbed.append((cycle, seen["scrub_address"]))


class ShellBench:
    """One shell with scripted cores, host and memory; `cycle` is the cycle that comes next, 0 the first after reset."""

    def __init__(self, config: PoolConfig = MINI, seed: int = 1) -> None:
        pyrtl.reset_working_block()
        pool(config, core_stub(config))
        self.config = config
        self.simulation = pyrtl.FastSimulation(tracer=None)
        self.cycle = 0
        self.cores = [ScriptedCore(shows_next_request=config.shows_next_request) for _ in range(config.cores)]
        self.memory = [0] * config.memory_beats
        self.noise = Random(seed)
        self.due: list[dict[int, int]] = [{} for _ in range(config.channels)]
        self.accesses: list[tuple[int, int, bool, int]] = []
        """(cycle, channel, is write, physical beat) of all that was seen on the channels' outputs."""
        self.host: dict[str, int] = {}
        block = pyrtl.working_block()
        self._idle = {wire.name: 0 for wire in block.wirevector_subset(pyrtl.Input)}
        self.registers = sorted(wire.name for wire in block.wirevector_subset(pyrtl.Register))
        self.memories = sorted({net.op_param[1] for net in block.logic if net.op == "m"}, key=lambda m: m.name)
        self._input_ports = list(core_ports(config).inputs)

    def show(self, name: str) -> int:
        """A register or output in the cycle that was simulated last."""
        return int(self.simulation.inspect(name))

    def step(self, **inputs: int) -> None:
        """One cycle with the given top-level inputs."""
        values = {**self._idle, **self.host, **inputs}
        bits = 8 * self.config.beat_bytes
        for channel, due in enumerate(self.due):
            values[f"channel{channel}_response"] = due.pop(self.cycle, self.noise.getrandbits(bits) | 1)
        for index, core in enumerate(self.cores):
            shown = core.outputs(self.cycle)
            for port in shown:
                values[f"core{index}_{port}_i"] = shown[port]
        self.simulation.step(values)
        for index, core in enumerate(self.cores):
            core.observe(self.cycle, {port: self.show(f"core{index}_{port}_o") for port in self._input_ports})
        for channel in range(self.config.channels):
            self._serve(channel)
        self.cycle += 1

    def _serve(self, channel: int) -> None:
        valid, write, address, data, strobe = (
            self.show(f"channel{channel}_{port}") for port in ("valid", "write", "address", "data", "strobe")
        )
        if not valid:
            assert (write, address, data, strobe) == (0, 0, 0, 0)
            return
        beat = address * self.config.channels + channel
        self.accesses.append((self.cycle, channel, bool(write), beat))
        if write:
            for vector in range(self.config.vectors_per_beat):
                if strobe >> vector & 1:
                    mask = ((1 << 8 * self.config.array) - 1) << 8 * self.config.array * vector
                    self.memory[beat] = self.memory[beat] & ~mask | data & mask
        else:
            assert (data, strobe) == (0, 0)
            self.due[channel][self.cycle + self.config.channel_latency] = self.memory[beat]

    def run(self, cycles: int) -> None:
        """Some cycles without host activity."""
        for _ in range(cycles):
            self.step()

    def run_to(self, cycle: int) -> None:
        """Until `cycle` comes next."""
        assert self.cycle <= cycle
        self.run(cycle - self.cycle)

    def run_until(self, condition: Callable[[], bool], limit: int = 20_000) -> None:
        """Until the condition holds after a cycle."""
        for _ in range(limit):
            if condition():
                return
            self.step()
        raise AssertionError("the condition never came true")

    # --- control port ----------------------------------------------------------------------------------------

    def write(self, register: Register, value: int) -> None:
        """Write one control register (one cycle)."""
        self.step(control_write=1, control_address=register, control_write_data=value)

    def read(self, register: Register) -> int:
        """Read one control register (two cycles)."""
        self.step(control_address=register)
        self.step()
        return self.show("control_read_data")

    def order(self, command: Command, **arguments: int) -> Result:
        """Write arguments (tenant=, core=, virtual=, base=, limit=, start=) and command; its result, in time."""
        for name, value in arguments.items():
            self.write(Register[f"ARGUMENT_{name.upper()}"], value)
        self.write(Register.COMMAND, command)
        self.run(COMMAND_CYCLES - 1)
        return Result(self.read(Register.COMMAND_RESULT))

    def accept(self, command: Command, **arguments: int) -> int:
        """An order that must be accepted; the cycle in which COMMAND was written."""
        assert self.order(command, **arguments) == Result.ACCEPTED
        return self.cycle - COMMAND_CYCLES - 2

    def tenant_state(self, tenant: int) -> TenantState:
        """State of a tenant, through the control port."""
        self.write(Register.ARGUMENT_TENANT, tenant)
        return TenantState(self.read(Register.TENANT_STATE))

    def core_state(self, core: int) -> CoreState:
        """State of a core, in the cycle simulated last."""
        return CoreState(self.show(f"core{core}_state"))

    # --- usual beginnings ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """From reset until every core is FREE and every tenant DETACHED."""
        tenants, cores = range(self.config.tenants), range(self.config.cores)
        self.run_until(
            lambda: (
                self.cycle > 0
                and all(self.show(f"tenant{tenant}_attachment") == 0 for tenant in tenants)
                and all(self.core_state(core) == CoreState.FREE for core in cores)
            )
        )

    def admit(self, tenant: int, base: int, limit: int, cores: Iterable[int]) -> None:
        """ATTACH a tenant and GRANT it cores, with virtual indices in the order given."""
        self.accept(Command.ATTACH, tenant=tenant, base=base, limit=limit)
        for virtual, core in enumerate(cores):
            self.accept(Command.GRANT, tenant=tenant, core=core, virtual=virtual)

    def place(self, beat: int, program: list[Instruction] | bytes) -> None:
        """Put a program into memory from a physical beat."""
        raw = program if isinstance(program, bytes) else encode_program(program)
        size = self.config.beat_bytes
        for index in range(0, len(raw), size):
            self.memory[beat + index // size] = int.from_bytes(raw[index : index + size], "little")

    def start(self, tenant: int, start: int = 0) -> int:
        """START a tenant; the first cycle in which it is RUNNING (which comes next)."""
        self.write(Register.ARGUMENT_TENANT, tenant)
        self.write(Register.ARGUMENT_START, start)
        if (self.cycle + COMMAND_CYCLES + 1) % self.config.period_cycles == 0:
            self.step()  # START would take effect while its result is being read
        self.accept(Command.START)
        self.run_until(lambda: self.cycle % self.config.period_cycles == 0)
        return self.cycle
