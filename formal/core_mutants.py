"""Random bugs of the control of the real core: one net of its netlist, drawn uniformly, computes something else.

The theorems about the shell hold for any core, so of what a core computes isolation has nothing to say, but for one
lemma: a scrub leaves nothing (L4). What a core computes is a matter of the functional test of a core, whose recording
says what came to its ports, and what they showed. A mutant is given the former; the first other value at a port is the
first cycle in which the test would go another way.

- KILLED: in a run from reset, that of the recording up to some cycle in which the core is taken away, a scrub leaves
  something in the core; the run replays on PyRTL's simulator;
- EQUIVALENT: it shows the same at every port for ever (formal/core_equivalence.py);
- OPEN: L4 cannot be read off the netlist any more, but the run shows nothing of that;
- BLIND: L4 still holds. If the functional test shows it, it is a bug that harms nobody but the core's own tenant.

The *control* is all but `ARITHMETIC`: the array of multipliers, the accumulators, and what makes bytes of their sums.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyrtl

from formal.core_equivalence import is_equivalent_core
from formal.judgement import Judgement
from formal.mutation import mutated
from formal.random_mutants import Judged, draw
from formal.recording import Recording, first_difference
from formal.simulator import Simulator
from formal.structure import core_block, leaves_reset, left_by_scrub
from formal.trace import ReplayError
from formal.transition import State, TransitionSystem
from isa.configuration import PoolConfig
from rtl.core_ports import core_ports
from rtl.hierarchy import Part, RecordingBlock

ARITHMETIC = ("mac_array", "accumulators", "result_path")
"""Modules of the data path; they and all in them are left out."""


Episode = Sequence[Mapping[str, int]]
"""What came to a core from its first instruction to behind the end of its scrub."""


def control_nets(config: PoolConfig) -> tuple[pyrtl.Block, set[str]]:
    """The netlist of a core, and its nets, as text, that belong to no part of the data path."""
    block = core_block(config, RecordingBlock("core"))
    assert isinstance(block, RecordingBlock)
    living = set(block.logic)

    def within(part: Part) -> Iterator[str]:
        if part.module not in ARITHMETIC:
            yield from (str(net) for net in part.nets if net in living)
            for inner in part.parts:
                yield from within(inner)

    return block, set(within(block.top))


def episodes(recording: Recording) -> list[Episode]:
    """The recorded run, cut at each scrub, without the cycles in which the core sleeps at reset."""
    given = recording.inputs
    found: list[Episode] = []
    begins: int | None = None
    for cycle in range(recording.cycles):
        if begins is None and given["instruction_valid"][cycle]:
            begins = cycle
        ended = cycle + 1 == recording.cycles or (given["scrub"][cycle] and not given["scrub"][cycle + 1])
        if begins is not None and ended:
            span = range(begins, min(cycle + 1 + _BEHIND, recording.cycles))
            found.append([{port: int(values[at]) for port, values in given.items()} for at in span])
            begins = None
    return found


_BEHIND = 4
"""Cycles behind the last one of `scrub` that are looked at: GRANT comes later."""
_HUNTED = 8
"""So many episodes, the longest ones, are looked at for what a scrub leaves."""
_REVOKES = 8
"""Places, evenly spread over an episode, at which the core is taken away: one less than this."""


def judge_core(config: PoolConfig, seed: int, recording: Recording) -> Judged:
    """Draw a mutant of the control of a pool's core and judge it; `recording` is of a run of such a core.

    Raises:
        ReplayError: when `pyrtl.FastSimulation` does not show what the run showed.
    """
    started = time.monotonic()
    original, control = control_nets(config)
    drawn = draw(original, seed, control)
    block = mutated(original, drawn.patch)
    found = judged_core(config, original, block, drawn.wire, recording)
    seconds = round(time.monotonic() - started, 1)
    return Judged(seed, drawn.change, True, found.verdict, found.theorem, found.claim, found.shown, seconds)


def judged_core(
    config: PoolConfig, original: pyrtl.Block, block: pyrtl.Block, wire: str, recording: Recording
) -> Judgement:
    """What L4 and the functional test say of `block`, the core `original` with another net for `wire`.

    Raises:
        ReplayError: when `pyrtl.FastSimulation` does not show what the run showed.
    """
    doubts = [*left_by_scrub(config, block), *leaves_reset(block)]
    difference = first_difference(block, recording)
    shown = "" if difference is None else f"{difference[1]} in cycle {difference[0]}"
    if not doubts:
        alike = difference is None and is_equivalent_core(original, block, wire)
        return Judgement("EQUIVALENT" if alike else "BLIND", shown=shown)
    player = _Player(config, block)
    for episode in sorted(episodes(recording), key=len, reverse=True)[:_HUNTED]:
        found = player.play(episode)
        if found is not None:
            _replay(block, found)
            return Judgement("KILLED", "L4", f"{found.left} is not 0 behind a scrub")
    return Judgement("OPEN", "L4", doubts[0], shown)


@dataclass(frozen=True)
class _Left:
    """A run from reset that ends behind a scrub, and a register or memory that is not as at reset then."""

    inputs: Sequence[Mapping[str, int]]
    left: str


class _Player:
    """A core's netlist that plays episodes, and is taken away at some places of each."""

    def __init__(self, config: PoolConfig, block: pyrtl.Block) -> None:
        self._config, self._ports = config, core_ports(config).inputs
        self._system = TransitionSystem(block)
        self._simulator = Simulator(self._system, observed=())

    def play(self, episode: Episode) -> _Left | None:
        """What is left behind a scrub in the midst of the core's work."""
        state = self._system.reset_state()
        places = {len(episode) * part // _REVOKES for part in range(1, _REVOKES)}
        for cycle, given in enumerate(episode):
            if cycle in places:
                found = self._scrubbed(state, episode[:cycle])
                if found is not None:
                    return found
            _, state = self._simulator.cycle(state, given)
        return None

    def _scrubbed(self, state: State, before: Sequence[Mapping[str, int]]) -> _Left | None:
        """What a scrub leaves: of registers from its third cycle on, of memories at its end, and some cycles later."""
        inputs = list(before)
        for cycle in range(self._config.scrub_cycles + _BEHIND):
            given = dict.fromkeys(self._ports, 0)
            if cycle < self._config.scrub_cycles:
                given |= {"scrub": 1, "scrub_address": cycle}
            inputs.append(given)
            _, state = self._simulator.cycle(state, given)
            swept = (*self._system.memories,) if cycle + 1 >= self._config.scrub_cycles else ()
            at_reset = self._system.registers if cycle > 1 else {}
            for name, (_, reset) in at_reset.items():
                if state[name] != reset:
                    return _Left(tuple(inputs), name)
            for name in swept:
                if any(state[name]):
                    return _Left(tuple(inputs), name)
        return None


def _replay(block: pyrtl.Block, found: _Left) -> None:
    """The same run on PyRTL's simulator, which has to leave the same.

    Raises:
        ReplayError: when it does not.
    """
    simulation = pyrtl.FastSimulation(tracer=None, block=block)
    for given in found.inputs:
        simulation.step(dict(given))
    memories = {net.op_param[1].name: net.op_param[1] for net in block.logic if net.op in "m@"}
    if found.left in memories:
        is_left = any(simulation.inspect_mem(memories[found.left]).values())
    else:
        simulation.step(dict(found.inputs[-1]))  # a register shows in the next cycle what it has loaded
        register = block.get_wirevector_by_name(found.left)
        assert isinstance(register, pyrtl.Register)
        is_left = simulation.inspect(found.left) != (register.reset_value or 0)
    if not is_left:
        raise ReplayError(f"PyRTL does not show that {found.left} is not at reset")
