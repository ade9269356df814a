"""ABC makes of every operation what PyRTL's simulator does with it; what it might misread never reaches it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyrtl
import pytest

from formal.and_inverter_graph import Evaluator, Graph, GraphError, and_inverter_graph, port_widths, verilog

_WIDTHS = {"a": 8, "b": 8, "c": 1, "d": 1, "e": 70}


def _operations() -> dict[str, pyrtl.WireVector]:
    """All that a certificate is made of, with numbers in every place, one bit and more than a machine's word."""
    wires = {name: pyrtl.Input(bits, name) for name, bits in _WIDTHS.items()}
    a, b, c, d, e = wires.values()
    low, high, wide = pyrtl.Const(3, 8), pyrtl.Const(0xF1, 8), pyrtl.Const((1 << 69) + 5, 70)
    zero, one = pyrtl.Const(0, 1), pyrtl.Const(1, 1)
    made = []
    for x, y in ((a, b), (c, d), (a, low), (high, a), (c, one), (zero, d), (e, wide), (wide, e), (low, high), (c, c)):
        made += [x & y, x | y, x ^ y, ~x, x == y, x != y, x < y, x > y, x <= y, x >= y, x + y, x - y]
        made += [pyrtl.select(c, x, y), pyrtl.select(one, y, x), pyrtl.concat(x, y), pyrtl.concat(x, c, y)]
    made += [a[0], a[7], a[2:6], c[0], e[3:68], wide[2:69], a.zero_extended(12), a.truncate(3), e + 1, low + zero]
    return {f"o{place}": wire for place, wire in enumerate(made)}


def _evaluated(graph: Graph, inputs: dict[str, int]) -> dict[str, int]:
    bits = [
        (graph.inputs[f"{name}[{bit}]"], value >> bit & 1)
        for name, value in inputs.items()
        for bit in range(_WIDTHS[name])
    ]
    names = list(graph.outputs)
    values = Evaluator(graph, [literal for name in names for literal in graph.outputs[name]])(*np.array(bits).T)
    found, place = {}, 0
    for name in names:
        found[name] = sum(int(values[place + bit]) << bit for bit in range(len(graph.outputs[name])))
        place += len(graph.outputs[name])
    return found


def _samples() -> Iterable[dict[str, int]]:
    generator = random.Random(1)
    for value in (0, 1, 3, 0xF1, -1, (1 << 69) + 5):
        yield {name: value % (1 << bits) for name, bits in _WIDTHS.items()}
    for _ in range(100):
        yield {name: generator.getrandbits(bits) for name, bits in _WIDTHS.items()}


def test_every_operation_means_what_it_means_to_pyrtl(tmp_path: Path) -> None:
    with pyrtl.set_working_block(pyrtl.Block()):
        for name, wire in _operations().items():
            output = pyrtl.Output(len(wire), name)
            output <<= wire
        module = tmp_path / "operations.v"
        module.write_text(verilog())
        graph = and_inverter_graph(module, port_widths())
        simulation = pyrtl.Simulation(tracer=None)
        for inputs in _samples():
            simulation.step(inputs)
            assert _evaluated(graph, inputs) == {name: simulation.inspect(name) for name in graph.outputs}


def _module(line: str) -> str:
    return f"module toplevel(clk, a, o);\n    input clk;\n    input[7:0] a;\n    output o;\n{line}\nendmodule\n"


@pytest.mark.parametrize(
    "line",
    [
        "    assign o = (8'h11 == a);",
        "    assign o = a & 8'd3;",
        "    assign o = (a < 8'h3);",
        "    assign o = {2 {a}};",
        "    wire input0;",
        "    wire wire0 = 1'h1;",
        "    assign o = ((a & a) | a);",
    ],
)
def test_lines_that_it_might_misread_are_refused(line: str, tmp_path: Path) -> None:
    module = tmp_path / "module.v"
    module.write_text(_module(line))
    with pytest.raises(GraphError, match="a line that ABC may misread"):
        and_inverter_graph(module, {"a": 8, "o": 1})


def test_ports_of_another_width_are_an_error(tmp_path: Path) -> None:
    module = tmp_path / "module.v"
    module.write_text(_module("    assign o = (a[3]);"))
    assert and_inverter_graph(module, {"a": 8, "o": 1}).gates == 0
    with pytest.raises(GraphError, match="port a has 8 bits"):
        and_inverter_graph(module, {"a": 9, "o": 1})


def test_what_abc_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    module = tmp_path / "module.v"
    module.write_text(_module("    assign o = missing;"))
    with pytest.raises(GraphError, match="ABC failed"):
        and_inverter_graph(module, {"a": 8, "o": 1})


_SYMBOLS = b"i0 a[0]\ni1 b[0]\no0 o[0]\nc\nby hand"


def test_gates_are_read_as_differences() -> None:
    graph = Graph(b"aig 4 2 0 1 2\n9\n\x02\x02\x02\x04" + _SYMBOLS)
    assert graph.operands.T.tolist() == [[0, 0], [0, 0], [0, 0], [4, 2], [6, 2]]
    assert (graph.inputs, graph.outputs, graph.gates) == ({"a[0]": 1, "b[0]": 2}, {"o": [9]}, 2)


@pytest.mark.parametrize(
    ("aiger", "message"),
    [
        (b"aig 4 2 0 1 2\n9\n\x02\x02\x00\x04" + _SYMBOLS, "after its operands"),
        (b"aig 4 2 0 1 2\n9\n\x02\x02\x02\x07" + _SYMBOLS, "after its operands"),
        (b"aig 4 2 0 1 2\n9\n\x02\x02\x02", "gates are missing"),
        (b"aig 3 1 1 1 1\n2\n4\n\x02\x02" + _SYMBOLS, "not combinational"),
        (b"aag 1 1 0 0 0\n2\n", "no graph"),
        (b"aig 2 2 0 1 0\n2\ni0 a\n", "not understood"),
    ],
)
def test_files_that_are_no_graph_are_refused(aiger: bytes, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        Graph(aiger)
