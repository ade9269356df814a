"""The ports of a core, once: name -> width. Shell, core, port stubs and proofs all read them here.

Every port is a register on both sides: inputs are registers of the shell, outputs are registers of the core.
"""

from __future__ import annotations

from dataclasses import dataclass

from isa.configuration import PoolConfig
from isa.instructions import COMPUTED_ADDRESS_BITS, INSTRUCTION_ADDRESS_BITS, WORD_BITS

SCRUB_ADDRESS_BITS = 16
FAULT_CAUSE_BITS = 4
ENGINE_COUNT = 3
"""Load, compute, save: bits 0, 1 and 2 of `credit` and `activity`."""


@dataclass(frozen=True)
class CorePorts:
    """Widths of all ports of one core, by name, in the order of their declaration."""

    inputs: dict[str, int]
    """From the shell to the core."""
    outputs: dict[str, int]
    """From the core to the shell."""


def beat_address_bits(config: PoolConfig) -> int:
    """Width of a beat address: a computed vector address without the place in the beat."""
    return COMPUTED_ADDRESS_BITS - (config.vectors_per_beat.bit_length() - 1)


def core_ports(config: PoolConfig) -> CorePorts:
    """The ports of a core of this pool."""
    beat_bits = 8 * config.beat_bytes
    request = {"valid": 1, "write": 1, "address": beat_address_bits(config), "instruction": INSTRUCTION_ADDRESS_BITS}
    following = {f"request_next_{name}": bits for name, bits in request.items()} if config.shows_next_request else {}
    return CorePorts(
        inputs={
            "instruction_valid": 1,
            "instruction": WORD_BITS,
            "instruction_address": INSTRUCTION_ADDRESS_BITS,
            "request_taken": 1,
            "response_valid": 1,
            "response_data": beat_bits,
            "write_acknowledged": 1,
            "sync_global": 1,
            "scrub": 1,
            "scrub_address": SCRUB_ADDRESS_BITS,
        },
        outputs={
            "credit": ENGINE_COUNT,
            **{f"request_{name}": bits for name, bits in request.items()},
            "request_data": beat_bits,
            "request_strobe": config.vectors_per_beat,
            **following,
            "sync_local": 1,
            "fault_valid": 1,
            "fault_cause": FAULT_CAUSE_BITS,
            "fault_address": INSTRUCTION_ADDRESS_BITS,
            "activity": ENGINE_COUNT,
        },
    )
