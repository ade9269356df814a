"""Random programs that use every instruction, with tokens and barriers that cannot deadlock: for comparing machines."""

from dataclasses import dataclass
from random import Random

import numpy as np

from isa.configuration import PoolConfig
from isa.encoding import encode_program
from isa.instructions import (
    PARAMETER_VECTORS,
    TABLE_VECTORS,
    WORD_BYTES,
    Add,
    Buffer,
    Call,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    CoreInstruction,
    End,
    Instruction,
    Load,
    Lookup,
    Pool,
    Return,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.walks import window_shape


@dataclass(frozen=True)
class RandomProgram:
    """A window of a tenant: bytes of it, the start word, and how many virtual cores the program wants."""

    window: np.ndarray
    start_word: int
    cores: int


def random_program(config: PoolConfig, seed: int, cores: int, layers: int = 3, steps: int = 4) -> RandomProgram:
    """`layers` barriers, up to `steps` steps (loads, an operation, a save) per core between two of them."""
    random = Random(seed)
    frames = [_layer(config, random, cores, layer, steps) for layer in range(layers)]
    program_words = len(frames) + 1
    address, calls, bodies = program_words, [], []
    for frame in frames:
        calls.append(Call(address=address))
        bodies += frame
        address += len(frame)
    words = encode_program([*calls, End(barriers=layers), *bodies])
    window = np.frombuffer(np.random.default_rng(seed).bytes(_window_bytes(config)), np.uint8).copy()
    if len(words) > _code_bytes(config):
        raise AssertionError("raise _code_bytes: the program does not fit")
    window[: len(words)] = np.frombuffer(words, np.uint8)
    return RandomProgram(window, 0, cores)


def _code_bytes(config: PoolConfig) -> int:
    return 1024 * WORD_BYTES


def _window_bytes(config: PoolConfig) -> int:
    unit = config.fetch_beats * config.beat_bytes
    return -(-(_code_bytes(config) + 8192 * config.array) // unit) * unit


def _layer(config: PoolConfig, random: Random, cores: int, layer: int, steps: int) -> list[Instruction]:
    streams = [_core_stream(config, random, core, cores, layer, random.randint(1, steps)) for core in range(cores)]
    frame: list[Instruction] = []
    while any(streams):
        for stream in streams:
            frame += [stream.pop(0) for _ in range(min(len(stream), random.randint(1, 5)))]
    return [*frame, Return()]


def _core_stream(
    config: PoolConfig, random: Random, core: int, cores: int, layer: int, steps: int
) -> list[CoreInstruction]:
    code_vectors = _code_bytes(config) // config.array
    source = code_vectors
    saves = code_vectors + 4096 + core * (4096 // cores)
    stream: list[CoreInstruction] = []
    if layer:
        stream.append(SyncWait(core=core))
    pending: list[CoreInstruction] = []
    for step in range(steps):
        half = step % 2
        loads, compute = _step(config, random, core, source, step)
        if not step:
            loads.append(Load(core=core, buffer=Buffer.TABLE, address=source, columns=TABLE_VECTORS))
            loads.append(Load(core=core, buffer=Buffer.RESIDUAL, address=source, columns=config.residual_vectors))
        loads[0] = _with(loads[0], wait_compute=int(step >= 2))
        loads[-1] = _with(loads[-1], post_compute=1)
        first = next(place for place, each in enumerate(compute) if isinstance(each, Conv | Pool | Add | Lookup))
        compute[first] = _with(compute[first], wait_load=1, wait_save=int(step >= 2))
        compute[-1] = _with(compute[-1], post_load=1, post_save=1)
        stream += [ConfigLoad(core=core, row_pitch=random.randint(1, 90), plane_pitch=random.randint(1, 900)), *loads]
        saves_first = random.random() < 0.6
        stream += [*pending, *compute] if saves_first else [*compute, *pending]
        vectors = random.randint(1, min(30, config.output_vectors // 2))
        columns = random.randint(1, vectors)
        pending = [
            ConfigSave(core=core, row_pitch=columns + random.randint(0, 5)),
            Save(
                core=core,
                wait_compute=1,
                post_compute=1,
                source=half * (config.output_vectors // 2),
                address=saves + random.randint(0, 200),
                columns=columns,
                rows=max(1, vectors // columns),
            ),
        ]
    # The tokens of the last two steps are left over: take them back, in the halves that they speak of.
    stream += pending
    for step in range(max(0, steps - 2), steps):
        features = step % 2 * (config.features_vectors // 2)
        output = step % 2 * (config.output_vectors // 2)
        vectors = random.randint(1, 9)
        stream += [
            Load(core=core, wait_compute=1, post_compute=1, destination=features, address=source, columns=vectors),
            Lookup(core=core, wait_load=1, wait_save=1, features=features, output=output, vectors=vectors),
        ]
    return [*stream, SyncRaise(core=core)]


def _with(instruction: CoreInstruction, **values: int) -> CoreInstruction:
    fields = {field.name: getattr(instruction, field.name) for field in instruction.layout()}
    return type(instruction)(**(fields | values))


def _step(
    config: PoolConfig, random: Random, core: int, source: int, step: int
) -> tuple[list[CoreInstruction], list[CoreInstruction]]:
    """(loads, configuration and operation) of one step; the loads fill one half of each buffer.

    A drain may still use table, residual and parameters when its CONV has given `post_load`, so table and residual are
    loaded once in a layer, and each step has a parameter block of its own.
    """
    half = step % 2
    features = half * (config.features_vectors // 2)
    output = half * (config.output_vectors // 2)
    parameters = step * PARAMETER_VECTORS
    weights = half * (config.weights_vectors // 2)
    accumulators = min(config.accumulator_pixels, config.output_vectors // 2)
    lookup = int(random.random() < 0.3)

    def load(buffer: Buffer, destination: int, columns: int, rows: int = 1, planes: int = 1) -> Load:
        address = source + random.randint(0, 1500)
        return Load(
            core=core,
            buffer=buffer,
            destination=destination,
            address=address,
            columns=columns,
            rows=rows,
            planes=planes,
        )

    kind = random.choice([Conv, Conv, Conv, Pool, Add, Lookup])
    if kind in (Add, Lookup):
        vectors = random.randint(1, min(40, accumulators))
        loads: list[CoreInstruction] = [load(Buffer.FEATURES, features, vectors, 2)]
        if kind is Lookup:
            return loads, [Lookup(core=core, features=features, output=output, vectors=vectors)]
        add = Add(
            core=core, features=features, features_b=features + vectors, output=output, vectors=vectors, lookup=lookup
        )
        return loads, [*_addition(random, core), add]

    rows, columns = random.randint(1, 7), random.randint(1, 9)
    kernel_rows, kernel_columns = random.randint(1, 3), random.randint(1, 3)
    depthwise = int(kind is Conv and random.random() < 0.4)
    if depthwise:
        kernel_rows, kernel_columns = (random.randint(1, side) for side in window_shape(config.array))
    blocks = random.randint(1, 3) if kind is Conv else 1
    output_rows = random.randint(1, 6)
    output_columns = random.randint(1, max(1, min(8, accumulators // output_rows)))
    window = ConfigWindow(
        core=core, kernel_rows=kernel_rows, kernel_columns=kernel_columns, stride_rows=random.randint(1, 3),
        stride_columns=random.randint(1, 3), dilation_rows=random.randint(1, 2), dilation_columns=random.randint(1, 2),
        channel_blocks=blocks, pad_value=random.randint(-128, 127),
    )  # fmt: skip
    tile = ConfigTile(
        core=core, input_rows=rows, input_columns=columns, plane_pitch=rows * columns,
        output_rows=output_rows, output_columns=output_columns,
    )  # fmt: skip
    result = ConfigOutput(core=core, zero_point=random.randint(-128, 127), low=-128, high=random.randint(0, 127))
    loads = [
        load(Buffer.FEATURES, features, columns, rows, blocks),
        load(Buffer.PARAMETERS, parameters, PARAMETER_VECTORS),
    ]
    place = dict(
        core=core, bank=random.getrandbits(1), drain=1, lookup=lookup, features=features,
        first_row=random.randint(-3, 1), first_column=random.randint(-3, 1), output=output, parameters=parameters,
    )  # fmt: skip
    operations: list[CoreInstruction] = []
    if kind is Pool:
        operations.append(Pool(**place, reduction=random.getrandbits(1)))
    else:
        tiles = 1 if depthwise else blocks * kernel_rows * kernel_columns
        loads.append(load(Buffer.WEIGHTS, weights, tiles * config.array))
        for _ in range(random.randint(0, 2)):
            first = place | {"drain": 0, "bank": random.getrandbits(1), "lookup": 0}
            operations.append(Conv(**first, weights=weights, accumulate=0, depthwise=depthwise))
        last = Conv(**place, weights=weights, accumulate=random.getrandbits(1), depthwise=depthwise)
        if random.random() < 0.5:
            residual = random.randint(0, config.residual_vectors - output_rows * output_columns)
            last = _with(last, add=1, residual_is_a=random.getrandbits(1), residual=residual)
            operations = [*_addition(random, core), *operations]
        operations.append(last)
    random.shuffle(loads)
    return loads, [window, tile, result, *operations]


def _addition(random: Random, core: int) -> list[CoreInstruction]:
    """Constants of additions."""
    factors = ConfigAddFactors(
        core=core, mantissa_a=1 << 23 | random.getrandbits(23), shift_a=random.randint(0, 6),
        mantissa_b=1 << 23 | random.getrandbits(23), shift_b=random.randint(0, 6),
    )  # fmt: skip
    offset = ConfigAddOffset(
        core=core, mantissa_f=random.getrandbits(24), negative_f=random.getrandbits(1),
        shift_f=random.randint(0, 8), fraction=random.randint(20, 34),
    )  # fmt: skip
    return [factors, offset]
