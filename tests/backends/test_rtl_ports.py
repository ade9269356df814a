"""The two RTL backends move time, control accesses, memory and activity in the same way."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hypervisor.backends.pyrtl_backend import PyrtlPort
from hypervisor.backends.rtl_port import RtlPort, intervals_of
from hypervisor.backends.verilator_backend import VerilatorPort
from hypervisor.pool_port import Idle, Read, read_control, write_control
from isa.registers import Register
from tests.backends.fake_pool import CONFIG, elaborate, export

SOURCE = Path(__file__).with_name("fake_pool.py").read_text(encoding="utf-8")


@pytest.fixture(params=["pyrtl", "verilator"])
def port(request: pytest.FixtureRequest) -> Iterator[RtlPort]:
    made = make(request.param)
    yield made
    made.close()


def make(backend: str) -> RtlPort:
    if backend == "pyrtl":
        return PyrtlPort(CONFIG, elaborate=elaborate, description=SOURCE)
    return VerilatorPort(CONFIG, exporter=export, description=SOURCE)


def pattern(index: int) -> list[int]:
    """What the fake pool writes to beat `index`, a byte plane for each strobe bit that is set."""
    data = [(index * 7 + byte) % 256 for byte in reversed(range(CONFIG.beat_bytes))]
    strobe = index % 16 | 1
    return [value if strobe >> place // CONFIG.array & 1 else 0 for place, value in enumerate(data)]


def test_a_step_of_n_cycles_advances_the_pool_by_n_cycles(port: RtlPort) -> None:
    port.step(1000)
    assert port.cycle == 1000
    assert read_control(port, Register.TENANT_CYCLES) == 1000
    assert port.cycle == 1002


def test_accesses_of_a_transfer_follow_one_another_in_consecutive_cycles(port: RtlPort) -> None:
    reads = port.transfer([Read(0), Read(0), Idle(100), Read(0)])
    assert reads == [0, 1, 102]


def test_writes_reach_memory_and_reads_return_them_64_cycles_later(port: RtlPort) -> None:
    write_control(port, Register.COMMAND, 200)
    port.step(200 + 200 + CONFIG.channel_latency - 1)
    beats = port.read_memory(0, 201 * CONFIG.beat_bytes).reshape(-1, CONFIG.beat_bytes)
    assert beats.tolist() == [*map(pattern, range(200)), [0] * CONFIG.beat_bytes]
    before, after = port.transfer([Read(Register.COMMAND_RESULT), Read(Register.COMMAND_RESULT)])
    words = beats[:200].copy().view("<u4")
    everything = int(np.bitwise_xor.reduce(words, axis=None))
    assert after == everything
    assert before == everything ^ int(np.bitwise_xor.reduce(words[199]))


def test_memory_placed_by_the_host_stays_where_it_is(port: RtlPort) -> None:
    data = np.arange(100, dtype=np.uint8)
    port.write_memory(CONFIG.memory_bytes - 100, data)
    assert (port.read_memory(CONFIG.memory_bytes - 100, 100) == data).all()
    with pytest.raises(ValueError, match="outside"):
        port.write_memory(CONFIG.memory_bytes - 99, data)


def test_both_backends_record_the_same_activity() -> None:
    ports = [make("pyrtl"), make("verilator")]
    for port in ports:
        port.step(70)
        write_control(port, Register.COMMAND, 30)
        port.step(333)
    first, second = (port.activity() for port in ports)
    assert first == second
    assert [(item.first, item.end) for item in first if item.engine == 2] == [(71, 131)]
    for port in ports:
        port.close()


def test_waveforms_hold_the_ports_of_the_pool(tmp_path: Path) -> None:
    port = PyrtlPort(CONFIG, elaborate=elaborate, description=SOURCE, vcd=tmp_path / "pool.vcd", vcd_cycles=50)
    write_control(port, Register.COMMAND, 3)
    port.step(100)
    port.close()
    text = (tmp_path / "pool.vcd").read_text()
    assert "channel0_address" in text
    assert text.rstrip().endswith("#50")


def test_engines_that_are_still_busy_are_recorded_up_to_now() -> None:
    changes = np.array([[3, 0, 0b001], [5, 0, 0b011], [9, 0, 0b010]])
    assert [(i.engine, i.first, i.end) for i in intervals_of(changes, 1, 20)] == [(0, 3, 9), (1, 5, 20)]
