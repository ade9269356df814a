"""A journal keeps what was written, forgives a torn end, and nothing else."""

import json
from pathlib import Path

import pytest

from hypervisor.journal import Files, Journal, JournalError, decode_line, encode_line
from hypervisor.picture import Picture

POOL = {"name": "small", "cores": 4}
EVENTS = [{"event": "admit", "tenant": f"t{number}", "text": 'a "quoted" word'} for number in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "journal.jsonl", POOL)
    for event in EVENTS:
        journal.append(event)
    journal.close()
    return tmp_path / "journal.jsonl"


def read(path: Path) -> list[dict[str, object]]:
    journal = Journal(path, POOL)
    journal.close()
    return [{key: value for key, value in record.items() if key != "check"} for record in journal.records]


def test_a_journal_is_json_lines_in_their_order(path: Path) -> None:
    assert read(path) == EVENTS
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["event"] for line in lines] == ["open", "admit", "admit", "admit"]
    assert decode_line(encode_line(EVENTS[0])[:-1]) == EVENTS[0]


def test_a_line_torn_anywhere_is_cut_off_and_the_next_one_follows(path: Path) -> None:
    content = path.read_bytes()
    last = len(encode_line(EVENTS[-1]))
    for torn in range(1, last + 1):
        path.write_bytes(content[: len(content) - torn])
        assert read(path) == EVENTS[:-1]
        journal = Journal(path, POOL)
        journal.append(EVENTS[-1])
        journal.close()
        assert path.read_bytes() == content


def test_damage_in_front_of_an_intact_line_is_an_error(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"t1"', b'"t9"'))
    with pytest.raises(JournalError, match="line 3 is damaged"):
        Journal(path, POOL)
    path.write_bytes(content.replace(b'"t2"', b'"t9"'))
    assert read(path) == EVENTS[:-1]


def test_a_journal_is_used_by_one_process_and_for_one_pool(path: Path) -> None:
    journal = Journal(path, POOL)
    with pytest.raises(JournalError, match="another hypervisor is using"):
        Journal(path, POOL)
    journal.close()
    with pytest.raises(JournalError, match="a pool whose cores is 4, not 8"):
        Journal(path, POOL | {"cores": 8})


def test_events_that_make_no_sense_are_named(path: Path) -> None:
    with pytest.raises(
        JournalError, match=r"event 1 of the journal makes no sense: tenant 'a' is absent: load applies"
    ):
        Picture([{"event": "load", "tenant": "a"}])


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    files = Files(tmp_path / "files")
    files.write("a", b"one")
    files.write("a", b"two")
    files.write("b", b"three")
    assert files.read("a") == b"two"
    files.keep_only({"b"})
    with pytest.raises(JournalError, match="No such file"):
        files.read("a")
