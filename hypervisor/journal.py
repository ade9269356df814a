"""What a hypervisor writes down before and after it acts: an append-only journal, and files beside it.

The journal is UTF-8 text, one JSON object a line: `{"event": ..., more fields, "check": "1a2b3c4d"}`, where
`check` is the CRC-32, in hexadecimal, of the line up to the comma in front of it. A line counts once it is complete on
disk (written and fsync'd). Whatever a crash left behind the last intact line was never acted upon and is cut off;
damage in front of an intact line is an error. `FORMAT` is in the first line, with the sizes of the pool.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypervisor.hypervisor import HypervisorError

FORMAT = "tenure hypervisor journal 1"
Record = Mapping[str, Any]


class JournalError(HypervisorError):
    """A journal that cannot be read or written, or belongs to something else; the message says which line and why."""


class Journal:
    """An open journal: `records`, those that were there, and `append`. A lock keeps other processes out.

    Raises JournalError for a journal that is damaged, locked, or of another pool than `pool` (its sizes by name).
    """

    def __init__(self, path: Path, pool: Mapping[str, Any]) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first, *self.records = self._read() or [self._begin(pool)]
            self._check_first(first, pool)
        except BlockingIOError:
            self.close()
            raise JournalError(f"{path}: another hypervisor is using this journal") from None
        except BaseException:
            self.close()
            raise

    def append(self, record: Record) -> None:
        """Write a record; returns when it is on disk. Raises JournalError, with nothing written, when it cannot be."""
        length = os.fstat(self._file).st_size
        try:
            self._write(encode_line(record))
            os.fsync(self._file)
        except OSError as problem:
            os.ftruncate(self._file, length)
            raise JournalError(f"{self.path}: {problem.strerror}; nothing was done") from None

    def close(self) -> None:
        """Give the file and its lock back. Closing twice does nothing."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: bytes) -> None:
        while line:
            line = line[os.write(self._file, line) :]

    def _begin(self, pool: Mapping[str, Any]) -> Record:
        first = {"event": "open", "format": FORMAT, "pool": dict(pool)}
        self.append(first)
        _sync_directory(self.path.parent)
        return first

    def _read(self) -> list[Record]:
        content = self.path.read_bytes()
        *lines, torn = content.split(b"\n")
        records = [decode_line(line) for line in lines]
        intact = max((number + 1 for number, record in enumerate(records) if record is not None), default=0)
        known = [record for record in records[:intact] if record is not None]
        if len(known) < intact:
            number = records.index(None) + 1
            raise JournalError(f"{self.path}: line {number} is damaged, and lines behind it are not")
        if torn or intact < len(records):
            os.ftruncate(self._file, sum(len(line) + 1 for line in lines[:intact]))
            os.fsync(self._file)
        return known

    def _check_first(self, first: Record, pool: Mapping[str, Any]) -> None:
        if first.get("format") != FORMAT:
            raise JournalError(f"{self.path} is no journal of this version: its format is {first.get('format')!r}")
        for name, value in pool.items():
            if first["pool"].get(name) != value:
                raise JournalError(
                    f"{self.path} is of a pool whose {name} is {first['pool'].get(name)}, not {value}: "
                    "give each pool a directory of its own"
                )


def encode_line(record: Record) -> bytes:
    """A record as a line, its end included."""
    body = json.dumps(record, ensure_ascii=False, separators=(", ", ": "))[:-1].encode()
    return body + f', "check": "{zlib.crc32(body):08x}"}}\n'.encode()


def decode_line(line: bytes) -> Record | None:
    """The record of a line without its end, or None for one that is damaged."""
    body, mark, check = line.rpartition(b', "check": "')
    if not mark or check != f'{zlib.crc32(body):08x}"}}'.encode():
        return None
    try:
        record: Record = json.loads(body + b"}")
    except ValueError:
        return None
    return record


class Files:
    """Named files in a directory, each written whole or not at all."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write, or replace, a file; returns when it is on disk. Raises JournalError when it cannot be."""
        part = self.directory / f"{name}.part"
        try:
            with part.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.directory / name)
            _sync_directory(self.directory)
        except OSError as problem:
            raise JournalError(f"{self.directory / name}: {problem.strerror}; nothing was done") from None

    def read(self, name: str) -> bytes:
        """The content of a file. Raises JournalError when there is none."""
        try:
            return (self.directory / name).read_bytes()
        except OSError as problem:
            raise JournalError(f"{self.directory / name}: {problem.strerror}") from None

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.directory / name).unlink(missing_ok=True)

    def keep_only(self, names: set[str]) -> None:
        """Remove all files but these: what a crash left without a line in the journal."""
        for path in self.directory.iterdir():
            if path.name not in names:
                path.unlink()


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
