"""The table of states is complete, and docs/hypervisor.md shows it."""

from pathlib import Path

import pytest

from hypervisor import reference
from hypervisor.lifecycle import (
    EVENT_MEANINGS,
    STAGE_MEANINGS,
    TASK_MEANINGS,
    TASK_TRANSITIONS,
    TENANT_TRANSITIONS,
    Event,
    IllegalCommand,
    Stage,
    TaskState,
    next_stage,
)


def test_every_state_and_event_is_in_the_table_and_has_a_meaning() -> None:
    assert set(TENANT_TRANSITIONS) == set(STAGE_MEANINGS) == set(Stage)
    assert set(TASK_TRANSITIONS) == set(TASK_MEANINGS) == set(TaskState)
    used = {event for table in (TENANT_TRANSITIONS, TASK_TRANSITIONS) for events in table.values() for event in events}
    assert used == set(EVENT_MEANINGS) == set(Event)


def test_every_tenant_can_be_evicted_and_comes_to_an_end() -> None:
    for stage, events in TENANT_TRANSITIONS.items():
        if stage not in (Stage.ABSENT, Stage.STARTING, Stage.DRAINING, Stage.DIRTY):
            assert events[Event.EVICT] is Stage.DRAINING
    assert next_stage("a", next_stage("a", Stage.DRAINING, Event.DRAINED), Event.SWEPT) is Stage.ABSENT


def test_an_illegal_event_says_where_it_is_legal() -> None:
    with pytest.raises(IllegalCommand, match="'a' is dirty: start applies to a tenant that is loaded or stopped"):
        next_stage("a", Stage.DIRTY, Event.START)


def test_the_page_in_the_documents_is_fresh_and_a_stale_one_is_noticed(tmp_path: Path) -> None:
    assert reference.main(["--check"]) == 0
    page = tmp_path / "page.md"
    assert reference.main(["--check", "--page", str(page)]) == 1
    assert reference.main(["--page", str(page)]) == 0
    assert reference.main(["--check", "--page", str(page)]) == 0
    assert "running --> pausing: pause, resize" in page.read_text()
    page.write_text(page.read_text().replace("pausing", "waiting"))
    assert reference.main(["--check", "--page", str(page)]) == 1
