"""Random programs for one core: steps of load, compute and save that overlap, ordered by tokens alone.

Step k uses half k % 2 of every buffer; its first LOAD waits until step k-2 has read its inputs, its first drain until
step k-2 has been saved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isa.arithmetic import add_parameters
from isa.configuration import PoolConfig
from isa.instructions import (
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
)
from isa.walks import raster, window_shape

_DATA_VECTORS = 4096
"""LOADs start in these vectors and reach at most twice as far; outputs go behind that."""
_OUTPUT_ADDRESS = 2 * _DATA_VECTORS


def random_memory(config: PoolConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random bytes, with room for the outputs. Vectors 0..63 are parameter blocks with sensible scales."""
    memory = rng.integers(0, 256, (4 * _DATA_VECTORS, config.array), dtype=np.uint8)
    for block in range(8):
        memory[8 * block + 3] = rng.choice([0, 255], config.array)  # biases of 25 bits
        memory[8 * block + 6] |= 128  # mantissas are normalised
        memory[8 * block + 7] = rng.integers(30, 42, config.array)
    for block in range(4):  # biases of 9 and 17 bits, and scales with which few sums clip
        for byte in range(1 + block % 2, 3):
            memory[8 * block + byte] = memory[8 * block + 3]
        memory[8 * block + 7] = rng.integers(24, 38, config.array)
    for block in range(6, 8):  # biases of 32 bits: the sum wraps, and a small scale shows it
        memory[8 * block + 3] = rng.integers(0, 256, config.array)
        memory[8 * block + 7] = rng.integers(47, 53, config.array)
    return memory.reshape(-1)


