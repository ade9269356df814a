"""Shows that exported Verilog is the netlist that the theorems are about, in four steps that need no simulation.

1. `shell.v` and `core.v`, with their parts, against PyRTL's netlists. The netlist goes to yosys by a path of its own,
   cell by cell (`netlist_json`), the Verilog through yosys' front end. Registers, ports and memories are paired by
   name, and what feeds them must be the same expression, bit by bit, of the same registers, ports and memories.
2. `pool.v`: yosys reads its instances, and every pin must be on the wire that joins shell and cores.
3. The flat netlist of the simulators is the shell's around M times the core's: the same operations on the same
   operands, node by node, exact.
4. The simulators begin with every register at its reset value. In the Verilog few registers of a core have a reset;
   two cycles of it make all others 0 (`structure.left_by_reset`).

Nothing here searches: unequal expressions that happen to be equal functions are refused, and equal ones need no
solver, which multipliers would keep busy for long. Equal next states (reset included) and outputs in any state make
the two machines equal in every cycle. The contents of a memory before its first write are free in both, and taken as
equal: the sweeps after reset make them so.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrtl

from formal.netlist_json import (
    Bit,
    NotEquivalentError,
    add_memory,
    add_memory_write,
    add_register,
    netlist_json,
    read_registers,
)
from formal.structure import left_by_reset
from formal.yosys import YosysError, run_yosys
from isa.configuration import PoolConfig
from rtl.core_ports import core_ports
from rtl.export import block_of, core_design, shell_design
from rtl.modules import Design
from rtl.pool import CoreBuilder, pool

_READ = ("proc", "opt_expr -mux_undef", "opt_clean", "memory_collect", "opt_clean", "check -assert")
# Verilog is checked before anything is optimised, too: that may drop one of two drivers.
_AS_WRITTEN = ("proc -noopt", "check -assert", "flatten -noscopeinfo", "check -assert")


def check_export(config: PoolConfig, directory: Path, core: CoreBuilder, flat_cores: CoreBuilder) -> dict[str, int]:
    """Check the files of `export` in `directory`.

    Args:
        core: builds one core, as `export` took it; flat_cores: the cores of the flat netlist, those of core c under
            the name scope `core{c}`.

    Returns:
        What was compared: pairs of bits proved equal in shell and core, pins of the top, nodes of the flat netlist,
            registers of a core that get their reset value in the second cycle.

    Raises:
        NotEquivalentError: anything differs.
    """
    shell_of_pool, one_core = shell_design(config), core_design(config, core)
    counts = {
        "shell_bits": check_module(shell_of_pool, directory),
        "core_bits": check_module(one_core, directory),
        "pins": check_top(config, directory, shell_of_pool.block),
    }
    flat = block_of(lambda: pool(config, flat_cores))
    return counts | {
        "nodes": check_composition(config, flat, shell_of_pool.block, one_core.block),
        "cleared_registers": check_reset(one_core.block, shell_of_pool.block),
    }


# 1. Modules.


def check_module(design: Design, directory: Path) -> int:
    """Prove the design's top, with all its parts, equal to its netlist; the number of pairs of bits that were proved.

    Which register of the Verilog is which one of the netlist is taken from the design: a wrong pairing proves nothing.
    """
    name, block = design.top.name, design.block
    verilog = directory / f"{name}.v"
    files = [directory / f"{module.name}.v" for module in design.modules]
    with tempfile.TemporaryDirectory() as scratch:
        netlist, gold_file, gate_file = (Path(scratch) / f"{each}.json" for each in ("netlist", "gold", "gate"))
        netlist.write_text(json.dumps({"modules": {name: netlist_json(block)}}))
        _yosys([f"read_json {netlist}", *_READ, f"write_json {gold_file}"], verilog)
        reads = [f"read_verilog {file}" for file in files]
        _yosys([*reads, f"hierarchy -check -top {name}", *_AS_WRITTEN, *_READ, f"write_json {gate_file}"], verilog)
        gold = json.loads(gold_file.read_text())["modules"][name]
        modules = json.loads(gate_file.read_text())["modules"]
    if set(modules) != {name}:
        raise NotEquivalentError(f"{verilog}: modules {sorted(modules)}, not {name}")
    gate = modules[name]
    names = design.state_names()
    without_memories(gate, {there: here for here, there in names.items()}, verilog)
    without_registers(gate, block, names, verilog)
    shapes = [{port: (its["direction"], len(its["bits"])) for port, its in each["ports"].items()}
              for each in (gold, gate)]  # fmt: skip
    if shapes[0] != shapes[1]:
        raise NotEquivalentError(f"{verilog}: ports, registers or memories of {name} are not those of the netlist")
    nodes = _Nodes()
    ours, theirs = (_expressions(each, nodes) for each in (gold, gate))
    differing = sorted(port for port, bits in ours.items() if theirs[port] != bits)
    if differing:
        raise NotEquivalentError(f"{verilog}: not shown equal to the netlist: {', '.join(differing[:3])}")
    return sum(len(bits) for bits in ours.values())


_BITWISE = frozenset({"$and", "$or", "$xor", "$not", "$mux"})
_NEGATED = {"$ne": "$eq", "$ge": "$lt", "$le": "$gt", "$reduce_bool": "$logic_not"}


class _Nodes:
    """Numbers of expressions: of equal operations on equal operands equal ones."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._negations: dict[int, int] = {}

    def __call__(self, key: Any) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def negation(self, number: int) -> int:
        """Of one bit; that of a negation is what was negated."""
        if number not in self._negations:
            negated = self(("$not", number))
            self._negations |= {number: negated, negated: number}
        return self._negations[number]

    def choice(self, select: int, otherwise: int, value: int) -> int:
        """A multiplexer of one bit: yosys exchanges the inputs of one whose condition is a negation."""
        if (otherwise, value) == (self("0"), self("1")):  # the enable of a memory's write port, spread to its bits
            return select
        negated = self.negation(select)
        if negated < select:
            select, otherwise, value = negated, value, otherwise
        return self(("$mux", otherwise, value, select))


