"""The dynamic compiler: a package and a number of cores to a program, in microseconds.

A program is CALLs: the prologue of that number of cores, the frame of each layer, the epilogue; then END.
Their words are made once for each package; linking cuts and joins bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isa.encoding import encode_program
from isa.instructions import WORD_BYTES, Call, End

if TYPE_CHECKING:
    from compiler.package import Package, Program

START_WORD = 0
"""The program lies at the start of the window."""


class Linker:
    """The ready words of one package."""

    def __init__(self, package: Package) -> None:
        self._prologues: dict[int, bytes] = {}
        self._frames: dict[int, bytes] = {}
        self._epilogues: dict[int, bytes] = {}
        for cores, prologue in package.prologues.items():
            calls = [Call(address=layer.frames[cores].word) for layer in package.layers]
            self._prologues[cores] = encode_program([Call(address=prologue)])
            self._frames[cores] = encode_program(calls)
            self._epilogues[cores] = encode_program([Call(address=package.epilogues[cores])])
        self._ends = [encode_program([End(barriers=barriers)]) for barriers in range(len(package.layers) + 2)]
        self._end_layers = [
            stage.end_layer for stage in package.stages for _ in range(stage.first_layer, stage.end_layer)
        ]

    def link(self, cores: int, first_layer: int = 0) -> Program:
        """The program for virtual cores 0..cores-1, from `first_layer` to the end of its stage.

        Raises ValueError for a number of cores or a layer that the package does not have.
        """
        from compiler.package import Program

        if cores not in self._frames:
            raise ValueError(f"no frames for {cores} cores; the package has them for {sorted(self._frames)}")
        if not 0 <= first_layer < len(self._end_layers):
            raise ValueError(f"no layer {first_layer}; the package has layers 0..{len(self._end_layers) - 1}")
        end_layer = self._end_layers[first_layer]
        calls = self._frames[cores][first_layer * WORD_BYTES : end_layer * WORD_BYTES]
        barriers = 1 + end_layer - first_layer
        words = self._prologues[cores] + calls + self._epilogues[cores] + self._ends[barriers]
        return Program(words, START_WORD * WORD_BYTES, START_WORD, barriers)


def link(package: Package, cores: int, first_layer: int = 0) -> Program:
    """`Linker.link` with the ready words that the package keeps."""
    return package.program(cores, first_layer)
