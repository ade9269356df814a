"""Seeded bugs: a copy of the netlist, patched. The design itself carries no bug switches.

A mutant is made by `mutated(block, patch, ...)`; a patch is any function that changes a block in place, and the
factories here make the common ones. Nets are found by the named wires around them, because the wires of the net
itself rarely have names of their own.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pyrtl

Patch = Callable[[pyrtl.Block], None]


class PatchError(Exception):
    """A patch did not apply: a wire or net it names is not in the netlist (any more)."""


def copy_netlist(block: pyrtl.Block) -> pyrtl.Block:
    """An independent copy with the same names, memories and reset values (PyRTL's own copy forgets the latter)."""
    copied = pyrtl.copy_block(block, update_working_block=False)
    for register in block.wirevector_subset(pyrtl.Register):
        copied.wirevector_by_name[register.name].reset_value = register.reset_value
    return copied


def mutated(block: pyrtl.Block, *patches: Patch) -> pyrtl.Block:
    """A patched copy of `block`, checked for well-formedness.

    Raises:
        PatchError: when a patch finds nothing to change.
    """
    copied = copy_netlist(block)
    for patch in patches:
        patch(copied)
    copied.sanity_check()
    return copied


def wire(block: pyrtl.Block, name: str) -> pyrtl.WireVector:
    """The wire of that name, or `PatchError`."""
    found = block.wirevector_by_name.get(name)
    if found is None:
        raise PatchError(f"the netlist has no wire called {name}")
    return found


def driver(block: pyrtl.Block, name: str, through_copies: bool = True) -> pyrtl.LogicNet:
    """The net that computes wire `name` (or, for a register, its next value).

    `through_copies` steps back over plain wire-to-wire nets and the register itself, to the operation proper.
    """
    sources = {dest: net for net in block.logic for dest in net.dests}
    current = wire(block, name)
    while True:
        if current not in sources:
            raise PatchError(f"{name} is not computed by any operation")
        net = sources[current]
        if not (through_copies and net.op in "rw"):
            return net
        current = net.args[0]


def nets_between(block: pyrtl.Block, source: str, sink: str, operation: str) -> list[pyrtl.LogicNet]:
    """Nets of one operation on a combinational path from `source` to `sink`, nearest to the sink first.

    `source` and `sink` are wires or registers (a sink register means its next value), or memories: reads of a source
    memory, write ports of a sink memory.
    """
    sources = {dest: net for net in block.logic for dest in net.dests}
    readers: dict[pyrtl.WireVector, list[pyrtl.LogicNet]] = {}
    for net in block.logic:
        for argument in net.args:
            readers.setdefault(argument, []).append(net)
    forward = {w for net in block.logic if net.op == "m" and net.op_param[1].name == source for w in net.dests}
    if source in block.wirevector_by_name:
        forward.add(wire(block, source))
    pending = list(forward)
    while pending:
        for net in readers.get(pending.pop(), ()):
            fresh = [dest for dest in net.dests if net.op not in "r@" and dest not in forward]
            forward.update(fresh)
            pending += fresh
    ports = [net for net in block.logic if net.op == "@" and net.op_param[1].name == sink]
    layer = [argument for net in ports for argument in net.args]
    if sink in block.wirevector_by_name:
        target = wire(block, sink)
        stored = isinstance(target, pyrtl.Register) and target in sources
        layer.append(sources[target].args[0] if stored else target)
    found: list[pyrtl.LogicNet] = []
    seen = set(layer)
    while layer:  # breadth first, so that distance to the sink orders the result
        following = []
        for net in sorted((sources[w] for w in layer if w in sources), key=lambda net: net.dests[0].name):
            if net.op == "r":
                continue
            if net.op == operation and net not in found and any(a in forward for a in net.args):
                found.append(net)
            for argument in net.args:
                if argument not in seen:
                    seen.add(argument)
                    following.append(argument)
        layer = following
    return found


def replace_net(block: pyrtl.Block, net: pyrtl.LogicNet, operation: str, *arguments: pyrtl.WireVector) -> None:
    """Compute the destination of `net` by another operation.

    Raises:
        PatchError: when `net` is not in the block.
    """
    if net not in block.logic:
        raise PatchError(f"the netlist has no net {net}")
    block.logic.remove(net)
    block.add_net(pyrtl.LogicNet(operation, None, tuple(arguments), net.dests))


def constant(block: pyrtl.Block, value: int, bits: int) -> pyrtl.WireVector:
    """A constant wire in `block`."""
    return pyrtl.Const(value, bits, block=block)


# ---- patches


def tie(name: str, value: int) -> Patch:
    """Wire `name` is stuck at `value` (a register: from the first clock edge on)."""

    def patch(block: pyrtl.Block) -> None:
        net = driver(block, name, through_copies=False)
        fixed = constant(block, value, len(net.dests[0]))
        replace_net(block, net, net.op if net.op == "r" else "w", fixed)

    return patch


def redirect(name: str, source: str) -> Patch:
    """Wire `name` follows wire `source`, of the same width, instead of its own logic."""

    def patch(block: pyrtl.Block) -> None:
        net = driver(block, name, through_copies=False)
        other = wire(block, source)
        if len(other) != len(net.dests[0]):
            raise PatchError(f"{source} is {len(other)} bits wide, {name} is {len(net.dests[0])}")
        replace_net(block, net, net.op if net.op == "r" else "w", other)

    return patch


def reset_to(name: str, value: int) -> Patch:
    """Register `name` starts at `value`."""

    def patch(block: pyrtl.Block) -> None:
        wire(block, name).reset_value = value

    return patch


def invert(name: str) -> Patch:
    """Wire `name` is computed as before and then complemented."""

    def patch(block: pyrtl.Block) -> None:
        net = driver(block, name, through_copies=False)
        source = net.args[0] if net.op in "rw" else pyrtl.WireVector(len(net.dests[0]), block=block)
        if net.op not in "rw":
            block.add_net(pyrtl.LogicNet(net.op, net.op_param, net.args, (source,)))
        flipped = pyrtl.WireVector(len(source), block=block)
        block.add_net(pyrtl.LogicNet("~", None, (source,), (flipped,)))
        replace_net(block, net, net.op if net.op == "r" else "w", flipped)

    return patch


def change_operation(source: str, sink: str, operation: str, replacement: str, which: int = 0) -> Patch:
    """Among the nets of `operation` from `source` to `sink`, number `which` computes `replacement` instead.

    Both must take the same arguments and give the same width: `=` `<` `>`, or `&` `|` `^` `n`, or `+` `-`.
    """

    def patch(block: pyrtl.Block) -> None:
        net = _chosen(block, source, sink, operation, which)
        replace_net(block, net, replacement, *net.args)

    return patch


def swap_arms(source: str, sink: str, which: int = 0) -> Patch:
    """Among the multiplexers from `source` to `sink`, number `which` selects the other way round."""

    def patch(block: pyrtl.Block) -> None:
        net = _chosen(block, source, sink, "x", which)
        replace_net(block, net, "x", net.args[0], net.args[2], net.args[1])

    return patch


def drop_operand(source: str, sink: str, operation: str, operand: int, which: int = 0) -> Patch:
    """Among the nets of `operation` from `source` to `sink`, number `which` ignores argument `operand`.

    A conjunction without one of its conditions, or a multiplexer stuck at one arm (1: condition false, 2: true).
    """

    def patch(block: pyrtl.Block) -> None:
        net = _chosen(block, source, sink, operation, which)
        kept = net.args[3 - operand] if operation == "x" else net.args[1 - operand]
        if len(kept) != len(net.dests[0]):
            raise PatchError(f"{net} cannot do without argument {operand}: widths differ")
        replace_net(block, net, "w", kept)

    return patch


def shift_constant(source: str, sink: str, operation: str, by: int, which: int = 0) -> Patch:
    """Among the nets of `operation` from `source` to `sink` with a constant argument, number `which` is off by `by`."""

    def patch(block: pyrtl.Block) -> None:
        nets = nets_between(block, source, sink, operation)
        nets = [net for net in nets if any(isinstance(argument, pyrtl.Const) for argument in net.args)]
        net = _pick(nets, which, f"{operation} with a constant from {source} to {sink}")
        shifted = [
            constant(block, (a.val + by) % (1 << len(a)), len(a)) if isinstance(a, pyrtl.Const) else a for a in net.args
        ]
        replace_net(block, net, net.op, *shifted)

    return patch


_RANDOM_CHANGES: dict[str, tuple[str, ...]] = {
    "&": ("|", "first", "second", "zero"),
    "|": ("&", "first", "second", "ones"),
    "^": ("|", "first"),
    "~": ("first",),
    "=": ("<", "zero", "ones"),
    "<": (">", "zero", "ones"),
    ">": ("<", "zero", "ones"),
    "+": ("-",),
    "-": ("+",),
    "x": ("swap", "second", "third"),
}


def random_patch(seed: int, sink: str) -> Patch:
    """A pseudo-random bug in the logic that computes `sink` in one cycle (a wire, a register or a memory)."""

    def patch(block: pyrtl.Block) -> None:
        nets = [net for net in sorted(block.logic, key=str) if net.op in _RANDOM_CHANGES]
        cone = _combinational_cone(block, sink)
        nets = [net for net in nets if net.dests[0] in cone]
        generator = random.Random(seed)
        net = _pick(nets, generator.randrange(max(1, len(nets))), f"logic that computes {sink}")
        change, bits = generator.choice(_RANDOM_CHANGES[net.op]), len(net.dests[0])
        places = {"first": 0, "second": 1, "third": 2}
        if change == "swap":
            replace_net(block, net, "x", net.args[0], net.args[2], net.args[1])
        elif change in ("zero", "ones"):
            replace_net(block, net, "w", constant(block, 0 if change == "zero" else (1 << bits) - 1, bits))
        elif change in places:
            replace_net(block, net, "w", net.args[places[change]])
        else:
            replace_net(block, net, change, *net.args)

    return patch


def _combinational_cone(block: pyrtl.Block, sink: str) -> set[pyrtl.WireVector]:
    sources = {dest: net for net in block.logic for dest in net.dests if net.op != "r"}
    ports = [net for net in block.logic if net.op == "@" and net.op_param[1].name == sink]
    ports += [net for net in block.logic if net.op == "r" and net.dests[0].name == sink]
    pending = [argument for net in ports for argument in net.args]
    if not pending:
        pending = [wire(block, sink)]
    cone: set[pyrtl.WireVector] = set()
    while pending:
        current = pending.pop()
        if current not in cone:
            cone.add(current)
            if current in sources:
                pending += sources[current].args
    return cone


def _chosen(block: pyrtl.Block, source: str, sink: str, operation: str, which: int) -> pyrtl.LogicNet:
    return _pick(nets_between(block, source, sink, operation), which, f"{operation} from {source} to {sink}")


def _pick(nets: list[pyrtl.LogicNet], which: int, what: str) -> pyrtl.LogicNet:
    if which >= len(nets):
        raise PatchError(f"only {len(nets)} nets are {what}, number {which} was asked for")
    return nets[which]
