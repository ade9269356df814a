"""The theorems about the shell hold on its netlist; with TENURE_LONG=1 at `small` as well."""

from __future__ import annotations

import os
from dataclasses import replace
from types import ModuleType

import pytest

from formal.busy_host import long_enough
from formal.induction import prove
from formal.shell import shell_block
from formal.theorems import (
    a_tenants_state_is_that_of_its_automaton,
    barriers_wait_for_their_own_cores,
    commands_for_others_cannot_be_observed,
    every_request_is_answered_once,
    neighbours_cannot_be_observed,
    no_access_leaves_its_window,
    nothing_is_inherited,
    switching_takes_constant_time,
)
from formal.verdict import demand_proof
from isa.configuration import NAMED_POOLS, PoolConfig
from tests.rtl.shell_bench import MINI

THEOREMS = [
    every_request_is_answered_once,
    no_access_leaves_its_window,
    neighbours_cannot_be_observed,
    commands_for_others_cannot_be_observed,
    barriers_wait_for_their_own_cores,
    a_tenants_state_is_that_of_its_automaton,
    nothing_is_inherited,
    switching_takes_constant_time,
]
STREAM = replace(NAMED_POOLS["tiny"], name="stream", channels=2, port_vectors=4)
"""A slot in every cycle: the cores' ports show the next request, too."""
LONG = os.environ.get("TENURE_LONG") == "1"
POOLS = [MINI, *([NAMED_POOLS["tiny"], NAMED_POOLS["small"], STREAM] if LONG else [])]


@pytest.mark.parametrize("config", POOLS, ids=lambda config: config.name)
@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda theorem: theorem.__name__.rpartition(".")[2])
def test_the_theorem_holds(theorem: ModuleType, config: PoolConfig) -> None:
    if theorem is commands_for_others_cannot_be_observed and not LONG:
        pytest.skip("two minutes here: .ci/run proves it at `small` with all others; TENURE_LONG=1")
    demand_proof(prove(theorem.problem(config, shell_block(config)), effort=long_enough(config)))


@pytest.mark.parametrize(
    "theorem",
    [no_access_leaves_its_window, every_request_is_answered_once, a_tenants_state_is_that_of_its_automaton],
    ids=lambda theorem: theorem.__name__.rpartition(".")[2],
)
def test_it_holds_where_cores_show_two_requests(theorem: ModuleType) -> None:
    assert STREAM.shows_next_request
    demand_proof(prove(theorem.problem(STREAM, shell_block(STREAM)), effort=long_enough(STREAM)))