def _expressions(module: dict[str, Any], node: _Nodes) -> dict[str, list[int]]:
    """For each output the numbers of its bits' nodes; equal numbers are equal functions of inputs of equal names.

    Cells on words are nodes per bit of the result; operands are unsigned, so that zeros above say nothing.
    """

    known: dict[Bit, int] = {bit: node(bit) for bit in ("0", "1", "x")}
    driver: dict[Bit, dict[str, Any]] = {}
    for name, port in module["ports"].items():
        if port["direction"] == "input":
            its = {bit: node((name, place)) for place, bit in enumerate(port["bits"])}
            if len(its) != len(port["bits"]) or not its.keys().isdisjoint(known):
                raise NotEquivalentError(f"a bit of {name} has a second driver")
            known |= its
    for cell in module["cells"].values():
        if any(int(value, 2) for key, value in cell["parameters"].items() if key.endswith("_SIGNED")):
            raise NotEquivalentError(f"a signed {cell['type']}, which no netlist of ours has")
        if "Y" not in cell["connections"]:
            raise NotEquivalentError(f"a {cell['type']}, which no netlist of ours has")
        results = cell["connections"]["Y"]
        if len(set(results)) != len(results) or any(bit in driver or bit in known for bit in results):
            raise NotEquivalentError(f"a result of a {cell['type']} has a second driver")
        driver |= dict.fromkeys(results, cell)
    pending = [bit for port in module["ports"].values() if port["direction"] == "output" for bit in port["bits"]]
    waiting: set[Bit] = set()
    while pending:
        bit = pending[-1]
        if bit in known:
            pending.pop()
            continue
        if bit not in driver:
            raise NotEquivalentError(f"bit {bit} has no driver")
        pins = driver[bit]["connections"]
        missing = [each for pin, bits in pins.items() if pin != "Y" for each in bits if each not in known]
        if missing and bit in waiting:
            raise NotEquivalentError(f"bit {bit} depends on itself")
        if missing:
            waiting.add(bit)
            pending += missing
        else:
            operands = {pin: [known[each] for each in bits] for pin, bits in pins.items() if pin != "Y"}
            known |= _results(driver[bit]["type"], operands, pins["Y"], node)
    return {
        name: [known[bit] for bit in port["bits"]]
        for name, port in module["ports"].items() if port["direction"] == "output"
    }  # fmt: skip


