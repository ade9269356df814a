"""Writes docs/hypervisor.md from the table of states: `python -m hypervisor.reference`; --check only compares."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from hypervisor import driver, journal, lifecycle, private_cloud
from hypervisor.lifecycle import CLIENT_EVENTS, Event, Stage, TaskState
from isa.reference import markdown_table, paragraphs

State = TypeVar("State", bound=StrEnum)
PAGE = Path(__file__).resolve().parent.parent / "docs" / "hypervisor.md"
_GENERATED = (
    "<!-- Written by `python -m hypervisor.reference`; edit the docstrings and tables in hypervisor/, not this. -->"
)


def page() -> str:
    """The page as Markdown."""
    events = (
        (f"`{event}`", "client" if event in CLIENT_EVENTS else "hypervisor", lifecycle.EVENT_MEANINGS[event])
        for event in Event
    )
    parts = [
        _GENERATED,
        "# The hypervisor: tenants, tasks and crashes",
        *paragraphs(driver),
        "## States of a tenant",
        _diagram(lifecycle.TENANT_TRANSITIONS, Stage.ABSENT),
        _meanings("state", lifecycle.STAGE_MEANINGS),
        "## States of a task",
        _diagram(lifecycle.TASK_TRANSITIONS, TaskState.UNKNOWN),
        _meanings("state", lifecycle.TASK_MEANINGS),
        "## Events",
        "An event that has no arrow from a state is refused there, and the error says where it would be legal.",
        markdown_table(("event", "who", "meaning"), events),
        "## The journal",
        *paragraphs(journal),
        "## The private cloud",
        *paragraphs(private_cloud),
    ]
    return "\n\n".join(parts) + "\n"


def _diagram(transitions: Mapping[State, Mapping[Event, State]], first: State) -> str:
    """A Mermaid state diagram: one arrow for all events that lead from one state to another."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first}"]
    for state, events in transitions.items():
        for target in dict.fromkeys(events.values()):
            names = ", ".join(event for event, after in events.items() if after is target)
            lines.append(f"    {state} --> {target}: {names}")
    return "\n".join([*lines, "```"])


def _meanings(head: str, meanings: Mapping[State, str]) -> str:
    rows: Iterable[tuple[str, str]] = ((f"`{state}`", meaning) for state, meaning in meanings.items())
    return markdown_table((head, "meaning"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the page; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hypervisor.reference", description="Write docs/hypervisor.md.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is stale")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: docs/hypervisor.md)")
    options = parser.parse_args(arguments)
    if not options.check:
        options.page.write_text(page(), encoding="utf-8")
    elif not options.page.is_file() or options.page.read_text(encoding="utf-8") != page():
        print(f"{options.page}: not what hypervisor/ says; run python -m hypervisor.reference", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
