"""A simulated card: the AXI top with cocotbext-axi's masters and memories, and a PoolPort that goes through AXI."""

from __future__ import annotations

import logging
import os
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import resume
from cocotb.triggers import ClockCycles, Timer
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiRam, AxiResp

from hypervisor.pool_port import ActivityInterval, Bytes, ControlAccess, Idle, Write
from isa.configuration import NAMED_POOLS, PoolConfig
from isa.registers import AxiRegister
from rtl.axi_export import bus_signals

CONFIG: PoolConfig = NAMED_POOLS[os.environ["TENURE_AXI_POOL"]]
PERIOD_NS = 10
REGISTER_BYTES = 4
Faults = Callable[[str, int], AxiResp]
"""What memory answers to ("read" or "write", byte address in the channel)."""


class Card:
    """Everything around the design under test; one memory per channel, all zeros."""

    def __init__(self, dut: Any) -> None:
        warnings.simplefilter("ignore", DeprecationWarning)  # of cocotbext-axi, which cocotb 2 tells of
        logging.getLogger("cocotb").setLevel(logging.ERROR)
        self.dut = dut
        cocotb.start_soon(Clock(dut.aclk, PERIOD_NS, "ns").start())
        dut.aresetn.value = 0
        around = (dut.aclk, dut.aresetn, False)
        self.control = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_ctrl"), *around)
        self.host = AxiMaster(AxiBus.from_prefix(dut, "s_axi_host"), *around)
        size = CONFIG.memory_bytes // CONFIG.channels
        self.memories = [
            AxiRam(AxiBus.from_prefix(dut, f"m_axi_ch{channel}"), *around, size=size)
            for channel in range(CONFIG.channels)
        ]
        self.faults: Faults = lambda _way, _address: AxiResp.OKAY
        for memory in self.memories:
            self._can_fail(memory)

    def _can_fail(self, memory: AxiRam) -> None:
        """Let `faults` decide the response to every access; what fails is neither read nor written."""
        answers: dict[str, AxiResp] = {}

        def checked(way: str, access: Any) -> Any:
            async def call(address: int, argument: Any) -> Any:
                answers[way] = self.faults(way, address % memory.size)
                if answers[way] is not AxiResp.OKAY:
                    raise ValueError("this access is meant to fail")
                return await access(address, argument)

            return call

        def sent(way: str, field: str, send: Any) -> Any:
            async def call(answer: Any) -> None:
                if getattr(answer, field) is AxiResp.SLVERR:
                    setattr(answer, field, answers[way])
                await send(answer)

            return call

        reads, writes = memory.read_if, memory.write_if
        reads._read, writes._write = checked("read", reads._read), checked("write", writes._write)
        reads.r_channel.send = sent("read", "rresp", reads.r_channel.send)
        writes.b_channel.send = sent("write", "bresp", writes.b_channel.send)

    def stall(self, seed: int, long_pause: int) -> None:
        """Random pauses on every channel of every bus; one in 2,000 cycles begins one of up to `long_pause` cycles."""
        for index, channel in enumerate(self._channels()):
            channel.set_pause_generator(_pauses(random.Random(f"{seed} {index}"), long_pause))

    def _channels(self) -> Iterator[Any]:
        for memory in self.memories:
            yield from (memory.read_if.ar_channel, memory.read_if.r_channel)
            yield from (memory.write_if.aw_channel, memory.write_if.w_channel, memory.write_if.b_channel)
        for master in (self.control, self.host):
            yield from (master.read_if.ar_channel, master.read_if.r_channel)
            yield from (master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel)

    async def reset(self) -> None:
        """`aresetn` low for a few cycles, for masters and memories, too."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 4)
        self.dut.aresetn.value = 1
        await Timer(PERIOD_NS, "ns")

    async def read(self, register: int) -> int:
        """The value of a register."""
        answer = await self.control.read(REGISTER_BYTES * register, REGISTER_BYTES)
        assert answer.resp is AxiResp.OKAY, f"register {register}: {answer.resp!r}"
        return int.from_bytes(answer.data, "little")

    async def write(self, register: int, value: int) -> None:
        """Write a register."""
        answer = await self.control.write(REGISTER_BYTES * register, value.to_bytes(REGISTER_BYTES, "little"))
        assert answer.resp is AxiResp.OKAY, f"register {register}: {answer.resp!r}"

    async def raw_read(self, address: int) -> AxiResp:
        """The response to a read of any address, as it is."""
        channels = self.control.read_if
        await channels.ar_channel.send(channels.ar_channel._transaction_obj(araddr=address, arprot=0))
        return AxiResp(int((await channels.r_channel.recv()).rresp))

    async def raw_write(self, address: int, value: int = 0, strobe: int = 15) -> AxiResp:
        """The response to a write of any address, as it is."""
        channels = self.control.write_if
        await channels.aw_channel.send(channels.aw_channel._transaction_obj(awaddr=address, awprot=0))
        await channels.w_channel.send(channels.w_channel._transaction_obj(wdata=value, wstrb=strobe))
        return AxiResp(int((await channels.b_channel.recv()).bresp))

    def count(self, what: str) -> int:
        """The sum of a checker's counts over all buses: "violations" or "beats"."""
        return sum(int(getattr(self.dut, f"{bus}_{what}").value) for bus in bus_signals(CONFIG))