def _results(kind: str, operands: dict[str, list[int]], results: list[Bit], node: _Nodes) -> dict[Bit, int]:
    zero = node("0")
    if kind in _BITWISE:
        wide = {pin: bits + [zero] * (len(results) - len(bits)) for pin, bits in operands.items() if pin != "S"}
        if kind == "$mux":
            select = operands["S"][0]
            return {bit: node.choice(select, wide["A"][place], wide["B"][place]) for place, bit in enumerate(results)}
        if kind == "$not":
            return {bit: node.negation(wide["A"][place]) for place, bit in enumerate(results)}
        return {bit: node((kind, *(wide[pin][place] for pin in sorted(wide)))) for place, bit in enumerate(results)}
    stripped = []
    for pin in sorted(operands):
        bits = list(operands[pin])
        while len(bits) > 1 and bits[-1] == zero:
            bits.pop()
        stripped.append(tuple(bits))
    if kind in _NEGATED and len(results) == 1:
        return {results[0]: node.negation(node((_NEGATED[kind], 0, *stripped)))}
    if kind not in ("$add", "$sub", "$mul") and len(results) > 1:
        raise NotEquivalentError(f"a {kind} of {len(results)} bits, which no netlist of ours has")
    return {bit: node((kind, place, *stripped)) for place, bit in enumerate(results)}


def _yosys(commands: list[str], what: Path) -> None:
    try:
        run_yosys(commands)
    except YosysError as problem:
        raise NotEquivalentError(f"yosys refused {what}: {problem}") from problem


def without_memories(module: dict[str, Any], names: Mapping[str, str], verilog: Path) -> None:
    """Make the pins of each memory ports of the module, as `netlist_json` does; `names` tells its name there.

    Raises:
        NotEquivalentError: a memory is more than one unclocked read port, one clocked write port and no contents.
    """
    for name, cell in list(module["cells"].items()):
        if cell["type"] != "$mem_v2":
            continue
        parameters, pins = cell["parameters"], cell["connections"]
        plain = {
            "RD_PORTS": 1,
            "WR_PORTS": 1,
            "RD_CLK_ENABLE": 0,
            "WR_CLK_ENABLE": 1,
            "WR_CLK_POLARITY": 1,
            "OFFSET": 0,
        }
        width, bits = int(parameters["WIDTH"], 2), int(parameters["ABITS"], 2)
        if (
            any(int(parameters[key], 2) != value for key, value in plain.items())
            or int(parameters["SIZE"], 2) != 1 << bits
            or set(parameters["INIT"]) != {"x"}
            or pins["WR_CLK"] != module["ports"]["clk"]["bits"]
            or len(pins["RD_DATA"]) != width
        ):
            raise NotEquivalentError(f"{verilog}: memory {parameters['MEMID']} is not one that the netlist has")
        memory = names.get(parameters["MEMID"].removeprefix("\\"), parameters["MEMID"])
        read = ("input", pins["RD_DATA"])
        add_memory(module["ports"], memory, read, pins["RD_ADDR"])
        add_memory_write(module["ports"], memory, pins["WR_ADDR"], pins["WR_DATA"], pins["WR_EN"])
        del module["cells"][name]


