"""A functional test of one core of pool `tiny`, alone, as one run: recorded at the core's ports, played to its mutants.

The programs are synthetic: random ones that overlap and have every instruction with every flag, residuals and
depthwise convolutions among them; walks with large kernels; barriers; every fault of a core, and what fits exactly. The
reference interpreter says what each has to leave in memory, in the core's buffers, or as cause and address of a fault.
`tests/rtl` plays most of them (random ones, faults, what fits, barriers, the large walk) on cores of other shapes, too,
and compares their cycles with the table.

A core between two programs is scrubbed, and taken away in the midst of its work now and then. A core that shows what
was recorded, in every cycle, passes the test; any other one fails it in some byte, some cycle or some fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from formal.recording import Recording
from isa.configuration import NAMED_POOLS
from isa.encoding import encode
from isa.instructions import (
    BUFFER_INDEX_BITS,
    INSTRUCTION_ADDRESS_BITS,
    TABLE_VECTORS,
    TOKEN_BITS,
    WORD_BYTES,
    Add,
    Buffer,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    Load,
    Lookup,
    Pool,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.registers import Fault
from isa.walks import window_shape
from scripts.core_bench import CoreBench, Trace, compare, interpreted
from scripts.core_programs import random_memory, random_program

POOL = NAMED_POOLS["tiny"]
Program = Sequence[CoreInstruction]
_TILE = ConfigTile(input_rows=1, input_columns=8, output_columns=8)
_TOKENS = 1 << TOKEN_BITS

FAULTS: Mapping[str, Program] = {
    "features": [Load(buffer=Buffer.FEATURES, destination=POOL.features_vectors - 3, columns=4)],
    "weights at the last index": [Load(buffer=Buffer.WEIGHTS, destination=65535, columns=2)],
    "parameters": [Load(buffer=Buffer.PARAMETERS, columns=4, rows=5, planes=4)],
    "table": [Load(buffer=Buffer.TABLE, destination=250, columns=7)],
    "save": [Save(source=POOL.output_vectors - 1, columns=2)],
    "save at the last index": [Save(source=65535)],
    "the last pixel of a conv": [_TILE, Conv(features=POOL.features_vectors - 7)],
    "a conv behind one that pads in time": [
        _TILE, Conv(features=POOL.features_vectors - 7, first_column=-2), Conv(features=65535),
    ],
    "the last weight tile": [_TILE, ConfigWindow(channel_blocks=3), Conv(weights=POOL.weights_vectors - 11)],
    "very many weight tiles": [_TILE, ConfigWindow(channel_blocks=4096), Conv()],
    "a prefetched weight tile": [_TILE, Conv(), Conv(weights=POOL.weights_vectors - 3)],
    "accumulators": [replace(_TILE, output_rows=17), Conv(first_row=5)],
    "all pixels": [replace(_TILE, output_rows=1024, output_columns=4096), Conv(first_row=5)],
    "the output of a drain": [_TILE, Conv(drain=1, output=POOL.output_vectors - 7)],
    "parameter block": [_TILE, Conv(drain=1, parameters=POOL.parameters_vectors - 7)],
    "pool": [
        _TILE, ConfigWindow(channel_blocks=4096, kernel_columns=2), Pool(features=POOL.features_vectors - 8),
        Pool(features=POOL.features_vectors - 7),
    ],
    "second block of channels": [
        _TILE, Conv(weights=7), ConfigTile(plane_pitch=65535), ConfigWindow(channel_blocks=2), Conv(),
    ],
    "raster": [_TILE, Conv(depthwise=1, features=POOL.features_vectors - 7)],
    "second column of a raster": [
        replace(_TILE, output_columns=1), Conv(depthwise=1, features=POOL.features_vectors - 1),
    ],
    "taps": [_TILE, Conv(depthwise=1, weights=POOL.weights_vectors - 3)],
    "rows of a window": [_TILE, ConfigWindow(kernel_rows=2), Conv(depthwise=1)],
    "columns of a window": [_TILE, ConfigWindow(kernel_columns=5), Conv(), Conv(depthwise=1)],
    "line buffers": [
        replace(_TILE, output_columns=POOL.line_vectors + 1), Conv(first_row=5), Conv(first_row=5, depthwise=1),
    ],
    "line buffers of strides": [
        ConfigTile(output_rows=1, output_columns=9), ConfigWindow(stride_columns=16), Conv(first_row=5, depthwise=1),
    ],
    "operand a": [Add(vectors=4, features=POOL.features_vectors - 3)],
    "operand b": [Add(vectors=4, features_b=POOL.features_vectors - 3)],
    "sum": [Add(vectors=4, output=POOL.output_vectors - 3)],
    "lookup": [Lookup(vectors=4096)],
    "output of a lookup": [Lookup(vectors=4, output=65535)],
    "tokens for compute": [Load(post_compute=1)] * _TOKENS,
    "tokens for load": [_TILE, *[Conv(post_load=1)] * _TOKENS],
    "tokens of drains": [_TILE, *[Conv(post_save=1, drain=1)] * _TOKENS],
    "tokens for save": [Lookup(post_save=1)] * _TOKENS,
    "tokens of operands": [Lookup(post_load=1)] * _TOKENS,
    "tokens of saves": [Save(post_compute=1)] * _TOKENS,
}  # fmt: skip
"""Programs that fault, by what they exceed."""

TAKERS: Mapping[str, CoreInstruction] = {
    "tokens for compute": Lookup(wait_load=1),
    "tokens for save": Save(wait_compute=1),
    "tokens of operands": Load(wait_compute=1),
    "tokens of saves": Lookup(wait_save=1),
}
"""What takes the tokens of such a program."""

FITS: Sequence[Program] = (
    [Load(buffer=Buffer.TABLE, destination=255), Load(destination=POOL.features_vectors - 4, columns=4)],
    [Save(source=POOL.output_vectors - 5, columns=5)],
    [_TILE, Conv(features=POOL.features_vectors - 8, weights=POOL.weights_vectors - 4, drain=1,
                 parameters=POOL.parameters_vectors - 8, output=POOL.output_vectors - 8)],
    [_TILE, Conv(depthwise=1, features=POOL.features_vectors - 8, weights=POOL.weights_vectors - 4)],
    [replace(_TILE, output_columns=POOL.line_vectors - 3), ConfigWindow(kernel_columns=4),
     Conv(first_row=5, depthwise=1)],
    [replace(_TILE, output_rows=16), Conv(features=65535, first_row=1, drain=1, output=128)],
    [Add(vectors=4, features=POOL.features_vectors - 4, features_b=POOL.features_vectors - 4,
         output=POOL.output_vectors - 4)],
    [Load(post_compute=1)] * (_TOKENS - 1) + [Conv(wait_load=1), Load(post_compute=1)],
)  # fmt: skip
"""Programs that come as near to a fault as can be."""

LARGE_WALK: Program = [
    Load(buffer=Buffer.FEATURES, address=64, columns=1000),
    Load(buffer=Buffer.WEIGHTS, address=64, columns=1024, post_compute=1),
    ConfigWindow(kernel_rows=16, kernel_columns=16, stride_rows=16, stride_columns=13, dilation_rows=16,
                 dilation_columns=16, pad_value=-3),
    ConfigTile(input_rows=25, input_columns=40, output_rows=2, output_columns=3),
    Conv(wait_load=1, first_row=-200, first_column=-130),
    ConfigWindow(kernel_rows=256, kernel_columns=1, pad_value=77),
    ConfigTile(input_rows=125, input_columns=8, output_rows=1, output_columns=5),
    Conv(bank=1, first_row=-128, first_column=2),
]  # fmt: skip


def barriers() -> list[CoreInstruction]:
    """Four layers, each with a LOAD, a CONV, a SAVE and a barrier."""
    program: list[CoreInstruction] = []
    for layer in range(4):
        program += [
            Load(buffer=Buffer.FEATURES, address=64 + layer, columns=40, wait_compute=layer > 0, post_compute=1),
            ConfigWindow(), ConfigTile(input_columns=40, output_columns=40), ConfigOutput(low=-128, high=127),
            Conv(wait_load=1, post_load=1, drain=1, post_save=1, wait_save=layer > 0),
            ConfigSave(row_pitch=10), Save(address=66 + 2 * layer, columns=10, rows=4, wait_compute=1, post_compute=1),
            SyncRaise(), SyncWait(),
        ]  # fmt: skip
    return program


def token_stream(seed: int, forward: bool, count: int = 60) -> list[CoreInstruction]:
    """LOADs, LOOKUPs and SAVEs of random sizes, each of which gives a token and takes one: they wait, or lie ready.

    forward: LOAD gives to LOOKUP, which gives to SAVE; else SAVE gives to LOOKUP, which gives to LOAD.
    """
    rng = np.random.default_rng(seed)
    program: list[CoreInstruction] = []
    for _ in range(count):
        loaded, looked, saved = (int(size) for size in rng.choice([1, 2, 3, 5, 8, 13, 21, 34], 3))
        program += [
            Load(address=64, columns=loaded, wait_compute=not forward, post_compute=forward),
            Lookup(vectors=looked, wait_load=forward, wait_save=not forward, post_load=not forward, post_save=forward),
            Save(address=9000, columns=saved, wait_compute=forward, post_compute=not forward),
        ]
    return program


def walks_behind_operands() -> list[CoreInstruction]:
    """Walks in either bank that find the end of an ADD or LOOKUP still under way."""
    walks = [Pool(), Conv(), Conv(depthwise=1)]
    program: list[CoreInstruction] = [Load(buffer=Buffer.FEATURES, address=64, columns=64, post_compute=1), _TILE]
    for operands in (Add(), Lookup(), Add(vectors=2), Lookup(vectors=5)):
        for walk in walks:
            program += [operands, walk, replace(operands, post_load=1), replace(walk, bank=1)]
    return [*program[:2], replace(program[2], wait_load=1), *program[3:]]


def steps_of_powers() -> list[CoreInstruction]:
    """Steps from row to row, from tap to tap and from plane to plane of 8, 16, ..., 512 vectors."""
    program: list[CoreInstruction] = [
        Load(buffer=Buffer.FEATURES, address=64, columns=1000),
        Load(buffer=Buffer.WEIGHTS, address=64, columns=8),
        Load(buffer=Buffer.PARAMETERS, columns=8, post_compute=1),
        ConfigOutput(low=-128, high=127),
    ]
    steps = [8 << place for place in range(7)]
    for place, step in enumerate(steps):
        tile = ConfigTile(input_rows=10, input_columns=step // 8, plane_pitch=step, output_rows=2)
        windows = (
            ConfigWindow(stride_rows=8),
            ConfigWindow(kernel_rows=2, dilation_rows=8),
            ConfigWindow(channel_blocks=2),
        )
        for number, window in enumerate(windows):
            conv = Conv(drain=1, output=2 * (3 * place + number), post_save=step == steps[-1] and number == 2)
            program += [tile, window, replace(conv, wait_load=1) if len(program) == 4 else conv]
    return [*program, Save(address=9000, columns=6 * len(steps), wait_compute=1)]


def depthwise_kernels() -> list[CoreInstruction]:
    """Depthwise CONVs of every kernel that fits the array's window, with weights of their own."""
    rows, columns = window_shape(POOL.array)
    kernels = [(row, column) for row in range(1, rows + 1) for column in range(1, columns + 1)]
    program: list[CoreInstruction] = [
        Load(buffer=Buffer.FEATURES, address=64, columns=64),
        Load(buffer=Buffer.WEIGHTS, address=64, columns=POOL.array * len(kernels)),
        Load(buffer=Buffer.PARAMETERS, columns=8, post_compute=1),
        ConfigOutput(low=-128, high=127),
        ConfigTile(input_rows=4, input_columns=12, output_rows=2, output_columns=4),
    ]
    for number, (row, column) in enumerate(kernels):
        is_first, is_last = number == 0, number == len(kernels) - 1
        program += [
            ConfigWindow(kernel_rows=row, kernel_columns=column),
            Conv(
                depthwise=1, drain=1, weights=POOL.array * number, output=8 * number, wait_load=is_first,
                post_save=is_last,
            ),
        ]  # fmt: skip
    return [*program, Save(address=9000, columns=8 * len(kernels), wait_compute=1)]


