"""What lies where in a core's buffers while its instructions are laid out, and what must be over before it may go."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

NOBODY = -1
"""`last_user` of an entry that nothing has read yet."""


@dataclass
class Entry:
    """Vectors place..place+size-1 of a buffer; `last_user` is the number of the last instruction that uses them."""

    key: Hashable
    place: int
    size: int
    last_user: int

    @property
    def end(self) -> int:
        """First vector behind the entry."""
        return self.place + self.size


class Ring:
    """A buffer that is filled in a circle, oldest contents first to go, and that knows what lies in it.

    Places low..high-1 are used, from `head` on.
    """

    def __init__(self, low: int, high: int, head: int | None = None) -> None:
        self._low = low
        self._high = high
        self._head = low if head is None else head
        self._entries: list[Entry] = []
        self._by_key: dict[Hashable, Entry] = {}

    def find(self, key: Hashable) -> Entry | None:
        """The entry of that key if it lies in the buffer."""
        return self._by_key.get(key)

    def allocate(
        self, key: Hashable, size: int, may_replace: Callable[[Entry], bool]
    ) -> tuple[Entry, list[Entry]] | None:
        """Make room for `size` vectors: the new entry, and those that it replaces; None if there is no room.

        The room begins at the head, or at the first place behind it where all that lies there may be replaced.
        """
        for place in self._candidates(size):
            end = place + size
            replaced = [entry for entry in self._entries if entry.place < end and place < entry.place + entry.size]
            if all(may_replace(entry) for entry in replaced):
                break
        else:
            return None
        for entry in replaced:
            del self._by_key[entry.key]
            self._entries.remove(entry)
        fresh = Entry(key, place, size, NOBODY)
        self._entries.append(fresh)
        self._by_key[key] = fresh
        self._head = place + size
        return fresh, replaced

    def _candidates(self, size: int) -> Iterator[int]:
        """Places to try: the head, ends of entries behind it, the start, ends of entries before it."""
        if self._head + size <= self._high:
            yield self._head  # nearly always the one: the others are not even listed
        ends = sorted(entry.end for entry in self._entries)
        behind = [end for end in ends if end > self._head]
        before = [end for end in ends if end < self._head]
        for place in (*behind, self._low, *before):
            if place + size <= self._high:
                yield place
