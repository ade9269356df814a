"""Random bugs are the same in every process; runs kill them, the second engine knows those that are none."""

from __future__ import annotations

from pathlib import Path

from formal.certificate import write_differences
from formal.mutants import MUTANT_POOL
from formal.mutation import copy_netlist, invert, mutated
from formal.random_mutants import compare, draw, judged_so_far, sample
from formal.second_engine import never_differ
from formal.shell import shell_block


def test_a_copy_never_differs_and_a_changed_copy_does(tmp_path: Path) -> None:
    block = shell_block(MUTANT_POOL)
    assert never_differ(write_differences(block, copy_netlist(block), tmp_path))
    assert not never_differ(write_differences(block, mutated(block, invert("core0_sync_global")), tmp_path))


def test_a_seed_changes_the_same_place_whenever_it_is_drawn() -> None:
    first, second = shell_block(MUTANT_POOL), shell_block(MUTANT_POOL)  # the names of temporary wires differ
    for seed in range(20):
        changes = []
        for block in (first, second):
            changed = mutated(block, draw(block, seed)[1])
            changes.append(sorted((net.op, len(net.args)) for net in changed.logic - block.logic))
        assert changes[0] == changes[1]


def test_a_bug_is_killed_and_a_copy_is_equivalent() -> None:
    block = shell_block(MUTANT_POOL)
    verdict, name, claim = compare(block, mutated(block, invert("core0_sync_global")))
    assert (verdict, bool(name), bool(claim)) == ("KILLED", True, True)  # replayed on PyRTL's simulator
    assert compare(block, copy_netlist(block), runs=1, cycles=300) == ("EQUIVALENT", "", "")


def test_an_interrupted_sample_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "verdicts"
    line = '{"seed": 5, "change": "c", "verdict": "OPEN", "theorem": "", "claim": "", "seconds": 1.0}\n'
    path.write_text(line + line[:20])
    (known,) = sample(1, 5, path)
    assert (known.seed, known.change) == (5, "c")
    assert path.read_text() == line
    assert set(judged_so_far(path)) == {5}
