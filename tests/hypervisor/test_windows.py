"""Windows never overlap, are aligned as ATTACH wants them, and their memory is used again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypervisor.windows import OutOfMemory, Window, WindowAllocator
from isa.configuration import NAMED_POOLS

TINY = NAMED_POOLS["tiny"]


def allocate(allocator: WindowAllocator, length_bytes: int) -> Window:
    window = allocator.find(length_bytes)
    allocator.take(window)
    return window


@given(st.lists(st.one_of(st.integers(1, 300_000), st.integers(-5, -1)), max_size=40))
def test_windows_in_use_are_aligned_and_disjoint(steps: list[int]) -> None:
    allocator = WindowAllocator(TINY)
    held: list[Window] = []
    for step in steps:
        if step < 0 and held:
            allocator.release(held.pop(step % len(held)))
        elif step > 0:
            try:
                window = allocate(allocator, step)
            except OutOfMemory:
                continue
            assert window.beats * TINY.beat_bytes >= step
            assert window.base % TINY.fetch_beats == window.beats % TINY.fetch_beats == 0
            assert window.end <= TINY.memory_beats
            assert all(window.end <= other.base or other.end <= window.base for other in held)
            held.append(window)


def test_memory_that_is_given_back_is_used_again() -> None:
    allocator = WindowAllocator(TINY)
    everything = allocate(allocator, TINY.memory_bytes)
    with pytest.raises(OutOfMemory, match=r"largest gap .* has 0"):
        allocate(allocator, 1)
    allocator.release(everything)
    assert allocate(allocator, TINY.memory_bytes) == everything
