"""Every size of a pool, in one frozen and validated object; the named pools; pools from a TOML file."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path

from isa.instructions import (
    BUFFER_INDEX_BITS,
    PARAMETER_VECTORS,
    TABLE_VECTORS,
    VIRTUAL_CORE_BITS,
    WORD_BYTES,
    Conv,
)

LEAST_LINE_VECTORS = 8
"""As many as the widest window of a depthwise CONV has columns, as a power of two."""


class ConfigurationError(ValueError):
    """A pool that cannot be built, with the parameter and what to change."""


def _size(meaning: str, default: int | None = None) -> int:
    metadata = {"meaning": meaning}
    if default is None:
        return dataclasses.field(metadata=metadata)  # type: ignore[no-any-return]
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """The sizes of a pool. Raises ConfigurationError, naming the parameter, when they do not fit together."""

    name: str
    cores: int = _size("physical cores; the wheel has this many positions")
    array: int = _size("rows and columns of a core's MAC array = channels in a block = bytes in a vector")
    tenants: int = _size("tenant contexts")
    channels: int = _size("memory channels")
    beat_bytes: int = _size("bytes in one beat of a channel")
    features_vectors: int = _size("depth of the features buffer of a core")
    weights_vectors: int = _size("depth of the weights buffer")
    parameters_vectors: int = _size("depth of the parameters buffer")
    output_vectors: int = _size("depth of the output buffer")
    residual_vectors: int = _size("depth of the residual buffer, which drains add from")
    accumulator_pixels: int = _size("pixels in each of the two accumulator banks")
    line_vectors: int = _size("depth of the line buffers: input columns, padding included, of a depthwise CONV")
    lanes: int = _size("bytes that the requantiser and the adder produce in a cycle")
    port_vectors: int = _size("vectors between a beat and a buffer in a cycle, and of a weight tile into the array", 1)
    queue_instructions: int = _size("instructions that the queue of one engine holds", 4)
    channel_latency: int = _size("cycles from a request on a channel to its response", 64)
    host_revolutions: int = _size("one revolution of the wheel in this many belongs to the host", 32)
    fetch_beats: int = _size("beats of instructions prefetched for each tenant", 16)
    memory_beats: int = _size("beats of memory behind all channels together")

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            self._fail("name", "is not a text")
        for field in dataclasses.fields(self):
            if field.name == "name":
                continue
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                self._fail(field.name, f"is {value!r}; it must be a positive whole number")
        for name in (
            "array", "beat_bytes", "features_vectors", "weights_vectors", "parameters_vectors",
            "output_vectors", "residual_vectors", "accumulator_pixels", "line_vectors", "lanes", "port_vectors",
            "queue_instructions", "fetch_beats", "memory_beats", "channels", "cores", "host_revolutions",
        ):  # fmt: skip
            value = getattr(self, name)
            if value & (value - 1):
                self._fail(name, f"is {value}; it must be a power of two")
        if self.cores > 1 << VIRTUAL_CORE_BITS:
            self._fail("cores", f"is {self.cores}; an instruction can name {1 << VIRTUAL_CORE_BITS} virtual cores")
        if self.cores % self.channels:
            self._fail("channels", f"is {self.channels}; it must divide the {self.cores} cores")
        if self.beat_bytes % self.array:
            self._fail("beat_bytes", f"is {self.beat_bytes}; a beat holds whole vectors of {self.array} bytes")
        if self.beat_bytes % WORD_BYTES:
            self._fail("beat_bytes", f"is {self.beat_bytes}; a beat holds whole {WORD_BYTES}-byte instructions")
        if self.lanes > self.array:
            self._fail("lanes", f"is {self.lanes}; the array delivers {self.array} channels")
        if self.port_vectors > min(self.vectors_per_beat, self.array):
            self._fail(
                "port_vectors",
                f"is {self.port_vectors}; a beat holds {self.vectors_per_beat} vectors, a weight tile {self.array}",
            )
        if self.channel_latency < 64:
            self._fail("channel_latency", f"is {self.channel_latency}; real memory takes at least 64 cycles")
        if self.weights_vectors < self.array:
            self._fail("weights_vectors", "must hold one weight tile (as many vectors as the array is wide)")
        for name in ("features_vectors", "weights_vectors", "parameters_vectors", "output_vectors", "residual_vectors"):
            if getattr(self, name) < 2 * self.port_vectors:
                self._fail(name, f"is {getattr(self, name)}; take at least {2 * self.port_vectors}, twice port_vectors")
        if self.parameters_vectors < PARAMETER_VECTORS:
            self._fail("parameters_vectors", f"must hold one parameter block of {PARAMETER_VECTORS} vectors")
        if self.line_vectors < LEAST_LINE_VECTORS:
            self._fail("line_vectors", f"must hold a row of any window, at least {LEAST_LINE_VECTORS} vectors")
        for name, bits in (
            ("features_vectors", BUFFER_INDEX_BITS),
            ("weights_vectors", BUFFER_INDEX_BITS),
            ("output_vectors", BUFFER_INDEX_BITS),
            ("residual_vectors", BUFFER_INDEX_BITS),
            ("parameters_vectors", next(f.width for f in Conv.layout() if f.name == "parameters")),
        ):
            if getattr(self, name) > 1 << bits:
                self._fail(name, f"is {getattr(self, name)}; instructions can index {1 << bits} vectors")
        if self.memory_beats % self.channels:
            self._fail("memory_beats", f"must be a multiple of the {self.channels} channels")

    def _fail(self, parameter: str, problem: str) -> None:
        raise ConfigurationError(f"pool {self.name!r}: {parameter} {problem}")

    @property
    def vectors_per_beat(self) -> int:
        """Vectors in one beat of a channel."""
        return self.beat_bytes // self.array

    @property
    def words_per_beat(self) -> int:
        """Instructions in one beat of a channel."""
        return self.beat_bytes // WORD_BYTES

    @property
    def slot_spacing(self) -> int:
        """Cycles from one slot of a core to its next (on the next channel)."""
        return self.cores // self.channels

    @property
    def beat_spacing(self) -> int:
        """Cycles from one beat that a core loads to its next at least: its slots, and the unpacking of a whole beat."""
        return max(self.slot_spacing, self.vectors_per_beat // self.port_vectors)

    @property
    def shows_next_request(self) -> bool:
        """Whether a core's port shows the next request, too: only so can it use two slots in a row."""
        return self.beat_spacing == 1

    @property
    def slide_cycles(self) -> int:
        """Cycles in which a weight tile slides into the array."""
        return self.array // self.port_vectors

    @property
    def period_cycles(self) -> int:
        """Cycles of the wheel's whole period: all revolutions up to and including the host's."""
        return self.cores * self.host_revolutions

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory behind all channels together."""
        return self.memory_beats * self.beat_bytes

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates of one core in a cycle."""
        return self.array * self.array

    @property
    def scrub_cycles(self) -> int:
        """Cycles of the sweep that zeroes a core: one word of every memory a cycle, the deepest one decides."""
        return max(
            self.features_vectors,
            self.weights_vectors,
            self.parameters_vectors,
            self.output_vectors,
            self.residual_vectors,
            2 * self.accumulator_pixels,
            self.line_vectors,
            TABLE_VECTORS,
            2 * self.queue_instructions,
        )

    @property
    def drain_cycles(self) -> int:
        """Cycles from the gating of a core's requests until nothing of it can be outstanding."""
        return self.channel_latency + self.cores + 16


