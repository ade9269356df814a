"""The static compiler from end to end: an ONNX network to a package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import onnx

from compiler.errors import CompileError
from compiler.package import Package
from isa.configuration import PoolConfig

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and what is being done."""


def compile_model(
    model: str | Path | onnx.ModelProto,
    config: PoolConfig,
    core_counts: Sequence[int] | None = None,
    fuse: bool = True,
    progress: Progress | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> Package:
    """Compile an int8 QOperator network for 1..config.cores cores (or those in `core_counts`).

    `fuse=False` keeps every intermediate tensor in memory, so that each can be checked. `shapes` fixes dynamic
    input shapes by name. Raises CompileError, one paragraph, when the network cannot be compiled.
    """
    raise CompileError(f"{model}: the compiler is not complete yet")
