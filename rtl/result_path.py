"""From lanes to the output buffer: requantiser or adder, table, and the collection of bytes into a vector.

    cycle   i              i+19         i+20           i+21
            group enters   its bytes    table data     the last group of a vector
            the lanes      leave        or the bytes   is in place: vector is written

A group is as many channels as there are lanes; the A / lanes groups of a vector follow one another. Bytes of a LOOKUP
join where the lanes end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyrtl import WireVector, concat, concat_list, select

from isa.configuration import PoolConfig
from isa.instructions import TABLE_VECTORS
from isa.pipeline import LANE_LATENCY, RESULT_TO_WRITE
from rtl.adder import ADDER_LATENCY, adder_constants, adder_lane
from rtl.banked_memory import BankedMemory, BankWrite
from rtl.requantiser import REQUANTISER_LATENCY, requantiser_lane
from rtl.scrubbed import Scrub

if not REQUANTISER_LATENCY == ADDER_LATENCY == LANE_LATENCY:
    raise AssertionError("requantiser and adder share one pipeline, whose length is isa.pipeline.LANE_LATENCY")


@dataclass(frozen=True)
class Clipping:
    """Constants of one drain or ADD: they hold until its last byte has left."""

    zero_point: WireVector
    low: WireVector
    high: WireVector


@dataclass(frozen=True)
class GroupMark:
    """What travels with a group."""

    valid: WireVector
    ends_vector: WireVector
    ends_job: WireVector


@dataclass(frozen=True)
class LaneInputs:
    """One group at the lanes' inputs, one entry per lane."""

    accumulators: list[WireVector]
    mantissas: list[WireVector]
    shifts: list[WireVector]
    a: list[WireVector]
    b: list[WireVector]


@dataclass(frozen=True)
class TableWrite:
    """The load engine's write into the table: byte 0 of each vector."""

    valid: WireVector
    banks: list[BankWrite]


@dataclass(frozen=True)
class ResultVector:
    """A vector for the output buffer, in the cycle of its write."""

    valid: WireVector
    data: WireVector
    ends_job: WireVector


def result_path(
    config: PoolConfig,
    scrub: Scrub,
    inputs: LaneInputs,
    mark: GroupMark,
    lookup_mark: GroupMark,
    is_add: WireVector,
    is_lookup: WireVector,
    uses_table: WireVector,
    clipping: Clipping,
    factors: Mapping[str, WireVector],
    table: TableWrite,
) -> ResultVector:
    """The result of a job. `mark` belongs to the lanes' inputs; `lookup_mark` to the operands of a LOOKUP (`inputs.a`),
    which go around the lanes."""
    constants = adder_constants(factors, scrub.active)
    results = []
    for lane in range(config.lanes):
        requantised = requantiser_lane(
            inputs.accumulators[lane], inputs.mantissas[lane], inputs.shifts[lane],
            clipping.zero_point, clipping.low, clipping.high, scrub.active, f"requantiser_{lane}",
        )  # fmt: skip
        added = adder_lane(
            inputs.a[lane], inputs.b[lane], constants, clipping.low, clipping.high, scrub.active, f"adder_{lane}"
        )
        results.append(select(is_lookup, inputs.a[lane], select(is_add, added, requantised)))

    fields = concat(mark.ends_job, mark.ends_vector, mark.valid)
    fields = scrub.delay(fields, LANE_LATENCY, "mark")
    around = concat(lookup_mark.ends_job, lookup_mark.ends_vector, lookup_mark.valid)
    marks = scrub.stage(select(is_lookup, around, fields), "looked_up_mark")

    final = []
    for lane, byte in enumerate(results):
        memory = BankedMemory(scrub, 8, TABLE_VECTORS, f"table_{lane}", config.port_vectors)
        memory.write(table.banks, table.valid)
        final.append(select(uses_table, memory.read(byte), scrub.stage(byte, f"plain_{lane}")))

    valid, ends_vector, ends_job = marks[0], marks[1], marks[2]
    collected = scrub.register(8 * config.array, "collected")
    group = concat_list(final)
    grown = group if config.lanes == config.array else concat(group, collected[len(group) :])
    scrub.load(collected, select(valid, grown, collected))
    assert RESULT_TO_WRITE == 2  # the table's register, and `collected`
    return ResultVector(
        valid=scrub.stage(valid & ends_vector, "vector_valid"),
        data=collected,
        ends_job=scrub.stage(valid & ends_job, "vector_ends_job"),
    )
