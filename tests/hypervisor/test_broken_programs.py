"""Malicious and broken programs, on the RTL: each stops or stalls only its own tenant, and leaves nothing behind."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from hypervisor.hypervisor import Hypervisor, HypervisorError, Tenant
from hypervisor.machines import open_port
from hypervisor.pool_port import PoolPort
from isa.configuration import NAMED_POOLS
from isa.encoding import encode, encode_program
from isa.instructions import (
    PARAMETER_VECTORS,
    WORD_BYTES,
    Buffer,
    Call,
    ConfigOutput,
    ConfigTile,
    ConfigWindow,
    Conv,
    End,
    Instruction,
    Load,
    Pool,
    Reduction,
    Save,
    SyncRaise,
    SyncWait,
)
from isa.registers import Fault, TenantState
from tests.backends.random_programs import random_program

pytestmark = pytest.mark.xdist_group("tiny_rtl")
CONFIG = NAMED_POOLS["tiny"]
WINDOW_BYTES = 16 * CONFIG.fetch_beats * CONFIG.beat_bytes
WINDOW_VECTORS = WINDOW_BYTES // CONFIG.array
NEIGHBOUR = random_program(CONFIG, seed=7, cores=1, layers=4)
PATIENCE_CYCLES = 3000
"""Longer than any fault takes to come."""


def words(*instructions: Instruction | int) -> bytes:
    """Instructions, or raw words, as bytes."""
    return b"".join(
        (each if isinstance(each, int) else encode(each)).to_bytes(WORD_BYTES, "little") for each in instructions
    )


FILL = Load(address=64, columns=64)
"""Leaves data of the tenant in the features buffer."""


@dataclass(frozen=True)
class Broken:
    """A program, and the fault it must end in with the word address; no fault: it never ends."""

    program: bytes
    fault: Fault = Fault.NONE
    address: int = 0


BROKEN = {
    "unmapped virtual core": Broken(words(FILL, Load(core=1), End()), Fault.UNMAPPED_CORE, 1),
    "read one past the window": Broken(
        words(FILL, Load(address=WINDOW_VECTORS), End(barriers=1)), Fault.ACCESS_OUTSIDE_WINDOW, 1
    ),
    "write one past the window": Broken(
        words(FILL, Save(address=WINDOW_VECTORS - 1, columns=2), End(barriers=1)), Fault.ACCESS_OUTSIDE_WINDOW, 1
    ),
    "illegal opcode": Broken(words(FILL, 0x3F), Fault.ILLEGAL_INSTRUCTION, 1),
    "reserved bits set": Broken(words(FILL, encode(End()) | 1 << 127), Fault.ILLEGAL_INSTRUCTION, 1),
    "load overruns its buffer": Broken(
        words(FILL, Load(destination=CONFIG.features_vectors - 1, columns=2), End(barriers=1)), Fault.BUFFER_OVERRUN, 1
    ),
    "save overruns its buffer": Broken(
        words(FILL, Save(source=CONFIG.output_vectors - 1, columns=2), End(barriers=1)), Fault.BUFFER_OVERRUN, 1
    ),
    "missing SYNC": Broken(words(FILL, SyncWait(), End(barriers=1))),
    "token underflow": Broken(words(FILL, Conv(wait_load=1, wait_save=1), End(barriers=1))),
    "endless CALLs": Broken(words(Call(address=1), Call(address=1)), Fault.NESTED_CALL, 1),
    "no END": Broken(
        words(*[FILL] * (WINDOW_BYTES // WORD_BYTES)), Fault.FETCH_OUTSIDE_WINDOW, WINDOW_BYTES // WORD_BYTES
    ),
}


@pytest.fixture(scope="module")
def port() -> Iterator[PoolPort]:
    with_cores = open_port("pyrtl", CONFIG)
    yield with_cores
    with_cores.close()


@pytest.fixture(scope="module")
def alone(port: PoolPort) -> int:
    """Cycles of the neighbour on core 0 without anybody else."""
    hypervisor = Hypervisor(port)
    neighbour = admit_neighbour(hypervisor)
    hypervisor.start([(neighbour, 0)])
    hypervisor.wait([neighbour], 100_000)
    cycles = hypervisor.status(neighbour).cycles
    leave(hypervisor, neighbour)
    return cycles


def admit_neighbour(hypervisor: Hypervisor) -> Tenant:
    neighbour = hypervisor.attach(len(NEIGHBOUR.window))
    hypervisor.grant(neighbour, [0])
    hypervisor.write(neighbour, 0, NEIGHBOUR.window)
    return neighbour


def leave(hypervisor: Hypervisor, tenant: Tenant) -> None:
    hypervisor.revoke(tenant)
    hypervisor.detach(tenant)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_program_harms_only_its_own_tenant(port: PoolPort, alone: int, name: str) -> None:
    broken = BROKEN[name]
    hypervisor = Hypervisor(port)
    neighbour = admit_neighbour(hypervisor)
    culprit = hypervisor.attach(WINDOW_BYTES)
    hypervisor.grant(culprit, [1])
    rubbish = np.frombuffer(np.random.default_rng(1).bytes(WINDOW_BYTES), np.uint8).copy()
    rubbish[: len(broken.program)] = np.frombuffer(broken.program, np.uint8)
    hypervisor.write(culprit, 0, rubbish)
    hypervisor.start([(culprit, 0), (neighbour, 0)])

    if broken.fault is Fault.NONE:
        with pytest.raises(HypervisorError, match="no end within"):
            hypervisor.wait([culprit], PATIENCE_CYCLES)
        assert hypervisor.status(culprit).state is TenantState.RUNNING
    else:
        hypervisor.wait([culprit], 100_000)
        status = hypervisor.status(culprit)
        assert (status.state, status.fault, status.fault_address) == (
            TenantState.FAULTED,
            broken.fault,
            broken.address,
        )
    place = culprit.offset_bytes
    leave(hypervisor, culprit)
    assert not port.read_memory(place, WINDOW_BYTES).any(), "the window was not zeroed"
    assert_that_the_core_is_clean(hypervisor)

    hypervisor.wait([neighbour], 100_000)
    status = hypervisor.status(neighbour)
    assert (status.state, status.cycles) == (TenantState.DONE, alone)
    leave(hypervisor, neighbour)


def assert_that_the_core_is_clean(hypervisor: Hypervisor) -> None:
    """A new tenant on core 1 saves the output buffer as it is, then features and weights as sums with scale 1."""
    tenant = hypervisor.attach(8 * WINDOW_BYTES)
    hypervisor.grant(tenant, [1])
    a = CONFIG.array
    vectors = min(64, CONFIG.accumulator_pixels)
    parameters, ones, target = 512, 600, 1024
    unit = np.zeros((PARAMETER_VECTORS, a), np.uint8)
    unit[6], unit[7] = 0x80, 23  # mantissa 2**23, shift 23: scale 1
    place = dict(drain=1, post_save=1, wait_load=1)
    program = encode_program(
        [
            Save(source=0, address=target, columns=vectors),
            Load(buffer=Buffer.PARAMETERS, address=parameters, columns=PARAMETER_VECTORS, post_compute=1),
            ConfigWindow(),
            ConfigTile(input_columns=vectors, output_columns=vectors, plane_pitch=vectors),
            ConfigOutput(low=-128, high=127),
            Pool(**place, reduction=Reduction.SUM, post_load=1),
            Save(wait_compute=1, post_compute=1, address=target + vectors, columns=vectors),
            Load(wait_compute=1, address=ones, columns=1, post_compute=1),
            ConfigTile(),
            Conv(**place, wait_save=1),
            Save(wait_compute=1, address=target + 2 * vectors, columns=1),
            SyncRaise(),
            End(barriers=1),
        ]
    )
    hypervisor.write(tenant, 0, program)
    hypervisor.write(tenant, parameters * a, unit.reshape(-1))
    hypervisor.write(tenant, ones * a, np.ones(a, np.uint8))
    hypervisor.write(tenant, target * a, np.full((2 * vectors + 1) * a, 0x55, np.uint8))
    hypervisor.start([(tenant, 0)])
    hypervisor.wait([tenant], 20_000)
    assert hypervisor.status(tenant).state is TenantState.DONE
    assert not hypervisor.read(tenant, target * a, (2 * vectors + 1) * a).any(), "the core was not clean"
    leave(hypervisor, tenant)
