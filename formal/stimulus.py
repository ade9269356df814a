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

_AGAIN = 0.05  # an idle host thinks again, on average every 20 cycles
Order = tuple[Command | None, dict[Register, int]]


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
    """The next write that brings the present plan closer.

    The plan is a function of who holds what and of ARGUMENT_START, which an idle host draws anew now and then; so it
    stays the same until it has been carried out.
    """

    def write(register: Register, value: int) -> Inputs:
        return {"control_write": 1, "control_address": int(register), "control_write_data": value}

    idle = {"control_write": 0, "control_address": generator.randrange(32), "control_write_data": 0}
    if any(state[f"command_is_{stage}"] for stage in ("read", "checked", "decided")):
        return idle
    if generator.random() < _AGAIN:
        near = generator.random() < 0.8
        return write(Register.ARGUMENT_START, generator.randrange(2 * config.words_per_beat if near else 64))
    command, arguments = _plan(config, state)
    for register, value in arguments.items():
        if state[register.name.lower()] != value:
            return write(register, value)
    return idle if command is None else write(Register.COMMAND, int(command))


def _plan(config: PoolConfig, state: State) -> Order:
    places = [(state[f"core{c}_state"], state[f"core{c}_owner"]) for c in range(config.cores)]
    tenants = [(state[f"tenant{n}_attachment"], state[f"tenant{n}_progress"]) for n in range(config.tenants)]
    generator = random.Random(f"{places}{tenants}{state.get('argument_start', 0)}")
    orders = list(_orders(config, state, generator))
    weights = [weight for _, weight in orders]
    return generator.choices([order for order, _ in orders], weights)[0]


def _orders(config: PoolConfig, state: State, generator: random.Random) -> Iterator[tuple[Order, float]]:
    """What the host might do now, with weights: mostly what gets tenants running; rarely what ought to be refused."""
    yield (None, {}), 0.5
    core_states = [state[f"core{c}_state"] for c in range(config.cores)]
    for tenant in range(config.tenants):
        attachment, progress = state[f"tenant{tenant}_attachment"], state[f"tenant{tenant}_progress"]
        about = {Register.ARGUMENT_TENANT: tenant}
        own = [c for c in range(config.cores) if core_states[c] and state[f"core{c}_owner"] == tenant]
        held = [c for c in own if core_states[c] == CoreState.HELD]
        if attachment == Attachment.DETACHED:
            yield (Command.ATTACH, about | _window(config, tenant, generator)), 1.0
        if attachment not in (Attachment.STOPPED, Attachment.ACTIVE):
            continue
        virtuals = [state[f"core{c}_virtual"] for c in own]
        for core in range(config.cores):
            unused = min(index for index in range(config.cores + 1) if index not in virtuals)
            virtual = unused if generator.random() < 0.7 else generator.randrange(min(2, config.cores))
            grant = about | {Register.ARGUMENT_CORE: core, Register.ARGUMENT_VIRTUAL: virtual}
            is_free = core_states[core] == CoreState.FREE and progress != TenantState.FAULTED
            yield (Command.GRANT, grant), 2.0 / config.cores if is_free else 0.02 / config.cores
        if held and progress in (0, TenantState.DONE):
            yield (Command.START, about), 1.0
        for core in held:
            weight = 1.0 if progress == TenantState.FAULTED else 0.1 / config.cores
            yield (Command.REVOKE, {Register.ARGUMENT_CORE: core}), weight
        if progress == TenantState.PAUSED:
            yield (Command.RESUME, about), 1.0
        if progress == TenantState.RUNNING:
            yield (Command.PAUSE, about), 0.01
        if not own and progress:
            yield (Command.STOP, about), 1.0
        if not own and attachment == Attachment.STOPPED:
            yield (Command.DETACH, about), 0.05


def _window(config: PoolConfig, tenant: int, generator: random.Random) -> dict[Register, int]:
    """A window of some prefetch buffers, mostly in a part of the memory that no other tenant uses."""
    rings = config.memory_beats // config.fetch_beats
    share = max(1, (rings - config.tenants) // config.tenants)  # the first rings are DIRTY after reset
    length = generator.choice([1, share, share])
    first = config.tenants + tenant * share if generator.random() < 0.9 else generator.randrange(rings)
    return {
        Register.ARGUMENT_BASE: config.fetch_beats * first,
        Register.ARGUMENT_LIMIT: config.fetch_beats * length,
    }


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


def _request(config: PoolConfig, generator: random.Random, name: str) -> Inputs:
    return {f"{name}_valid": int(generator.random() < 0.3), f"{name}_address": generator.randrange(config.fetch_beats)}


def _cores(config: PoolConfig, generator: random.Random) -> Inputs:
    inputs: Inputs = {}
    for core in range(config.cores):
        ports = {
            "credit": generator.getrandbits(3) & generator.getrandbits(3),
            **_request(config, generator, "request"),
            **(_request(config, generator, "request_next") if config.shows_next_request else {}),
            "sync_local": int(generator.random() < 0.02),
            "fault_valid": int(generator.random() < 0.0005),
        }
        inputs.update({f"core{core}_{port}_i": value for port, value in ports.items()})
    return inputs
