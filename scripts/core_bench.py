"""A bench for one core: memory behind slots, level 1's credits, the barrier; and the interpreter as its oracle."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pyrtl
from numpy.typing import NDArray

from isa.configuration import NAMED_POOLS, PoolConfig
from isa.encoding import encode, encode_program
from isa.instructions import WORD_BYTES, Buffer, End, Engine, Instruction
from isa.interpreter import Machine, RunResult
from rtl.core import core
from rtl.core_ports import core_ports

ENGINES = (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
BARRIER_CYCLES = 3
"""From sync_local on the port to sync_global on the port."""


def build_core(config: PoolConfig) -> None:
    """The netlist of one core alone: ports `name_i` and `name_o`."""
    pyrtl.reset_working_block()
    ports = core_ports(config)
    inputs = {name: pyrtl.Input(bits, f"{name}_i") for name, bits in ports.inputs.items()}
    with pyrtl.name_scope("core"):
        outputs = core(config, inputs)
    for name, wire in outputs.items():
        port = pyrtl.Output(len(wire), f"{name}_o")
        port <<= wire


@dataclass
class Trace:
    """What happened on the ports: cycles in which something was visible, counted from the first cycle of the run."""

    cycles: int = 0
    credits: dict[Engine, list[int]] = field(default_factory=lambda: {engine: [] for engine in ENGINES})
    requests: list[tuple[int, bool, int]] = field(default_factory=list)
    """(cycle in which it became visible, is a write, beat address)"""
    taken: list[int] = field(default_factory=list)
    """Slots in which requests were taken."""
    responses: list[int] = field(default_factory=list)
    sync_local: list[int] = field(default_factory=list)
    activity: list[int] = field(default_factory=list)
    faults: list[tuple[int, int, int]] = field(default_factory=list)
    """(cycle, cause, address)"""

    def issue(self, engine: Engine, number: int) -> int:
        """Cycle in which the engine's instruction number `number` (from 0) issued."""
        return self.credits[engine][number] - 1


