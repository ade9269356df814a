"""What cocotb runs inside the simulator; `test_axi.py` starts it. Every scenario ends with no protocol violation."""

from __future__ import annotations

import functools
import os
from collections.abc import Awaitable, Callable
from typing import Any

import cocotb
import numpy as np
from cocotb.task import bridge
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiResp

from hypervisor.hypervisor import Hypervisor, TenantStatus
from hypervisor.machines import open_port
from hypervisor.pool_port import PoolPort
from isa.encoding import encode_program
from isa.instructions import WORD_BYTES, Buffer, End, Instruction, Load, Save, SyncRaise, SyncWait
from isa.registers import (
    AXI_CORE_IN_QUARANTINE,
    IDENTIFICATION,
    AxiInterrupt,
    AxiRegister,
    AxiStatus,
    Command,
    CoreState,
    Register,
    TenantState,
)
from tests.axi.machine import CONFIG, REGISTER_BYTES, AxiPort, Card, late
from tests.backends.small_programs import INPUT, OUTPUT, OUTPUT_PITCH, WINDOW_BYTES, core_program, window

LONG_PAUSE = 400
SEED = 3
OUTPUT_BYTES = OUTPUT * CONFIG.array
RESULT_BYTES = 8 * OUTPUT_PITCH * CONFIG.array
"""What each core writes."""


def scenario(run: Callable[[Card], Awaitable[None]]) -> Any:
    """A cocotb test on a fresh card after reset, which must see no protocol violation."""

    @cocotb.test()
    @functools.wraps(run)
    async def test(dut: Any) -> None:
        card = Card(dut)
        await card.reset()
        before = card.count("violations")
        await run(card)
        assert card.count("violations") == before

    return test


def run_program(port: PoolPort, seed: int = SEED) -> tuple[bytes, TenantStatus]:
    """The small program on both cores of `tiny`: what it wrote, and the tenant's registers."""
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(tenant, [0, 1])
    hypervisor.write(tenant, 0, window(2, seed)[:OUTPUT_BYTES])
    hypervisor.start([(tenant, 0)])
    hypervisor.wait([tenant], 1_000_000)
    return hypervisor.read(tenant, OUTPUT_BYTES, 2 * RESULT_BYTES).tobytes(), hypervisor.status(tenant)


def expected(seed: int = SEED) -> tuple[bytes, TenantStatus]:
    """What `run_program` gives on the model."""
    return run_program(open_port("model", CONFIG), seed)


@scenario
async def registers_answer_and_refuse(card: Card) -> None:
    assert await card.read(Register.IDENTIFICATION) == IDENTIFICATION
    assert await card.read(Register.CORES) == CONFIG.cores
    await card.write(Register.ARGUMENT_BASE, 0x1234)
    for address in (Register.ARGUMENT_BASE * REGISTER_BYTES + 2, 3 * REGISTER_BYTES, 12 * REGISTER_BYTES, 252):
        assert await card.raw_read(address) is AxiResp.SLVERR
        assert await card.raw_write(address, 0x5678) is AxiResp.SLVERR
    assert await card.raw_read(Register.COMMAND * REGISTER_BYTES) is AxiResp.SLVERR
    assert await card.raw_read(AxiRegister.RESET * REGISTER_BYTES) is AxiResp.SLVERR
    assert await card.raw_write(Register.CORES * REGISTER_BYTES, 1) is AxiResp.SLVERR
    assert await card.raw_write(AxiRegister.LATE * REGISTER_BYTES, 1) is AxiResp.SLVERR
    assert await card.raw_write(Register.ARGUMENT_BASE * REGISTER_BYTES, 0x5678, strobe=3) is AxiResp.SLVERR
    assert await card.read(Register.ARGUMENT_BASE) == 0x1234
    assert await card.read(AxiRegister.STATUS) == 0


@scenario
async def a_program_takes_the_cycles_of_the_model(card: Card) -> None:
    assert await bridge(run_program)(AxiPort(card)) == expected()
    assert await late(card) == 0


@scenario
async def stalls_change_neither_bytes_nor_the_pools_cycles(card: Card) -> None:
    card.stall(seed=1, long_pause=LONG_PAUSE)
    assert await bridge(run_program)(AxiPort(card)) == expected()
    assert await late(card) > 0


@scenario
async def an_end_interrupts(card: Card) -> None:
    await card.write(AxiRegister.INTERRUPT_ENABLE, AxiInterrupt.ENDED)
    await bridge(run_program)(AxiPort(card))
    assert card.dut.irq.value == 1
    assert await card.read(AxiRegister.INTERRUPTS) == AxiInterrupt.ENDED
    assert await card.read(AxiRegister.ENDED) == 1
    await card.write(AxiRegister.ENDED, 1)
    await ClockCycles(card.dut.aclk, 2)
    assert card.dut.irq.value == 0


