"""A memory for several vectors in a cycle: banks side by side, word i in bank i mod B at address i div B.

    index 4r+2, three words, four banks:     bank 0     bank 1     bank 2     bank 3
                                              r+1: [2]             r: [0]     r: [1]

Neighbouring words lie in neighbouring banks, so B words in a row never meet in one, wherever they begin: nothing need
be aligned. With one bank this is the memory itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrtl import Const, WireVector, concat, mux

from rtl.scrubbed import Scrub, log2


@dataclass(frozen=True)
class BankWrite:
    """What one bank writes in a cycle."""

    row: WireVector
    word: WireVector
    enable: WireVector


def bank_writes(index: WireVector, words: Sequence[WireVector], enables: Sequence[WireVector]) -> list[BankWrite]:
    """For each bank its part of a write of `words` at `index` and the places behind it; as many banks as words."""
    banks = len(words)
    if banks == 1:
        return [BankWrite(index, words[0], enables[0])]
    first, row = index[: log2(banks)], index[log2(banks) :]
    return [
        BankWrite(
            row=_row(row, first, bank),
            word=mux(first, *[words[(bank - place) % banks] for place in range(banks)]),
            enable=mux(first, *[enables[(bank - place) % banks] for place in range(banks)]),
        )
        for bank in range(banks)
    ]


def _row(row: WireVector, first: WireVector, bank: int) -> WireVector:
    """The row of a bank in an access that begins in bank `first`: banks below it are met one row further."""
    return (row + (first > bank))[: len(row)]


class BankedMemory:
    """A memory with one write port and one read port, each for as many words as there are banks, a power of two."""

    def __init__(self, scrub: Scrub, bits: int, depth: int, name: str, banks: int) -> None:
        names = [name] if banks == 1 else [f"{name}_{bank}" for bank in range(banks)]
        self._memories = [scrub.memory(bits, depth // banks, each) for each in names]
        self._scrub = scrub
        self._name = name

    def write(self, writes: Sequence[BankWrite], enable: WireVector) -> None:
        """Connect the write port: what `bank_writes` gives, where `enable` is 1, too."""
        for memory, each in zip(self._memories, writes, strict=True):
            memory.write(each.row, each.word, each.enable & enable)

    def write_one(self, index: WireVector, word: WireVector, enable: WireVector) -> None:
        """Connect the write port for one word."""
        banks = len(self._memories)
        for bank, memory in enumerate(self._memories):
            is_meant = enable & (index[: log2(banks)] == bank) if banks > 1 else enable
            memory.write(index[log2(banks) :], word, is_meant)

    def read(self, index: WireVector) -> WireVector:
        """Connect the read port for one word: its value, one cycle later."""
        return self._read(index, 1, None)[0]

    def read_words(self, index: WireVector, enable: WireVector | None = None) -> list[WireVector]:
        """Connect the read port for as many words as there are banks, from `index` on: one cycle later.

        With `enable` they stay as they are in cycles in which it is 0.
        """
        return self._read(index, len(self._memories), enable)

    def _read(self, index: WireVector, words: int, enable: WireVector | None) -> list[WireVector]:
        banks = len(self._memories)
        if banks == 1:
            return [self._memories[0].read(index, enable)]
        first, row = index[: log2(banks)], index[log2(banks) :]
        data = [memory.read(_row(row, first, bank), enable) for bank, memory in enumerate(self._memories)]
        name = f"{self._name}_first_bank"
        first = self._scrub.stage(first, name) if enable is None else self._scrub.kept(first, enable, name)
        return [mux(first, *[data[(place + word) % banks] for place in range(banks)]) for word in range(words)]


def narrowed(writes: Sequence[BankWrite], bits: int) -> list[BankWrite]:
    """The same writes of the words' lowest bits."""
    return [BankWrite(each.row, each.word[:bits], each.enable) for each in writes]


def stepped(place: WireVector, banks: int, word: int) -> WireVector:
    """place * banks + word."""
    return concat(place, Const(word, log2(banks))) if banks > 1 else place