class CoreBench:
    """Simulates one core; between runs it is scrubbed."""

    def __init__(self, config: PoolConfig) -> None:
        self.config = config
        build_core(config)
        self.block = pyrtl.working_block()
        ports = [self.block.get_wirevector_by_name(f"{name}_o") for name in core_ports(config).outputs]
        self.simulation = pyrtl.CompiledSimulation(
            tracer=pyrtl.SimulationTrace(wires_to_track=ports, block=self.block), block=self.block
        )
        self.memories = {memory.name: memory for memory in _memories(self.block)}
        self._traces = self.simulation.tracer.trace
        self._idle = dict.fromkeys(core_ports(config).inputs, 0)
        self.history: list[tuple[dict[str, int], dict[str, int]]] | None = None
        """If it is a list: inputs and outputs of every cycle are added."""

    def step(self, **inputs: int) -> dict[str, int]:
        """One cycle: the outputs that are visible in it."""
        (outputs,) = self._steps([self._idle | inputs])
        return outputs

    def scrub(self) -> None:
        """A full sweep: nothing of the last run is left."""
        self._steps([self._idle | {"scrub": 1, "scrub_address": place} for place in range(self.config.scrub_cycles)])

    def _steps(self, given: Sequence[dict[str, int]]) -> list[dict[str, int]]:
        """One by one: of several in a call the simulator would trace the first one alone."""
        ports = core_ports(self.config).outputs
        shown = []
        for inputs in given:
            self.simulation.run([{f"{name}_i": value for name, value in inputs.items()}])
            shown.append({name: self._traces[f"{name}_o"].pop() for name in ports})
        if self.history is not None:
            self.history += zip(given, shown, strict=True)
        return shown

    def memory(self, name: str, count: int) -> list[int]:
        """The first words of one of the core's memories, which may consist of banks."""
        whole = self.memories.get(f"core/{name}")
        banks = [whole] if whole else [self.memories[f"core/{name}_{i}"] for i in range(self.config.port_vectors)]
        inspected = [self.simulation.inspect_mem(bank) for bank in banks]
        return [inspected[place % len(banks)][place // len(banks)] for place in range(count)]

    def run(
        self,
        program: Sequence[Instruction],
        memory: NDArray[np.uint8],
        *,
        phase: int = 0,
        gaps: Sequence[int] = (0,),
        limit: int = 200_000,
        first_address: int = 0,
        settle: int = 0,
    ) -> Trace:
        """Run a program of core instructions on `memory` (changed in place) until the core is idle or has faulted.

        phase: when the core's slots come. gaps: cycles that level 1 waits between two instructions, in turn.
        """
        config, trace = self.config, Trace()
        self.scrub()
        words = deque((encode(instruction), instruction.engine()) for instruction in program)
        credits = dict.fromkeys(ENGINES, config.queue_instructions)
        beats = memory.reshape(-1, config.beat_bytes)
        channel_latency = config.channel_latency + 3
        arriving: dict[int, dict[str, int]] = {}
        next_word, number, quiet, visible = 0, 0, 0, False
        for cycle in range(limit):
            inputs = arriving.pop(cycle, {})
            if words and cycle >= next_word and credits[words[0][1]]:
                word, engine = words.popleft()
                credits[engine] -= 1
                inputs |= {"instruction_valid": 1, "instruction": word, "instruction_address": first_address + number}
                next_word = cycle + 1 + gaps[number % len(gaps)]
                number += 1
            outputs = self.step(**inputs)
            for place, engine in enumerate(ENGINES):
                if outputs["credit"] >> place & 1:
                    credits[engine] += 1
                    trace.credits[engine].append(cycle)
            trace.activity.append(outputs["activity"])
            asked = self._waiting_request(outputs, "request_taken" in inputs)
            was_visible, visible = visible, bool(asked["request_valid"])
            if visible and not was_visible:
                trace.requests.append((cycle, bool(asked["request_write"]), asked["request_address"]))
            turn, is_slot = divmod(cycle - phase, config.slot_spacing)
            if not is_slot and visible and asked["request_address"] % config.channels == turn % config.channels:
                visible = False
                trace.taken.append(cycle)
                arriving.setdefault(cycle + 1, {})["request_taken"] = 1
                arrival = arriving.setdefault(cycle + channel_latency, {})
                arrival |= self._access(beats, asked)
                if "response_valid" in arrival:
                    trace.responses.append(cycle + channel_latency)
            if outputs["sync_local"]:
                trace.sync_local.append(cycle)
                arriving.setdefault(cycle + BARRIER_CYCLES, {})["sync_global"] = 1
            if outputs["fault_valid"]:
                trace.faults.append((cycle, outputs["fault_cause"], outputs["fault_address"]))
            full = all(count == config.queue_instructions for count in credits.values())
            busy = words or not full or arriving or outputs["activity"] or visible or outputs["request_valid"]
            quiet = 0 if busy and not trace.faults else quiet + 1
            if quiet > max(8, settle):
                trace.cycles = cycle + 1 - quiet
                return trace
        raise AssertionError(f"still busy after {limit} cycles, {len(words)} instructions left")

    def _waiting_request(self, outputs: dict[str, int], taken: bool) -> dict[str, int]:
        """The request that waits for a slot; while `request_taken` shows, the first one on the port does not."""
        if not taken:
            return outputs
        following = {name: outputs.get(f"request_next_{name}", 0) for name in ("valid", "write", "address")}
        return outputs | {f"request_{name}": value for name, value in following.items()}

    def _access(self, beats: NDArray[np.uint8], outputs: dict[str, int]) -> dict[str, int]:
        beat = beats[outputs["request_address"]]
        if not outputs["request_write"]:
            return {"response_valid": 1, "response_data": int.from_bytes(beat.tobytes(), "little")}
        data = np.frombuffer(outputs["request_data"].to_bytes(len(beat), "little"), np.uint8)
        for vector in range(self.config.vectors_per_beat):
            if outputs["request_strobe"] >> vector & 1:
                place = slice(vector * self.config.array, (vector + 1) * self.config.array)
                beat[place] = data[place]
        return {"write_acknowledged": 1}


def _memories(block: pyrtl.Block) -> set[pyrtl.MemBlock]:
    return {net.op_param[1] for net in block.logic_subset("m@")}


@cache
def bench(pool: str) -> CoreBench:
    """The bench of a named pool, compiled once."""
    return CoreBench(NAMED_POOLS[pool])


def interpreted(
    config: PoolConfig, program: Sequence[Instruction], memory: NDArray[np.uint8]
) -> tuple[Machine, RunResult, NDArray[np.uint8]]:
    """The same program on the reference interpreter: the machine, how it ended, and the memory behind it."""
    code = np.frombuffer(encode_program([*program, End()]), np.uint8)
    padding = -len(code) % config.beat_bytes
    machine = Machine(config, np.concatenate([memory, code, np.zeros(padding, np.uint8)]))
    result = machine.run(start_word=len(memory) // WORD_BYTES)
    return machine, result, machine.memory.read(0, len(memory))[0]


def compare(tested: CoreBench, program: Sequence[Instruction], memory: NDArray[np.uint8], **options: object) -> Trace:
    """Run on both; memory and the core's buffers must agree."""
    config = tested.config
    machine, result, expected = interpreted(config, program, memory)
    assert result.outcome.name == "DONE" and not result.detail, result
    after = memory.copy()
    trace = tested.run(program, after, **options)  # type: ignore[arg-type]
    assert not trace.faults, trace.faults
    state = machine.core_state(0)
    stores = {
        "features": (state.buffers[Buffer.FEATURES].data, 1),
        "weights": (state.buffers[Buffer.WEIGHTS].data, 1),
        "parameters": (state.buffers[Buffer.PARAMETERS].data, 1),
        "output": (state.output.data, 1),
        "compute/accumulators/bank_0": (state.accumulators[0].data, 4),
        "compute/accumulators/bank_1": (state.accumulators[1].data, 4),
    }
    for name, (data, size) in stores.items():
        word_bytes = config.array * size
        words = tested.memory(name, len(data))
        shown = np.frombuffer(b"".join(word.to_bytes(word_bytes, "little") for word in words), data.dtype)
        np.testing.assert_array_equal(shown.reshape(data.shape), data, err_msg=name)
    np.testing.assert_array_equal(after, expected, err_msg="memory")
    return trace
