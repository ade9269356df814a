"""How fast the backends simulate: cycles a second of a pool whose cores are all held and idle-running nothing.

The RTL simulators evaluate every gate in every cycle, so their speed hardly depends on what the cores do; the
interpreter's does, and it is not measured here.
"""

from __future__ import annotations

import time
from typing import Any

from hypervisor.machines import open_port
from isa.configuration import PoolConfig

SECONDS = 2.0
BLOCK_CYCLES = 2048


def measure(config: PoolConfig) -> list[dict[str, Any]]:
    """One row for each RTL backend: seconds to build or load it, cycles a second."""
    rows = []
    for backend in ("pyrtl", "verilator"):
        began = time.monotonic()
        port = open_port(backend, config)
        built = time.monotonic()
        while time.monotonic() - built < SECONDS:
            port.step(BLOCK_CYCLES)
        elapsed = time.monotonic() - built
        rows.append(
            {
                "backend": backend,
                "seconds_to_build": round(built - began, 2),
                "cycles_per_second": round(port.cycle / elapsed),
            }
        )
        port.close()
    return rows
