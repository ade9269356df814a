"""docs/theorems.md, made from the theorem files: `python -m formal.reference [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from formal.check_mutants import CHECK_MUTANTS
from formal.isolation_mutants import ISOLATION_MUTANTS
from formal.mutants import MUTANTS
from formal.shell import shell_block
from formal.theorems import CHECKS, NAMES, check, theorem
from isa.configuration import NAMED_POOLS

PAGE = Path(__file__).parent.parent / "docs" / "theorems.md"

INTRODUCTION = """# The theorems

Made by `python -m formal.reference` from the files in `formal/theorems/`: a file's name is the sentence, its docstring
the statement.

The first ones are about the netlist that PyRTL emits for the shell, the one that is simulated and exported, with
*free cores*: at the ports of the cores anything may come, so what is proved holds for any core. All are unbounded in
time: an invariant holds after reset, is kept by every clock edge and implies the statement. Glucose decides each query,
or CaDiCaL where it does not; a query that both give up on fails the proof. For each theorem a cover shows that what it
speaks of happens at all. Behind them come the theorems and lemmas about the real core, the instruction set, the numbers
(these rest on Z3) and compiled packages.

    tenure prove ownership delivery --pool small       # some, or all without names
    tenure prove --explain                             # first say in words what is proved
    tenure prove --bug arbiter --vcd DIR               # what a refutation looks like, with both runs as waveforms
    tenure prove --bug all                             # every seeded bug, by the theorem that has to refute it
    tenure prove --mutants 200 --output FILE           # random bugs: who notices, theorems or functional test?
    tenure prove compilation --package MODEL.ifp       # of a package of one's own
    python -m formal.float32_comparison --samples 100000000     # the numbers once more, against numpy's float32
"""

HOLES = """## Proof holes

What lies outside, and has to be trusted or tested:

- **The composition** (L7) is over one abstract step: that the claims which `formal/composition.py` names say what its
  premises say is for a reader to check; that they are there, proved, and that nothing else is assumed, is checked.
- **Compilation** is proved for each package that is looked at, not for the compiler; that the layers in a package are
  those of the network is tested, byte for byte against ONNX Runtime.
- **Sequencing in a core**: which instruction does what in which order, and what the line buffers of a depthwise CONV
  hold, is tested, byte for byte and cycle for cycle, not proved; proved are decoding, the multiply-accumulate step and
  the numbers that leave it.
- **What the host decides**: a command about A that is refused because a core is not FREE or a window is taken tells
  A's owner of others. The host brings it about, no tenant (`independence`).
- **The memory behind the channels**: refresh, row conflicts, what it held before a window was first attached.
- **Clock, power, temperature**, and everything else that no netlist shows.
- **The host's own choices**: when it pauses, places, polls.
- **The tools**: PyRTL's netlist, Z3, Glucose, CaDiCaL, the translators to their languages (co-simulated against
  PyRTL's simulator in `tests/formal`), and what is concluded from one bit of a word about the others
  (`formal/renaming.py`), which the second engine does not do; of the theorems about the shell a second engine that
  shares no translator checks the invariants (`tenure prove --certify`), with an older release of CaDiCaL. Theorems that
  rest on another one's invariants have them in their certificates, too.
"""


def page() -> str:
    """The text of docs/theorems.md."""
    bugs: dict[str, list[str]] = {}
    for name, sentence, wrong in [(m.name, m.theorem, m.wrong) for m in MUTANTS] + [
        (m.name, m.theorem, m.wrong) for m in ISOLATION_MUTANTS
    ]:
        bugs.setdefault(sentence, []).append(f"- `{name}`: {wrong}.")
    parts = [INTRODUCTION]
    config = NAMED_POOLS["tiny"]
    block = shell_block(config)
    for short, sentence in NAMES.items():
        stated = theorem(short)
        parts.append(f"## {short}: `{sentence}`\n\n{stated.statement}\n")
        assumptions = "\n".join(f"- {assumption}" for assumption in stated.assumptions) or "- none"
        parts.append(f"Assumptions:\n\n{assumptions}\n")
        covers = _listed(f"{cover.name}." for cover in stated.problem(config, block).covers)
        parts.append(f"Not vacuous: runs under all assumptions reach, each in every proof:\n\n{covers}\n")
        if stated.premises:
            parts.append(f"Rests on the invariants of: {', '.join(stated.premises)}.\n")
        parts.append(
            "Seeded bugs that it refutes, each with a run that PyRTL replays:\n\n" + "\n".join(bugs[sentence]) + "\n"
        )
    parts += [_of_check(short) for short in CHECKS]
    return "\n".join([*parts, HOLES])


def _of_check(short: str) -> str:
    """The section of a theorem or lemma that is no statement about runs of the shell."""
    stated = check(short)
    lines = [f"## {short}: `{CHECKS[short]}`\n\n{stated.statement}\n"]
    lines += [f"Assumptions:\n\n{_listed(stated.assumptions) or '- none'}\n"]
    if stated.premises:
        lines += [f"Rests on: {', '.join(stated.premises)}.\n"]
    bugs = _listed(f"`{mutant.name}`: {mutant.wrong}." for mutant in CHECK_MUTANTS if mutant.refuted_by == short)
    lines += [f"Seeded bugs that it refutes:\n\n{bugs}\n"] if bugs else []
    return "\n".join(lines)


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def main() -> int:
    """Write the page, or with --check say whether it is stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 when the page is stale")
    wanted = page()
    if parser.parse_args().check:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
            return 0
        print(f"{PAGE.name} is stale: run python -m formal.reference", file=sys.stderr)
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
