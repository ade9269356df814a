"""Random instructions for the tests of this directory."""

from __future__ import annotations

from hypothesis import strategies as st

from isa.instructions import INSTRUCTIONS, Instruction


def of_kind(kind: type[Instruction]) -> st.SearchStrategy[Instruction]:
    """Instructions of one class, every field anywhere in its range."""
    fields = {field.name: st.integers(field.lowest, field.highest) for field in kind.layout()}
    return st.builds(kind, **fields)


instructions = st.one_of([of_kind(kind) for kind in INSTRUCTIONS])
