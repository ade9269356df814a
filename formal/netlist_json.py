"""PyRTL's netlist as a module in yosys' JSON format, by a path that shares nothing with PyRTL's Verilog exporter.

Registers and memories are not cells but ports: `{register}$now` and `$next`, `{memory}$read`, `$read_address`,
`$write_address`, `$write_data`, `$write_enable`. What is left is combinational.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyrtl

_ZERO, _ONE = "0", "1"

Bit = int | str
"""A number, or a constant 0, 1 or x as text, as in yosys' format."""


class NotEquivalentError(Exception):
    """The Verilog is not, or could not be shown to be, the netlist; the message says where."""


def read_registers(block: pyrtl.Block) -> list[pyrtl.Register]:
    """The registers that an output or a memory depends on, by name; yosys drops the others as it reads."""
    driver = {net.dests[0]: net for net in block.logic if net.dests}
    pending = [wire for net in block.logic if net.op in "@m" for wire in net.args]
    pending += block.wirevector_subset(pyrtl.Output)
    found: set[pyrtl.WireVector] = set()
    while pending:
        wire = pending.pop()
        if wire not in found:
            found.add(wire)
            if wire in driver:
                pending += driver[wire].args
    return sorted((wire for wire in found if isinstance(wire, pyrtl.Register)), key=lambda wire: str(wire.name))


def add_register(ports: dict[str, Any], name: str, now: list[Bit], following: list[Bit]) -> None:
    ports[f"{name}$now"] = port("input", now)
    ports[f"{name}$next"] = port("output", following)


def add_memory(ports: dict[str, Any], memory: str, read: tuple[str, list[Bit]], address: list[Bit]) -> None:
    ports[f"{memory}$read"] = port(*read)
    ports[f"{memory}$read_address"] = port("output", address)


def add_memory_write(
    ports: dict[str, Any], memory: str, address: list[Bit], data: list[Bit], enable: list[Bit]
) -> None:
    for pin, bits in (("address", address), ("data", data), ("enable", enable)):
        ports[f"{memory}$write_{pin}"] = port("output", bits)


def netlist_json(block: pyrtl.Block) -> dict[str, Any]:
    """A PyRTL block as a module in yosys' JSON netlist format, with the ports `clk` and `rst` of the export."""
    return _Netlist(block).module


class _Netlist:
    """Translates one block; bits are numbers, copies and selections mere names of bits."""

    def __init__(self, block: pyrtl.Block) -> None:
        self._next = 2
        self._bits: dict[pyrtl.WireVector, list[Bit]] = {}
        clk, rst = self._fresh(1), self._fresh(1)
        self._rst = rst
        self._cells: dict[str, Any] = {}
        ports = {"clk": port("input", clk), "rst": port("input", rst)}
        self._ports = ports
        for wire in sorted(block.wirevector_subset((pyrtl.Input, pyrtl.Register)), key=lambda wire: str(wire.name)):
            self._bits[wire] = self._fresh(len(wire))
            if isinstance(wire, pyrtl.Input):
                ports[str(wire.name)] = port("input", self._bits[wire])
        registers = []
        for net in block:
            if net.op == "r":
                registers.append(net)
            elif net.op == "@":
                self._write_port(net)
            else:
                self._bits[net.dests[0]] = self._value(net)
        read = set(read_registers(block))
        for net in registers:
            if net.dests[0] in read:
                self._register(net)
        for wire in block.wirevector_subset(pyrtl.Output):
            ports[str(wire.name)] = port("output", self._bits[wire])
        self.module = {"attributes": {}, "ports": ports, "cells": self._cells, "netnames": {}}

    def _fresh(self, count: int) -> list[Bit]:
        self._next += count
        return list(range(self._next - count, self._next))

    def _of(self, wire: pyrtl.WireVector) -> list[Bit]:
        if isinstance(wire, pyrtl.Const):
            return [_ONE if wire.val >> place & 1 else _ZERO for place in range(len(wire))]
        return self._bits[wire]

    def _cell(
        self, kind: str, parameters: Mapping[str, Any], inputs: Mapping[str, list[Bit]], **out: list[Bit]
    ) -> None:
        directions = {port: "input" for port in inputs} | {port: "output" for port in out}
        self._cells[f"$netlist${len(self._cells)}"] = {
            "hide_name": 1, "type": kind, "parameters": dict(parameters), "attributes": {},
            "port_directions": directions, "connections": {**inputs, **out},
        }  # fmt: skip

    def _operator(self, kind: str, left: list[Bit], right: list[Bit] | None, width: int) -> list[Bit]:
        result = self._fresh(width)
        inputs = {"A": left} | ({"B": right} if right is not None else {})
        parameters = {"Y_WIDTH": width}
        for port, bits in inputs.items():
            parameters |= {f"{port}_SIGNED": 0, f"{port}_WIDTH": len(bits)}
        self._cell(kind, parameters, inputs, Y=result)
        return result

    def _mux(self, condition: list[Bit], otherwise: list[Bit], value: list[Bit]) -> list[Bit]:
        result = self._fresh(len(value))
        self._cell("$mux", {"WIDTH": len(value)}, {"A": otherwise, "B": value, "S": condition}, Y=result)
        return result

    def _value(self, net: pyrtl.LogicNet) -> list[Bit]:
        width = len(net.dests[0])
        if net.op == "m":
            return self._read_port(net)
        arguments = [self._of(wire) for wire in net.args]
        if net.op == "w":
            return arguments[0]
        if net.op == "s":
            return [arguments[0][place] for place in net.op_param]
        if net.op == "c":
            return [bit for part in reversed(arguments) for bit in part]
        if net.op == "x":
            return self._mux(arguments[0], arguments[1], arguments[2])
        if net.op == "~":
            return self._operator("$not", arguments[0], None, width)
        if net.op == "n":
            both = self._operator("$and", arguments[0], arguments[1], width)
            return self._operator("$not", both, None, width)
        kinds = {
            "&": "$and", "|": "$or", "^": "$xor", "+": "$add", "-": "$sub", "*": "$mul",
            "<": "$lt", ">": "$gt", "=": "$eq",
        }  # fmt: skip
        return self._operator(kinds[net.op], arguments[0], arguments[1], width)

    def _register(self, net: pyrtl.LogicNet) -> None:
        register = net.dests[0]
        reset, following = register.reset_value, self._of(net.args[0])
        if reset is not None:
            reset_bits: list[Bit] = [_ONE if reset >> place & 1 else _ZERO for place in range(len(register))]
            following = self._mux(self._rst, following, reset_bits)
        add_register(self._ports, str(register.name), self._bits[register], following)

    def _read_port(self, net: pyrtl.LogicNet) -> list[Bit]:
        result = self._fresh(len(net.dests[0]))
        add_memory(self._ports, self._memory(net, "read"), ("input", result), self._of(net.args[0]))
        return result

    def _write_port(self, net: pyrtl.LogicNet) -> None:
        address, data, enable = (self._of(wire) for wire in net.args)
        add_memory_write(self._ports, self._memory(net, "write_data"), address, data, enable * len(data))

    def _memory(self, net: pyrtl.LogicNet, pin: str) -> str:
        name = str(net.op_param[1].name)
        if f"{name}${pin}" in self._ports:
            raise NotEquivalentError(f"memory {net.op_param[1].name!r} has two ports of a kind")
        return name


def port(direction: str, bits: list[Bit]) -> dict[str, Any]:
    return {"direction": direction, "bits": bits}
