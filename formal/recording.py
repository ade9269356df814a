"""What came to a netlist's ports in a functional test, and what they showed; played to a broken netlist again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyrtl

from rtl.compiled_netlist import CompiledNetlist, Limbs, compile_block

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
    with tempfile.TemporaryDirectory(prefix="tenure-") as directory:
        compile_block(block, Path(directory))
        netlist = CompiledNetlist(Path(directory))
    with closing(netlist):
        for begins in range(0, recording.cycles, _AT_ONCE):
            found = list(_differences(netlist, recording, slice(begins, begins + _AT_ONCE)))
            if found:
                cycle, name = min(found)
                return begins + cycle, name
    return None


def _differences(netlist: CompiledNetlist, recording: Recording, span: slice) -> Iterator[tuple[int, str]]:
    """Each output that differs from what was recorded, and the first cycle of the span in which it does."""
    inputs = np.zeros((len(range(recording.cycles)[span]), netlist.input_columns), np.uint64)
    for name, where in netlist.inputs.items():
        values = recording.limbs[name][span, : where.count]
        inputs[:, where.start : where.start + values.shape[1]] = values
    outputs = netlist.run(inputs)
    for name, where in netlist.outputs.items():
        expected = np.zeros((len(outputs), where.count), np.uint64)
        known = recording.limbs[name][span]
        expected[:, : known.shape[1]] = known
        cycles = np.flatnonzero((outputs[:, where.columns] != expected).any(axis=1))
        if len(cycles):
            yield int(cycles[0]), name


def _limbs(values: Sequence[int]) -> Limbs:
    limbs = max(1, -(-max(values).bit_length() // (8 * _LIMB_BYTES)))
    if limbs == 1:
        return np.array(values, np.uint64)[:, None]
    data = b"".join(value.to_bytes(limbs * _LIMB_BYTES, "little") for value in values)
    return np.frombuffer(data, np.uint64).reshape(len(values), limbs)
