"""Runs in which all that can happen to a tenant does: pauses, refused commands, faults from everywhere, every END.

Like `formal.stimulus`, whose draws it refines, it looks at the present state and nothing else, and no proof depends
on it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from formal.busy_host import is_busy
from formal.problem import Inputs, Stimulus
from formal.shell import age_of_answer, register_in_flight
from formal.stimulus import host_and_programs
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.encoding import encode
from isa.instructions import (
    INSTRUCTIONS,
    WORD_BITS,
    Call,
    CoreInstruction,
    End,
    Instruction,
    Return,
)
from isa.registers import CONTROL_ADDRESS_BITS, Command, CoreState, Register, TenantState
from rtl.channels import Kind
from rtl.ownership import turn_name

_ORDERS, _OTHER_TENANT, _THINKS, _STAYS, _BEYOND, _ARRIVES = 0.05, 0.01, 0.1, 0.9, 0.01, 0.1
_FAULTS, _FAULTS_IF_RARE, _TOGETHER = 0.001, 0.01, 0.7
_COMMANDS = (*(Command.PAUSE, Command.RESUME) * 4, Command.STOP)
_NEXT_TENANTS = 1  # numbers of tenants that do not exist are tried, too
_SHOWN = tuple(register for register in Register if register.name.startswith("TENANT_"))


def eventful_host(config: PoolConfig, system: TransitionSystem) -> Stimulus:
    """A stimulus for one run of any system made from the shell of `config`."""
    draw = host_and_programs(config, system)

    def refined(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        drawn, state = draw(generator, states, symbols)[0], states[0]
        inputs = {**drawn, **_host(config, state, drawn, generator)}
        inputs |= _requests(config, state, generator) | _faults(config, state, generator)
        inputs |= _beats(config, system, state, generator)
        return ({name: inputs[name] for name in drawn},)

    return refined


def _host(config: PoolConfig, state: State, drawn: Inputs, generator: random.Random) -> Inputs:
    """Now and then a command about the tenant that is named already, whether it suits or not; else the host reads."""

    def write(register: Register, value: int) -> Inputs:
        return {"control_write": 1, "control_address": int(register), "control_write_data": value}

    chance = generator.random()
    if not is_busy(state) and chance < _ORDERS:
        return write(Register.COMMAND, int(generator.choice(_COMMANDS)))
    if not is_busy(state) and chance < _ORDERS + _OTHER_TENANT:
        return write(Register.ARGUMENT_TENANT, generator.randrange(config.tenants + _NEXT_TENANTS))
    if drawn.get("control_write"):
        detaches = drawn["control_address"] == Register.COMMAND and drawn["control_write_data"] == Command.DETACH
        return {"control_write": 0} if detaches and generator.random() < _STAYS else {}
    if not is_busy(state) and generator.random() < _THINKS:  # which makes the host of `formal.stimulus` plan anew
        return write(Register.ARGUMENT_START, generator.randrange(2 * config.words_per_beat))
    looks = generator.choice(_SHOWN) if chance < 0.9 else generator.randrange(1 << CONTROL_ADDRESS_BITS)
    return {"control_address": int(looks)}


def _faults(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    """Cores report faults: more often while an owner is PAUSED or FAULTED, or has two cores that could at once."""
    held = [core for core in range(config.cores) if state[f"core{core}_state"] == CoreState.HELD]
    owners = {state[f"core{core}_owner"] for core in held}
    stopped = any(state.get(f"tenant{owner}_progress") in (TenantState.PAUSED, TenantState.FAULTED) for owner in owners)
    rarely = not stopped and len(owners) == len(held)
    if not held or generator.random() >= (_FAULTS if rarely else _FAULTS_IF_RARE):
        return {}
    first = generator.choice(held)
    return {f"core{core}_fault_valid_i": int(core == first or generator.random() < _TOGETHER) for core in held}


def _requests(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    """Cores arrive at barriers often, and ask for beats about the end of the window now and then."""
    asked = {}
    for core in range(config.cores):
        asked[f"core{core}_sync_local_i"] = int(generator.random() < _ARRIVES)
        if generator.random() < _BEYOND:
            limit = int(state.get(f"tenant{state[f'core{core}_owner']}_limit", 0))
            asked[f"core{core}_request_address_i"] = max(0, limit + generator.choice((-1, 0, 1)))
    return asked


def _beats(config: PoolConfig, system: TransitionSystem, state: State, generator: random.Random) -> Inputs:
    """What the memory answers to fetches, or stage 0 reads in a system without memory: see `_word`."""

    def beat(owner: int) -> int:
        virtual = _virtual_cores(config, state, owner)
        words = [_word(generator, virtual) for _ in range(config.words_per_beat)]
        return sum(each << WORD_BITS * place for place, each in enumerate(words))

    beats = {}
    if "prefetch_word" in system.inputs:
        beats["prefetch_word"] = _word(generator, _virtual_cores(config, state, state[turn_name(0, "owner")]))
    for channel in range(config.channels):
        age = age_of_answer(config)
        if state.get(register_in_flight(channel, age, "kind")) == Kind.FETCH:
            asked = (state["wheel_position"] - age - channel * config.slot_spacing) % config.cores
            beats[f"channel{channel}_response"] = beat(state[f"core{asked}_owner"])
    return beats


def _virtual_cores(config: PoolConfig, state: State, owner: int) -> list[int]:
    """Virtual indices of the cores that a tenant holds."""
    mine = [
        int(state[f"core{each}_virtual"])
        for each in range(config.cores)
        if state[f"core{each}_state"] == CoreState.HELD and state[f"core{each}_owner"] == owner
    ]
    return mine or [0]


_OF_LEVEL_1 = tuple(kind for kind in INSTRUCTIONS if not issubclass(kind, CoreInstruction))
OF_CORES = tuple(kind for kind in INSTRUCTIONS if issubclass(kind, CoreInstruction))


def _word(generator: random.Random, virtual_cores: Sequence[int]) -> int:
    chance = generator.random()
    if chance < 0.12:
        return encode(End(barriers=generator.choice((0, 0, 0, 1, 2, generator.getrandbits(16)))))
    if chance < 0.14:
        far = generator.random() < 0.1
        return encode(Call(address=generator.randrange(1 << 28 if far else 8)))
    if chance < 0.155:
        return encode(Return())
    if chance < 0.175:
        return _nearly(generator, generator.choice(INSTRUCTIONS if generator.random() < 0.3 else _OF_LEVEL_1))
    kind = generator.choice(OF_CORES)
    core = generator.choice(virtual_cores) if generator.random() < 0.995 else generator.randrange(4)
    return with_core(kind, generator.getrandbits(kind.used_bits()), core)


def _nearly(generator: random.Random, kind: type[Instruction]) -> int:
    """An instruction with one bit set that has to be 0; where none has, one with an opcode that does not exist."""
    used = kind.used_bits()
    if used == WORD_BITS:
        return generator.getrandbits(WORD_BITS)
    return kind.opcode | 1 << generator.randrange(used, WORD_BITS)


def with_core(kind: type[CoreInstruction], fields: int, core: int) -> int:
    """The instruction with these bits in its fields, but for opcode and virtual core."""
    layout = kind.field_layout("core")
    return fields >> layout.offset + layout.width << layout.offset + layout.width | core << layout.offset | kind.opcode
