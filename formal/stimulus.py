"""Random but sensible runs of the shell: a host that places tenants, a memory full of instructions, busy cores.

Whatever is drawn here only decides what simulation happens to see; no proof depends on it. The draw looks at the
present state and nothing else, so that a run is made of its random numbers alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

from formal.problem import Inputs, Stimulus, random_word
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.encoding import encode
from isa.instructions import WORD_BITS, Call, ConfigLoad, ConfigSave, ConfigTile, End, Return
from isa.registers import Command, CoreState, Register, TenantState
from rtl.windows import Attachment

_NEARLY_NEVER, _RARELY, _SOMETIMES, _OFTEN = 0.002, 0.02, 0.2, 1.0


def host_and_programs(config: PoolConfig, system: TransitionSystem) -> Stimulus:
    """A stimulus for any system made from the shell of `config`; other inputs, such as cut wires, are drawn at will."""

    def draw(
        generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]
    ) -> tuple[dict[str, int], ...]:
        state = states[0]
        known = {**_host(config, state, generator), **_memory(config, state, generator), **_cores(config, generator)}
        return tuple(
            {
                name: known[name] if name in known else random_word(generator, bits)
                for name, bits in system.inputs.items()
            }
            for _ in states
        )

    return draw


# ---- the host


def _host(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    idle = {"control_write": 0, "control_address": generator.randrange(32), "control_write_data": 0}
    if any(state[f"command_is_{stage}"] for stage in ("read", "checked", "decided")):
        return idle
    orders = dict(_orders(config, state))
    total = sum(orders.values())
    if total and generator.random() < min(0.9, total):
        register = Register.COMMAND
        value = int(generator.choices(list(orders), list(orders.values()))[0])
    else:
        register, value = _argument(config, state, generator)
    return {"control_write": 1, "control_address": int(register), "control_write_data": value}


def _argument(config: PoolConfig, state: State, generator: random.Random) -> tuple[Register, int]:
    beats = config.fetch_beats
    windows = max(8, config.memory_beats // beats)
    choices = {
        Register.ARGUMENT_TENANT: generator.randrange(config.tenants),
        Register.ARGUMENT_CORE: generator.randrange(config.cores),
        Register.ARGUMENT_VIRTUAL: generator.randrange(min(2, config.cores)),
        Register.ARGUMENT_BASE: beats * generator.randrange(windows),
        Register.ARGUMENT_LIMIT: beats * generator.choice([1, 2, windows // 8]),
        Register.ARGUMENT_START: generator.choice([0, 0, 0, 1, 2, config.words_per_beat * beats - 1]),
    }
    weights = [4, 4, 4, 1, 1, 1]
    return generator.choices(list(choices.items()), weights)[0]


def _orders(config: PoolConfig, state: State) -> Iterator[tuple[Command, float]]:
    """Commands that the present arguments would make sense of, with weights. Not all of them will be accepted."""
    tenant, core = state["argument_tenant"], state["argument_core"]
    if tenant >= config.tenants or core >= config.cores:
        return
    attachment, progress = state[f"tenant{tenant}_attachment"], state[f"tenant{tenant}_progress"]
    attached = attachment in (Attachment.STOPPED, Attachment.ACTIVE)
    core_states = [state[f"core{c}_state"] for c in range(config.cores)]
    own = [c for c in range(config.cores) if core_states[c] and state[f"core{c}_owner"] == tenant]
    held = [c for c in own if core_states[c] == CoreState.HELD]
    if attachment == Attachment.DETACHED and state["argument_limit"]:
        yield Command.ATTACH, _OFTEN
    if attached and core_states[core] == CoreState.FREE:
        taken = state["argument_virtual"] in [state[f"core{c}_virtual"] for c in own]
        yield Command.GRANT, _RARELY if taken or progress == TenantState.FAULTED else _OFTEN
    if held and progress in (0, TenantState.DONE):
        yield Command.START, _OFTEN
    if core_states[core] == CoreState.HELD and core in held:
        yield Command.REVOKE, _OFTEN if progress == TenantState.FAULTED else _RARELY / 2
    if progress == TenantState.PAUSED:
        yield Command.RESUME, _SOMETIMES
    if progress == TenantState.RUNNING:
        yield Command.PAUSE, _NEARLY_NEVER
    if attached and not own and progress:
        yield Command.STOP, _SOMETIMES
    if attachment == Attachment.STOPPED and not own:
        yield Command.DETACH, _NEARLY_NEVER


# ---- memory and cores


def _memory(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    inputs: Inputs = {
        "host_request_valid": int(generator.random() < 0.5),
        "host_request_write": generator.getrandbits(1),
    }
    virtuals = [state[f"core{c}_virtual"] for c in range(config.cores) if state[f"core{c}_state"] == CoreState.HELD]
    for channel in range(config.channels):
        beat = 0
        for _ in range(config.words_per_beat):
            beat = beat << WORD_BITS | _word(generator, virtuals or [0])
        inputs[f"channel{channel}_response"] = beat
    return inputs


def _word(generator: random.Random, virtuals: Sequence[int]) -> int:
    shape = generator.random()
    if shape < 0.03:
        return encode(End(barriers=0))
    if shape < 0.05:
        return encode(Call(address=generator.randrange(4)))
    if shape < 0.06:
        return encode(Return())
    if shape < 0.065:
        return generator.getrandbits(WORD_BITS)
    core = generator.choice(virtuals)
    kind = generator.randrange(3)
    if kind == 0:
        return encode(ConfigLoad(core=core, row_pitch=generator.getrandbits(16)))
    if kind == 1:
        return encode(ConfigTile(core=core, plane_pitch=generator.getrandbits(16)))
    return encode(ConfigSave(core=core, row_pitch=generator.getrandbits(16)))


def _cores(config: PoolConfig, generator: random.Random) -> Inputs:
    inputs: Inputs = {}
    for core in range(config.cores):
        ports = {
            "credit": generator.getrandbits(3) & generator.getrandbits(3),
            "request_valid": int(generator.random() < 0.3),
            "request_address": generator.randrange(config.fetch_beats),
            "sync_local": int(generator.random() < 0.02),
            "fault_valid": int(generator.random() < 0.0005),
        }
        inputs.update({f"core{core}_{port}_i": value for port, value in ports.items()})
    return inputs