def without_registers(module: dict[str, Any], block: pyrtl.Block, names: Mapping[str, str], verilog: Path) -> None:
    """Make each register of the block, found by its name there, a port for its value and one for its next value.

    Raises:
        NotEquivalentError: the module has other registers than the block.
    """
    following: dict[Bit, Bit] = {}
    for name, cell in list(module["cells"].items()):
        pins = cell["connections"]
        if cell["type"] == "$dff":
            if pins["CLK"] != module["ports"]["clk"]["bits"] or int(cell["parameters"]["CLK_POLARITY"], 2) != 1:
                raise NotEquivalentError(f"{verilog}: register {name} has another clock")
            if len(set(pins["Q"])) != len(pins["Q"]) or any(bit in following for bit in pins["Q"]):
                raise NotEquivalentError(f"{verilog}: register {name} has a second driver")
            following |= dict(zip(pins["Q"], pins["D"], strict=True))
            del module["cells"][name]
    for register in read_registers(block):
        name = names[str(register.name)]
        bits = module["netnames"].get(name, {"bits": []})["bits"]
        if len(bits) != len(register) or any(bit not in following for bit in bits):
            raise NotEquivalentError(f"{verilog}: there is no register {name} of {len(register)} bits")
        add_register(module["ports"], str(register.name), bits, [following.pop(bit) for bit in bits])
    if following:
        raise NotEquivalentError(f"{verilog}: {len(following)} bits of registers that the netlist does not have")
    # A wire that shows a register is a port of its own; other names would only be paired with one another.
    module["netnames"] = {}


# 2. The top.


def check_top(config: PoolConfig, directory: Path, shell_block: pyrtl.Block) -> int:
    """Compare every pin of every instance in pool.v with what it must be wired to; the number of pins."""
    with tempfile.TemporaryDirectory() as scratch:
        found = Path(scratch) / "pool.json"
        parts = [f"read_verilog -lib {directory / name}" for name in ("shell.v", "core.v")]
        _yosys([*parts, f"read_verilog {directory / 'pool.v'}", "hierarchy -check -top pool", "check -assert",
                f"write_json {found}"], directory / "pool.v")  # fmt: skip
        top = json.loads(found.read_text())["modules"]["pool"]
    pins = {name: cell["connections"] for name, cell in top["cells"].items()}
    kinds = {name: cell["type"] for name, cell in top["cells"].items()}
    expected = {"shell": "shell"} | {f"core{core}": "core" for core in range(config.cores)}
    if kinds != expected:
        raise NotEquivalentError(f"{directory / 'pool.v'}: instances {kinds}, not {expected}")
    ports = {name: port["bits"] for name, port in top["ports"].items()}
    wanted: dict[tuple[str, str], list[Bit]] = {}
    for core in range(config.cores):
        for port in core_ports(config).inputs:
            wanted[f"core{core}", port] = pins["shell"].get(f"core{core}_{port}_o", [])
        for port in core_ports(config).outputs:
            wanted[f"core{core}", f"{port}_o"] = pins["shell"].get(f"core{core}_{port}_i", [])
    inside = {f"core{core}_{port}_o" for core in range(config.cores) for port in core_ports(config).inputs}
    inside |= {f"core{core}_{port}_i" for core in range(config.cores) for port in core_ports(config).outputs}
    for wire in shell_block.wirevector_subset((pyrtl.Input, pyrtl.Output)):
        if wire.name not in inside:
            wanted["shell", wire.name] = ports.get(wire.name, [])
    for instance in pins:
        wanted[instance, "clk"], wanted[instance, "rst"] = ports["clk"], ports["rst"]
    for (instance, pin), bits in wanted.items():
        if pins[instance].get(pin) != bits or not bits:
            raise NotEquivalentError(f"{directory / 'pool.v'}: pin {pin} of {instance} is wired to something else")
    driving = [port["bits"] for port in top["ports"].values() if port["direction"] == "input"]
    driving += [pins["shell"][wire.name] for wire in shell_block.wirevector_subset(pyrtl.Output)]
    driving += [pins[f"core{core}"][f"{port}_o"] for core in range(config.cores) for port in core_ports(config).outputs]
    driven = [bit for bits in driving for bit in bits]
    if len(set(driven)) != len(driven) or any(isinstance(bit, str) for bit in driven):  # constants are strings
        raise NotEquivalentError(f"{directory / 'pool.v'}: a wire has a second driver")
    every = {(instance, pin) for instance, connections in pins.items() for pin in connections}
    unknown = sorted(every - set(wanted) - {("shell", pin) for pin in inside})
    if unknown:
        raise NotEquivalentError(f"{directory / 'pool.v'}: unknown pins {unknown[:3]}")
    return len(every)


# 3. The flat netlist.


