"""A PyRTL netlist as machine code that advances many cycles in one call, on numpy arrays.

It is PyRTL's own CompiledSimulation with two changes. A block of cycles goes in and out as one array instead of one
Python integer per port and cycle, which takes 10 us a cycle (the netlist of pool `small` takes 14). Memories are arrays
that can be given back, where PyRTL's are hash maps that cannot; for buffers of 2048 words both are as fast.
"""

from __future__ import annotations

import _ctypes
import ctypes
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyrtl
from numpy.typing import NDArray

Limbs = NDArray[np.uint64]
"""Values of ports: one row a cycle, 64 bits a column, least significant column first."""

_LIBRARY = "netlist.so"
_LAYOUT = "layout.json"

_MEMORY_HELPERS = """
typedef uint64_t val_t;
typedef struct memory { int limbs; val_t *words; } hashmap_t;

hashmap_t *create_hash_map(uint64_t depth, int limbs) {
    hashmap_t *memory = (hashmap_t *) malloc(sizeof(hashmap_t));
    memory->limbs = limbs;
    memory->words = (val_t *) calloc(depth * limbs, sizeof(val_t));
    return memory;
}

static inline void insert(hashmap_t *memory, uint64_t address, val_t value[]) {
    memcpy(memory->words + address * memory->limbs, value, sizeof(val_t) * memory->limbs);
}

EXPORT
val_t *lookup(hashmap_t *memory, uint64_t address) { return memory->words + address * memory->limbs; }
#define lookup(memory, address) ((memory)->words + (address) * (memory)->limbs)
"""


class NetlistCompilerError(RuntimeError):
    """There is no C compiler, or it does not take the netlist; what to do about it."""


@dataclass(frozen=True)
class PortColumns:
    """Where a port lies in a row of limbs."""

    start: int
    count: int
    bits: int

    @property
    def columns(self) -> slice:
        """The columns of the port."""
        return slice(self.start, self.start + self.count)


class _ArrayMemorySimulation(pyrtl.CompiledSimulation):  # type: ignore[misc]
    """Generates the C code; never runs it. Overrides how PyRTL 1.0.3 declares memories and compiles."""

    def __init__(self, block: pyrtl.Block, directory: Path) -> None:
        self._target = directory
        some_output = next(iter(block.wirevector_subset(pyrtl.Output)))
        super().__init__(tracer=pyrtl.SimulationTrace([some_output], block=block), block=block)

    def _declare_mem_helpers(self, write: Callable[[str], None]) -> None:
        write(_MEMORY_HELPERS)

    def _declare_mems(self, write: Callable[[str], None], mems: set[pyrtl.MemBlock]) -> None:
        ordered = sorted(mems, key=lambda memory: str(memory.name))
        for memory in ordered:
            self.var_names[memory] = self._clean_name("m", memory)
            write(f"static hashmap_t *{self.var_names[memory]};")
        write("EXPORT void initialize_mems() {")
        for memory in ordered:
            depth = 1 << memory.addrwidth
            write(f"{self.var_names[memory]} = create_hash_map({depth}, {self._limbs(memory)});")
        write("}")
        write("EXPORT void release_mems() {")
        for memory in ordered:
            write(f"free({self.var_names[memory]}->words); free({self.var_names[memory]});")
        write("}")

    def _create_dll(self) -> None:
        source = self._target / "netlist.c"
        with source.open("w", encoding="utf-8") as file:
            self._create_code(lambda line: file.write(f"{line}\n"))
        _compile(source, self._target / _LIBRARY)

    def _initialize_mems(self) -> None:
        """Left to CompiledNetlist."""

    def layout(self) -> dict[str, dict[str, tuple[int, int, int]]]:
        """Columns of inputs and outputs."""
        bits = {wire.name: len(wire) for wire in self.block.wirevector_subset((pyrtl.Input, pyrtl.Output))}
        return {
            direction: {name: (where.start, where.length, bits[name]) for name, where in metadata.items()}
            for direction, metadata in (("inputs", self._inputs_metadata), ("outputs", self._outputs_metadata))
        }


def _compile(source: Path, library: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise NetlistCompilerError(
            "a C compiler (gcc or cc) is needed to simulate a netlist, and none is on PATH: install one (Debian: apt "
            "install gcc)"
        )
    command = [compiler, "-O1", "-std=c99", "-w", "-shared", "-fPIC", str(source), "-o", str(library)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise NetlistCompilerError(f"{compiler} could not compile the netlist: {result.stderr.strip()[-400:]}")


def compile_block(block: pyrtl.Block, directory: Path) -> None:
    """Compile a netlist to files in a directory, for `CompiledNetlist`.

    Raises:
        NetlistCompilerError: when there is no C compiler, or it fails.
    """
    simulation = _ArrayMemorySimulation(block, directory)
    (directory / _LAYOUT).write_text(json.dumps(simulation.layout()), encoding="utf-8")


class CompiledNetlist:
    """One running instance, at reset, of a netlist that was compiled to a directory."""

    def __init__(self, compiled: Path) -> None:
        layout = json.loads((compiled / _LAYOUT).read_text(encoding="utf-8"))
        self.inputs = {name: PortColumns(*where) for name, where in layout["inputs"].items()}
        self.outputs = {name: PortColumns(*where) for name, where in layout["outputs"].items()}
        self.input_columns = sum(port.count for port in self.inputs.values())
        self.output_columns = sum(port.count for port in self.outputs.values())
        # The state is static in the library, so each instance loads a copy of its own.
        with tempfile.TemporaryDirectory(prefix="tenure-") as directory:
            copy = shutil.copy(compiled / _LIBRARY, directory)
            self._library: ctypes.CDLL | None = ctypes.CDLL(copy)
        self._library.initialize_mems()
        self._run = self._library.sim_run_all
        self._run.restype = None
        self._run.argtypes = [ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p]

    def close(self) -> None:
        """Release the instance; it cannot run any more. Closing twice does nothing."""
        if self._library is not None:
            self._library.release_mems()
            _ctypes.dlclose(self._library._handle)
            self._library = None

    def run(self, inputs: Limbs) -> Limbs:
        """Advance one cycle for each row of `inputs`; the outputs of these cycles."""
        cycles, columns = inputs.shape
        if columns != self.input_columns or not inputs.flags.c_contiguous or inputs.dtype != np.uint64:
            raise ValueError(f"inputs must be a contiguous uint64 array of {self.input_columns} columns")
        outputs = np.empty((cycles, self.output_columns), np.uint64)
        self._run(cycles, inputs.ctypes.data, outputs.ctypes.data)
        return outputs
