"""From lanes to the output buffer: requantiser or adder, table, and the collection of bytes into a vector.

    cycle   i              i+19         i+20           i+21
            group enters   its bytes    table data     the last group of a vector
            the lanes      leave        or the bytes   is in place: vector is written

A group is as many channels as there are lanes; the A / lanes groups of a vector follow one another. Bytes of a LOOKUP
join where the lanes end. Bytes of a drain that adds a residual leave the requantiser at i+19, pass through the adder,
and leave it at i+38.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyrtl import Const, WireVector, concat, concat_list, select

from isa.arithmetic import HIGHEST, LOWEST
from isa.configuration import PoolConfig
from isa.instructions import TABLE_VECTORS
from isa.pipeline import LANE_LATENCY, RESULT_TO_WRITE
from rtl.adder import ADDER_LATENCY, adder_constants, adder_lane
from rtl.banked_memory import BankedMemory, BankWrite
from rtl.hierarchy import hardware
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
    residuals: list[WireVector]
    """Of the group that leaves the requantiser, not of the one that enters."""


@dataclass(frozen=True)
class JobKind:
    """What the job does up to its last byte; of the first three at most one holds, none for a plain drain."""

    is_add: WireVector
    is_lookup: WireVector
    adds_residual: WireVector
    residual_is_a: WireVector
    uses_table: WireVector


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


@hardware()
def result_path(
    config: PoolConfig,
    scrub: Scrub,
    inputs: LaneInputs,
    mark: GroupMark,
    lookup_mark: GroupMark,
    job: JobKind,
    clipping: Clipping,
    factors: Mapping[str, WireVector],
    table: TableWrite,
) -> ResultVector:
    """The result of a job. `mark` belongs to the lanes' inputs; `lookup_mark` to the operands of a LOOKUP (`inputs.a`),
    which go around the lanes."""
    constants = adder_constants(factors, scrub.active)
    requantised_low = select(job.adds_residual, Const(LOWEST, 8), clipping.low)
    requantised_high = select(job.adds_residual, Const(HIGHEST, 8), clipping.high)
    results = []
    for lane in range(config.lanes):
        clear_requantiser, clear_adder = (scrub.apart(f"{part}_{lane}").active for part in ("requantiser", "adder"))
        requantised = requantiser_lane(
            inputs.accumulators[lane], inputs.mantissas[lane], inputs.shifts[lane],
            clipping.zero_point, requantised_low, requantised_high, clear_requantiser, f"requantiser_{lane}",
        )  # fmt: skip
        residual = inputs.residuals[lane]
        behind_a, behind_b = (
            select(job.residual_is_a, residual, requantised),
            select(job.residual_is_a, requantised, residual),
        )
        a = select(job.adds_residual, behind_a, inputs.a[lane])
        b = select(job.adds_residual, behind_b, inputs.b[lane])
        added = adder_lane(a, b, constants, clipping.low, clipping.high, clear_adder, f"adder_{lane}")
        from_adder = job.is_add | job.adds_residual
        results.append(select(job.is_lookup, inputs.a[lane], select(from_adder, added, requantised)))

    fields = concat(mark.ends_job, mark.ends_vector, mark.valid)
    fields = scrub.delay(fields, LANE_LATENCY, "mark")
    behind = scrub.delay(select(job.adds_residual, fields, Const(0, len(fields))), LANE_LATENCY, "residual_mark")
    fields = select(job.adds_residual, behind, fields)
    around = concat(lookup_mark.ends_job, lookup_mark.ends_vector, lookup_mark.valid)
    marks = scrub.stage(select(job.is_lookup, around, fields), "looked_up_mark")

    final = []
    for lane, byte in enumerate(results):
        memory = BankedMemory(scrub, 8, TABLE_VECTORS, f"table_{lane}", config.port_vectors)
        memory.write(table.banks, table.valid)
        final.append(select(job.uses_table, memory.read(byte), scrub.stage(byte, f"plain_{lane}")))

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
