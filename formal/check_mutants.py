"""Seeded bugs of what the checks speak of: of a core's netlist, of arithmetic, of decoders, of compiled packages.

Each says what is wrong, and makes it and asks the check: `found` gives what contradicts the theorem then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyrtl

from formal.mutation import Patch, drop_operand, mutated, redirect, tie
from formal.shell import shell_block
from formal.structure import (
    collisions,
    combinational_paths,
    control_plane_leaks,
    core_block,
    leaves_reset,
    left_by_scrub,
)
from isa.configuration import NAMED_POOLS

MUTANT_POOL = NAMED_POOLS["tiny"]


@dataclass(frozen=True)
class CheckMutant:
    """A bug: what is `wrong` when it is in, and what the check `refutes` it with."""

    name: str
    refuted_by: str
    wrong: str
    found: Callable[[], Sequence[str]]


def _core(patch: Patch) -> pyrtl.Block:
    return mutated(core_block(MUTANT_POOL), patch)


def _shell(patch: Patch) -> pyrtl.Block:
    return mutated(shell_block(MUTANT_POOL), patch)


CHECK_MUTANTS: tuple[CheckMutant, ...] = (
    CheckMutant(
        "output past its register", "L0", "an output of the core is computed in the cycle in which it is shown",
        lambda: combinational_paths(MUTANT_POOL, _core(tie("sync_local_o", 0))),
    ),
    CheckMutant(
        "a check that waits for a tenant", "L1", "a command is decided when another tenant's barrier releases",
        lambda: control_plane_leaks(_shell(redirect("command_is_decided", "tenant1_release"))),
    ),
    CheckMutant(
        "read during write", "L3", "a vector of the output buffer that is being written is read and used",
        lambda: collisions(_core(tie("save/output_collides", 0))),
    ),
    CheckMutant(
        "a token outlives the scrub", "L4", "a token counter keeps its count while the core is scrubbed",
        lambda: left_by_scrub(MUTANT_POOL, _core(drop_operand("sleeps", "save_to_compute/tokens", "x", 2))),
    ),
    CheckMutant(
        "an idle core counts", "L4", "the index generators of a core that has no instruction run on after the scrub",
        lambda: leaves_reset(_core(tie("sleeps", 0))),
    ),
)  # fmt: skip