def _pauses(generator: random.Random, long_pause: int) -> Iterator[bool]:
    """Pauses in about a third of all cycles, in runs of a few cycles."""
    while True:
        for _ in range(generator.randrange(1, 8)):
            yield False
        rest = generator.randrange(long_pause) if generator.random() < 1 / 400 else generator.randrange(4)
        for _ in range(rest):
            yield True


class AxiPort:
    """A PoolPort on a card, for a thread of its own (`cocotb.task.bridge`); a cycle is one of `aclk`."""

    def __init__(self, card: Card) -> None:
        self.config = CONFIG
        self.card = card
        self.written = np.zeros(CONFIG.memory_beats, bool)

    @property
    def cycle(self) -> int:
        return int(get_sim_time("ns")) // PERIOD_NS

    def transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        return self._transfer(accesses)

    @resume
    async def _transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        answers = []
        for access in accesses:
            if isinstance(access, Write):
                await self.card.write(access.address, access.value)
            elif not isinstance(access, Idle):
                answers.append(await self.card.read(access.address))
        return answers

    @resume
    async def step(self, cycles: int) -> None:
        if cycles > 0:
            await ClockCycles(self.card.dut.aclk, cycles)

    @resume
    async def read_memory(self, offset: int, length: int) -> Bytes:
        answer = await self.card.host.read(offset, length)
        assert answer.resp is AxiResp.OKAY
        return np.frombuffer(bytes(answer.data), np.uint8)

    @resume
    async def write_memory(self, offset: int, data: Bytes) -> None:
        """Whole beats; zeros are not written where nothing has been written yet: memory begins with zeros."""
        beat = CONFIG.beat_bytes
        first, end = offset // beat, -(-(offset + len(data)) // beat)
        if not data.any() and not self.written[first:end].any():
            return
        self.written[first:end] = True
        if offset % CONFIG.array or len(data) % CONFIG.array:
            raise ValueError(f"bytes {offset}..{offset + len(data)} are no whole vectors")
        answer = await self.card.host.write(offset, np.ascontiguousarray(data, np.uint8).tobytes())
        assert answer.resp is AxiResp.OKAY

    def host_read(self, beat: int) -> Bytes:
        return self.read_memory(beat * CONFIG.beat_bytes, CONFIG.beat_bytes)

    def host_write(self, beat: int, data: Bytes) -> None:
        self.write_memory(beat * CONFIG.beat_bytes, data)

    def activity(self) -> list[ActivityInterval]:
        return []

    def close(self) -> None:
        return None


async def late(card: Card) -> int:
    """Cycles that the pool has waited."""
    return await card.read(AxiRegister.LATE)