async def errors_put_the_core_into_quarantine(card: Card, way: str, response: AxiResp) -> None:
    """Memory fails one access of core 1 (whose output lies there, or its input); core 0 shares the tenant's window."""
    seen = []

    def fails_once(asked: str, address: int) -> AxiResp:
        if asked == way and running and not seen and address >= 1024 * CONFIG.array:
            seen.append(address)
            return response
        return AxiResp.OKAY

    running = False
    port = AxiPort(card)

    def run() -> None:
        nonlocal running
        hypervisor = Hypervisor(port)
        tenant = hypervisor.attach(WINDOW_BYTES)
        hypervisor.grant(tenant, [1])
        hypervisor.write(tenant, 0, window(1, SEED)[:OUTPUT_BYTES])
        running = True
        hypervisor.start([(tenant, 0)])
        hypervisor.wait([tenant], 1_000_000)
        running = False
        hypervisor.revoke(tenant)

    card.faults = fails_once
    await bridge(run)()
    assert seen
    assert await card.read(AxiRegister.QUARANTINE) == 1 << 1
    assert await card.read(AxiRegister.INTERRUPTS) & AxiInterrupt.QUARANTINE
    assert await grant(card, core=1) == AXI_CORE_IN_QUARANTINE
    assert await card.read(Register.CORE_STATE) == CoreState.FREE
    assert await grant(card, core=0) == 1
    await card.write(AxiRegister.QUARANTINE, 1 << 1)
    assert await grant(card, core=1, virtual=1) == 1
    assert await card.read(AxiRegister.STATUS) == 0


async def grant(card: Card, core: int, virtual: int = 0) -> int:
    """Grant a core to tenant 0; the result."""
    await card.write(Register.ARGUMENT_TENANT, 0)
    await card.write(Register.ARGUMENT_CORE, core)
    await card.write(Register.ARGUMENT_VIRTUAL, virtual)
    await card.write(Register.COMMAND, Command.GRANT)
    return await card.read(Register.COMMAND_RESULT)


@scenario
async def a_failed_read_puts_the_core_into_quarantine(card: Card) -> None:
    await errors_put_the_core_into_quarantine(card, "read", AxiResp.SLVERR)


@scenario
async def a_failed_write_puts_the_core_into_quarantine(card: Card) -> None:
    await errors_put_the_core_into_quarantine(card, "write", AxiResp.DECERR)


@scenario
async def errors_of_the_host_go_to_the_host(card: Card) -> None:
    await bridge(Hypervisor)(AxiPort(card))
    card.faults = lambda way, address: AxiResp.SLVERR if address // CONFIG.beat_bytes == 5 else AxiResp.OKAY
    data = bytes(range(8 * CONFIG.beat_bytes))
    assert (await card.host.write(0, data)).resp is AxiResp.SLVERR
    card.faults = lambda way, address: AxiResp.OKAY
    answer = await card.host.read(0, len(data))
    assert answer.resp is AxiResp.OKAY
    lost = slice(5 * CONFIG.beat_bytes, 6 * CONFIG.beat_bytes)
    assert bytes(answer.data) == data[: lost.start] + bytes(CONFIG.beat_bytes) + data[lost.stop :]
    card.faults = lambda way, address: AxiResp.DECERR if address // CONFIG.beat_bytes == 2 else AxiResp.OKAY
    assert (await card.host.read(0, len(data))).resp is not AxiResp.OKAY
    assert (await card.host.write(1, b"split")).resp is AxiResp.SLVERR
    assert (await card.host.write(0, data, size=2)).resp is AxiResp.SLVERR
    assert await card.read(AxiRegister.STATUS) == 0
    assert await card.read(AxiRegister.QUARANTINE) == 0


@scenario
async def a_failed_sweep_halts_the_pool_until_reset(card: Card) -> None:
    port = AxiPort(card)
    card.faults = lambda way, address: AxiResp.SLVERR if way == "write" and address >= 64 else AxiResp.OKAY
    while not await card.read(AxiRegister.STATUS):
        await ClockCycles(card.dut.aclk, 100)
    await halted(card, AxiStatus.HALTED_SWEEP)
    card.faults = lambda way, address: AxiResp.OKAY
    await card.write(AxiRegister.RESET, 1)
    assert await bridge(run_program)(port) == expected()


