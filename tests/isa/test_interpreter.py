"""Programs on the machine: dispatch, tokens, barriers, batches, faults, deadlocks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isa.assembler import assemble
from isa.configuration import NAMED_POOLS
from isa.core_state import WindowMemory
from isa.encoding import encode_program
from isa.instructions import Buffer, Conv, End, Engine, Instruction, Load, Save
from isa.interpreter import FaultReport, Machine, Outcome, tokens_given, tokens_taken
from isa.registers import Fault
from tests.isa.instruction_strategies import instructions

TINY = NAMED_POOLS["tiny"]
WINDOW = 8192
DATA = 1024
"""First vector behind the programs of these tests; byte DATA * TINY.array."""


def window_of(text: str, data: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """A window with a program at word 0 and data from vector DATA on."""
    window = np.zeros(WINDOW, np.uint8)
    program = assemble(text)
    window[: len(program)] = np.frombuffer(program, np.uint8)
    if data is not None:
        window[DATA * TINY.array :][: data.size] = data
    return window


def machine(text: str, cores: int = 1, data: NDArray[np.uint8] | None = None) -> Machine:
    return Machine(TINY, window_of(text, data), cores)


LOOKUP = f"""
    LOAD buffer=3 address={DATA} columns=256
    LOAD address={DATA + 256} columns=8 post_compute
    LOOKUP wait_load post_save vectors=8
    SAVE wait_compute address={DATA + 512} columns=8
    SYNC_RAISE
    END barriers=1
"""


def lookup_data(random: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(table and operands as they lie in memory, the result)."""
    data = random.integers(0, 256, 264 * TINY.array, np.uint8)
    return data, data[:1024].reshape(256, 4)[:, 0][data[1024:]]


# --- runs ----------------------------------------------------------------------------------------------------


def test_a_program_from_load_to_save() -> None:
    data, expected = lookup_data(np.random.default_rng(0))
    tenant = machine(LOOKUP, data=data)
    result = tenant.run()
    assert (result.outcome, result.instructions, result.barriers) == (Outcome.DONE, 6, 1)
    assert (result.fault, result.detail) == (None, "")
    assert (tenant.memory.read((DATA + 512) * 4, 32)[0] == expected).all()
    assert set(tenant.core_state(0).tokens.values()) == {0}


def test_calls_and_start() -> None:
    text = """
        .word 0
    start: CALL address=@frame
        CALL address=@frame
        END
    frame: CONFIG_LOAD
        RETURN
    """
    seen: list[tuple[int | None, str, int]] = []

    def observe(core: int | None, instruction: Instruction, address: int) -> None:
        seen.append((core, instruction.mnemonic(), address))

    tenant = Machine(TINY, window_of(text), observer=observe)
    assert tenant.run(start_word=1).instructions == 7
    frame = [(0, "CONFIG_LOAD", 4), (None, "RETURN", 5)]
    assert seen == [(None, "CALL", 1), *frame, (None, "CALL", 2), *frame, (None, "END", 3)]


def test_cores_and_memory_outlive_a_run() -> None:
    tenant = machine("CONFIG_LOAD row_pitch=9\n SYNC_RAISE\n SYNC_WAIT\n END barriers=1")
    assert [tenant.run().barriers for _ in range(2)] == [1, 1]
    assert tenant.core_state(0).load.row_pitch == 9


def test_engines_run_ahead_of_one_another() -> None:
    """The save engine's instruction stands first in the stream and executes last; nothing else would work."""
    tenant = machine("""
        SAVE wait_compute address=1024 post_compute
        LOOKUP wait_load post_save post_load
        LOAD post_compute address=1025
        LOAD wait_compute address=1025 destination=1
        LOOKUP wait_save features=1
        SYNC_RAISE
        END barriers=1
    """)
    assert tenant.run().outcome is Outcome.DONE


