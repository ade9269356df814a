"""Widths that the shell derives from a pool's sizes, and the wire idioms that its modules share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_, or_

import pyrtl
from pyrtl import Const, Register, WireVector

from isa.configuration import ConfigurationError, PoolConfig
from isa.instructions import INSTRUCTION_ADDRESS_BITS
from rtl.core_ports import beat_address_bits

SCRUB_MARGIN_CYCLES = 4
"""Cycles in SCRUBBING beyond the sweep: one for the scrub ports' registers, the others for what the core pipelines."""


def _log2(power_of_two: int) -> int:
    return power_of_two.bit_length() - 1


@dataclass(frozen=True)
class Sizes:
    """Widths in bits; those that may be 0 say so."""

    config: PoolConfig

    def __post_init__(self) -> None:
        config = self.config
        for holds, problem in (
            (config.host_revolutions >= 2, "host_revolutions is 1, which leaves no slot to the cores; take 2 or more"),
            (config.fetch_beats >= config.channels, "fetch_beats must be at least the number of channels"),
            (
                config.tenants * config.fetch_beats <= config.memory_beats,
                "memory_beats must hold fetch_beats for each tenant, which reset sweeps",
            ),
        ):
            if not holds:
                raise ConfigurationError(f"pool {config.name!r}: {problem}")

    @property
    def core(self) -> int:
        """Index of a core; 0 with one core."""
        return _log2(self.config.cores)

    @property
    def core_timer(self) -> int:
        """Counter of the longer one of DRAINING and SCRUBBING."""
        return (max(self.config.drain_cycles, self.config.scrub_cycles + SCRUB_MARGIN_CYCLES) - 1).bit_length()

    @property
    def tenant(self) -> int:
        """Index of a tenant, at least 1."""
        return max(1, (self.config.tenants - 1).bit_length())

    @property
    def channel(self) -> int:
        """Index of a channel; 0 with one channel."""
        return _log2(self.config.channels)

    @property
    def wheel(self) -> int:
        """Position of the wheel."""
        return _log2(self.config.period_cycles)

    @property
    def beat(self) -> int:
        """Physical address of a beat in the whole memory."""
        return _log2(self.config.memory_beats)

    @property
    def length(self) -> int:
        """A number of beats from 0 to the whole memory."""
        return self.beat + 1

    @property
    def channel_address(self) -> int:
        """Address of a beat within its channel, at least 1."""
        return max(1, self.beat - self.channel)

    @property
    def request(self) -> int:
        """Beat address in a core's request."""
        return beat_address_bits(self.config)

    @property
    def offset(self) -> int:
        """Offset of any access from the start of its window, before the limit check."""
        return max(self.request, self.length)

    @property
    def word(self) -> int:
        """Place of an instruction in its beat; 0 with one instruction in a beat."""
        return _log2(self.config.words_per_beat)

    @property
    def pointer(self) -> int:
        """Beat address of an instruction: a word address without the place in the beat."""
        return INSTRUCTION_ADDRESS_BITS - self.word

    @property
    def entry(self) -> int:
        """Entry of a tenant's prefetch buffer within the bank of one channel; may be 0."""
        return _log2(self.config.fetch_beats // self.config.channels)

    @property
    def data(self) -> int:
        """Data of one beat."""
        return 8 * self.config.beat_bytes


def register(name: str, bits: int, reset: int = 0) -> Register:
    """A register with an explicit reset value."""
    return Register(bits, name, reset_value=reset)


def output(name: str, wire: WireVector) -> None:
    """A top-level output that shows `wire`."""
    port = pyrtl.Output(len(wire), name)
    port <<= wire


def named(name: str, wire: WireVector) -> WireVector:
    """A wire that shows `wire` under a name that claims and traces can use."""
    shown = WireVector(len(wire), name)
    shown <<= wire
    return shown


def any_of(wires: Sequence[WireVector]) -> WireVector:
    """Bitwise or of one or more wires of equal width."""
    return reduce(or_, wires)


def all_of(wires: Sequence[WireVector]) -> WireVector:
    """Bitwise and of one or more wires of equal width."""
    return reduce(and_, wires)


def gated(value: WireVector, enable: WireVector) -> WireVector:
    """`value` while the bit `enable` is 1, else 0."""
    return pyrtl.select(enable, value, Const(0, len(value)))


def chosen(index: WireVector, items: Sequence[WireVector]) -> WireVector:
    """`items[index]`; 0 where there is none. `index` may have more bits than are needed."""
    bits = _log2(len(items) - 1) + 1 if len(items) > 1 else 0
    if bits == 0:
        return items[0]
    padded = [*items, *[Const(0, len(items[0]))] * ((1 << bits) - len(items))]
    return pyrtl.mux(index[:bits], *padded)


def first_of(choices: Sequence[tuple[WireVector, WireVector]], otherwise: WireVector) -> WireVector:
    """The value of the first choice (condition, value) whose condition is 1."""
    result = otherwise
    for condition, value in reversed(choices):
        result = pyrtl.select(condition, value, result)
    return result


def is_below(value: WireVector, count: int) -> WireVector:
    """`value < count`, of a number of things: where that is a power of two, what lies above is 0."""
    if count & (count - 1):
        return value < count
    return value[_log2(count) :] == 0 if len(value) > _log2(count) else Const(1, 1)


def low_bits(wire: WireVector, bits: int) -> WireVector:
    """The lowest `bits` bits, zeros added or bits dropped above; the one-bit constant 0 for no bits."""
    if bits == 0:
        return Const(0, 1)
    return wire[:bits] if len(wire) >= bits else wire.zero_extended(bits)


def lies_on(beat: WireVector, channel: int, sizes: Sizes) -> WireVector:
    """Whether beat `beat` lies on `channel` (1 bit)."""
    if sizes.channel == 0:
        return Const(1, 1)
    return beat[: sizes.channel] == channel


def joined(*parts: tuple[WireVector, int]) -> WireVector:
    """Concatenation of (wire, bits), most significant first; parts of 0 bits are left out."""
    return pyrtl.concat(*(wire[:bits] for wire, bits in parts if bits))
