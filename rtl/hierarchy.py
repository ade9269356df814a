"""Which function made what: the hierarchy of the exported Verilog, noted down while a netlist is built.

A function that is a hardware module is decorated with `hardware`. In a `RecordingBlock` all nets that it makes belong
to its *part*, and the wires in its arguments and results are known there by their names. In any other block, as for
simulation and proofs, the decorator does nothing; the netlist is the same one in both.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import pyrtl
from pyrtl import LogicNet, MemBlock, WireVector
from pyrtl.wire import current_name_prefix

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclasses.dataclass(eq=False)
class Part:
    """What one call of a module's function made, or several calls that are merged."""

    module: str
    """The function's name, or the one given to its decorator."""
    instance: str
    origin: str
    """`function` in `file`, as a comment says it."""
    summary: str
    """First sentences of the docstrings of the file and of the function."""
    prefix: str
    """Of PyRTL's names in this part."""
    parent: Part | None = None
    merged: bool = False
    variant: str = ""
    """What tells it from other modules of that name, such as its size."""
    parts: list[Part] = dataclasses.field(default_factory=list)
    nets: list[LogicNet] = dataclasses.field(default_factory=list)
    """In the order in which they were made."""
    interface: dict[WireVector | MemBlock, str] = dataclasses.field(default_factory=dict)
    """Wires in arguments and results, by the path that leads there: argument `events`, field `start`: events_start."""
    variables: dict[WireVector | MemBlock, str] = dataclasses.field(default_factory=dict)
    """Wires in local variables of the function, and of others in its file that it calls, in the same way."""

    def part(self, module: str, instance: str, function: Callable[..., Any], prefix: str, merged: bool) -> Part:
        """A new part of this one, or the one that merges with it; the top itself, if it has that name."""
        if self.parent is None and self.module == module and not self.origin:
            self.origin, self.summary = _origin(function), _summary(function)
            return self
        for part in self.parts:
            if merged and part.merged and part.module == module:
                if _origin(function) not in part.origin:
                    part.origin += f", {_origin(function)}"
                return part
        self.parts.append(Part(module, instance, _origin(function), _summary(function), prefix, self, merged))
        return self.parts[-1]

    def learn(self, value: Any, path: str) -> None:
        """Note the names of all wires in an argument or result."""
        for name, wire in _wires(value, path):
            self.interface.setdefault(wire, name)

    @contextmanager
    def watching(self, function: Callable[..., Any]) -> Iterator[None]:
        """Note local variables of the function, and of others in its file: names of outer ones win, and first ones."""
        file = inspect.getsourcefile(function)

        def noted(frame: FrameType, event: str, _: Any) -> Any:
            for variable, value in reversed(frame.f_locals.items()):
                if event == "return":
                    self.variables |= {wire: name for name, wire in _wires(value, variable)}
                elif isinstance(value, WireVector):
                    self.variables.setdefault(value, variable)
            return noted

        def called(frame: FrameType, _event: str, _: Any) -> Any:
            return noted if frame.f_code.co_filename == file else None

        before = sys.gettrace()
        sys.settrace(called)
        try:
            yield
        finally:
            sys.settrace(before)


def _origin(function: Callable[..., Any]) -> str:
    path = Path(inspect.getsourcefile(function) or "")
    return f"{function.__qualname__} in {path.parent.name}/{path.name}"


def _summary(function: Callable[..., Any]) -> str:
    return f"{_first_sentence(inspect.getmodule(function))} {_first_sentence(function)}"


def _first_sentence(documented: Any) -> str:
    paragraph = " ".join((inspect.getdoc(documented) or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].removesuffix(".").removesuffix(":") + "."


def _wires(value: Any, path: str) -> Iterator[tuple[str, WireVector | MemBlock]]:
    if isinstance(value, WireVector | MemBlock):
        if not isinstance(value, pyrtl.Const):
            yield path, value
        return
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items: Any = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    elif isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return
    for key, item in items:
        name = getattr(key, "name", key)
        yield from _wires(item, f"{path}_{str(name).lower()}".strip("_"))


class RecordingBlock(pyrtl.Block):  # type: ignore[misc]  # PyRTL has no types
    """A block that knows the part of each of its nets, below the module `name`.

    The nets of a memory are all where the first one is.
    """

    def __init__(self, name: str = "top") -> None:  # PyRTL makes copies without an argument
        super().__init__()
        self.top = Part(name, name, "", "", "")
        self.current = self.top
        self._owners: dict[WireVector | MemBlock, Part] = {}

    def add_net(self, net: LogicNet) -> None:
        super().add_net(net)
        owner = net.op_param[1] if net.op in "m@" else net.dests[0]
        part = self._owners.setdefault(owner, self.current)  # a net that replaces another one takes its place
        part.nets.append(net)

    @contextmanager
    def inside(self, part: Part) -> Iterator[None]:
        """What is made here belongs to `part`."""
        before, self.current = self.current, part
        try:
            yield
        finally:
            self.current = before


def hardware(
    module: str = "", *, instance: str = "", merged: bool = False
) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Decorates a function that makes a hardware module.

    Args:
        module: its name, if it is not the function's.
        instance: names an instance, from the call's arguments in braces; without it that is the name scope that was
            opened around the call, or else the module's name.
        merged: calls from one part make one instance; functions of equal `module` share it.
    """

    def decorator(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        name = module or function.__name__
        signature = inspect.signature(function)

        @functools.wraps(function)
        def build(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            block = pyrtl.working_block()
            if not isinstance(block, RecordingBlock):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            prefix = current_name_prefix()
            scope = prefix.removeprefix(block.current.prefix).strip("/").replace("/", "_")
            here = instance.format(**bound.arguments) if instance else name if merged else scope or name
            part = block.current.part(name, here, function, prefix, merged)
            for argument, value in bound.arguments.items():
                part.learn(value, argument)
            with block.inside(part), part.watching(function):
                result = function(*args, **kwargs)
            part.learn(result, "" if dataclasses.is_dataclass(result) or isinstance(result, Mapping) else name)
            return result

        return build

    return decorator


class OpenPart:
    """A part that is made in several steps, as a memory is: its write port here, its read port there."""

    def __init__(self, module: str, instance: str, variant: str, function: Callable[..., Any]) -> None:
        block = pyrtl.working_block()
        self._part: Part | None = None
        if isinstance(block, RecordingBlock):
            self._part = block.current.part(module, instance, function, current_name_prefix(), merged=False)
            self._part.variant = variant

    @contextmanager
    def inside(self, **wires: WireVector | MemBlock) -> Iterator[None]:
        """What is made here belongs to the part, which knows these wires by these names."""
        block = pyrtl.working_block()
        if self._part is None or not isinstance(block, RecordingBlock):
            yield
            return
        self.learn(**wires)
        with block.inside(self._part):
            yield

    def learn(self, **wires: WireVector | MemBlock) -> None:
        """Note names of wires."""
        if self._part is not None:
            for name, wire in wires.items():
                self._part.learn(wire, name)
