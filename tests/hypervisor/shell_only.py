"""The real shell around cores that never do anything: enough for control, fetch, sweep and host slots."""

from collections.abc import Mapping
from pathlib import Path

import pyrtl

from isa.configuration import PoolConfig
from rtl.core_ports import core_ports
from rtl.pool import pool


def elaborate(config: PoolConfig) -> None:
    def idle_core(index: int, inputs: Mapping[str, pyrtl.WireVector]) -> Mapping[str, pyrtl.WireVector]:
        return {port: pyrtl.Const(0, bits) for port, bits in core_ports(config).outputs.items()}

    pool(config, idle_core)


def export(config: PoolConfig, directory: Path) -> None:
    with pyrtl.temp_working_block():
        elaborate(config)
        with (directory / "pool.v").open("w") as file:
            pyrtl.output_to_verilog(file, add_reset=True, module_name="pool")


DESCRIPTION = Path(__file__).read_text(encoding="utf-8")
