"""A host that soon gets every tenant running, so that random runs see what takes hundreds of cycles to set up.

Like `formal.stimulus`, whose draws it refines, it looks at the present state and nothing else, and no proof depends
on it. Most of the time it does the next thing that a tenant needs: ATTACH, GRANT, START; it takes cores of stopped
tenants back, now and then one of a running tenant; else it does what comes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from formal.induction import Effort
from formal.lemmas import ATTACHED
from formal.problem import Inputs, Stimulus
from formal.stimulus import host_and_programs
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState, Register, TenantState
from rtl.windows import Attachment

_AT_RANDOM, _REVOKES, _DETACHES, _REQUESTS, _SECOND_CORE = 0.005, 0.0003, 0.01, 0.3, 0.01
_HOST_REQUESTS = 0.1
_SEED = 1
_RINGS = 4  # prefetch buffers in a window


class _Seen(dict[str, Any]):
    """A state of a system from which registers were cut; those seem to be 0."""

    def __missing__(self, name: str) -> int:
        return 0


Wish = tuple[Command, dict[Register, int]]


def long_enough(config: PoolConfig) -> Effort:
    """Runs in which scrub and sweep after reset are over, and cores are granted, work and are taken back."""
    return Effort(runs=3, cycles=config.scrub_cycles + 10 * config.channel_latency, seed=_SEED)


def busy_host(config: PoolConfig, system: TransitionSystem) -> Stimulus:
    """A stimulus for one run of any system made from the shell of `config`.

    Tenants whose progress was cut from the system seem to be RUNNING.
    """
    draw = host_and_programs(config, system)
    unseen = {f"tenant{tenant}_progress": int(TenantState.RUNNING) for tenant in range(config.tenants)}

    def refined(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        state = _Seen({**unseen, **states[0]})
        if generator.random() >= _SECOND_CORE:  # words that name a core: the first one, which every tenant has
            state.update({f"core{core}_virtual": 0 for core in range(config.cores)})
        drawn = draw(generator, [state], symbols)[0]
        state = _Seen({**unseen, **states[0]})
        inputs = {**drawn, **_requests(config, state, generator)}
        if generator.random() >= _AT_RANDOM:
            inputs |= _orders(config, state, generator)
        return ({name: inputs[name] for name in drawn},)

    return refined


def _orders(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    """The next write of the control port that brings a wish closer."""
    if not is_busy(state):
        for wish in wishes(config, state, generator, range(config.tenants)):
            return next_write(state, wish)
    return idle_port(generator)


def idle_port(generator: random.Random) -> Inputs:
    """No write; the host may read."""
    return {"control_write": 0, "control_address": generator.randrange(32), "control_write_data": 0}


def is_busy(state: State) -> bool:
    """A command is being decided, and writes are ignored."""
    return any(state[f"command_is_{stage}"] for stage in ("read", "checked", "decided"))


def next_write(state: State, wish: Wish) -> Inputs:
    """The first argument that is not there yet, or else the command."""
    command, arguments = wish
    for argument, value in arguments.items():
        if state[argument.name.lower()] != value:
            return {"control_write": 1, "control_address": int(argument), "control_write_data": value}
    return {"control_write": 1, "control_address": int(Register.COMMAND), "control_write_data": int(command)}


def wishes(config: PoolConfig, state: State, generator: random.Random, tenants: Iterable[int]) -> Iterator[Wish]:
    """What should be done next for these tenants, the most urgent first."""
    core_states = [state[f"core{core}_state"] for core in range(config.cores)]
    for tenant in tenants:
        about = {Register.ARGUMENT_TENANT: tenant}
        progress = state[f"tenant{tenant}_progress"]
        own = [
            core
            for core in range(config.cores)
            if core_states[core] != CoreState.FREE and state[f"core{core}_owner"] == tenant
        ]
        held = [core for core in own if core_states[core] == CoreState.HELD]
        if state[f"tenant{tenant}_attachment"] == Attachment.DETACHED:
            base = _base(config, tenant) if not _tries_a_window_in_use(state) else config.fetch_beats
            window = {Register.ARGUMENT_BASE: base, Register.ARGUMENT_LIMIT: _RINGS * config.fetch_beats}
            if _tries_a_window_in_use(state) or not _is_dirty_near(config, state, base):
                yield Command.ATTACH, about | window
        elif state[f"tenant{tenant}_attachment"] in ATTACHED:
            if not own and not progress and generator.random() < _DETACHES:
                yield Command.DETACH, about
            for core in range(tenant, config.cores, config.tenants):
                if core_states[core] == CoreState.FREE and progress != TenantState.FAULTED:
                    used = {state[f"core{other}_virtual"] for other in own}
                    virtual = min(index for index in range(config.cores + 1) if index not in used)
                    yield Command.GRANT, about | {Register.ARGUMENT_CORE: core, Register.ARGUMENT_VIRTUAL: virtual}
            if held and progress in (0, TenantState.DONE):
                yield Command.START, about | {Register.ARGUMENT_START: 0}
            if held and (progress == TenantState.FAULTED or generator.random() < _REVOKES):
                yield Command.REVOKE, {Register.ARGUMENT_CORE: generator.choice(held)}
            if progress == TenantState.FAULTED and not own:
                yield Command.STOP, about
            if progress == TenantState.PAUSED:
                yield Command.RESUME, about


def _base(config: PoolConfig, tenant: int) -> int:
    """One window behind the other, behind those that are DIRTY after reset."""
    return (config.tenants + _RINGS * tenant) * config.fetch_beats


def _tries_a_window_in_use(state: State) -> bool:
    """Now and then while core 0 is scrubbed; the pool has to refuse."""
    timer = int(state["core0_timer"])
    return bool(state["core0_state"] == CoreState.SCRUBBING) and timer >> 5 & 3 == 2


def _is_dirty_near(config: PoolConfig, state: State, base: int) -> bool:
    """A dirty window begins in the window at `base`; ATTACH would be refused."""
    return any(
        state[f"tenant{tenant}_attachment"] == Attachment.DIRTY
        and base <= state[f"tenant{tenant}_base"] < base + _RINGS * config.fetch_beats
        for tenant in range(config.tenants)
    )


def _requests(config: PoolConfig, state: State, generator: random.Random) -> Inputs:
    """Cores ask for beats of their windows, rarely for one behind or beyond; cores that nobody holds talk nonsense."""
    inputs: Inputs = {"host_request_valid": int(generator.random() < _HOST_REQUESTS)}
    for core in range(config.cores):
        chance = generator.random()
        far, behind = chance < 0.002, 0.002 <= chance < 0.006
        address = generator.randrange((2 if far else 1) * _RINGS * config.fetch_beats)
        inputs[f"core{core}_request_valid_i"] = int(generator.random() < _REQUESTS)
        inputs[f"core{core}_request_address_i"] = _RINGS * config.fetch_beats if behind else address
        if config.shows_next_request:
            inputs[f"core{core}_request_next_valid_i"] = int(generator.random() < _REQUESTS)
            inputs[f"core{core}_request_next_address_i"] = generator.randrange(_RINGS * config.fetch_beats)
        if state[f"core{core}_state"] != CoreState.HELD:
            inputs[f"core{core}_fault_valid_i"] = int(chance > 0.95)
    return inputs