async def halted(card: Card, status: AxiStatus) -> None:
    """The pool stands still, says why, and refuses instead of hanging."""
    assert await card.read(AxiRegister.STATUS) == status
    assert await card.read(AxiRegister.INTERRUPTS) & AxiInterrupt.HALTED
    assert await card.raw_read(Register.CORES * REGISTER_BYTES) is AxiResp.SLVERR
    assert await card.raw_write(Register.ARGUMENT_CORE * REGISTER_BYTES, 1) is AxiResp.SLVERR
    assert (await card.host.read(0, 4 * CONFIG.beat_bytes)).resp is AxiResp.SLVERR
    assert (await card.host.write(0, bytes(4 * CONFIG.beat_bytes))).resp is AxiResp.SLVERR


@scenario
async def memory_that_answers_too_late_halts_the_pool_until_reset(card: Card) -> None:
    port = AxiPort(card)
    await card.write(AxiRegister.PATIENCE, 500)
    running = await start(port)
    card.memories[0].read_if.r_channel.pause = True
    await ClockCycles(card.dut.aclk, 1000)
    await halted(card, AxiStatus.HALTED_LATE)
    assert await late(card) >= 500
    await card.write(AxiRegister.RESET, 1)
    await ClockCycles(card.dut.aclk, 100)
    assert await card.read(AxiRegister.STATUS) == AxiStatus.HALTED_LATE | AxiStatus.RESETTING
    card.memories[0].read_if.r_channel.pause = False
    await ClockCycles(card.dut.aclk, 200)
    assert await card.read(AxiRegister.STATUS) == 0
    assert await late(card) == 0
    assert running
    assert await bridge(run_program)(AxiPort(card)) == expected()


async def start(port: AxiPort) -> bool:
    """Start the program; it is running on return."""

    def begin() -> bool:
        hypervisor = Hypervisor(port)
        tenant = hypervisor.attach(WINDOW_BYTES)
        hypervisor.grant(tenant, [0, 1])
        hypervisor.write(tenant, 0, window(2, SEED)[:OUTPUT_BYTES])
        hypervisor.start([(tenant, 0)])
        port.step(CONFIG.period_cycles + 300)
        return hypervisor.status(tenant).state is TenantState.RUNNING

    return await bridge(begin)()


@scenario
async def a_reset_in_the_middle_of_a_run_leaves_nothing(card: Card) -> None:
    for reset in (card.reset, lambda: card.write(AxiRegister.RESET, 0)):
        assert await start(AxiPort(card))
        await reset()
    assert await bridge(run_program)(AxiPort(card)) == expected()


ROUNDS = int(os.environ.get("TENURE_AXI_ROUNDS", "1"))
BUSY_WORD = WINDOW_BYTES // WORD_BYTES
BUSY_OUTPUT = 3 * OUTPUT // 2


def run_busily(port: PoolPort) -> tuple[bytes, TenantStatus]:
    """The small program, then nothing but long LOADs and SAVEs on both cores: what was written, and registers.

    The LOADs wait for the barrier that ends the small program, whose features they overwrite; END waits for all writes.
    """
    loads = CONFIG.features_vectors
    program: list[Instruction] = [instruction for core in range(2) for instruction in core_program(core)]
    program += [SyncWait(core=core) for core in range(2)]
    for _ in range(ROUNDS):
        for core in range(2):
            program.append(Load(core=core, buffer=Buffer.FEATURES, address=INPUT + core, columns=loads))
            place = BUSY_OUTPUT + core * CONFIG.output_vectors
            program.append(Save(core=core, address=place, columns=CONFIG.output_vectors))
    program += [*(SyncRaise(core=core) for core in range(2)), End(barriers=3)]
    words = np.frombuffer(encode_program(program), np.uint8)
    hypervisor = Hypervisor(port)
    tenant = hypervisor.attach(WINDOW_BYTES + len(words))
    hypervisor.grant(tenant, [0, 1])
    hypervisor.write(tenant, 0, window(2, SEED)[:OUTPUT_BYTES])
    hypervisor.write(tenant, WINDOW_BYTES, words)
    hypervisor.start([(tenant, BUSY_WORD)])
    hypervisor.wait([tenant], 10_000_000)
    written = hypervisor.read(tenant, OUTPUT_BYTES, WINDOW_BYTES - OUTPUT_BYTES)
    return written.tobytes(), hypervisor.status(tenant)


@scenario
async def many_beats_with_random_stalls(card: Card) -> None:
    card.stall(seed=4, long_pause=LONG_PAUSE)
    before = card.count("beats")
    assert await bridge(run_busily)(AxiPort(card)) == run_busily(open_port("model", CONFIG))
    cycles = await late(card)
    assert cycles > 0
    beats = card.count("beats") - before
    print(f"{beats} beats, {cycles} cycles late")
    assert beats >= ROUNDS * 2 * (CONFIG.features_vectors + CONFIG.output_vectors) // CONFIG.vectors_per_beat
