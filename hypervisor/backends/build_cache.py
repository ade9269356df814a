"""Compiled simulators are kept in the user's cache directory, by the hash of everything that they are made from."""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

KEPT_ENTRIES = 24
"""Entries of one kind that stay in the cache; the least recently used ones go."""

ABANDONED_SECONDS = 86_400
"""An unfinished entry of this age was left by a process that was killed."""


def cache_directory() -> Path:
    """The directory for Tenure's compiled simulators: $XDG_CACHE_HOME/tenure or ~/.cache/tenure.

    Where neither can be written, a directory of this user below the system's temporary directory.
    """
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    for candidate in (Path(base) / "tenure", Path(tempfile.gettempdir()) / f"tenure-{os.getuid()}"):
        with contextlib.suppress(OSError):
            candidate.mkdir(parents=True, exist_ok=True, mode=0o700)
            if candidate.stat().st_uid == os.getuid() and os.access(candidate, os.W_OK):
                return candidate
    return Path(tempfile.mkdtemp(prefix="tenure-"))


def content_hash(parts: Iterable[str | bytes | Path]) -> str:
    """A hash of texts, bytes and the contents of files, each delimited by its length."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.read_bytes() if isinstance(part, Path) else part
        content = content.encode() if isinstance(content, str) else content
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()[:24]


def sources_behind(*modules: str) -> list[Path]:
    """The Python files of `modules` and of all modules of ours that they import, directly or not, in a fixed order."""
    root = Path(__file__).parent.parent.parent
    found: set[Path] = set()
    waiting = [_source(root, module) for module in modules]
    while waiting:
        source = waiting.pop()
        if source is None or source in found:
            continue
        found.add(source)
        for node in ast.walk(ast.parse(source.read_bytes())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{name}" for name in names)]
            waiting += [_source(root, name) for name in names]
    return sorted(found)


def _source(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split(".")).with_suffix(".py")
    return path if path.is_file() else None


def cached_build(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of entry `key`; if there is none, `build` fills it first, in a directory of its own.

    Only complete entries are ever visible, and two processes that want the same entry build it once.
    """
    folder = cache_directory() / kind
    folder.mkdir(parents=True, exist_ok=True)
    entry = folder / key
    with (folder / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not entry.is_dir():
            unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder))
            try:
                build(unfinished)
                os.replace(unfinished, entry)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            _forget_oldest(folder, entry)
        os.utime(entry)
    return entry


def _forget_oldest(folder: Path, newest: Path) -> None:
    for path in folder.glob("unfinished-*"):
        if time.time() - path.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    entries = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("unfinished-")]
    entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for entry in entries[KEPT_ENTRIES:]:
        if entry != newest:
            shutil.rmtree(entry, ignore_errors=True)
            with contextlib.suppress(OSError):
                (folder / f"{entry.name}.lock").unlink()
