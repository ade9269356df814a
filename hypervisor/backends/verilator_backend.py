"""The exported hierarchical Verilog, compiled by Verilator and driven through ctypes; memory lies in the harness."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hypervisor.backends.rtl_port import ControlBlock, HostAnswer, HostRequest, Progress, RtlPort
from hypervisor.backends.verilator_build import build_library
from hypervisor.pool_port import Bytes, PortError
from isa.configuration import PoolConfig


def export_pool(config: PoolConfig, directory: Path) -> None:
    """Write the pool's Verilog, with pool.v for a top. Raises PortError when that fails."""
    from rtl.export import ExportError, export

    try:
        export(config, directory)
    except ExportError as problem:
        raise PortError(f"backend verilator: {problem}") from problem


class VerilatorPort(RtlPort):
    """A PoolPort on the exported Verilog.

    Args:
        config: the pool.
        progress: called with the cycle that has been reached, after every call that lets time pass.
        exporter: writes another design with the pool's ports, described by `description` (tests).

    Raises PortError when Verilator or what it needs is missing or fails.
    """

    def __init__(
        self,
        config: PoolConfig,
        progress: Progress | None = None,
        exporter: Callable[[PoolConfig, Path], None] = export_pool,
        description: str = "",
    ) -> None:
        super().__init__(config, progress)
        self._library = _load(build_library(config, exporter, description))
        self._pool = ctypes.c_void_p(self._library.tenure_create())
        address = self._library.tenure_memory(self._pool)
        self._bytes: Bytes = np.ctypeslib.as_array((ctypes.c_uint8 * config.memory_bytes).from_address(address))
        self._host_port = _host_port_type(config.beat_bytes)()

    def close(self) -> None:
        """See PoolPort."""
        if self._pool:
            self._bytes = np.zeros(0, np.uint8)
            self._library.tenure_destroy(self._pool)
            self._pool = ctypes.c_void_p()

    def _memory(self) -> Bytes:
        return self._bytes

    def _advance(self, control: ControlBlock, cycles: int) -> NDArray[np.uint32]:
        wanted = np.empty(cycles if len(control) else 0, np.uint32)
        self._library.tenure_advance(
            self._pool, cycles, control.ctypes.data, len(control), wanted.ctypes.data if len(wanted) else None
        )
        self._cycle += cycles
        return wanted

    def _host_cycle(self, request: HostRequest | None) -> HostAnswer:
        port = self._host_port
        port.valid = request is not None
        port.write = request is not None and request.data is not None
        port.beat = 0 if request is None else request.beat
        data = np.ctypeslib.as_array(port.data)
        data[:] = 0 if request is None or request.data is None else request.data
        self._library.tenure_host_cycle(self._pool, ctypes.byref(port))
        self._cycle += 1
        return HostAnswer(bool(port.taken), data.copy() if port.response_valid else None)

    def _activity_changes(self) -> NDArray[np.int64]:
        rows = ctypes.POINTER(ctypes.c_int64)()
        count = self._library.tenure_activity(self._pool, ctypes.byref(rows))
        if not count:
            return np.zeros((0, 3), np.int64)
        return np.ctypeslib.as_array(rows, (count, 3)).copy()


def _host_port_type(beat_bytes: int) -> type[ctypes.Structure]:
    class HostPort(ctypes.Structure):
        _fields_ = (
            ("valid", ctypes.c_uint32),
            ("write", ctypes.c_uint32),
            ("beat", ctypes.c_uint64),
            ("taken", ctypes.c_uint32),
            ("response_valid", ctypes.c_uint32),
            ("data", ctypes.c_uint8 * beat_bytes),
        )

    return HostPort


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pool = ctypes.c_void_p
    library.tenure_create.restype = pool
    library.tenure_destroy.argtypes = [pool]
    library.tenure_destroy.restype = None
    library.tenure_memory.argtypes = [pool]
    library.tenure_memory.restype = pool
    library.tenure_advance.argtypes = [pool, ctypes.c_uint64, pool, ctypes.c_uint64, pool]
    library.tenure_advance.restype = None
    library.tenure_host_cycle.argtypes = [pool, pool]
    library.tenure_host_cycle.restype = None
    library.tenure_activity.argtypes = [pool, pool]
    library.tenure_activity.restype = ctypes.c_uint64
    return library
