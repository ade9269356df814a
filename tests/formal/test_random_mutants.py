"""Random bugs are the same in every process; runs kill them, solvers know those that are none."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pyrtl
import pytest
from pyrtl import Const, concat, select

from formal.influence import felt_by_tenants, influenced, is_equivalent
from formal.isolation_mutants import reload
from formal.judgement import judged
from formal.mutants import MUTANT_POOL
from formal.mutation import Patch, copy_netlist, invert, mutated, tie
from formal.random_mutants import Judged, OtherSampleError, draw, fingerprint, judged_so_far, sample
from formal.recording import Recording, first_difference
from formal.shell import shell_block
from isa.registers import CoreState
from rtl.channels import Kind

NOTHING = Recording({}, {})


@pytest.fixture(scope="module")
def shell() -> pyrtl.Block:
    return shell_block(MUTANT_POOL)


def _equivalent(shell: pyrtl.Block, patch: Patch, name: str) -> bool:
    return is_equivalent(MUTANT_POOL, shell, mutated(shell, patch), name, 20.0)


def test_a_copy_is_equivalent_and_a_changed_register_is_not(shell: pyrtl.Block) -> None:
    assert is_equivalent(MUTANT_POOL, shell, copy_netlist(shell), "core0_sync_global", 20.0)
    assert not _equivalent(shell, invert("core0_sync_global"), "core0_sync_global")


def test_what_differs_in_no_state_that_can_be_reached_is_equivalent(shell: pyrtl.Block) -> None:
    """The timer of a HELD core stands at 0, and no window is so large that a CALL comes from its highest address."""
    stray = reload(
        "core0_timer",
        lambda old, look: select(
            (look("core0_state") == int(CoreState.HELD)) & (look("core0_timer") == 5), old + 1, old
        )[: len(old)],
    )
    assert _equivalent(shell, stray, "core0_timer")
    highest = reload("tenant0_return_address", lambda old, look: concat(Const(0, 1), old[:-1]))
    lowest = reload("tenant0_return_address", lambda old, look: concat(old[1:], Const(0, 1)))
    assert _equivalent(shell, highest, "tenant0_return_address")
    assert not _equivalent(shell, lowest, "tenant0_return_address")


def test_a_difference_that_is_forgotten_before_it_shows_is_equivalent(shell: pyrtl.Block) -> None:
    """Whose fetch is in the stage matters to nobody: only a request beyond its window is held against a tenant."""

    def of_another(kind: Kind) -> Patch:
        return reload(
            "channel0_stage_tenant", lambda old, look: select(look("channel0_stage_kind'") == int(kind), ~old, old)
        )

    assert _equivalent(shell, of_another(Kind.FETCH), "channel0_stage_tenant")
    assert not _equivalent(shell, of_another(Kind.READ), "channel0_stage_tenant")


def test_what_only_the_host_reads_is_not_felt_by_tenants(shell: pyrtl.Block) -> None:
    felt = felt_by_tenants(shell)
    assert "tenant0_cycles" in {register.name for register in shell.wirevector_subset(pyrtl.Register)} - felt
    assert {"core0_owner", "wheel_position", "channel0_prefetch", "channel0_flight3_kind"} <= felt


def test_a_net_influences_what_reads_it_in_the_same_cycle_and_registers_behind(shell: pyrtl.Block) -> None:
    assert influenced(shell, "core0_sync_global") == (set(), {"core0_sync_global"}), "what a register loads"
    now, later = influenced(shell, "host_request_write")
    assert "host_request_write" in now
    assert "channel0_stage_kind" in later
    assert "core0_owner" not in later


def test_a_bug_is_killed_with_a_run_and_one_that_only_the_host_reads_is_noticed_by_no_theorem(
    shell: pyrtl.Block, quiet: Recording
) -> None:
    name = "core0_write_acknowledged"
    killed = judged(MUTANT_POOL, shell, mutated(shell, tie(name, 0)), name, quiet)
    assert (killed.verdict, killed.theorem) == ("KILLED", "answers")  # replayed on PyRTL's simulator
    blind = judged(MUTANT_POOL, shell, mutated(shell, tie("core0_activity", 0)), "core0_activity", quiet)
    assert (blind.verdict, blind.shown) == ("BLIND", "")


@pytest.fixture(scope="module")
def quiet(shell: pyrtl.Block) -> Recording:
    """Forty cycles in which nobody does anything."""
    simulation = pyrtl.FastSimulation(tracer=None, block=shell)
    inputs = sorted(each.name for each in shell.wirevector_subset(pyrtl.Input))
    outputs = sorted(each.name for each in shell.wirevector_subset(pyrtl.Output))
    shown: dict[str, list[int]] = {name: [] for name in outputs}
    for _ in range(40):
        simulation.step(dict.fromkeys(inputs, 0))
        for name in outputs:
            shown[name].append(simulation.inspect(name))
    return Recording({name: [0] * 40 for name in inputs}, shown)


def test_a_recording_shows_the_first_cycle_in_which_a_broken_netlist_differs(
    shell: pyrtl.Block, quiet: Recording
) -> None:
    """The first one here is when the sweep writes first, some cycles after reset."""
    assert quiet.cycles == 40
    assert first_difference(shell, quiet) is None
    first = next(cycle for cycle, value in enumerate(quiet.outputs["channel0_valid"]) if value)
    silent = mutated(shell, tie("channel0_request_valid", 0))
    assert first_difference(silent, quiet) == (first, "channel0_valid")


def test_a_seed_changes_the_same_place_whenever_it_is_drawn() -> None:
    first, second = shell_block(MUTANT_POOL), shell_block(MUTANT_POOL)  # the names of temporary wires differ
    for seed in range(20):
        changes = []
        for block in (first, second):
            changed = mutated(block, draw(block, seed).patch)
            changes.append(sorted((net.op, len(net.args)) for net in changed.logic - block.logic))
        assert changes[0] == changes[1]


def test_a_mutant_survives_when_all_is_still_proved_and_the_recording_does_not_show_it() -> None:
    survivor = Judged(1, "c", True, "BLIND", "", "", "", 1.0)
    assert survivor.survives
    assert not replace(survivor, shown="core0_scrub_o in cycle 3").survives
    assert not replace(survivor, felt=False).survives
    assert not any(replace(survivor, verdict=verdict).survives for verdict in ("KILLED", "OPEN", "EQUIVALENT"))


SAMPLED = {"pool": "tiny", "of": "shell", "netlist": "a"}


def test_an_interrupted_sample_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    known = Judged(5, "c", True, "OPEN", "", "", "", 1.0)
    line = "".join(json.dumps(each) + "\n" for each in (SAMPLED, asdict(known)))
    path.write_text(line + line[-20:-1])
    assert list(sample(MUTANT_POOL, [5], NOTHING, path, sampled=SAMPLED)) == [known]
    assert path.read_text() == line
    assert judged_so_far(path, SAMPLED) == {5: known}


@pytest.mark.parametrize(
    ("first_line", "reason"),
    [
        (SAMPLED | {"of": "core"}, "its mutants are of core, not of shell"),
        (SAMPLED | {"netlist": "b"}, "its mutants are of netlist b, not of netlist a"),
        (asdict(Judged(5, "c", True, "OPEN", "", "", "", 1.0)), "does not say"),
    ],
    ids=["another part", "another netlist", "verdicts alone"],
)
def test_verdicts_on_other_mutants_are_refused(tmp_path: Path, first_line: dict[str, str], reason: str) -> None:
    path = tmp_path / "verdicts"
    path.write_text(json.dumps(first_line) + "\n")
    with pytest.raises(OtherSampleError, match=reason):
        list(sample(MUTANT_POOL, [5], NOTHING, path, sampled=SAMPLED))
    assert path.read_text() == json.dumps(first_line) + "\n"


def test_a_netlist_has_one_fingerprint_however_temporary_names_are_counted(shell: pyrtl.Block) -> None:
    assert fingerprint(shell) == fingerprint(shell_block(MUTANT_POOL))
    assert fingerprint(shell) != fingerprint(mutated(shell, invert("core0_sync_global")))
