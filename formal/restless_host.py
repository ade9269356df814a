"""A host, programs and cores that do what a busy pool rarely sees, so that random runs refute rare bugs.

Like `formal.busy_host`, on whose draws it builds; no proof depends on it. Besides what gets tenants running the host
orders, in whole commands, what comes to its mind: PAUSE and RESUME at any time, REVOKE while a core works, a second
core for a tenant, windows that nobody may have, arguments out of range. Programs hold every kind of instruction, with
any fields, jump often and now and then break the rules. For some hundred cycles at a time cores are eager or idle: they
give no credit back, or a lot, and reach one barrier after another.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from formal.busy_host import busy_host, idle_port, is_busy, next_write, wishes
from formal.eventful_host import OF_CORES, with_core
from formal.problem import Inputs, Stimulus
from formal.shell import age_of_answer, register_in_flight
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.encoding import encode
from isa.instructions import (
    VIRTUAL_CORE_BITS,
    WORD_BITS,
    Call,
    ConfigLoad,
    End,
    Instruction,
    Return,
)
from isa.registers import Command, CoreState, Register
from rtl.channels import Kind

_ORDERS = 0.02
"""An idle host orders something, on average every 50 cycles."""
_MOODS = 0.004
"""Cores get into another mood, on average every 250 cycles."""
_WEIGHTS: Mapping[int, float] = {
    Command.ATTACH: 2, Command.DETACH: 0.5, Command.GRANT: 4, Command.REVOKE: 1, Command.START: 1, Command.PAUSE: 3,
    Command.RESUME: 3, Command.STOP: 1, 0: 0.2, len(Command) + 1: 0.2,
}  # fmt: skip


def restless_host(config: PoolConfig, system: TransitionSystem) -> Stimulus:
    """A stimulus for one run of any system made from the whole shell of `config`."""
    busy = busy_host(config, system)
    orders: list[tuple[int, int]] = []
    mood = {"credit": 0.3, "sync_local": 0.02, "request": 1.0}

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        state = states[0]
        inputs = {**busy(generator, states, symbols)[0]}
        if generator.random() < _MOODS:
            mood["credit"] = generator.choice([0.0, 0.02, 0.3, 0.9])
            mood["sync_local"] = generator.choice([0.0, 0.02, 0.4])
            mood["request"] = generator.choice([0.0, 1.0, 1.0])
        if not is_busy(state):
            if orders:
                register, value = orders.pop(0)
                inputs |= {"control_write": 1, "control_address": register, "control_write_data": value}
            elif generator.random() < _ORDERS:
                orders.extend(_order(config, state, generator))
        elif orders:
            inputs |= idle_port(generator)
        for core in range(config.cores):
            credit = sum(int(generator.random() < mood["credit"]) << engine for engine in range(3))
            inputs[f"core{core}_credit_i"] = credit
            inputs[f"core{core}_sync_local_i"] = int(generator.random() < mood["sync_local"])
            inputs[f"core{core}_request_valid_i"] &= int(generator.random() < mood["request"])
        return (inputs | programs(config, state, inputs, generator),)

    return draw


def _order(config: PoolConfig, state: State, generator: random.Random) -> list[tuple[int, int]]:
    """Writes of the control port that order something, right or wrong."""
    command = generator.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    fetch, memory = config.fetch_beats, config.memory_beats
    held = [core for core in range(config.cores) if state[f"core{core}_state"] == CoreState.HELD]
    core = generator.choice(held) if held and command == Command.REVOKE else generator.randrange(config.cores)
    values = {
        Register.ARGUMENT_TENANT: generator.randrange(config.tenants),
        Register.ARGUMENT_CORE: core,
        Register.ARGUMENT_VIRTUAL: generator.choice([0, 1, generator.randrange(1 << VIRTUAL_CORE_BITS)]),
        Register.ARGUMENT_START: generator.choice([0, 1, generator.randrange(4 * fetch), generator.getrandbits(28)]),
    }
    if command == Command.ATTACH:
        places = [0, fetch, memory - fetch, memory, fetch * generator.randrange(memory // fetch)]
        lengths = [fetch, 2 * fetch, 4 * fetch, memory, memory + fetch, 0]
        base, limit = generator.choice(places), generator.choice(lengths)
        if generator.random() < 0.3:
            base, limit = base + generator.randrange(2), limit + generator.randrange(1, fetch + 1)
        values |= {Register.ARGUMENT_BASE: base, Register.ARGUMENT_LIMIT: limit}
    if generator.random() < 0.05:
        values[generator.choice([Register.ARGUMENT_TENANT, Register.ARGUMENT_CORE])] = generator.choice(
            [config.tenants, config.cores, generator.getrandbits(32)]
        )
    if generator.random() < 0.1:  # what an earlier command left there
        del values[generator.choice(list(values))]
    return [*((int(register), value) for register, value in values.items()), (int(Register.COMMAND), command)]


def programs(config: PoolConfig, state: State, inputs: Inputs, generator: random.Random) -> Inputs:
    """Answers of the memory: fetches get instructions of all kinds, others anything."""
    answers: Inputs = {}
    for name in inputs:
        if not re.fullmatch(r"channel\d+_response", name):
            continue
        channel = int(name[len("channel") :].split("_")[0])
        age = age_of_answer(config) + channel * config.slot_spacing
        core = (int(state["wheel_position"]) - age) % config.cores
        if state.get(register_in_flight(channel, age_of_answer(config), "kind")) != Kind.FETCH:
            answers[name] = generator.getrandbits(8 * config.beat_bytes)
        else:
            words = [_word(config, state, state[f"core{core}_owner"], generator) for _ in range(config.words_per_beat)]
            answers[name] = sum(word << WORD_BITS * place for place, word in enumerate(words))
    return answers


def _word(config: PoolConfig, state: State, tenant: int, generator: random.Random) -> int:
    """An instruction for this tenant; it rarely faults."""
    cores = range(config.cores)
    mine = [c for c in cores if state[f"core{c}_owner"] == tenant and state[f"core{c}_state"] == CoreState.HELD]
    virtual = state[f"core{generator.choice(mine)}_virtual"] if mine else 0
    frame = state[f"tenant{tenant}_in_frame"]
    chance = generator.random()
    if chance < 0.01:
        virtual = generator.randrange(1 << VIRTUAL_CORE_BITS)
    jumps: list[tuple[float, Instruction]] = [
        (0.03, Return() if frame else Call(address=generator.randrange(8 * config.words_per_beat))),
        (0.032, Return()),
        (0.034, Call(address=generator.choice([0, generator.getrandbits(28)]))),
        (0.044, End(barriers=generator.choice([0, 0, 1, 3]))),
    ]
    kind = generator.choice(OF_CORES)
    noise = 1 << generator.randrange(WORD_BITS) if generator.random() < 0.005 else 0
    for limit, instruction in jumps:
        if 0.01 <= chance < limit + 0.01:
            return encode(instruction) ^ noise
    return with_core(kind, generator.getrandbits(kind.used_bits()), virtual) ^ noise


def endless_barriers(config: PoolConfig, system: TransitionSystem) -> Stimulus:
    """Each tenant gets a core and starts; its queues fill up, and its core arrives at a barrier in every cycle.

    So a counter of barriers comes to its last value as soon as it can.
    """
    setting_up = (Command.ATTACH, Command.GRANT, Command.START)

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        state = states[0]
        inputs = dict.fromkeys(system.inputs, 0)
        if not is_busy(state):
            for wish in wishes(config, state, generator, range(config.tenants)):
                if wish[0] in setting_up:
                    inputs |= next_write(state, wish)
                    break
        inputs |= {f"core{core}_sync_local_i": 1 for core in range(config.cores)}
        word = encode(ConfigLoad(core=0))
        beat = sum(word << WORD_BITS * place for place in range(config.words_per_beat))
        inputs |= {f"channel{channel}_response": beat for channel in range(config.channels)}
        return (inputs,)

    return draw