def test_a_barrier_orders_two_cores() -> None:
    """Core 1 saves in layer 0 what core 0 loads in layer 1, whatever the order in the stream."""
    captured: list[tuple[int, list[int]]] = []

    def capture(barrier: int, memory: WindowMemory) -> None:
        captured.append((barrier, memory.read((DATA + 300) * 4, 4)[0].tolist()))

    text = f"""
        LOAD core=0 buffer=3 address={DATA} columns=256
        SYNC_RAISE core=0
        SYNC_WAIT core=0
        LOAD core=0 address={DATA + 300} post_compute
        LOOKUP core=0 wait_load post_save
        SAVE core=0 wait_compute address={DATA + 300}
        LOAD core=1 buffer=3 address={DATA} columns=256
        LOAD core=1 address={DATA + 256} post_compute
        LOOKUP core=1 wait_load post_save
        SAVE core=1 wait_compute address={DATA + 300}
        SYNC_RAISE core=1
        SYNC_RAISE core=0
        SYNC_WAIT core=1
        SYNC_RAISE core=1
        END barriers=2
    """
    data, _ = lookup_data(np.random.default_rng(1))
    table, operand = data[:1024].reshape(256, 4)[:, 0], data[1024:1028]
    tenant = Machine(TINY, window_of(text, data), cores=2, capture=capture)
    result = tenant.run()
    assert (result.outcome, result.barriers) == (Outcome.DONE, 2)
    assert captured == [(0, table[operand].tolist()), (1, table[table[operand]].tolist())]


def test_a_core_without_work_never_runs_a_barrier_ahead() -> None:
    """Core 0 offers both of its barriers at once; the second one counts behind the first only."""
    idle = "SYNC_RAISE core=0\n SYNC_RAISE core=0\n SYNC_WAIT core=0\n SYNC_WAIT core=0\n"
    worker = "SYNC_RAISE core=1\n SYNC_WAIT core=1\n"
    assert machine(idle + worker + worker + "END barriers=2", cores=2).run().barriers == 2
    assert machine(worker + worker + idle + "END barriers=2", cores=2).run().barriers == 2
    behind = machine(idle + worker + "END barriers=2", cores=2).run()
    assert (behind.outcome, behind.barriers) == (Outcome.DEADLOCK, 1)


def test_every_interleaving_gives_the_same_result() -> None:
    """Two cores with double buffering: the stream may be core by core or tile by tile."""
    random = np.random.default_rng(2)
    data = random.integers(0, 256, 264 * 4, np.uint8)

    def tile(core: int, number: int) -> list[str]:
        half, free = number % 2 * 4, "wait_compute" if number >= 2 else ""
        return [
            f"LOAD core={core} address={DATA + 4 * number} columns=4 destination={half} post_compute {free}",
            f"LOOKUP core={core} wait_load post_load post_save features={half} output={half} vectors=4 "
            + ("wait_save" if number >= 2 else ""),
            f"SAVE core={core} wait_compute post_compute source={half} columns=4 "
            f"address={DATA + 300 + 32 * core + 4 * number}",
        ]

    head = [f"LOAD core={core} buffer=3 address={DATA} columns=256" for core in (0, 1)]
    tail = ["SYNC_RAISE core=0", "SYNC_RAISE core=1", "END barriers=1"]
    by_core = [line for core in (0, 1) for number in range(8) for line in tile(core, number)]
    by_tile = [line for number in range(8) for core in (1, 0) for line in tile(core, number)]
    engines = [line for number in range(0, 8) for step in range(3) for core in (0, 1)
               for line in [tile(core, number)[step]]]  # fmt: skip
    results = []
    for lines in (by_core, by_tile, engines):
        tenant = machine("\n".join(head + lines + tail), cores=2, data=data)
        assert tenant.run().outcome is Outcome.DONE
        results.append(tenant.memory.read((DATA + 300) * 4, 256)[0].tolist())
    table = data[:1024].reshape(256, 4)[:, 0]
    assert results == [table[data[:128]].tolist() * 2] * 3


