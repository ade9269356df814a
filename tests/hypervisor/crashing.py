"""Tiny networks with their golden outputs, and machines whose hypervisor dies between any two things that it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from compiler import golden
from compiler.compile import compile_model
from compiler.package import Package
from hypervisor.cloud import Cloud
from hypervisor.journal import Journal
from hypervisor.pool_port import Bytes, ControlAccess, PoolPort, Read, Write
from isa.configuration import NAMED_POOLS
from isa.registers import Register
from tests.compiler.builder import NetworkBuilder, random_int8

SMALL = NAMED_POOLS["small"]
IMAGES = 3


@dataclasses.dataclass(frozen=True)
class Network:
    """A package, inputs, and what ONNX Runtime makes of them; None for one whose program faults."""

    package: Package
    inputs: list[dict[str, NDArray[Any]]]
    outputs: list[dict[str, NDArray[Any]]] | None


@cache
def networks() -> dict[str, Network]:
    """`chain`: three layers; `divided`: two stages with a host layer between; `broken`: faults in its second layer."""
    chain, divided = chain_model(), divided_model()
    made = {"chain": network(chain, (1, 8, 6, 6)), "divided": network(divided, (1, 12, 5, 5))}
    return made | {"broken": Network(broken_in(made["chain"].package, 1), made["chain"].inputs, None)}


def broken_in(package: Package, layer: int) -> Package:
    """A package whose frames of one layer begin with what is no instruction."""
    static = bytearray(package.static)
    for frame in package.layers[layer].frames.values():
        static[16 * frame.word : 16 * (frame.word + 1)] = b"\xff" * 16
    return dataclasses.replace(package, static=bytes(static))


def network(model: onnx.ModelProto, shape: tuple[int, ...]) -> Network:
    generator = np.random.default_rng(5)
    inputs = [{"x": random_int8(generator, shape)} for _ in range(IMAGES)]
    names = [output.name for output in model.graph.output]
    outputs = [golden.run(model, values, names) for values in inputs]
    return Network(compile_model(model, SMALL), inputs, outputs)


def weights(outputs: int, inputs: int, size: int = 3) -> NDArray[np.int8]:
    return random_int8(np.random.default_rng(outputs + inputs), (outputs, inputs, size, size))


ONE = np.ones(1, np.float32)


def chain_model() -> onnx.ModelProto:
    build = NetworkBuilder()
    x = build.input((1, 8, 6, 6))
    first = build.conv(x, (0.1, 3), weights(24, 8), ONE, (40.0, 5), pads=[1] * 4)
    second = build.conv(first, (40.0, 5), weights(16, 24), ONE, (20000.0, -2), pads=[1] * 4)
    return build.model(build.conv(second, (20000.0, -2), weights(12, 16), ONE, (9e6, 1)))


def divided_model() -> onnx.ModelProto:
    build = NetworkBuilder()
    x = build.input((1, 12, 5, 5))
    first = build.conv(x, (0.1, 3), weights(12, 12), ONE, (2.0, 5), pads=[1] * 4)
    numbers = build.numbers((2.0, 5))
    product = build.contributed("QLinearMul", [first, *numbers, first, *numbers, *build.numbers((100.0, -100))])
    second = build.conv(product, (100.0, -100), weights(6, 12), ONE, (900.0, 0))
    third = build.add(second, (900.0, 0), second, (900.0, 0), (1500.0, 1))
    return build.model(third, first)


class Crash(BaseException):
    """The process dies here. No Exception: nothing on the way may handle it."""


class Fuse:
    """Burns down by one with everything that a hypervisor does to the outside; at 0 the process dies."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.event: str | None = None
        """Dies, once, with nothing of this event's line written."""

    def burn(self) -> None:
        """Raises Crash at the end of the fuse."""
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise Crash
            self.left -= 1


class CrashingPort:
    """A port that dies between any two control accesses, in the middle of a write to memory, or while time passes."""

    def __init__(self, port: PoolPort, fuse: Fuse) -> None:
        self.port, self.fuse = port, fuse
        self.config = port.config

    @property
    def cycle(self) -> int:
        return self.port.cycle

    def transfer(self, accesses: Sequence[ControlAccess]) -> list[int]:
        left = self.fuse.left
        if left is None or left >= len(accesses):
            if left is not None:
                self.fuse.left = left - len(accesses)
            return self.port.transfer(accesses)
        self.port.transfer(accesses[:left])
        self.fuse.left = None
        raise Crash

    def step(self, cycles: int) -> None:
        self.fuse.burn()
        self.port.step(cycles)

    def read_memory(self, offset: int, length: int) -> Bytes:
        self.fuse.burn()
        return self.port.read_memory(offset, length)

    def write_memory(self, offset: int, data: Bytes) -> None:
        try:
            self.fuse.burn()
        except Crash:
            self.port.write_memory(offset, data[: len(data) // 2])
            raise
        self.port.write_memory(offset, data)


class Machine:
    """A pool that outlives the hypervisor processes that drive it."""

    def __init__(self, port: PoolPort, directory: Path, kind: type[Cloud] = Cloud) -> None:
        self.fuse = fuse = Fuse()
        self.port = CrashingPort(port, fuse)
        self.directory = directory
        self.kind = kind

        class TornJournal(Journal):
            """Dies with half a line written, or after the line."""

            def _write(self, line: bytes) -> None:
                if fuse.event is not None and f'"event": "{fuse.event}"'.encode() in line:
                    fuse.event = None
                    raise Crash
                try:
                    fuse.burn()
                except Crash:
                    super()._write(line[: len(line) // 2])
                    raise
                super()._write(line)
                fuse.burn()

        self.journal = TornJournal
        self.cloud = self.open()

    def open(self) -> Cloud:
        return self.kind(self.port, self.directory, self.journal)  # type: ignore[arg-type]

    def restart(self, crash_after: int | None = None) -> None:
        """Another process takes over; it dies, too, after `crash_after` operations, and a third one takes over."""
        self.cloud.close()
        self.fuse.left = crash_after
        try:
            self.cloud = self.open()
        except Crash:
            self.cloud = self.open()
        self.fuse.left = None

    def registers(self, index_register: Register, count: int, names: Sequence[Register]) -> list[list[int]]:
        """Registers of every core or tenant, read past the hypervisor."""
        return [self.port.port.transfer([Write(index_register, index), *map(Read, names)]) for index in range(count)]