def check_composition(config: PoolConfig, flat: pyrtl.Block, shell: pyrtl.Block, core: pyrtl.Block) -> int:
    """Compare the flat netlist with the shell's around M times the core's; the number of distinct nodes."""
    nodes: dict[Any, int] = {}
    ports = core_ports(config)
    parts: dict[Any, Any] = {}
    shell_leaves: dict[str, Any] = {}
    for index in range(config.cores):
        leaves = {port: ("register", f"core{index}_{port}") for port in ports.inputs}
        roots = _roots(core, nodes, f"core{index}/", leaves)
        for port in ports.outputs:
            shell_leaves[f"core{index}_{port}_i"] = roots.pop(("output", f"core{index}/{port}_o"))
        parts |= roots
    shell_roots = _roots(shell, nodes, "", shell_leaves)
    for index in range(config.cores):
        for port in ports.inputs:
            if shell_roots.pop(("output", f"core{index}_{port}_o")) != nodes.get(("register", f"core{index}_{port}")):
                raise NotEquivalentError(f"input {port} of core {index} is not driven by a register of its name")
    whole = _roots(flat, nodes, "", {})
    parts |= shell_roots
    if keys := sorted(map(str, whole.keys() ^ parts.keys())):
        raise NotEquivalentError(f"the flat netlist and its parts do not both have {keys[0]}")
    for key, node in whole.items():
        if parts[key] != node:
            raise NotEquivalentError(f"the flat netlist and its parts differ in {key}")
    return len(nodes)


def _roots(block: pyrtl.Block, nodes: dict[Any, int], prefix: str, leaves: Mapping[str, Any]) -> dict[Any, Any]:
    """What drives each register, output and memory, as numbers of nodes: equal numbers are equal expressions.

    `leaves` gives inputs another node, as a number or as the key of a leaf.
    """

    def node(key: Any) -> int:
        return nodes.setdefault(key, len(nodes))

    known: dict[pyrtl.WireVector, int] = {}
    for wire in block.wirevector_subset((pyrtl.Input, pyrtl.Register)):
        if isinstance(wire, pyrtl.Register):
            known[wire] = node(("register", prefix + wire.name))
        else:
            leaf = leaves.get(wire.name, ("input", prefix + wire.name))
            known[wire] = leaf if isinstance(leaf, int) else node(leaf)

    def of(wire: pyrtl.WireVector) -> int:
        return node(("constant", wire.val, len(wire))) if isinstance(wire, pyrtl.Const) else known[wire]

    roots: dict[Any, Any] = {}
    registers = []
    for net in block:
        if net.op == "r":
            registers.append(net)
        elif net.op == "@":
            memory = net.op_param[1]
            key = ("memory", prefix + memory.name, memory.bitwidth, memory.addrwidth)
            roots.setdefault(key, set()).add(tuple(of(wire) for wire in net.args))
        elif net.op == "w":
            known[net.dests[0]] = of(net.args[0])
        else:
            parameter = prefix + net.op_param[1].name if net.op == "m" else net.op_param
            key = (net.op, parameter, len(net.dests[0]), *(of(wire) for wire in net.args))
            known[net.dests[0]] = node(key)
    for net in registers:
        register = net.dests[0]
        roots["register", prefix + register.name, len(register), register.reset_value or 0] = of(net.args[0])
    for wire in block.wirevector_subset(pyrtl.Output):
        roots["output", prefix + wire.name] = known[wire]
    return roots


# 4. Reset.


def check_reset(core: pyrtl.Block, shell: pyrtl.Block) -> int:
    """The number of registers of a core that have no reset, and that two cycles of it bring to 0 all the same."""
    ports = {str(wire.name) for wire in core.wirevector_subset(pyrtl.Input)}
    held = {
        name: each.reset_value
        for each in shell.wirevector_subset(pyrtl.Register)
        if (name := str(each.name).removeprefix("core0_")) in ports and each.reset_value is not None
    }
    if found := left_by_reset(core, held):
        raise NotEquivalentError(found[0])
    return sum(each.reset_value is None for each in core.wirevector_subset(pyrtl.Register))
