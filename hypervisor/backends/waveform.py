"""Waveforms of the pool's ports as a VCD file (IEEE 1364), for any viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rtl.compiled_netlist import CompiledNetlist, Limbs, PortColumns


class WaveformWriter:
    """Writes the inputs and outputs of a netlist, cycle by cycle, until `cycles` cycles are in the file."""

    def __init__(self, path: Path, netlist: CompiledNetlist, cycles: int) -> None:
        self._file = path.open("w", encoding="ascii")
        self._remaining = cycles
        self._cycle = 0
        self._columns: list[tuple[str, bool, PortColumns]] = []
        self._last: list[int | None] = []
        self._file.write("$timescale 1ns $end\n$scope module pool $end\n")
        for is_output, ports in ((False, netlist.inputs), (True, netlist.outputs)):
            for name, columns in sorted(ports.items()):
                identifier = f"n{len(self._columns)}"
                self._file.write(f"$var wire {columns.bits} {identifier} {name} $end\n")
                self._columns.append((identifier, is_output, columns))
                self._last.append(None)
        self._file.write("$upscope $end\n$enddefinitions $end\n")

    def append(self, inputs: Limbs, outputs: Limbs) -> None:
        """Add a block of cycles."""
        count = min(len(inputs), self._remaining)
        for row in range(count):
            changes = []
            for index, (identifier, is_output, columns) in enumerate(self._columns):
                limbs = (outputs if is_output else inputs)[row, columns.columns]
                value = int.from_bytes(np.ascontiguousarray(limbs).tobytes(), "little")
                if value != self._last[index]:
                    self._last[index] = value
                    changes.append(f"b{value:b} {identifier}\n")
            if changes:
                self._file.write(f"#{self._cycle + row}\n{''.join(changes)}")
        self._cycle += count
        self._remaining -= count

    def close(self) -> None:
        """Finish the file. Closing twice does nothing."""
        if not self._file.closed:
            self._file.write(f"#{self._cycle}\n")
            self._file.close()
