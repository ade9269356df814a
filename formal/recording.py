"""What came to the shell's ports in a run of the whole pool, and what they showed; played to a broken shell again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyrtl

from formal.simulator import Simulator
from formal.transition import TransitionSystem


@dataclass(frozen=True)
class Recording:
    """A value a cycle for every input, and for every output, of the shell around free cores."""

    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]

    @property
    def cycles(self) -> int:
        """Length of the run."""
        return len(next(iter(self.outputs.values())))


def first_difference(block: pyrtl.Block, recording: Recording) -> tuple[int, str] | None:
    """The first cycle in which the netlist shows something else than was recorded, and the output; None: in none."""
    system = TransitionSystem(block)
    outputs = sorted(wire.name for wire in block.wirevector_subset(pyrtl.Output))
    simulator = Simulator(system, outputs)
    state = system.reset_state()
    given = {name: recording.inputs[name] for name in system.inputs}
    expected = [recording.outputs[name] for name in outputs]
    for cycle, shown in enumerate(zip(*expected, strict=True)):
        wires, state = simulator.cycle(state, {name: values[cycle] for name, values in given.items()})
        if tuple(wires.values()) != shown:
            return cycle, next(name for name, value in zip(outputs, shown, strict=True) if wires[name] != value)
    return None
