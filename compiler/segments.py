"""Which nodes run when: host segments and stages of core operations in turn, and the ONNX models of the segments."""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx
from onnx import helper, numpy_helper

from compiler.graph import Alias, Imported
from compiler.network import Network, describe
from compiler.operations import Operation
from compiler.package import HostSegment


@dataclass
class Division:
    """segments[0], stages[0], segments[1], ... segments[-1]: host nodes and core operations in the order of a run."""

    segments: list[list[onnx.NodeProto]] = field(default_factory=list)
    stages: list[list[Operation]] = field(default_factory=list)


def divide(network: Network, imported: list[Imported]) -> Division:
    """As few stages as possible: each side does all that it can before the other one takes over."""
    known = {*network.constants, *network.inputs, ""}
    waiting = list(imported)
    division = Division()
    while True:
        host = _take(waiting, known, on_host=True)
        division.segments.append([entry.node for entry in host])
        if not waiting:
            return division
        cores = _take(waiting, known, on_host=False)
        division.stages.append(
            [entry.result for entry in cores if entry.result and not isinstance(entry.result, Alias)]
        )


def _take(waiting: list[Imported], known: set[str], on_host: bool) -> list[Imported]:
    """Remove from `waiting`, in order, all nodes of one side whose inputs are known by then."""
    taken = []
    for entry in list(waiting):
        if (entry.result is None) == on_host and all(name in known for name in _reads(entry.node)):
            taken.append(entry)
            waiting.remove(entry)
            known.update(entry.node.output)
    return taken


def _reads(node: onnx.NodeProto) -> list[str]:
    names = list(node.input)
    for attribute in node.attribute:  # what the branches of If and Loop take from outside
        for graph in [attribute.g, *attribute.graphs]:
            inside = {name for inner in graph.node for name in inner.output}
            inside |= {tensor.name for tensor in graph.initializer} | {value.name for value in graph.input}
            names += [name for inner in graph.node for name in _reads(inner) if name not in inside]
    return names


def host_segments(network: Network, division: Division, read_by_cores: list[set[str]]) -> list[HostSegment]:
    """The segments as ONNX models; `read_by_cores[i]` are the tensors that stage i takes from the host."""
    result = []
    later = set(network.outputs)
    for place in range(len(division.segments) - 1, -1, -1):
        if place < len(division.stages):
            later |= read_by_cores[place]
        nodes = division.segments[place]
        given = {name for node in nodes for name in node.output}
        outputs = sorted(given & later)
        model, inputs = _model(network, nodes, outputs) if outputs else (b"", [])
        later |= set(inputs)
        result.append(HostSegment(model, tuple(inputs), tuple(outputs)))
    return result[::-1]


def _model(network: Network, nodes: list[onnx.NodeProto], outputs: list[str]) -> tuple[bytes, list[str]]:
    """A model of the nodes that the outputs need, and the names of its inputs."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(_reads(node)) - {""}
    kept.reverse()
    given = {name for node in kept for name in node.output}
    inputs = sorted(name for name in needed if name not in given and name not in network.constants)
    graph = helper.make_graph(
        kept,
        "host",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(network.dtypes[name]), network.shapes[name]
            )
            for name in inputs
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(network.constants[name], name) for name in sorted(needed & set(network.constants))],
    )
    source = network.model
    model = helper.make_model(graph, opset_imports=list(source.opset_import), ir_version=source.ir_version)
    model.functions.extend(source.functions)
    return model.SerializeToString(), inputs


def explanations(network: Network, imported: list[Imported], division: Division) -> tuple[str, ...]:
    """One line for each node that the host executes, ends of the network included."""
    last = len(division.stages)
    names = ["before the cores", *["between layers of the cores"] * (last - 1), "after the cores"]
    where = {id(node): names[place] for place, nodes in enumerate(division.segments) for node in nodes}
    return tuple(
        f"{describe(entry.node)} runs on the host, {where[id(entry.node)]}: {entry.reason}"
        for entry in imported
        if entry.result is None
    )
