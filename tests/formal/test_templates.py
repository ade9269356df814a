"""Candidates: schemas forget the index, groups follow names, strengths are ordered."""

from __future__ import annotations

from formal.problem import schemas_of
from formal.templates import agreements, bounds, groups, sweeps, unary
from formal.transition import TransitionSystem
from tests.formal.netlists import dispatcher, scrubber


def test_groups_follow_family_and_index() -> None:
    system = TransitionSystem(dispatcher(3, 2))
    found = groups(system, leave_out="data")
    assert [group.name for group in found] == ["", "core0", "core1", "core2", "tenant0", "tenant1"]
    assert found[0].registers == {"wheel": "wheel"}
    assert found[1].registers["owner"] == "core0_owner"
    assert "data0" not in found[1].registers


def test_schemas_do_not_depend_on_the_size() -> None:
    small, large = (TransitionSystem(dispatcher(cores, 2)) for cores in (3, 9))
    first, second = unary(small, groups(small)), unary(large, groups(large))
    assert schemas_of(first) == schemas_of(second)
    assert len(second) > 2 * len(first)


def test_stronger_schemas_are_named() -> None:
    system = TransitionSystem(dispatcher(2, 2))
    candidates = {c.schema: c for c in unary(system, groups(system))}
    assert candidates["core.running is 1 -> core.timer is 0"].implied_by == {"core.timer is 0"}
    limits = {c.schema: c for c in bounds(system, groups(system), [1, 2])}
    assert limits["core.owner <= 2"].implied_by == {"core.owner <= 1"}


def test_sweeps_and_agreements_reach_into_memories() -> None:
    system = TransitionSystem(scrubber())
    within = groups(system)
    assert "unit.sweeping is 1 -> unit.bank is 0 above unit.pointer" in schemas_of(sweeps(system, within))
    assert len(agreements(system, within, "A")) == 3 + 8
