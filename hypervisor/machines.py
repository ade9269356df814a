"""The machines that a pool can run on, by name; each module is loaded only when its machine is asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hypervisor.hypervisor import HypervisorError
from hypervisor.pool_port import PoolPort
from isa.configuration import PoolConfig

BACKENDS: dict[str, str] = {
    "pyrtl": "the flat netlist on PyRTL's compiled simulator",
    "verilator": "the exported Verilog under Verilator",
    "model": "the functional interpreter with the timing model",
}
"""Name and meaning of every backend."""


def open_port(
    backend: str,
    config: PoolConfig,
    progress: Callable[[int], None] | None = None,
    vcd: Path | None = None,
) -> PoolPort:
    """A pool at reset. `progress` is called with the cycle reached; `vcd` is a file for waveforms (pyrtl only).

    Raises HypervisorError for an unknown backend or a waveform of a backend that has none, PortError when the
    backend's tools are missing.
    """
    if vcd is not None and backend != "pyrtl":
        raise HypervisorError(f"backend {backend} writes no waveforms: use --backend pyrtl with --vcd")
    match backend:
        case "pyrtl":
            from hypervisor.backends.pyrtl_backend import PyrtlPort

            return PyrtlPort(config, progress, vcd)
        case "verilator":
            from hypervisor.backends.verilator_backend import VerilatorPort

            return VerilatorPort(config, progress)
        case "model":
            from hypervisor.backends.model_backend import ModelPort

            return ModelPort(config, progress)
    raise HypervisorError(f"unknown backend {backend!r}: name one of {', '.join(BACKENDS)}")
