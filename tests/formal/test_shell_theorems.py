"""The theorems about the shell hold on its netlist; with TENURE_LONG=1 at `small` as well."""

from __future__ import annotations

import os
from types import ModuleType

import pytest

from formal.busy_host import long_enough
from formal.induction import prove
from formal.shell import shell_block
from formal.theorems import (
    barriers_wait_for_their_own_cores,
    neighbours_cannot_be_observed,
    no_access_leaves_its_window,
    nothing_is_inherited,
    switching_takes_constant_time,
)
from formal.verdict import demand_proof
from isa.configuration import NAMED_POOLS, PoolConfig
from tests.rtl.shell_bench import MINI

THEOREMS = [
    no_access_leaves_its_window,
    neighbours_cannot_be_observed,
    barriers_wait_for_their_own_cores,
    nothing_is_inherited,
    switching_takes_constant_time,
]
POOLS = [MINI, *([NAMED_POOLS["tiny"], NAMED_POOLS["small"]] if os.environ.get("TENURE_LONG") == "1" else [])]


@pytest.mark.parametrize("config", POOLS, ids=lambda config: config.name)
@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.__name__.rpartition(".")[2])
def test_the_theorem_holds(theorem: ModuleType, config: PoolConfig) -> None:
    demand_proof(prove(theorem.problem(config, shell_block(config)), effort=long_enough(config)))
