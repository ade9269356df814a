"""The flat netlist, real cores included, on PyRTL's compiled simulator; memory is a numpy array served from Python.

A response comes `channel_latency` cycles after its request, so blocks of up to that many cycles run in one call:
every response that a block needs was requested before the block began. That is exact, not an approximation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyrtl
from numpy.typing import NDArray

from hypervisor.backends.build_cache import cached_build, content_hash, sources_behind
from hypervisor.backends.rtl_port import (
    ControlBlock,
    HostAnswer,
    HostRequest,
    Progress,
    RtlPort,
)
from hypervisor.backends.waveform import WaveformWriter
from hypervisor.pool_port import Bytes, PortError
from isa.configuration import PoolConfig
from rtl.compiled_netlist import CompiledNetlist, Limbs, NetlistCompilerError, compile_block


def elaborate_pool(config: PoolConfig) -> None:
    """Build the pool with real cores in PyRTL's working block."""
    from rtl.core import core
    from rtl.pool import pool

    def named_core(index: int, inputs: Mapping[str, pyrtl.WireVector]) -> Mapping[str, pyrtl.WireVector]:
        with pyrtl.name_scope(f"core{index}"):
            return core(config, inputs)

    pool(config, named_core)


class PyrtlPort(RtlPort):
    """A PoolPort on the PyRTL netlist.

    Args:
        config: the pool.
        progress: called with the cycle that has been reached, after every call that lets time pass.
        vcd: a file for the waveforms of all ports of the pool, for the first `vcd_cycles` cycles.
        elaborate: builds another design with the pool's ports, described by `description` (tests).

    Raises PortError when there is no C compiler.
    """

    def __init__(
        self,
        config: PoolConfig,
        progress: Progress | None = None,
        vcd: Path | None = None,
        vcd_cycles: int = 100_000,
        elaborate: Callable[[PoolConfig], None] = elaborate_pool,
        description: str = "",
    ) -> None:
        super().__init__(config, progress)
        self._netlist: CompiledNetlist = _compiled(f"{description} {config!r}", lambda: elaborate(config))
        self._waveform = None if vcd is None else WaveformWriter(vcd, self._netlist, vcd_cycles)
        self._beats = np.zeros((config.memory_beats, config.beat_bytes), np.uint8)
        self._limbs = config.beat_bytes // 8
        self._responses = np.zeros((config.channel_latency, config.channels, self._limbs), np.uint64)
        self._last_activity = np.zeros(config.cores, np.int64)
        self._changes: list[NDArray[np.int64]] = []

    def close(self) -> None:
        """See PoolPort."""
        self._netlist.close()
        if self._waveform is not None:
            self._waveform.close()

    def _memory(self) -> Bytes:
        return self._beats.reshape(-1)

    def _activity_changes(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros((0, 3), np.int64), *self._changes])

    def _advance(self, control: ControlBlock, cycles: int) -> NDArray[np.uint32]:
        read_data = [
            self._block(control[first : first + self.config.channel_latency], length)
            for first, length in _blocks(cycles, self.config.channel_latency)
        ]
        return np.concatenate(read_data).astype(np.uint32)

    def _block(self, control: ControlBlock, cycles: int) -> Limbs:
        inputs = self._inputs(cycles)
        for column, name in enumerate(("control_write", "control_address", "control_write_data")):
            inputs[: len(control), self._netlist.inputs[name].start] = control[:, column]
        return self._run(inputs)[:, self._netlist.outputs["control_read_data"].start]

    def _host_cycle(self, request: HostRequest | None) -> HostAnswer:
        inputs = self._inputs(1)
        ports = self._netlist.inputs
        if request is not None:
            inputs[0, ports["host_request_valid"].start] = 1
            inputs[0, ports["host_request_write"].start] = request.data is not None
            inputs[0, ports["host_request_address"].start] = request.beat
            inputs[0, ports["host_request_strobe"].start] = (1 << self.config.vectors_per_beat) - 1
            if request.data is not None:
                inputs[0, ports["host_request_data"].columns] = request.data.view(np.uint64)
        outputs = self._run(inputs)[0]
        where = self._netlist.outputs
        response = None
        if outputs[where["host_response_valid"].start]:
            response = outputs[where["host_response_data"].columns].copy().view(np.uint8)
        return HostAnswer(bool(outputs[where["host_request_taken"].start]), response)

    def _inputs(self, cycles: int) -> Limbs:
        inputs = np.zeros((cycles, self._netlist.input_columns), np.uint64)
        for channel in range(self.config.channels):
            columns = self._netlist.inputs[f"channel{channel}_response"].columns
            inputs[:, columns] = self._responses[:cycles, channel]
        return inputs

    def _run(self, inputs: Limbs) -> Limbs:
        cycles = len(inputs)
        outputs = self._netlist.run(inputs)
        self._responses[:-cycles] = self._responses[cycles:]
        self._responses[-cycles:] = 0
        for channel in range(self.config.channels):
            self._serve(channel, outputs)
        self._record(outputs)
        if self._waveform is not None:
            self._waveform.append(inputs, outputs)
        self._cycle += cycles
        return outputs

    def _serve(self, channel: int, outputs: Limbs) -> None:
        """Perform a channel's requests of one block, in their order, and file the responses."""
        where = self._netlist.outputs
        requests = np.flatnonzero(outputs[:, where[f"channel{channel}_valid"].start])
        if not len(requests):
            return
        chosen = outputs[requests]
        is_write = chosen[:, where[f"channel{channel}_write"].start] != 0
        beats = chosen[:, where[f"channel{channel}_address"].start].astype(np.int64) * self.config.channels + channel
        due = requests - len(outputs)
        if not is_write.any():
            self._responses[due, channel] = self._beats[beats].view(np.uint64)
            return
        data = np.ascontiguousarray(chosen[:, where[f"channel{channel}_data"].columns]).view(np.uint8)
        strobes = chosen[:, where[f"channel{channel}_strobe"].start]
        lanes = (strobes[:, None] >> np.arange(self.config.vectors_per_beat, dtype=np.uint64)) & np.uint64(1)
        masks = np.repeat(lanes.astype(bool), self.config.array, axis=1)
        for index, beat in enumerate(beats):
            if is_write[index]:
                self._beats[beat][masks[index]] = data[index][masks[index]]
            else:
                self._responses[due[index], channel] = self._beats[beat].view(np.uint64)

    def _record(self, outputs: Limbs) -> None:
        columns = [self._netlist.outputs[f"core{core}_activity"].start for core in range(self.config.cores)]
        now = outputs[:, columns].astype(np.int64)
        before = np.concatenate([self._last_activity[None], now[:-1]])
        cycles, cores = np.nonzero(now != before)
        if len(cycles):
            self._changes.append(np.stack([cycles + self._cycle, cores, now[cycles, cores]], axis=1))
        self._last_activity = now[-1]


def _compiled(description: str, elaborate: Callable[[], None]) -> CompiledNetlist:
    """Compile what `elaborate` builds in the working block, or take it from the cache.

    `description` tells designs apart that the same sources of `rtl` and `isa` can build.
    """
    sources = sources_behind("rtl.pool", "rtl.core", "rtl.compiled_netlist")
    key = content_hash([description, version("pyrtl"), *sources])

    def build(directory: Path) -> None:
        with pyrtl.temp_working_block():
            elaborate()
            compile_block(pyrtl.working_block(), directory)

    try:
        return CompiledNetlist(cached_build("pyrtl", key, build))
    except NetlistCompilerError as problem:
        raise PortError(f"backend pyrtl: {problem}; or use --backend model") from None


def _blocks(cycles: int, longest: int) -> list[tuple[int, int]]:
    return [(first, min(longest, cycles - first)) for first in range(0, cycles, longest)]