def _named(**sizes: int | str) -> PoolConfig:
    return PoolConfig(**sizes)  # type: ignore[arg-type]


_PAPER: dict[str, int | str] = dict(
    cores=16, array=16, tenants=16, channels=4, beat_bytes=64, features_vectors=4096, weights_vectors=2048,
    parameters_vectors=512, output_vectors=2048, residual_vectors=2048, accumulator_pixels=512, line_vectors=128,
    lanes=8, queue_instructions=8, memory_beats=1 << 22,
)  # fmt: skip

NAMED_POOLS: dict[str, PoolConfig] = {
    pool.name: pool
    for pool in (
        _named(
            name="tiny", cores=2, array=4, tenants=2, channels=1, beat_bytes=16, features_vectors=1024,
            weights_vectors=1024, parameters_vectors=64, output_vectors=256, residual_vectors=256,
            accumulator_pixels=128, line_vectors=32, lanes=2, fetch_beats=8, memory_beats=1 << 16, host_revolutions=16,
        ),
        _named(
            name="small", cores=4, array=8, tenants=4, channels=1, beat_bytes=32, features_vectors=512,
            weights_vectors=512, parameters_vectors=128, output_vectors=128, residual_vectors=128,
            accumulator_pixels=64, line_vectors=32, lanes=4, fetch_beats=16, memory_beats=1 << 17, host_revolutions=16,
        ),
        _named(name="paper", **_PAPER),
        _named(
            name="single", cores=1, array=64, tenants=1, channels=1, beat_bytes=256, features_vectors=16384,
            weights_vectors=8192, parameters_vectors=512, output_vectors=8192, residual_vectors=8192,
            accumulator_pixels=2048, line_vectors=128, lanes=64, port_vectors=4, queue_instructions=8,
            memory_beats=1 << 20,
        ),
        _named(name="static", **_PAPER),
    )
}  # fmt: skip
"""The pools that users can name."""


def load_pool(name_or_file: str) -> PoolConfig:
    """A pool by name, or from a TOML file whose keys are PoolConfig's parameters (`base` names a pool to start from).

    Raises ConfigurationError for an unknown name, an unreadable file, an unknown key or sizes that do not fit.
    """
    if name_or_file in NAMED_POOLS:
        return NAMED_POOLS[name_or_file]
    path = Path(name_or_file)
    if path.suffix != ".toml":
        known = ", ".join(NAMED_POOLS)
        raise ConfigurationError(f"unknown pool {name_or_file!r}: name one of {known}, or a .toml file")
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"pool file {path}: {error}") from None
    base_name = entries.pop("base", None)
    if base_name is not None and base_name not in list(NAMED_POOLS):  # a list: TOML values need not be hashable
        raise ConfigurationError(f"pool file {path}: base {base_name!r} is none of {', '.join(NAMED_POOLS)}")
    sizes = {} if base_name is None else dataclasses.asdict(NAMED_POOLS[base_name])
    known_keys = {field.name for field in dataclasses.fields(PoolConfig)}
    unknown = sorted(set(entries) - known_keys)
    if unknown:
        raise ConfigurationError(
            f"pool file {path}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known_keys))}"
        )
    sizes.update({"name": path.stem} | entries)
    required = {
        field.name
        for field in dataclasses.fields(PoolConfig)
        if field.default is dataclasses.MISSING and field.name not in sizes
    }
    if required:
        raise ConfigurationError(f"pool file {path}: missing {', '.join(sorted(required))} (or give a base)")
    return PoolConfig(**sizes)
