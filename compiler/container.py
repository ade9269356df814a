"""The package file: magic, version, lengths, SHA-256, a JSON header, and bytes that the header refers to.

| bytes | what |
|---|---|
| 8 | magic `TENUREFP` |
| 4 + 4 | version, length of the header (little-endian) |
| 8 | length of the bytes behind the header |
| 32 | SHA-256 of header and bytes |
| ... | header (JSON, UTF-8), then the bytes: static part of the window, host models |

Whoever reads checks all of it before use: a truncated or altered file is a PackageError, and what the header claims
is checked against the pool's sizes and the window.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import tempfile
from pathlib import Path
from typing import Any

from compiler.errors import PackageError
from compiler.layout import Fold, TensorPlacement
from compiler.package import Frame, HostSegment, LayerRecord, NetworkValue, Package, Stage
from isa.configuration import ConfigurationError, PoolConfig
from isa.instructions import WORD_BYTES

MAGIC = b"TENUREFP"
VERSION = 1
_PREFIX = struct.Struct("<8sIIQ32s")


def write_package(package: Package, path: Path) -> None:
    """Write atomically: a temporary file in the same directory, then a rename. Raises OSError."""
    blob = bytearray()

    def stored(content: bytes) -> list[int]:
        blob.extend(content)
        return [len(blob) - len(content), len(content)]

    header = _header(package, stored(package.static), [stored(segment.model) for segment in package.segments])
    text = json.dumps(header, separators=(",", ":")).encode()
    digest = hashlib.sha256(text + blob).digest()
    content = _PREFIX.pack(MAGIC, VERSION, len(text), len(blob), digest) + text + bytes(blob)
    handle, temporary = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_package(path: Path) -> Package:
    """Read and check a package file. Raises PackageError, one paragraph, for anything but an intact one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise PackageError(f"cannot read package {path}: {error.strerror or error}") from None
    header, blob = _checked_parts(content, path)
    try:
        package = _package(header, blob)
        _check(package)
    except (KeyError, TypeError, ValueError, IndexError, ConfigurationError) as error:
        raise PackageError(
            f"package {path} contradicts itself ({error}): it was written by another version or altered; compile the "
            "network again"
        ) from None
    return package


def _checked_parts(content: bytes, path: Path) -> tuple[dict[str, Any], bytes]:
    """Header and bytes, once magic, version, lengths and checksum are right."""
    if len(content) < _PREFIX.size or not content.startswith(MAGIC):
        raise PackageError(f"{path} is no package: it does not begin as one; `tenure compile` writes packages (.ifp)")
    _, version, header_length, blob_length, digest = _PREFIX.unpack_from(content)
    if version != VERSION:
        raise PackageError(
            f"package {path} has format version {version}, this release reads {VERSION}; compile the network again"
        )
    expected = _PREFIX.size + header_length + blob_length
    if len(content) != expected:
        what = "truncated" if len(content) < expected else "too long"
        raise PackageError(
            f"package {path} is {what}: {len(content)} bytes instead of {expected}; copy or compile it again"
        )
    body = content[_PREFIX.size :]
    if hashlib.sha256(body).digest() != digest:
        raise PackageError(f"package {path} is damaged: its checksum does not match; copy or compile it again")
    try:
        header = json.loads(body[:header_length])
    except ValueError as error:
        raise PackageError(f"package {path} has an unreadable header ({error}); compile the network again") from None
    if not isinstance(header, dict):
        raise PackageError(f"package {path} has no header; compile the network again")
    return header, body[header_length:]


# --- header ----------------------------------------------------------------------------------------------------


def _header(package: Package, static: list[int], models: list[list[int]]) -> dict[str, Any]:
    return {
        "name": package.name,
        "pool": dict(package.pool),
        "fuse": package.fuse,
        "tensors": [dataclasses.asdict(tensor) for tensor in package.tensors],
        "layers": [
            {
                "name": layer.name,
                "operation": layer.operation,
                "macs": layer.macs,
                "output": layer.output,
                "frames": [dataclasses.asdict(frame) for frame in layer.frames.values()],
            }
            for layer in package.layers
        ],
        "stages": [dataclasses.asdict(stage) for stage in package.stages],
        "segments": [
            {"model": model, "inputs": segment.inputs, "outputs": segment.outputs}
            for model, segment in zip(models, package.segments, strict=True)
        ],
        "inputs": [dataclasses.asdict(value) for value in package.inputs],
        "outputs": [dataclasses.asdict(value) for value in package.outputs],
        "explanations": package.explanations,
        "prologues": list(package.prologues.items()),
        "epilogues": list(package.epilogues.items()),
        "program_words": package.program_words,
        "window_bytes": package.window_bytes,
        "static": static,
        "network_digest": package.network_digest,
    }


