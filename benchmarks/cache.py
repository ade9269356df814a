"""Results kept by content: what has been measured once, with the same inputs and sources, is never measured again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from hypervisor.backends.build_cache import content_hash, sources_behind

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
BENCHES = BUILD / "benches"
"""Measurements, tables and plots."""


@cache
def modules_digest(*modules: str, files: tuple[Path, ...] = ()) -> str:
    """A hash of the sources of these modules and of all of ours that they import, and of single files."""
    return content_hash([*sources_behind(*modules), *files])


def remembered(kind: str, key: Iterable[object], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `compute` as JSON has it, from the cache if it was computed for this key before."""
    name = hashlib.sha256(json.dumps([str(part) for part in key]).encode()).hexdigest()[:16]
    path = BENCHES / "results" / f"{kind}-{name}.json"
    if path.is_file():
        return dict(json.loads(path.read_bytes()))
    text = json.dumps(compute())
    write_atomically(path, text.encode())
    return dict(json.loads(text))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
