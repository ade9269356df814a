"""Words of the functional test: none that is no instruction is taken, and each kind is with all bits that it has."""

from __future__ import annotations

from collections.abc import Sequence

from hypervisor.hypervisor import Hypervisor, Tenant
from isa.encoding import encode
from isa.instructions import (
    INSTRUCTIONS,
    OPCODE_BITS,
    VIRTUAL_CORE_BITS,
    WORD_BITS,
    WORD_BYTES,
    Call,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Return,
)
from isa.registers import Command, Fault, Result, TenantState
from rtl.context_switch import switch_cycles
from scripts.functional_log import LIMIT, POOL, FunctionalError, Log


def illegal_words(hypervisor: Hypervisor, tenants: Sequence[Tenant]) -> None:
    """Opcodes that there are not, and each kind of instruction with a bit that it does not have. Tenants share them.

    The opcodes are the lowest of each engine. The bits are those at which the fields of some kind end: a decoder may
    compare what lies between two of them at once.
    """
    known = {kind.opcode for kind in INSTRUCTIONS}
    opcodes = [opcode for opcode in range(1 << OPCODE_BITS) if opcode not in known]
    lowest = [next(opcode for opcode in opcodes if opcode >> OPCODE_BITS - 2 == engine) for engine in Engine]
    ends = sorted({kind.used_bits() for kind in INSTRUCTIONS} - {WORD_BITS})
    words = lowest + [kind.opcode | 1 << bit for kind in INSTRUCTIONS for bit in ends if bit >= kind.used_bits()]
    for first in range(0, len(words), len(tenants)):
        trials = list(zip(tenants, words[first:], strict=False))
        for tenant, word in trials:
            hypervisor.write(tenant, 0, word.to_bytes(WORD_BYTES, "little"))
            hypervisor.grant(tenant, [tenant.number])
        hypervisor.start([(tenant, 0) for tenant, _ in trials])
        hypervisor.wait([tenant for tenant, _ in trials], LIMIT)
        for tenant, word in trials:
            if hypervisor.status(tenant).fault is not Fault.ILLEGAL_INSTRUCTION:
                raise FunctionalError(f"word {word:#034x} is no instruction, and no fault")
        hypervisor.revoke(*(tenant for tenant, _ in trials))
        for tenant, _ in trials:
            hypervisor.stop(tenant)


def full_word(kind: type[Instruction]) -> int:
    """The word of this kind with all bits of its fields set."""
    return kind.opcode | ((1 << kind.used_bits()) - (1 << OPCODE_BITS))


def legal_words(log: Log, hypervisor: Hypervisor, tenants: Sequence[Tenant]) -> None:
    """Each kind of instruction with all bits of its fields set: none is illegal. Each tenant runs all of them.

    Those for a core name the highest virtual core; LOAD, CONV and SAVE wait there for tokens that nobody gives, and
    what comes behind them in the queue of their engine does nothing. END waits for more barriers than there will be.
    CALL leaves the window, and the fault says whereto.
    """
    for_core = [full_word(kind) for kind in INSTRUCTIONS if issubclass(kind, CoreInstruction)]
    target = (1 << Call.field_layout("address").width) - 1
    for words, expected in (
        ([encode(Call(address=2)), encode(End()), *for_core, full_word(Return)], (TenantState.DONE, Fault.NONE, 0)),
        ([full_word(End)], (TenantState.RUNNING, Fault.NONE, 0)),
        ([full_word(Call)], (TenantState.FAULTED, Fault.FETCH_OUTSIDE_WINDOW, target)),
    ):
        for tenant in tenants:
            hypervisor.write(tenant, 0, b"".join(word.to_bytes(WORD_BYTES, "little") for word in words))
            virtual = (1 << VIRTUAL_CORE_BITS) - 1
            log.order(Command.GRANT, Result.ACCEPTED, tenant=tenant.number, core=tenant.number, virtual=virtual)
            hypervisor.take_note(tenant, [tenant.number])
        hypervisor.start([(tenant, 0) for tenant in tenants])
        hypervisor.port.step(switch_cycles(POOL))
        for tenant in tenants:
            log.look(tenant.number)
            status = hypervisor.status(tenant)
            if (status.state, status.fault, status.fault_address) != expected:
                raise FunctionalError(f"{expected} was expected of words with all bits of their fields, {status} came")
        hypervisor.revoke(*tenants)
        for tenant in tenants:
            hypervisor.stop(tenant)