def _package(header: dict[str, Any], blob: bytes) -> Package:
    def stored(span: list[int]) -> bytes:
        first, length = _count(span[0]), _count(span[1])
        if first + length > len(blob):
            raise ValueError(f"bytes {first}..{first + length} are beyond its end")
        return blob[first : first + length]

    return Package(
        name=_text(header["name"]),
        pool=dataclasses.asdict(PoolConfig(**header["pool"])),
        fuse=bool(header["fuse"]),
        tensors=tuple(_tensor(entry) for entry in header["tensors"]),
        layers=tuple(_layer(entry) for entry in header["layers"]),
        stages=tuple(Stage(_count(entry["first_layer"]), _count(entry["end_layer"])) for entry in header["stages"]),
        segments=tuple(
            HostSegment(stored(entry["model"]), _texts(entry["inputs"]), _texts(entry["outputs"]))
            for entry in header["segments"]
        ),
        inputs=tuple(_value(entry) for entry in header["inputs"]),
        outputs=tuple(_value(entry) for entry in header["outputs"]),
        explanations=_texts(header["explanations"]),
        prologues={_count(cores): _count(word) for cores, word in header["prologues"]},
        epilogues={_count(cores): _count(word) for cores, word in header["epilogues"]},
        program_words=_count(header["program_words"]),
        window_bytes=_count(header["window_bytes"]),
        static=stored(header["static"]),
        network_digest=_text(header["network_digest"]),
    )


def _tensor(entry: dict[str, Any]) -> TensorPlacement:
    channels, rows, columns = (_count(size) for size in entry["dimensions"])
    return TensorPlacement(
        name=_text(entry["name"]),
        shape=tuple(_count(size) for size in entry["shape"]),
        dimensions=(channels, rows, columns),
        scale=float(entry["scale"]),
        zero_point=int(entry["zero_point"]),
        offset=_count(entry["offset"]),
        array=_count(entry["array"]),
        layer=_count(entry["layer"] + 1) - 1,
        stage=_count(entry["stage"]),
        fold=_fold(entry["fold"]),
    )


def _fold(entry: dict[str, Any] | None) -> Fold | None:
    if entry is None:
        return None
    pairs = {name: (_count(pair[0]), _count(pair[1])) for name, pair in entry.items() if name != "pad_value"}
    return Fold(**pairs, pad_value=int(entry["pad_value"]))


def _layer(entry: dict[str, Any]) -> LayerRecord:
    frames = [
        Frame(
            cores=_count(frame["cores"]),
            word=_count(frame["word"]),
            words=_count(frame["words"]),
            cycles=_count(frame["cycles"]),
            tiles=tuple((_count(core), _count(cycles)) for core, cycles in frame["tiles"]),
        )
        for frame in entry["frames"]
    ]
    return LayerRecord(
        name=_text(entry["name"]),
        operation=_text(entry["operation"]),
        macs=_count(entry["macs"]),
        output=_text(entry["output"]),
        frames={frame.cores: frame for frame in frames},
    )


def _value(entry: dict[str, Any]) -> NetworkValue:
    return NetworkValue(_text(entry["name"]), tuple(_count(size) for size in entry["shape"]), _text(entry["dtype"]))


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} where a count stands")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} where a text stands")
    return value


def _texts(values: list[object]) -> tuple[str, ...]:
    return tuple(_text(value) for value in values)


# --- consistency -----------------------------------------------------------------------------------------------


def _check(package: Package) -> None:
    """Every offset lies where it should. Raises ValueError."""
    config = PoolConfig(**package.pool)
    words, granule = len(package.static) // WORD_BYTES, config.beat_bytes * config.fetch_beats
    _require(package.window_bytes % granule == 0, "the window is no multiple of the fetch granule")
    _require(len(package.static) <= package.window_bytes <= config.memory_bytes, "the window does not fit")
    _require(package.program_words <= words, "the program does not fit")
    counts = set(package.prologues)
    _require(counts and counts == set(package.epilogues), "prologues and epilogues differ")
    _require(all(1 <= cores <= config.cores for cores in counts), "a core count is beyond the pool")
    for word in (*package.prologues.values(), *package.epilogues.values()):
        _require(package.program_words <= word < words, "a prologue lies outside the static part")
    for layer in package.layers:
        _require(set(layer.frames) == counts, f"layer {layer.name!r} lacks frames")
        for frame in layer.frames.values():
            inside = package.program_words <= frame.word and frame.word + frame.words <= words
            _require(inside, f"a frame of layer {layer.name!r} lies outside the static part")
    first = 0
    for stage in package.stages:
        _require(stage.first_layer == first < stage.end_layer, "the stages do not follow one another")
        first = stage.end_layer
    _require(first == len(package.layers), "the stages do not cover the layers")
    _require(len(package.segments) == len(package.stages) + 1, "segments and stages do not alternate")
    for tensor in package.tensors:
        _require(tensor.array == config.array, f"tensor {tensor.name!r} has vectors of another pool")
        elements = 1
        for size in tensor.shape:
            elements *= size
        _require(elements == tensor.elements, f"shapes of tensor {tensor.name!r} differ")
        inside = len(package.static) <= tensor.offset and tensor.offset + tensor.byte_count <= package.window_bytes
        _require(inside and tensor.layer < len(package.layers), f"tensor {tensor.name!r} lies outside the window")
        _require(tensor.stage < len(package.stages), f"tensor {tensor.name!r} belongs to no stage")


def _require(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(what)
