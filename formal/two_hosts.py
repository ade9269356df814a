"""Two runs whose hosts agree about tenant A, and about nothing else: random inputs for relational theorems.

What A needs comes first, and waits until both hosts can do it: both write the arguments, each in its own time, and
then the command in the same cycle. Otherwise each host serves the other tenants as it likes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from formal.busy_host import Wish, busy_host, idle_port, is_busy, next_write, wishes
from formal.host_automaton import HOST_INPUTS
from formal.lemmas import ATTACHED
from formal.problem import Inputs, Stimulus
from formal.shell import age_of_answer
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from isa.registers import Command, CoreState, Register
from rtl.core_ports import core_ports
from rtl.windows import Attachment

Host = Callable[[PoolConfig, TransitionSystem], Stimulus]
_IDLE = (0.5, 0.97)
"""How often the host of a run does nothing where it could serve another tenant."""
_AT_RANDOM = 0.02


def equal_hosts(config: PoolConfig, system: TransitionSystem, host: Host = busy_host) -> Stimulus:
    """Two independent draws of a stimulus for one run, made equal where the host, or tenant A, is the source."""
    singles = [host(config, system) for _ in range(2)]

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        left, right = (single(generator, [state], symbols)[0] for single, state in zip(singles, states, strict=True))
        names = {*HOST_INPUTS, *observed_inputs(config, states[0], symbols["A"])} & set(left)
        return left, {**right, **{name: left[name] for name in names}}

    return draw


def two_hosts(config: PoolConfig, system: TransitionSystem, host: Host = busy_host) -> Stimulus:
    """A stimulus for two runs of any system made from the shell of `config`, with the tenant in the symbol A.

    What the hosts don't decide is drawn as around `host`; of one that is not busy, half of the orders are taken, too,
    unless they are about A. A plan for A is kept until it has been carried out, or cannot be any more; after reset
    nothing can.
    """
    singles = [host(config, system) for _ in range(2)]
    idle_rates, at_random = (_IDLE, _AT_RANDOM) if host is busy_host else ((0.0, 0.0), 0.5)
    plan: list[Wish] = []

    def draw(generator: random.Random, states: Sequence[State], symbols: Mapping[str, int]) -> tuple[Inputs, ...]:
        observer = symbols["A"]
        drawn = [single(generator, [state], symbols)[0] for single, state in zip(singles, states, strict=True)]
        if plan and not all(_is_acceptable(config, state, plan[0]) for state in states):
            plan.clear()
        if not plan:
            wanted = wishes(config, states[0], generator, [observer] if observer < config.tenants else [])
            plan.extend(
                wish for wish in list(wanted)[:1] if all(_is_acceptable(config, state, wish) for state in states)
            )
        if plan:
            ports = _for_both(states, plan[0], generator)
            if all(_is_order(port) for port in ports):
                plan.clear()
        else:
            ports = [
                _for_others(config, state, given, observer, (idle, at_random), generator)
                for state, given, idle in zip(states, drawn, idle_rates, strict=True)
            ]
        inputs = [{name: {**given, **port}[name] for name in given} for given, port in zip(drawn, ports, strict=True)]
        return inputs[0], {
            **inputs[1],
            **{name: inputs[0][name] for name in observed_inputs(config, states[0], observer)},
        }

    return draw


def observed_inputs(config: PoolConfig, state: State, observer: int) -> list[str]:
    """Inputs that are A's in this state: its cores' outputs, and the answers to its slots."""
    names = []
    for core in range(config.cores):
        if state[f"core{core}_state"] == CoreState.HELD and state[f"core{core}_owner"] == observer:
            names += [f"core{core}_{port}_i" for port in core_ports(config).outputs]
    for channel in range(config.channels):
        age = age_of_answer(config) + channel * config.slot_spacing
        core = (int(state["wheel_position"]) - age) % config.cores
        if state[f"core{core}_owner"] == observer:
            names.append(f"channel{channel}_response")
    return names


def _for_both(states: Sequence[State], wish: Wish, generator: random.Random) -> list[Inputs]:
    """Both hosts come closer to the wish; the command itself is written by both at once."""
    writes = [idle_port(generator) if is_busy(state) else next_write(state, wish) for state in states]
    if all(_is_order(write) for write in writes):
        return writes
    return [idle_port(generator) if _is_order(write) else write for write in writes]


def _is_order(write: Inputs) -> bool:
    """COMMAND is written."""
    return bool(write["control_write"] and write["control_address"] == Register.COMMAND)


def _for_others(
    config: PoolConfig,
    state: State,
    drawn: Inputs,
    observer: int,
    rates: tuple[float, float],
    generator: random.Random,
) -> Inputs:
    """One host serves the other tenants, or does what comes, but nothing to A; `rates` of nothing, of what comes."""
    idle, at_random = rates
    if is_busy(state) or generator.random() < idle:
        return idle_port(generator)
    others = [tenant for tenant in range(config.tenants) if tenant != observer]
    if generator.random() < at_random:
        write = {name: drawn[name] for name in ("control_write", "control_address", "control_write_data")}
    else:
        wanted = next(wishes(config, state, generator, others), None)
        write = idle_port(generator) if wanted is None else next_write(state, wanted)
    return idle_port(generator) if _is_about(config, state, write, observer) else write


def _is_about(config: PoolConfig, state: State, write: Inputs, observer: int) -> bool:
    """The write orders something of A."""
    if not _is_order(write):
        return False
    core = state["argument_core"]
    revokes = write["control_write_data"] == Command.REVOKE
    its_core = core < config.cores and state[f"core{core}_owner"] == observer
    return bool(its_core if revokes else state["argument_tenant"] == observer)


def _is_acceptable(config: PoolConfig, state: State, wish: Wish) -> bool:
    """The host alone can have its wish now, and until it has it."""
    command, arguments = wish
    core = arguments.get(Register.ARGUMENT_CORE, 0)
    if command == Command.REVOKE:
        return bool(state[f"core{core}_state"] == CoreState.HELD)
    tenant = arguments[Register.ARGUMENT_TENANT]
    attachment = state[f"tenant{tenant}_attachment"]
    used = [
        state[f"core{other}_virtual"]
        for other in range(config.cores)
        if state[f"core{other}_state"] != CoreState.FREE and state[f"core{other}_owner"] == tenant
    ]
    if command == Command.ATTACH:
        base, limit = arguments[Register.ARGUMENT_BASE], arguments[Register.ARGUMENT_LIMIT]
        windows = [
            (state[f"tenant{other}_base"], state[f"tenant{other}_limit"])
            for other in range(config.tenants)
            if state[f"tenant{other}_attachment"] != Attachment.DETACHED
        ]
        overlaps = any(base < start + length and start < base + limit for start, length in windows)
        return attachment == Attachment.DETACHED and not overlaps
    if command == Command.GRANT:
        is_free = state[f"core{core}_state"] == CoreState.FREE
        return bool(attachment in ATTACHED and is_free and arguments[Register.ARGUMENT_VIRTUAL] not in used)
    if command in (Command.STOP, Command.DETACH):
        return not used and attachment in (ATTACHED if command == Command.STOP else (Attachment.STOPPED,))
    return attachment in ATTACHED
