"""What lies where in a core's buffers while its instructions are laid out, and what must be over before it may go."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from compiler.errors import CompileError

NOBODY = -1
"""`last_user` of an entry that nothing has read yet."""


@dataclass
class Entry:
    """Vectors place..place+size-1 of a buffer; `last_user` is the number of the last instruction that uses them."""

    key: Hashable
    place: int
    size: int
    last_user: int


class Ring:
    """A buffer that is filled in a circle, oldest contents first to go, and that knows what lies in it.

    Places low..high-1 are used, from `head` on.
    """

    def __init__(self, name: str, low: int, high: int, head: int | None = None) -> None:
        self._name = name
        self._low = low
        self._high = high
        self._head = low if head is None else head
        self._entries: list[Entry] = []
        self._by_key: dict[Hashable, Entry] = {}

    def find(self, key: Hashable) -> Entry | None:
        """The entry of that key if it lies in the buffer."""
        return self._by_key.get(key)

    def allocate(self, key: Hashable, size: int, user: int) -> tuple[Entry, list[Entry]]:
        """Make room for `size` vectors: the new entry, and those that it replaces.

        Raises CompileError when the room is taken by something that `user` itself needs.
        """
        if size > self._high - self._low:
            raise CompileError(f"{size} vectors do not fit the {self._name} buffer; this is an error of the compiler")
        place = self._head if self._head + size <= self._high else self._low
        kept: list[Entry] = []
        replaced: list[Entry] = []
        for entry in self._entries:
            overlaps = entry.place < place + size and place < entry.place + entry.size
            (replaced if overlaps else kept).append(entry)
        for entry in replaced:
            if entry.last_user == user:
                raise CompileError(f"the {self._name} buffer is too small for what one instruction reads")
            del self._by_key[entry.key]
        fresh = Entry(key, place, size, NOBODY)
        self._entries = [*kept, fresh]
        self._by_key[key] = fresh
        self._head = place + size
        return fresh, replaced
