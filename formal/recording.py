"""What came to a netlist's ports in a functional test, and what they showed; played to a broken netlist again."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyrtl
from numpy.typing import NDArray

Limbs = NDArray[np.uint64]
"""Values of one port: a row a cycle, 64 bits a column, least significant column first."""
_LIMB_BYTES = 8
_AT_ONCE = 16_384
"""Cycles between two looks at what is shown."""


@dataclass(frozen=True)
class Recording:
    """A value a cycle for every input, and for every output, of the shell around free cores, or of a core by itself."""

    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]

    @property
    def cycles(self) -> int:
        """Length of the run."""
        return len(next(iter(self.outputs.values())))

    @cached_property
    def limbs(self) -> Mapping[str, Limbs]:
        """All of it, by port."""
        return {name: _limbs(values) for name, values in (*self.inputs.items(), *self.outputs.items())}


def first_difference(block: pyrtl.Block, recording: Recording) -> tuple[int, str] | None:
    """The first cycle in which the netlist shows something else than was recorded, and the output; None: in none."""
    played = _Compiled(block)
    for begins in range(0, recording.cycles, _AT_ONCE):
        span = slice(begins, begins + _AT_ONCE)
        shown = played.run({name: recording.limbs[name][span] for name in recording.inputs})
        found = []
        for name, values in shown.items():
            expected = np.zeros_like(values)
            known = recording.limbs[name][span]
            expected[:, : known.shape[1]] = known
            cycles = np.flatnonzero((values != expected).any(axis=1))
            found += [(begins + int(cycles[0]), name)] if len(cycles) else []
        if found:
            return min(found)
    return None


class _Compiled:
    """PyRTL's compiled simulation of a netlist at reset, given blocks of cycles.

    Of several cycles in a call PyRTL 1.0.3 would trace the first one again and again, and one by one they take 20 us.
    """

    def __init__(self, block: pyrtl.Block) -> None:
        some_output = next(iter(block.wirevector_subset(pyrtl.Output)))
        self._simulation: Any = pyrtl.CompiledSimulation(pyrtl.SimulationTrace([some_output], block=block), block=block)

    def run(self, given: Mapping[str, Limbs]) -> dict[str, Limbs]:
        """What the outputs show while the inputs are these."""
        simulation = self._simulation
        cycles = len(next(iter(given.values())))
        inputs = np.zeros((cycles, simulation._inputs_array_length), np.uint64)
        for name, where in simulation._inputs_metadata.items():
            values = given[name][:, : where.length]
            inputs[:, where.start : where.start + values.shape[1]] = values
        outputs = np.empty((cycles, simulation._outputs_array_length), np.uint64)
        simulation._sim_run_all.argtypes = None
        simulation._sim_run_all(ctypes.c_uint64(cycles), inputs.ctypes, outputs.ctypes)
        return {
            name: outputs[:, where.start : where.start + where.length]
            for name, where in simulation._outputs_metadata.items()
        }


def _limbs(values: Sequence[int]) -> Limbs:
    limbs = max(1, -(-max(values).bit_length() // (8 * _LIMB_BYTES)))
    if limbs == 1:
        return np.array(values, np.uint64)[:, None]
    data = b"".join(value.to_bytes(limbs * _LIMB_BYTES, "little") for value in values)
    return np.frombuffer(data, np.uint64).reshape(len(values), limbs)
