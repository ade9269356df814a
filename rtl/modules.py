"""The parts of a netlist as modules with ports, equal ones once; `rtl/verilog.py` writes them.

Copies disappear (PyRTL's `w`, selections of all bits, choices that are none): a wire and its copy are one signal. So
does logic that no output and no memory sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from pyrtl import Const, Input, LogicNet, MemBlock, Output, Register, WireVector

from rtl.hierarchy import Part, RecordingBlock

_KEYWORDS = """
    accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind
    bins binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config
    const constraint context continue cover covergroup coverpoint cross deassign default defparam design disable
    dist do edge else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup
    endinterface endmodule endpackage endprimitive endprogram endproperty endsequence endspecify endtable endtask
    enum event eventually expect export extends extern final first_match for force foreach forever fork forkjoin
    function generate genvar global highz0 highz1 if iff ifnone ignore_bins illegal_bins implements implies import
    incdir include initial inout input inside instance int integer interconnect interface intersect join join_any
    join_none large let liblist library local localparam logic longint macromodule matches medium modport module
    nand negedge nettype new nexttime nmos nor noshowcancelled not notif0 notif1 null or output package packed
    parameter pmos posedge primitive priority program property protected pull0 pull1 pulldown pullup
    pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase randsequence rcmos real realtime ref reg
    reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1 s_always s_eventually s_nexttime
    s_until s_until_with scalared sequence shortint shortreal showcancelled signed small soft solve specify
    specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on sync_reject_on table
    tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand trior trireg
    type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void wait
    wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""What neither Verilog nor SystemVerilog takes for a name."""


class ExportError(RuntimeError):
    """A design that cannot become the Verilog that it should be, with the name that is in the way."""


@dataclass(eq=False)
class Module:
    """A module; its signals are the wires of the part that stands for all of its instances."""

    name: str
    part: Part
    nets: list[LogicNet]
    inputs: list[WireVector] = field(default_factory=list)
    outputs: list[WireVector] = field(default_factory=list)
    children: list[tuple[str, Module, dict[WireVector, WireVector | None]]] = field(default_factory=list)
    """Instance, its module, and its pins: port -> signal here, None for an output that nobody reads here."""
    is_generic: bool = False
    """It has several instances, so that the names of one of them tell nothing."""
    names: dict[WireVector | MemBlock, str] = field(default_factory=dict)
    """Of ports, registers, memories and of every other signal that has a name of its own."""
    taken: set[str] = field(default_factory=set)
    shown: dict[str, WireVector] = field(default_factory=dict)
    """Of the top: its outputs, and the signals that they show."""

    def name_of(self, key: WireVector | MemBlock, wished: str) -> str:
        """Give it a name like the wished one."""
        self.names[key] = self.new_name(wished)
        return self.names[key]

    def new_name(self, wished: str) -> str:
        base = re.sub(r"\W+", "_", wished).strip("_") or "signal"
        base = f"_{base}" if base[0].isdigit() else f"{base}_" if base in KEYWORDS else base
        name = base if base not in self.taken else next(
            each for number in count(2) if (each := f"{base}_{number}") not in self.taken
        )  # fmt: skip
        self.taken.add(name)
        return name


def is_unnamed(wire: WireVector) -> bool:
    return re.fullmatch(r"(.*/)?(tmp\d+|const_.*)", str(wire.name)) is not None


def by_name(wires: Iterable[WireVector]) -> list[WireVector]:
    return sorted(wires, key=lambda wire: str(wire.name))


class Design:
    """The netlist of a recorded `block` as `modules`, of which the first is the `top`."""

    def __init__(self, block: RecordingBlock) -> None:
        self.block = block
        self._top = block.top
        self._copies = {net.dests[0]: wire for net in block.logic if (wire := _copied(net)) is not None}
        self._copies_of: dict[WireVector, list[WireVector]] = {}
        for net in (
            net for part in _all(self._top) for net in part.nets if net in block.logic and _copied(net) is not None
        ):
            self._copies_of.setdefault(self.source(net.dests[0]), []).append(net.dests[0])
        self._driver = {net.dests[0]: net for net in block.logic if net.dests and _copied(net) is None}
        outputs = {str(wire.name): self.source(wire) for wire in by_name(block.wirevector_subset(Output))}
        seen = self._seen_by(outputs.values())
        self._nets = {
            part: [net for net in part.nets if net in block.logic and (net.op == "@" or self._makes(net, seen))]
            for part in _all(self._top)
        }
        self._children = {part: [each for each in part.parts if self._makes_anything(each)] for part in self._nets}
        self._inputs, self._outputs = self._crossings(outputs.values())
        self._elsewhere = self._names_elsewhere()
        self._order: dict[Part, list[WireVector]] = {}
        self._memories: dict[Part, list[MemBlock]] = {}
        self._module: dict[Part, Module] = {}
        self.top = self._modules(outputs)
        self.modules = list(dict.fromkeys(self._module[part] for part in self._live(self._top)))

    def source(self, wire: WireVector) -> WireVector:
        """The wire that this one is a copy of, or itself."""
        while wire in self._copies:
            wire = self._copies[wire]
        return wire

    def state_names(self) -> dict[str, str]:
        """Registers and memories: from their names in PyRTL to those in the flattened Verilog, path and name."""
        found: dict[str, str] = {}
        own = {part: set(nets) for part, nets in self._nets.items()}

        def visit(part: Part, path: str) -> None:
            module = self._module[part]
            for here, there in zip(self._order[part], self._order[module.part], strict=True):
                if isinstance(here, Register) and self._driver[here] in own[part]:
                    found[str(here.name)] = path + module.names[there]
            for here_, there_ in zip(self._memories[part], self._memories[module.part], strict=True):
                found[str(here_.name)] = path + module.names[there_]
            for child, (instance, _, _) in zip(self._children[part], module.children, strict=True):
                visit(child, f"{path}{instance}.")

        visit(self._top, "")
        return found

    # What belongs where.

    def _seen_by(self, outputs: Iterable[WireVector]) -> set[WireVector]:
        pending = [*outputs]
        pending += [self.source(wire) for net in self.block.logic if net.op in "m@" for wire in net.args]
        seen: set[WireVector] = set()
        while pending:
            wire = pending.pop()
            if wire not in seen:
                seen.add(wire)
                pending += [self.source(each) for each in self._driver[wire].args] if wire in self._driver else []
        return seen

    def _makes(self, net: LogicNet, seen: set[WireVector]) -> bool:
        return net.dests[0] in seen and net.dests[0] in self._driver

    def _makes_anything(self, part: Part) -> bool:
        return bool(self._nets[part]) or any(self._makes_anything(each) for each in part.parts)

    def _live(self, part: Part) -> Iterator[Part]:
        yield part
        for child in self._children[part]:
            yield from self._live(child)

    def _crossings(
        self, outputs: Iterable[WireVector]
    ) -> tuple[dict[Part, dict[WireVector, None]], dict[Part, dict[WireVector, None]]]:
        """Wires that enter and that leave each part."""
        owner: dict[WireVector, Part] = dict.fromkeys(self.block.wirevector_subset(Input), self._top)
        owner |= {net.dests[0]: part for part, nets in self._nets.items() for net in nets if net.dests}
        above = {part: list(_ancestors(part)) for part in self._nets}
        entering: dict[Part, dict[WireVector, None]] = {part: {} for part in self._nets}
        leaving: dict[Part, dict[WireVector, None]] = {part: {} for part in self._nets}
        uses = [(wire, self._top) for wire in outputs]
        uses += [(self.source(wire), part) for part, nets in self._nets.items() for net in nets for wire in net.args]
        for wire, user in uses:
            if isinstance(wire, Const) or owner[wire] is user:
                continue
            inside, outside = above[owner[wire]], above[user]
            for part in inside:
                if part not in outside:
                    leaving[part][wire] = None
            for part in outside:
                if part not in inside:
                    entering[part][wire] = None
        return entering, leaving

    # Equal parts.

    def _modules(self, outputs: dict[str, WireVector]) -> Module:
        numbers: dict[Any, int] = {}
        groups: dict[int, list[Part]] = {}
        for part in reversed(list(self._live(self._top))):  # children first
            numbers_of: dict[WireVector, int] = {}
            signature = self._signature(part, numbers_of, {each: numbers[each] for each in self._children[part]})
            numbers[part] = numbers.setdefault((part.module, signature), len(numbers))
            self._order[part] = list(numbers_of)
            groups.setdefault(numbers[part], []).insert(0, part)
        names = self._module_names(groups)
        for number, group in groups.items():  # children first
            first = group[0]
            module = Module(names[number], first, self._nets[first])
            self._module |= dict.fromkeys(group, module)
            place = {part: {wire: index for index, wire in enumerate(self._order[part])} for part in group}
            leaves = {place[part][wire] for part in group for wire in self._outputs[part]}
            module.outputs = [self._order[first][index] for index in sorted(leaves)]
            module.inputs = list(self._inputs[first])
            known = {wire: index for index, wire in enumerate(first.interface)}
            for ports in (module.inputs, module.outputs):
                ports.sort(key=lambda wire: min(known.get(each, len(known)) for each in self._alike(wire)))
            module.is_generic = len(group) > 1 or bool(first.variant)
            self._instantiate(module)
            if first is self._top:
                module.inputs = by_name(self.block.wirevector_subset(Input))
                module.shown = outputs
            self._name(module)
        return self._module[self._top]

    def _signature(self, part: Part, numbers: dict[WireVector, int], children: dict[Part, int]) -> Any:
        """What makes two parts equal; numbers their wires on the way."""
        memories: dict[MemBlock, int] = {}

        def number(wire: WireVector) -> Any:
            wire = self.source(wire)
            return ("constant", wire.val, len(wire)) if isinstance(wire, Const) else (
                numbers.setdefault(wire, len(numbers)), len(wire)
            )  # fmt: skip

        result: list[Any] = []
        for net in self._nets[part]:
            parameter = net.op_param
            if net.op in "m@":
                memory = net.op_param[1]
                if type(memory) is not MemBlock:
                    raise ExportError(f"{memory.name} is no plain memory")
                parameter = (memories.setdefault(memory, len(memories)), memory.bitwidth, memory.addrwidth)
            wires = (*net.args, *net.dests)
            resets = tuple(wire.reset_value or 0 for wire in net.dests if isinstance(wire, Register))
            result.append((net.op, parameter, resets, *[number(wire) for wire in wires]))
        for child, kind in children.items():
            place = {wire: index for index, wire in enumerate(self._order[child])}
            pins = [(place[wire], number(wire)) for ways in (self._inputs, self._outputs) for wire in ways[child]]
            result.append((kind, *sorted(pins)))
        self._memories[part] = list(memories)
        return tuple(result)

    def _instantiate(self, module: Module) -> None:
        part = module.part
        bases = [child.instance for child in self._children[part]]
        numbered = {base: count() for base in bases if bases.count(base) > 1}
        for child, base in zip(self._children[part], bases, strict=True):
            of = self._module[child]
            here = dict(zip(self._order[of.part], self._order[child], strict=True))
            pins: dict[WireVector, WireVector | None] = {port: here[port] for port in of.inputs}
            pins |= {port: here[port] if here[port] in self._outputs[child] else None for port in of.outputs}
            name = f"{base}_{next(numbered[base])}" if base in numbered else base
            module.children.append((name.strip("_"), of, pins))

    # Names.

    def _module_names(self, groups: dict[int, list[Part]]) -> dict[int, str]:
        """Names of modules: that of the function; if it makes different ones, with the size or instance in it."""
        kinds: dict[str, int] = {}
        for group in groups.values():
            kinds[group[0].module] = kinds.get(group[0].module, 0) + 1
        names: dict[int, str] = {}
        for number in reversed(groups):
            part = groups[number][0]
            base = part.module.strip("_")
            if part.variant:
                base = f"{base}_{part.variant}"
            elif kinds[part.module] > 1 and part.instance.strip("_") != base:
                instance = part.instance.strip("_")
                base = instance if base.split("_")[-1] in instance.split("_") else f"{base}_{instance}"
            taken = set(names.values())
            names[number] = base if base not in taken else next(
                each for suffix in count(2) if (each := f"{base}_{suffix}") not in taken
            )  # fmt: skip
        return names

    def _name(self, module: Module) -> None:
        """Names ports, registers and memories, and every signal that has a name anywhere."""
        part = module.part
        module.taken |= {"clk", "rst"}
        if part is self._top:
            for wire in module.inputs:
                self._exactly(module, wire, str(wire.name))
            for name, wire in module.shown.items():
                self._exactly(module, None if wire in module.names or isinstance(wire, Const) else wire, name)
        own = {net.dests[0] for net in module.nets if net.dests}
        registers = [net.dests[0] for net in module.nets if net.op == "r"]
        for wire in [*module.inputs, *module.outputs, *registers]:
            if wire not in module.names:
                module.name_of(wire, self._wish(wire, module, wire in own) or self._elsewhere.get(wire, "signal"))
        for memory in self._memories[part]:
            name = self._stripped(str(memory.name), part)
            module.name_of(memory, part.interface.get(memory, name) if module.is_generic else name)
        module.children = [(module.new_name(name), of, pins) for name, of, pins in module.children]
        for wire in self._order[part]:
            if wire not in module.names:
                wish = self._wish(wire, module, wire in own)
                if wish or wire not in own:
                    module.name_of(wire, wish or self._elsewhere.get(wire, "signal"))

    def _exactly(self, module: Module, wire: WireVector | None, name: str) -> None:
        if not re.fullmatch(r"[A-Za-z_]\w*", name) or name in KEYWORDS or name in module.taken:
            raise ExportError(f"the port {name!r} cannot have this name in Verilog")
        module.taken.add(name)
        if wire is not None:
            module.names[wire] = name

    def _alike(self, wire: WireVector) -> list[WireVector]:
        return [wire, *self._copies_of.get(wire, [])]

    def _wish(self, wire: WireVector, module: Module, is_own: bool) -> str:
        """The name of a wire in a module: its own, or that in an interface or a variable; empty if it has none."""
        part, alike = module.part, self._alike(wire)
        own_name = next((self._stripped(str(each.name), part) for each in alike
                         if not is_unnamed(each) and not isinstance(each, Output)), "")  # fmt: skip
        given, variable = (next((names[each] for each in alike if each in names), "")
                           for names in (part.interface, part.variables))  # fmt: skip
        if part.merged or (is_own and not module.is_generic):
            wishes = [own_name, given, variable]
        else:
            wishes = [given, variable, own_name] if "/" in own_name else [given, own_name, variable]
        inner = (
            path if (path := child.interface[each]).startswith(child.instance) else f"{child.instance}_{path}"
            for child in self._children[part]
            for each in alike
            if each in child.interface
        )
        return next(filter(None, [*wishes, next(inner, "")]), "").strip("_")

    def _names_elsewhere(self) -> dict[WireVector, str]:
        """Names for wires that have none where they are made or used: from other parts, or their place at a memory."""
        found: dict[WireVector, str] = {}
        for part, nets in self._nets.items():
            for known in (part.interface, part.variables):
                for wire, name in known.items():
                    if isinstance(wire, WireVector):
                        found.setdefault(self.source(wire), name)
            for net in nets:
                if net.op in "m@":
                    ways = ("read_address",) if net.op == "m" else ("write_address", "write_data", "write_enable")
                    named = [*zip(net.args, ways, strict=True), *[(wire, "read_data") for wire in net.dests]]
                    for wire, way in named:
                        found.setdefault(self.source(wire), f"{self._stripped(str(net.op_param[1].name), part)}_{way}")
        return found

    def _stripped(self, name: str, part: Part) -> str:
        name = name.removeprefix(part.prefix)
        return name.removeprefix(f"{part.instance}/")


def _copied(net: LogicNet) -> WireVector | None:
    """The argument, if the net gives nothing but that."""
    if net.op == "w" or (net.op == "c" and len(net.args) == 1):
        return net.args[0]
    if net.op == "s" and net.op_param == tuple(range(len(net.args[0]))):
        return net.args[0]
    if net.op == "x" and isinstance(net.args[0], Const):
        return net.args[2] if net.args[0].val else net.args[1]
    return None


def _all(part: Part) -> Iterator[Part]:
    yield part
    for each in part.parts:
        yield from _all(each)


def _ancestors(part: Part | None) -> Iterator[Part]:
    while part is not None:
        yield part
        part = part.parent
