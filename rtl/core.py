"""A core: three engines with their queues, tokens between them, buffers, and one request port.

             instruction          response                      request
                  |                  |                             ^
     +------------+-----------+      |          +------------------+-----------------+
     v            v           v      v          |                  |                 |
   queue        queue       queue  load engine -+   tokens    save engine <- queue   |
   (load)      (compute)    (save)   | | | |    <---------->       ^                 |
                  |                  v v v v                       |                 |
                  v         features weights parameters table residual                 |
            compute engine <---------+                             |                 |
                  +-----------------------------------------> output buffer          |
                                                                                     |
Every output is a register; every input comes from a register of the shell. Times are in the docstrings of the
engines, and together in docs/microarchitecture.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import pyrtl
from pyrtl import Register, WireVector, concat_list

from isa.configuration import PoolConfig
from isa.instructions import OPCODE_BITS, Buffer, Engine
from rtl.banked_memory import BankedMemory, narrowed
from rtl.compute_engine import ComputeBuffers, ComputeEngine, compute_engine
from rtl.core_ports import ENGINE_COUNT, core_ports
from rtl.hierarchy import hardware
from rtl.instruction_fields import word_bits
from rtl.instruction_queue import QueueHead, instruction_queue
from rtl.load_engine import LoadEngine, buffer_depths, load_engine
from rtl.request_port import Request, request_port
from rtl.result_path import TableWrite
from rtl.save_engine import SaveEngine, save_engine
from rtl.scrubbed import Scrub
from rtl.tokens import Tokens, fault_output, token_counter

_ENGINES = (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
assert len(_ENGINES) == ENGINE_COUNT


@hardware()
def core(config: PoolConfig, inputs: Mapping[str, WireVector]) -> dict[str, WireVector]:
    """One core. Takes a wire for every input of `core_ports`, returns a register for every output.

    The caller gives the name scope.
    """
    ports = core_ports(config)
    if {name: len(wire) for name, wire in inputs.items()} != ports.inputs:
        raise ValueError("the inputs of a core must be those of core_ports, with their widths")
    scrub_of_queues, scrub, scrub_behind = _scrub(config, inputs)
    taken = {engine: WireVector(1) for engine in _ENGINES}
    heads = {engine: _queue(config, scrub_of_queues, inputs, engine, taken[engine]) for engine in _ENGINES}
    tokens = {
        (giver, taker): _scoped(f"{giver.name.lower()}_to_{taker.name.lower()}", token_counter, scrub, "tokens")
        for giver, taker in (
            (Engine.LOAD, Engine.COMPUTE),
            (Engine.COMPUTE, Engine.LOAD),
            (Engine.COMPUTE, Engine.SAVE),
            (Engine.SAVE, Engine.COMPUTE),
        )
    }
    buffers: dict[Buffer, BankedMemory] = {
        buffer: BankedMemory(scrub, 8 * config.array, depth, buffer.name.lower(), config.port_vectors)
        for buffer, depth in buffer_depths(config).items()
        if buffer is not Buffer.TABLE
    }
    output = BankedMemory(scrub, 8 * config.array, config.output_vectors, "output", config.port_vectors)

    read_moves, read_taken, write_may_move, waits_for_sync = (WireVector(1) for _ in range(4))
    with pyrtl.name_scope("load"):
        load = load_engine(
            config,
            scrub,
            heads[Engine.LOAD],
            inputs["response_valid"],
            inputs["response_data"],
            read_moves,
            read_taken,
            inputs["sync_global"],
            tokens[Engine.COMPUTE, Engine.LOAD],
            tokens[Engine.LOAD, Engine.COMPUTE],
        )
    for buffer, memory in buffers.items():
        memory.write(load.bank_writes, load.writes[buffer])
    table = TableWrite(valid=load.writes[Buffer.TABLE], banks=narrowed(load.bank_writes, 8))
    with pyrtl.name_scope("compute"):
        compute = compute_engine(
            config,
            scrub.apart("engine"),
            scrub_behind,
            heads[Engine.COMPUTE],
            _compute_buffers(buffers, output),
            table,
            tokens[Engine.LOAD, Engine.COMPUTE],
            tokens[Engine.SAVE, Engine.COMPUTE],
            tokens[Engine.COMPUTE, Engine.LOAD],
            tokens[Engine.COMPUTE, Engine.SAVE],
        )
    with pyrtl.name_scope("save"):
        save = save_engine(
            config,
            scrub,
            heads[Engine.SAVE],
            output,
            write_may_move,
            inputs["write_acknowledged"],
            waits_for_sync,
            tokens[Engine.COMPUTE, Engine.SAVE],
            tokens[Engine.SAVE, Engine.COMPUTE],
        )
    port = request_port(
        config,
        scrub,
        inputs["request_taken"],
        Request(load.request_valid, load.request_address, load.request_instruction),
        Request(save.request_valid, save.request_address, save.request_instruction),
        save.request_data,
        save.request_strobe,
    )
    read_moves <<= port.read_moves
    read_taken <<= port.read_taken
    write_may_move <<= port.write_may_move
    waits_for_sync <<= load.waits_for_sync

    engines: dict[Engine, LoadEngine | ComputeEngine | SaveEngine] = {
        Engine.LOAD: load,
        Engine.COMPUTE: compute,
        Engine.SAVE: save,
    }
    for engine, wire in taken.items():
        wire <<= engines[engine].taken
    fault_valid, fault_cause, fault_address = fault_output(scrub, [engines[engine].fault for engine in _ENGINES])
    outputs = {
        "credit": scrub.stage(_bits(taken[engine] for engine in _ENGINES), "credit"),
        **port.outputs,
        "sync_local": save.sync_local,
        "fault_valid": fault_valid,
        "fault_cause": fault_cause,
        "fault_address": fault_address,
        "activity": scrub.stage(_bits(engines[engine].is_busy for engine in _ENGINES), "activity"),
    }
    if {name: len(wire) for name, wire in outputs.items()} != ports.outputs:
        raise AssertionError("the outputs of the core differ from core_ports")
    return outputs


def _scrub(config: PoolConfig, inputs: Mapping[str, WireVector]) -> tuple[Scrub, Scrub, Scrub]:
    """Scrubs while the port says so, and from then on as long as no instruction has come: what is left at reset stays
    there, until the first instruction finds it so. For the queues at once, for most others one cycle later, for those
    that no instruction can reach as fast two cycles later.

    The registers that say so are the only ones that a reset reaches: in its second cycle they clear all others.
    `awake` is the inverse of the first one, for the memories. Each region of the core has its own `asleep` and
    `asleep_behind`: the same, but made of themselves, so that synthesis does not merge them.
    """
    awake = Register(1, "awake", reset_value=0)
    sleeps = WireVector(1, "sleeps")
    sleeps <<= inputs["scrub"] | ~(awake | inputs["instruction_valid"])
    awake.next <<= ~sleeps

    def asleep(region: str) -> WireVector:
        register = Register(1, f"asleep_{region}", reset_value=1)
        register.next <<= inputs["scrub"] | (register & ~inputs["instruction_valid"])
        clears = WireVector(1, f"clears_{region}")
        clears <<= register
        return clears

    def asleep_behind(region: str) -> WireVector:
        register = Register(1, f"asleep_behind_{region}", reset_value=1)
        register.next <<= asleep(region)
        clears = WireVector(1, f"clears_behind_{region}")
        clears <<= register
        return clears

    address, cycles = inputs["scrub_address"], config.scrub_cycles
    return (
        Scrub(sleeps, address, cycles),
        Scrub(asleep("core"), address, cycles, sleeps, asleep),
        Scrub(asleep_behind("array"), address, cycles, sleeps, asleep_behind),
    )


def _bits(wires: Iterable[WireVector]) -> WireVector:
    """One-bit wires side by side, the first one in bit 0."""
    return concat_list(list(wires))


def _scoped(name: str, module: Callable[..., Tokens], *arguments: object) -> Tokens:
    with pyrtl.name_scope(name):
        return module(*arguments)


def _queue(
    config: PoolConfig, scrub: Scrub, inputs: Mapping[str, WireVector], engine: Engine, taken: WireVector
) -> QueueHead:
    """The queue of one engine: it takes the instructions whose opcode names the engine."""
    word = inputs["instruction"]
    names_engine = word[OPCODE_BITS - 2 : OPCODE_BITS] == int(engine)
    with pyrtl.name_scope(f"{engine.name.lower()}_queue"):
        return instruction_queue(
            scrub,
            inputs["instruction_valid"] & names_engine,
            word[: word_bits(engine)],
            inputs["instruction_address"],
            taken,
            config.queue_instructions,
        )


def _compute_buffers(buffers: Mapping[Buffer, BankedMemory], output: BankedMemory) -> ComputeBuffers:
    return ComputeBuffers(
        features=buffers[Buffer.FEATURES],
        weights=buffers[Buffer.WEIGHTS],
        parameters=buffers[Buffer.PARAMETERS],
        output=output,
        residual=buffers[Buffer.RESIDUAL],
    )
