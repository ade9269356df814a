"""Which registers, memories and inputs claims depend on."""

from __future__ import annotations

from collections.abc import Sequence

from formal.logic import INTEGER_LOGIC
from formal.problem import Candidate, Claim, Problem, View


class Supports:
    """Sets of variables as bits, those of the copies side by side. `of` has those of each hypothesis."""

    def __init__(self, problem: Problem, hypotheses: Sequence[Candidate | Claim]) -> None:
        """Evaluate each hypothesis once over integers, and record what it reads."""
        self._system = system = problem.system
        self._next = {name: system.next_support(name) for name in (*system.registers, *system.memories)}
        self._after: dict[str, int] = {}
        zeros = [dict.fromkeys(system.inputs, 0)] * problem.copies
        reset = [system.reset_state()] * problem.copies
        view = problem.concrete_view(reset, zeros, dict.fromkeys(problem.symbols, 0))
        self.of: list[int] = []
        for hypothesis in hypotheses:
            for frame in view.frames:
                frame.touched.clear()
            hypothesis.formula(INTEGER_LOGIC, view)
            self.of.append(self.read(view, after=False))

    def read(self, view: View, after: bool) -> int:
        """The variables behind everything that the frames of `view` recorded.

        Args:
            view: what a claim was evaluated on.
            after: the view is of the state after the step; else of the cycle itself.

        Raises:
            ValueError: when a claim about the state after the step reads something that depends on an input.
        """
        total, count = 0, len(self._system.leaves)
        for copy, frame in enumerate(view.frames):
            for name, is_next in frame.touched:
                if is_next:
                    bits = self._next[name]
                else:
                    bits = self._support_after(name) if after else self._system.support(name)
                total |= bits << (copy * count)
        return total

    def _support_after(self, name: str) -> int:
        if name not in self._after:
            system, total = self._system, 0
            for leaf in system.support_names(system.support(name)):
                if leaf in system.inputs:
                    raise ValueError(f"an invariant reads {name}, which depends on input {leaf}")
                total |= self._next[leaf]
            self._after[name] = total
        return self._after[name]
