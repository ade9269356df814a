"""What the compiler raises; every message is one paragraph: what is wrong, where, and what to do."""

from __future__ import annotations


class CompileError(ValueError):
    """A network that cannot be compiled: names the node or argument and what to do about it."""


class PackageError(ValueError):
    """A package file that is truncated, altered or made for something else."""
