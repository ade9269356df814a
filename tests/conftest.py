"""Settings for every test."""

import ctypes
import mmap
import os
import platform
from collections.abc import Callable

import pytest

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers of pytest share two cores


def machine_code(code: bytes) -> tuple[Callable[[], None], mmap.mmap]:
    """A function of these instructions of x86-64, which end in RET, and the memory that they live in."""
    memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    memory.write(code)
    return ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(memory))), memory


@pytest.fixture(autouse=platform.machine() == "x86_64")
def _empty_x87_stack() -> None:
    """FNINIT: after hours of compiled simulations the stack of the x87 unit was found full, cause unknown.

    numpy's floor division, which matplotlib's ticks use, is invalid then.
    """
    _RESET()


if platform.machine() == "x86_64":
    _RESET, _MEMORY = machine_code(b"\xdb\xe3\xc3")