# --- batches -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_a_batch_gives_what_single_runs_give(seed: int, share_table: bool, share_operands: bool) -> None:
    random = np.random.default_rng(seed)
    images = np.stack([window_of(LOOKUP, lookup_data(random)[0]) for _ in range(3)])
    table, operands = slice(DATA * 4, DATA * 4 + 1024), slice(DATA * 4 + 1024, DATA * 4 + 1056)
    images[:, table] = images[0, table] if share_table else images[:, table]
    images[:, operands] = images[0, operands] if share_operands else images[:, operands]
    tenant = Machine(TINY, images)
    assert tenant.run().outcome is Outcome.DONE
    for image, after in zip(images, tenant.memory.read(0, WINDOW), strict=True):
        single = Machine(TINY, image)
        single.run()
        assert (single.memory.read(0, WINDOW)[0] == after).all()
    assert tenant.core_state(0).buffers[Buffer.WEIGHTS].data.shape[1] == 1


def test_what_images_share_is_stored_once() -> None:
    memory = WindowMemory(TINY, window_of(LOOKUP, lookup_data(np.random.default_rng(3))[0]), batch=1000)
    tenant = Machine(TINY, memory)
    assert tenant.run().outcome is Outcome.DONE
    core = tenant.core_state(0)
    assert {store.data.shape[1] for store in (*core.buffers.values(), core.output)} == {1}
    assert memory.read(0, 16).shape == (1000, 16)


def test_a_batch_has_one_program() -> None:
    images = np.stack([window_of("END"), window_of("RETURN")])
    with pytest.raises(ValueError, match="one program, but word 0 differs between them"):
        Machine(TINY, images).run()


@given(st.data(), st.integers(1, 3))
def test_window_memory_is_memory(data: st.DataObject, batch: int) -> None:
    """Any writes, shared and per image, against a plain array."""
    random = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    size = 3 * 4096 + 64
    expected = np.repeat(random.integers(0, 256, (1, size), np.uint8), batch, axis=0)
    memory = WindowMemory(TINY, expected[0], batch)
    for _ in range(data.draw(st.integers(0, 5))):
        first = data.draw(st.integers(0, size - 1))
        count = data.draw(st.integers(1, size - first))
        shape = data.draw(st.sampled_from([(count,), (1, count), (batch, count)]))
        values = random.integers(0, 256, shape, np.uint8)
        memory.write(first, values)
        expected[:, first : first + count] = values
    first = data.draw(st.integers(0, size))
    assert (memory.read(first, size - first) == expected[:, first:]).all()
    assert (WindowMemory(TINY, expected).read(0, size) == expected).all()


