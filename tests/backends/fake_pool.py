"""A design with the ports of a pool and none of its parts: it writes a pattern to memory and reads it back.

A write of n to COMMAND writes beats 0..n-1, one a cycle, then reads them, one a cycle; register COMMAND_RESULT
gathers the exclusive or of the responses, TENANT_CYCLES counts cycles.
"""

from functools import reduce
from pathlib import Path

import pyrtl

from isa.configuration import NAMED_POOLS, PoolConfig
from isa.registers import CONTROL_ADDRESS_BITS, CONTROL_DATA_BITS, Register

CONFIG = NAMED_POOLS["tiny"]


def output(name: str, value: pyrtl.WireVector) -> None:
    port = pyrtl.Output(len(value), name)
    port <<= value


def elaborate(config: PoolConfig) -> None:
    beat_bits = 8 * config.beat_bytes
    write = pyrtl.Input(1, "control_write")
    address = pyrtl.Input(CONTROL_ADDRESS_BITS, "control_address")
    data = pyrtl.Input(CONTROL_DATA_BITS, "control_write_data")
    response = pyrtl.Input(beat_bits, "channel0_response")
    for name, bits in (("valid", 1), ("write", 1), ("address", 16), ("data", beat_bits), ("strobe", 4)):
        pyrtl.Input(bits, f"host_request_{name}")
    output("host_request_taken", pyrtl.Const(0, 1))
    output("host_response_valid", pyrtl.Const(0, 1))
    output("host_response_data", pyrtl.Const(0, beat_bits))

    counter = pyrtl.Register(32, "counter")
    counter.next <<= (counter + 1)[:32]
    remaining = pyrtl.Register(8, "remaining")
    index = pyrtl.Register(8, "index")
    reading = pyrtl.Register(1, "reading")
    gathered = pyrtl.Register(32, "gathered")
    busy = remaining != 0
    last = remaining == 1
    start = write & (address == int(Register.COMMAND))
    length = pyrtl.Register(8, "length")
    length.next <<= pyrtl.select(start, data[:8], length)
    restart = last & ~reading
    remaining.next <<= pyrtl.select(
        start, data[:8], pyrtl.select(restart, length, pyrtl.select(busy, (remaining - 1)[:8], remaining))
    )
    index.next <<= pyrtl.select(start | restart, 0, (index + 1)[:8])
    reading.next <<= pyrtl.select(start, 0, pyrtl.select(last, ~reading, reading))
    words = [response[first : first + 32] for first in range(0, beat_bits, 32)]
    gathered.next <<= reduce(lambda a, b: a ^ b, [gathered, *words])

    output("channel0_valid", busy)
    output("channel0_write", ~reading)
    output("channel0_address", index.zero_extended(16))
    output("channel0_data", pyrtl.concat(*[(index * 7 + byte)[:8] for byte in range(config.beat_bytes)]))
    output("channel0_strobe", (index[:4] | 1))
    shown = pyrtl.select(address == int(Register.COMMAND_RESULT), gathered, counter)
    answer = pyrtl.Register(32, "answer")
    answer.next <<= shown
    output("control_read_data", answer)
    output("core0_activity", pyrtl.concat(busy, busy & reading, counter[4] & counter[5]))
    output("core1_activity", pyrtl.Const(0, 3))


def export(config: PoolConfig, directory: Path) -> None:
    with pyrtl.temp_working_block():
        elaborate(config)
        with (directory / "pool.v").open("w") as file:
            pyrtl.output_to_verilog(file, add_reset=True, module_name="pool")
