"""Seeded bugs of compiled packages: words of a frame changed in place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

import onnx

from compiler.compile import compile_model
from compiler.package import Package
from formal.package_check import contradictions
from formal.theorems.a_package_means_the_same_in_every_run import NETWORKS
from isa.configuration import NAMED_POOLS
from isa.encoding import decode_program, encode_program
from isa.instructions import WORD_BYTES, Conv, Instruction, Load, Save

Change = Callable[[list[Instruction]], Sequence[Instruction]]
_POOL, _NETWORK, _CORES, _LAYER = NAMED_POOLS["small"], NETWORKS / "resnet8.int8.onnx", 2, 1
"""The second layer of this network, on two cores."""


@cache
def _package() -> Package:
    return compile_model(_NETWORK, _POOL, [_CORES])


def broken(change: Change, layer: int = _LAYER) -> list[str]:
    """What is found when the instructions of a frame are changed; their number stays."""
    return contradictions(_changed(_package(), change, layer), onnx.load(_NETWORK))


def _changed(package: Package, change: Change, layer: int) -> Package:
    frame = package.layers[layer].frames[_CORES]
    place = slice(frame.word * WORD_BYTES, (frame.word + frame.words) * WORD_BYTES)
    words = encode_program(change(decode_program(package.static[place])))
    return replace(package, static=package.static[: place.start] + words + package.static[place.stop :])


def first(kind: type[Instruction], **fields: int) -> Change:
    """Fields of the first instruction of a kind in which any of them is something else."""

    def change(instructions: list[Instruction]) -> list[Instruction]:
        for place, each in enumerate(instructions):
            if isinstance(each, kind) and any(getattr(each, name) != value for name, value in fields.items()):
                return [*instructions[:place], replace(each, **fields), *instructions[place + 1 :]]
        raise AssertionError(f"the frame has no {kind.__name__} to change")

    return change


def without_token(giver: type[Instruction], post: str, taker: type[Instruction], wait: str) -> Change:
    """One token less on an edge: neither given nor taken."""

    def change(instructions: list[Instruction]) -> Sequence[Instruction]:
        return first(taker, **{wait: 0})(list(first(giver, **{post: 0})(instructions)))

    return change


def moved_save(vectors: int) -> Change:
    """The first SAVE goes elsewhere."""

    def change(instructions: list[Instruction]) -> list[Instruction]:
        place = next(place for place, each in enumerate(instructions) if isinstance(each, Save))
        save = instructions[place]
        assert isinstance(save, Save)
        moved = replace(save, address=save.address + vectors)
        return [*instructions[:place], moved, *instructions[place + 1 :]]

    return change


def waits_for_its_own_use(instructions: list[Instruction]) -> Sequence[Instruction]:
    """The first LOAD of features waits for the CONV that needs it."""
    place = next(p for p, each in enumerate(instructions) if isinstance(each, Load) and not each.wait_compute)
    load = instructions[place]
    assert isinstance(load, Load)
    changed = [*instructions[:place], replace(load, wait_compute=1), *instructions[place + 1 :]]
    return first(Conv, post_load=1)(changed)


def on_top_of_a_live_tensor() -> list[str]:
    """Layer 3's output lies on top of its own input, which layer 4 still needs; its readers know the place."""
    package = _package()
    live, moved = (package.tensor(package.layers[layer].output) for layer in (2, 3))
    shift = (live.offset - moved.offset) // _POOL.array
    own = range(moved.offset // _POOL.array, moved.offset // _POOL.array + moved.vectors)

    def move(instructions: list[Instruction]) -> list[Instruction]:
        return [
            replace(each, address=each.address + shift)
            if isinstance(each, Load | Save) and each.address in own
            else each
            for each in instructions
        ]

    for layer in (3, 5):
        package = _changed(package, move, layer)
    tensors = tuple(replace(t, offset=live.offset) if t.name == moved.name else t for t in package.tensors)
    return contradictions(replace(package, tensors=tensors), onnx.load(_NETWORK))