@pytest.mark.parametrize(
    ("image", "batch", "message"),
    [
        (np.zeros(24, np.uint8), None, "whole number of beats of 16 bytes, this one has 24 bytes"),
        (np.zeros(0, np.uint8), None, "this one has 0 bytes"),
        (np.zeros(16, np.int8), None, r"not int8 \(16,\)"),
        (np.zeros((1, 1, 16), np.uint8), None, r"not uint8 \(1, 1, 16\)"),
        (np.zeros((2, 16), np.uint8), 3, r"not uint8 \(2, 16\) with batch 3"),
    ],
)
def test_memory_that_is_no_window(image: NDArray[np.uint8], batch: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowMemory(TINY, image, batch)


def test_bytes_outside_the_window() -> None:
    memory = WindowMemory(TINY, np.zeros(32, np.uint8))
    with pytest.raises(ValueError, match=r"bytes 31\.\.32 lie outside the window of 32 bytes"):
        memory.read(31, 2)
    with pytest.raises(ValueError, match="outside the window"):
        memory.write(-1, np.zeros(1, np.uint8))


def test_a_tenant_holds_cores_of_the_pool() -> None:
    for cores in (0, 3):
        with pytest.raises(ValueError, match=f"pool 'tiny' has 2 cores, so a tenant cannot hold {cores}"):
            Machine(TINY, np.zeros(16, np.uint8), cores)


def test_virtual_cores_may_have_any_index() -> None:
    data, expected = lookup_data(np.random.default_rng(2))
    lines = [f"{line} core=9" if line.strip() and "END" not in line else line for line in LOOKUP.splitlines()]
    tenant = Machine(TINY, window_of("\n".join(lines), data), [9])
    assert tenant.run().outcome is Outcome.DONE
    assert (tenant.memory.read((DATA + 512) * TINY.array, 32) == expected).all()
    report = Machine(TINY, window_of("LOAD core=9\n END"), [8]).run().fault
    assert report is not None
    assert report.cause is Fault.UNMAPPED_CORE


# --- faults, deadlocks, limits -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cause", "address", "core", "detail"),
    [
        ("CONFIG_LOAD\n .word 0", Fault.ILLEGAL_INSTRUCTION, 1, None, "opcode 0x00"),
        ("RETURN\n .word 0x41", Fault.RETURN_WITHOUT_CALL, 0, None, "no CALL"),
        (".word 0x43", Fault.ILLEGAL_INSTRUCTION, 0, None, "reserved bits"),
        ("CONFIG_LOAD core=1\n CONFIG_SAVE core=2", Fault.UNMAPPED_CORE, 1, 2, "core 2 of a tenant with 2"),
        ("CALL address=512", Fault.FETCH_OUTSIDE_WINDOW, 512, None, "8192 bytes"),
        ("CALL address=0xfffffff", Fault.FETCH_OUTSIDE_WINDOW, 0xFFFFFFF, None, "8192 bytes"),
        ("CALL address=@a\n a: CALL address=@a", Fault.NESTED_CALL, 1, None, "that word 0 called"),
        ("CALL address=2\n END\n RETURN\n RETURN", Fault.NONE, 0, None, ""),
        ("CONFIG_LOAD\n LOAD core=1 address=2048", Fault.ACCESS_OUTSIDE_WINDOW, 1, 1, "LOAD: vector 2048"),
        ("SAVE address=2047 columns=2", Fault.ACCESS_OUTSIDE_WINDOW, 0, 0, "SAVE: vector 2048"),
        ("CONV weights=1021", Fault.BUFFER_OVERRUN, 0, 0, "CONV: vectors 1021"),
        ("LOAD post_compute\n" * 64, Fault.TOKEN_OVERFLOW, 63, 0, "63 tokens from load to compute"),
        ("LOOKUP post_load\n" * 64, Fault.TOKEN_OVERFLOW, 63, 0, "63 tokens from compute to load"),
        ("LOOKUP post_save\n" * 64, Fault.TOKEN_OVERFLOW, 63, 0, "63 tokens from compute to save"),
        ("SAVE post_compute address=1024\n" * 64, Fault.TOKEN_OVERFLOW, 63, 0, "63 tokens from save to compute"),
    ],
)
def test_faults(text: str, cause: Fault, address: int, core: int | None, detail: str) -> None:
    tenant = machine(text, cores=2)
    result = tenant.run()
    if cause is Fault.NONE:
        assert result.outcome is Outcome.DONE
        return
    assert result.outcome is Outcome.FAULT
    assert isinstance(result.fault, FaultReport)
    assert (result.fault.cause, result.fault.address, result.fault.core) == (cause, address, core)
    assert detail in result.fault.detail and detail in result.detail and cause.name in result.detail
    with pytest.raises(RuntimeError, match="build a new one"):
        tenant.run()


def test_the_window_ends_behind_its_last_word() -> None:
    """Without END the program counter runs out of the window, and the fault names the first word outside."""
    words = np.frombuffer(encode_program([Load(address=0)] * 2), np.uint8)
    result = Machine(TINY, words).run()
    assert result.fault == FaultReport(Fault.FETCH_OUTSIDE_WINDOW, 2, None, "the window has 32 bytes")
    assert result.instructions == 2