def _beyond_buffers() -> Mapping[str, Program]:
    """Indices with one bit too many, in each place."""
    found: dict[str, Program] = {}
    depths = {buffer: int(getattr(POOL, f"{buffer.name.lower()}_vectors", TABLE_VECTORS)) for buffer in Buffer}
    bits = [1 << place for place in range(BUFFER_INDEX_BITS)]
    for buffer, depth in depths.items():
        found |= {f"{buffer.name} {i}": [Load(buffer=buffer, destination=i)] for i in bits if i >= depth}
    for index in bits:
        if index >= POOL.output_vectors:
            found[f"source {index}"] = [Save(source=index)]
            found[f"output {index}"] = [_TILE, Conv(drain=1, output=index)]
            found[f"residual {index}"] = [_TILE, Conv(drain=1, add=1, residual=index)]
        if index >= POOL.features_vectors:
            found[f"operand a {index}"] = [Add(features=index)]
            found[f"operand b {index}"] = [Add(features_b=index)]
            found[f"pixel {index}"] = [_TILE, Conv(features=index)]
        if index >= POOL.weights_vectors:
            found[f"tile {index}"] = [_TILE, Conv(weights=index)]
    for bit in range(5, 10):  # columns times stride are too much for the line buffers
        tile = ConfigTile(output_rows=1, output_columns=(1 << bit - 3) + 1)
        found[f"raster {1 << bit}"] = [tile, ConfigWindow(stride_columns=9), Conv(first_row=5, depthwise=1)]
    for bit in range(8, 23):  # rows times columns are too much for the accumulators
        tile = replace(_TILE, output_rows=1 << bit // 2 - 1, output_columns=1 << bit - bit // 2 + 1)
        found[f"pixels {1 << bit}"] = [tile, Conv(first_row=5)]
    for bit in range(10, BUFFER_INDEX_BITS):
        found[f"plane {1 << bit}"] = [replace(_TILE, plane_pitch=1 << bit), ConfigWindow(channel_blocks=2), Conv()]
    for bit in range(10, 20):
        tile = replace(_TILE, input_rows=1024, input_columns=1 << bit - bit // 2 + 1)
        found[f"row {1 << bit}"] = [tile, Conv(first_row=1 << bit // 2 - 1)]
    for bit in range(10, 17):
        rows = 8 if bit < 16 else 16
        tile = ConfigTile(input_rows=1024, input_columns=(1 << bit) // rows, output_rows=2)
        found[f"row step {1 << bit}"] = [tile, ConfigWindow(stride_rows=rows), Conv()]
        found[f"tap step {1 << bit}"] = [tile, ConfigWindow(kernel_rows=2, dilation_rows=rows), Conv()]
    return found | {f"buffer {buffer}": [Load(buffer=buffer)] for buffer in range(len(Buffer), 8)}


FAR_LOADS: Program = [
    ConfigLoad(row_pitch=65535, plane_pitch=(1 << 24) - 1),
    Load(address=(1 << 32) - 1, columns=1, rows=2, planes=2),
]
"""Addresses beyond 32 bits."""
_SEEDS = 12
_STEPS = 6


def faults_alike(
    tested: CoreBench, program: Program, memory: NDArray[np.uint8], first: int = 0, settle: int = 400
) -> Trace:
    """Run a program that faults; cause and address must be the interpreter's. `memory` is changed.

    first: address of the first instruction.
    """
    _, result, _ = interpreted(tested.config, program, memory)
    assert result.fault is not None, result
    address = result.fault.address - len(memory) // WORD_BYTES + first
    trace = tested.run(program, memory, first_address=first, settle=settle)
    assert [fault[1:] for fault in trace.faults] == [(result.fault.cause, address)], trace.faults
    return trace


def _tokens_behind_an_overflow(tested: CoreBench, program: Program, taker: CoreInstruction) -> None:
    """A token too many is dropped and stops its giver: as many can be taken as were counted."""
    gaps = [0] * (len(program) - 1) + [2000] + [0] * _TOKENS  # none is taken before the last one is given
    trace = tested.run([*program, *[taker] * _TOKENS], np.zeros(1 << 16, np.uint8), gaps=gaps, settle=6000)
    assert [cause for _, cause, _ in trace.faults] == [Fault.TOKEN_OVERFLOW], trace.faults
    taken = len(trace.credits[taker.engine()])
    assert taken == _TOKENS - 1, taken


def _second_barrier(tested: CoreBench) -> None:
    """A barrier that completes before the core has waited for the one before is a fault: no shell lets it."""
    tested.scrub()
    arrivals = {
        0: {"instruction_valid": 1, "instruction": encode(Lookup())},
        5: {"sync_global": 1},
        9: {"sync_global": 1},
    }
    shown = [tested.step(**arrivals.get(cycle, {})) for cycle in range(20)]
    causes = [outputs["fault_cause"] for outputs in shown if outputs["fault_valid"]]
    assert causes == [Fault.TOKEN_OVERFLOW], causes


def record_core() -> Recording:
    """Run everything on the netlist of a core; what came to its ports, and what they showed.

    Raises:
        AssertionError: when the core does not do what the interpreter does.
    """
    tested = CoreBench(POOL)
    tested.history = []
    for seed in range(_SEEDS):
        rng = np.random.default_rng(seed)
        program = random_program(POOL, rng, steps=_STEPS)
        gaps = ((0,), (0, 7, 0, 40))[seed % 2]
        compare(tested, program, random_memory(POOL, rng), phase=seed % POOL.slot_spacing, gaps=gaps)
    streams = [token_stream(seed, forward) for seed in range(2) for forward in (False, True)]
    for program in (
        barriers(),
        walks_behind_operands(),
        steps_of_powers(),
        depthwise_kernels(),
        *streams,
        LARGE_WALK,
        *FITS,
    ):
        compare(tested, program, random_memory(POOL, np.random.default_rng(_SEEDS)))
    addresses = [(1 << INSTRUCTION_ADDRESS_BITS) - (1 << 16) * part for part in (1, 1365, 2730)]
    for number, program in enumerate(FAULTS.values()):
        faults_alike(tested, program, np.zeros(1 << 16, np.uint8), addresses[number % len(addresses)])
    for number, program in enumerate(_beyond_buffers().values()):
        faults_alike(tested, program, np.zeros(1 << 16, np.uint8), 1 << number % INSTRUCTION_ADDRESS_BITS, settle=20)
    for name, taker in TAKERS.items():
        _tokens_behind_an_overflow(tested, FAULTS[name], taker)
    _second_barrier(tested)
    tested.scrub()
    given, shown = zip(*tested.history, strict=True)
    inputs = {name: [cycle[name] for cycle in given] for name in given[0]}
    return Recording(inputs, {f"{name}_o": [cycle[name] for cycle in shown] for name in shown[0]})