@dataclass
class _Step:
    """One step of a program: its instructions by engine, and where it may put things."""

    config: PoolConfig
    rng: np.random.Generator
    half: int
    loads: list[CoreInstruction]
    compute: list[CoreInstruction]
    saves: list[CoreInstruction]
    outputs: int = 0
    """Vectors of the output half that are in use."""

    def base(self, buffer: str) -> int:
        """First vector of this step's half of a buffer."""
        return self.half * self.size(buffer)

    def size(self, buffer: str) -> int:
        """Vectors in half a buffer."""
        return int(getattr(self.config, f"{buffer}_vectors")) // 2

    def pick(self, low: int, high: int) -> int:
        """A random number, low and high included."""
        return int(self.rng.integers(low, high + 1))

    def flip(self) -> bool:
        """True or false."""
        return bool(self.rng.integers(2))

    def load(self, buffer: Buffer, destination: int, vectors: int, first: int | None = None) -> None:
        """Loads of random shape that fill `vectors` vectors of a buffer."""
        start = self.pick(64, _DATA_VECTORS - 1) if first is None else first
        while vectors:
            columns = self.pick(1, min(vectors, 97))
            rows = self.pick(1, min(vectors // columns, 5))
            planes = self.pick(1, min(vectors // (columns * rows), 3))
            if first is None:
                self.loads.append(ConfigLoad(row_pitch=self.pick(0, 200), plane_pitch=self.pick(0, 900)))
            else:
                rows = planes = 1
            self.loads.append(
                Load(buffer=buffer, destination=destination, address=start, columns=columns, rows=rows, planes=planes)
            )
            count = columns * rows * planes
            destination, vectors = destination + count, vectors - count
            start = self.pick(64, _DATA_VECTORS - 1) if first is None else start + count

    def save(self, source: int, vectors: int, address: int) -> int:
        """Saves of random shape for `vectors` vectors of the output buffer; returns the first address behind them."""
        while vectors:
            columns = self.pick(1, min(vectors, 97))
            rows = self.pick(1, min(vectors // columns, 6))
            pitch = columns + self.pick(0, 5)
            self.saves.append(ConfigSave(row_pitch=pitch))
            self.saves.append(Save(source=source, address=address, columns=columns, rows=rows))
            address += rows * pitch
            source, vectors = source + columns * rows, vectors - columns * rows
        return address

    def output(self, vectors: int) -> int:
        """Allocates output vectors."""
        first = self.base("output") + self.outputs
        self.outputs += vectors
        return first

    def parameters(self) -> int:
        """Loads one random parameter block; returns its place."""
        place = self.base("parameters") + self.pick(0, self.size("parameters") - 8)
        self.load(Buffer.PARAMETERS, place, 8, first=8 * self.pick(0, 7))
        return place


def _configured_output(step: _Step) -> None:
    low = step.pick(-128, 20)
    step.compute.append(ConfigOutput(zero_point=step.pick(-128, 127), low=low, high=step.pick(max(low, 0), 127)))


def _window(step: _Step, blocks: int) -> tuple[ConfigWindow, ConfigTile]:
    """A random window over a random tile that fits the buffers."""
    kernel_rows, kernel_columns = step.pick(1, 4), step.pick(1, 4)
    room = step.size("weights") // (step.config.array * 2)
    while kernel_rows * kernel_columns * blocks > room:
        kernel_rows, kernel_columns, blocks = max(1, kernel_rows - 1), kernel_columns - (kernel_rows == 1), blocks
        if kernel_columns < 1:
            kernel_columns, blocks = 1, 1
    most = min(step.config.accumulator_pixels, step.size("output") // 2)
    columns = step.pick(1, min(most, 24))
    rows = step.pick(1, min(most // columns, 12)) if step.pick(0, 3) else 1
    area = step.size("features") // blocks
    input_columns = step.pick(1, min(area, 40))
    input_rows = step.pick(1, min(area // input_columns, 20))
    plane = input_rows * input_columns
    pitch = plane + step.pick(0, (step.size("features") - blocks * plane) // blocks)
    window = ConfigWindow(
        kernel_rows=kernel_rows,
        kernel_columns=kernel_columns,
        stride_rows=step.pick(1, 3),
        stride_columns=step.pick(1, 3),
        dilation_rows=step.pick(1, 2),
        dilation_columns=step.pick(1, 3),
        channel_blocks=blocks,
        pad_value=step.pick(-128, 127),
    )
    tile = ConfigTile(
        input_rows=input_rows, input_columns=input_columns, plane_pitch=pitch, output_rows=rows, output_columns=columns
    )
    return window, tile


def _walk_fields(step: _Step, window: ConfigWindow, tile: ConfigTile) -> dict[str, int]:
    return {
        "features": step.base("features"),
        "first_row": step.pick(-window.kernel_rows, 2),
        "first_column": step.pick(-window.kernel_columns, 2),
    }


def _convolution(step: _Step) -> None:
    """One or two CONVs, in one bank (chunks of the sum) or in both (two blocks of output channels)."""
    window, tile = _window(step, step.pick(1, 3))
    step.load(Buffer.FEATURES, step.base("features"), step.size("features"))
    tiles = window.kernel_rows * window.kernel_columns * window.channel_blocks
    weights = tiles * step.config.array
    step.load(Buffer.WEIGHTS, step.base("weights"), 2 * weights)
    step.compute += [window, tile]
    _configured_output(step)
    pixels = tile.output_rows * tile.output_columns
    bank, chunks = step.pick(0, 1), step.flip()
    first = Conv(
        **_walk_fields(step, window, tile), weights=step.base("weights"), bank=bank, drain=not chunks,
        parameters=step.parameters(), output=step.output(pixels) if not chunks else 0,
    )  # fmt: skip
    step.compute.append(first)
    if chunks or step.flip():
        last = Conv(
            **_walk_fields(step, window, tile),
            weights=step.base("weights") + weights,
            bank=bank if chunks or step.flip() else 1 - bank,
            drain=1,
            accumulate=chunks,
            parameters=step.parameters(),
            output=step.output(pixels),
        )
        step.compute.append(_with_residual(step, last, pixels))


def _with_residual(step: _Step, conv: Conv, pixels: int) -> Conv:
    """The CONV, the last one of its step; now and then its drain adds a residual, which lies ready in its buffer."""
    if step.pick(0, 2):
        return conv
    step.compute[:0] = _addition_constants(step)
    first = step.pick(0, step.config.residual_vectors - pixels)
    return replace(conv, add=1, residual_is_a=step.flip(), residual=first)


def _depthwise(step: _Step) -> None:
    """One to three CONVs of channels by themselves in a row, now and then with one that sums over channels, in any
    banks: an accumulator may be read again as soon as it has settled."""
    window, tile = _window(step, 1)
    rows, columns = window_shape(step.config.array)
    window = replace(
        window,
        kernel_rows=step.pick(1, rows),
        kernel_columns=step.pick(1, columns),
        stride_columns=step.pick(1, 2) if step.pick(0, 3) else step.pick(1, 9),
        channel_blocks=step.pick(1, 9),
    )
    tile = replace(tile, plane_pitch=0)  # only CONVs that sum over channels read other blocks
    if raster(window, tile)[1] > step.config.line_vectors:
        tile = replace(tile, output_columns=1)
    step.load(Buffer.FEATURES, step.base("features"), step.size("features"))
    step.load(Buffer.WEIGHTS, step.base("weights"), step.size("weights"))
    step.compute += [window, tile]
    _configured_output(step)
    count = step.pick(1, 3)
    bank = step.pick(0, 1)
    room = step.size("weights") - step.config.array
    pixels = tile.output_rows * tile.output_columns
    for number in range(count):
        sums_channels = step.pick(0, 3) == 0 and window.channel_blocks * window.kernel_rows * window.kernel_columns <= 8
        fields = _walk_fields(step, window, tile) | {"bank": bank, "accumulate": int(number > 0)}
        if sums_channels:
            step.compute.append(Conv(**fields, weights=step.base("weights")))
        elif step.pick(0, 5) == 0:
            step.compute.append(Pool(**fields, reduction=step.pick(0, 1)))
        else:
            step.compute.append(Conv(**fields, weights=step.base("weights") + step.pick(0, room), depthwise=1))
    drained = _walk_fields(step, window, tile) | {"bank": bank, "accumulate": step.pick(0, 1)}
    last = Conv(
        **drained,
        weights=step.base("weights") + step.pick(0, room),
        depthwise=1,
        drain=1,
        parameters=step.parameters(),
        output=step.output(pixels),
    )
    step.compute.append(_with_residual(step, last, pixels))


def _pooling(step: _Step) -> None:
    window, tile = _window(step, 1)
    window = replace(window, channel_blocks=step.pick(1, 9))
    step.load(Buffer.FEATURES, step.base("features"), step.size("features"))
    step.compute += [window, tile]
    _configured_output(step)
    fields = _walk_fields(step, window, tile)
    bank = step.pick(0, 1)
    if step.flip():
        step.compute.append(Pool(**fields, reduction=step.pick(0, 1), bank=bank))
        fields["accumulate"] = 1
    step.compute.append(
        Pool(
            **fields,
            reduction=step.pick(0, 1),
            bank=bank,
            drain=1,
            parameters=step.parameters(),
            output=step.output(tile.output_rows * tile.output_columns),
        )
    )


def _addition_constants(step: _Step) -> tuple[CoreInstruction, ...]:
    scales = [np.float32(2.0 ** step.rng.uniform(-6, 0)) for _ in range(3)]
    zeros = [step.pick(-128, 127) for _ in range(3)]
    return add_parameters(scales[0], zeros[0], scales[1], zeros[1], scales[2], zeros[2]).instructions(0)


def _addition(step: _Step) -> None:
    vectors = step.pick(1, min(step.size("features"), step.size("output") // 2, 150))
    step.load(Buffer.FEATURES, step.base("features"), step.size("features"))
    step.compute += _addition_constants(step)
    _configured_output(step)
    for _ in range(step.pick(1, 2)):
        room = step.size("features") - vectors
        step.compute.append(
            Add(
                features=step.base("features") + step.pick(0, room),
                features_b=step.base("features") + step.pick(0, room),
                output=step.output(vectors),
                vectors=vectors,
            )
        )


def _table(step: _Step) -> None:
    vectors = step.pick(1, min(step.size("features"), step.size("output") // 2, 150))
    step.load(Buffer.FEATURES, step.base("features"), step.size("features"))
    for _ in range(step.pick(1, 2)):
        step.compute.append(
            Lookup(
                features=step.base("features") + step.pick(0, step.size("features") - vectors),
                output=step.output(vectors),
                vectors=vectors,
            )
        )


STEPS: dict[str, Callable[[_Step], None]] = {
    "convolution": _convolution,
    "depthwise": _depthwise,
    "pooling": _pooling,
    "addition": _addition,
    "table": _table,
}


def random_program(
    config: PoolConfig, rng: np.random.Generator, steps: int, kinds: tuple[str, ...] = tuple(STEPS)
) -> list[CoreInstruction]:
    """A program whose steps overlap; drains and ADDs go through the table at times, and drains add residuals.

    Table and residuals are loaded first.
    """
    program: list[CoreInstruction] = [
        Load(buffer=Buffer.TABLE, address=64, columns=256),
        Load(buffer=Buffer.RESIDUAL, address=1000, columns=config.residual_vectors),
    ]
    address = _OUTPUT_ADDRESS
    for number in range(steps):
        step = _Step(config, rng, number % 2, [], [], [])
        STEPS[str(rng.choice(kinds))](step)
        address = step.save(step.base("output"), step.outputs, address)
        _link(step, is_late=number >= 2)
        program += _interleaved(step, rng)
    return program


def _link(step: _Step, is_late: bool) -> None:
    """Puts in the tokens."""
    loads = [place for place, entry in enumerate(step.loads) if isinstance(entry, Load)]
    works = [place for place, entry in enumerate(step.compute) if isinstance(entry, Conv | Pool | Add | Lookup)]
    saves = [place for place, entry in enumerate(step.saves) if isinstance(entry, Save)]

    def change(entries: list[CoreInstruction], place: int, **flags: int) -> None:
        entries[place] = replace(entries[place], **flags)  # type: ignore[arg-type]

    if is_late:
        change(step.loads, loads[0], wait_compute=1)
        change(step.compute, works[0], wait_save=1)
    change(step.loads, loads[-1], post_compute=1)
    change(step.compute, works[0], wait_load=1)
    change(step.compute, works[-1], post_load=1, post_save=1)
    change(step.saves, saves[0], wait_compute=1)
    change(step.saves, saves[-1], post_compute=1)
    for place in works:
        if not isinstance(step.compute[place], Lookup):
            change(step.compute, place, lookup=int(step.flip()))


def _interleaved(step: _Step, rng: np.random.Generator) -> Iterator[CoreInstruction]:
    """Level 1 sends instructions in order, so a step's loads come before the compute that waits for them."""
    queues = [list(step.loads), list(step.compute), list(step.saves)]
    for queue in queues:
        yield from queue