def test_63_tokens_are_no_overflow() -> None:
    text = "LOAD post_compute\n" * 63 + "LOOKUP wait_load\n" * 63 + "END"
    assert machine(text).run().outcome is Outcome.DONE


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("LOOKUP wait_load\n END barriers=1",
         ["END at word 1 waits for 1 barriers, 0 are complete",
          "core 0 compute: LOOKUP at word 0 waits for a token of the load engine"]),
        ("SYNC_RAISE\n END barriers=1", ["core 1 has not raised sync_local"]),
        ("SYNC_WAIT core=1\n END barriers=1",
         ["core 1 load: SYNC_WAIT at word 0 waits for sync_global, and the core has not raised sync_local"]),
        ("SYNC_RAISE\n SYNC_WAIT\n SYNC_RAISE\n END barriers=1", ["core 0 load: SYNC_WAIT at word 1",
         "core 0 save: SYNC_RAISE at word 2 waits for the SYNC_WAIT that belongs to its previous SYNC_RAISE"]),
        ("LOAD wait_compute\n LOOKUP wait_save post_load\n SAVE wait_compute post_compute\n END barriers=1",
         ["LOAD at word 0 waits for a token of the compute engine",
          "LOOKUP at word 1 waits for a token of the save engine",
          "SAVE at word 2 waits for a token of the compute engine"]),
        ("LOAD wait_compute\n" * 5 + "END", ["LOAD at word 4 finds the load queue of core 0 full"]),
        # The token would come from an instruction behind the full queue: head-of-line blocking.
        ("LOAD wait_compute\n" * 5 + "LOOKUP post_load\n" * 5 + "END",
         ["LOAD at word 4 finds the load queue of core 0 full"]),
        ("CONV post_save\n SAVE wait_compute\n END barriers=1", ["SAVE at word 1 waits for a token of the compute"]),
    ],
)  # fmt: skip
def test_deadlocks_say_who_waits_for_whom(text: str, details: list[str]) -> None:
    result = machine(text, cores=2).run()
    assert (result.outcome, result.fault) == (Outcome.DEADLOCK, None)
    for detail in details:
        assert detail in result.detail


def test_a_full_queue_is_no_deadlock_by_itself() -> None:
    queue = TINY.queue_instructions
    assert machine("LOAD wait_compute\n" * queue + "LOOKUP post_load\n" * queue + "END").run().outcome is Outcome.DONE
    longer = dataclasses.replace(TINY, queue_instructions=2 * queue)
    text = "LOAD wait_compute\n" * 2 * queue + "LOOKUP post_load\n" * 2 * queue + "END"
    assert Machine(longer, window_of(text)).run().outcome is Outcome.DONE
    assert machine(text).run().outcome is Outcome.DEADLOCK


def test_end_tells_what_it_leaves_behind() -> None:
    result = machine("SAVE wait_compute\n END").run()
    assert result.outcome is Outcome.DONE
    assert result.detail == (
        "END left instructions behind: core 0 save: SAVE at word 0 waits for a token of the compute engine"
    )


def test_a_run_is_given_up_at_its_limit() -> None:
    result = machine("CONFIG_LOAD\n" * 9 + "END").run(limit=4)
    assert (result.outcome, result.instructions, result.detail) == (Outcome.LIMIT, 4, "no END within 4 instructions")
    assert machine("CONFIG_LOAD\n END").run(limit=2).outcome is Outcome.DONE


@settings(deadline=None, max_examples=200)
@given(st.lists(instructions, max_size=12), st.integers(0, 2**32 - 1))
def test_no_program_breaks_the_machine(program: list[Instruction], seed: int) -> None:
    """Whatever a tenant runs ends in one of the four ways."""
    window = np.random.default_rng(seed).integers(0, 256, WINDOW, np.uint8)
    raw = encode_program([*program, End()])
    window[: len(raw)] = np.frombuffer(raw, np.uint8)
    result = Machine(TINY, window, cores=2).run(limit=100)
    assert (result.outcome is Outcome.FAULT) == (result.fault is not None)
    assert result.instructions <= 100


def test_edges_of_tokens() -> None:
    every = Conv(wait_load=1, wait_save=1, post_load=1, post_save=1, drain=1)
    load, compute, save = Engine.LOAD, Engine.COMPUTE, Engine.SAVE
    assert tokens_taken(every) == ((load, compute), (save, compute))
    assert tokens_given(every) == ((compute, load), (compute, save))
    assert tokens_given(dataclasses.replace(every, drain=0)) == ((compute, load),)
    assert tokens_taken(Save(wait_compute=1)) == ((compute, save),)
    assert tokens_given(Load(post_compute=1)) == ((load, compute),)
    assert tokens_taken(End()) == tokens_given(End()) == ()
