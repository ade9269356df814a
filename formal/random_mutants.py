"""Random bugs of the shell: one net of the netlist, drawn uniformly, computes something else.

`python -m formal.random_mutants --count 30 --seed 1 --output FILE` judges mutants one by one and appends each verdict
to FILE, one JSON object a line; started again it goes on where it was interrupted. Verdicts:

- KILLED: a run from reset keeps the assumptions, violates a theorem and replays on PyRTL's simulator;
- EQUIVALENT: every output, and the next value of every register and memory word, is the same function of state and
  inputs, as CaDiCaL says;
- OPEN: neither was shown.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pyrtl
from rich.progress import track

from formal.certificate import write_differences
from formal.mutants import MUTANT_POOL
from formal.mutation import Patch, constant, mutated, replace_net
from formal.refute import explore
from formal.second_engine import never_differ
from formal.shell import shell_block
from formal.theorems import NAMES, theorem
from formal.trace import replay

_CHANGES: dict[str, tuple[str, ...]] = {
    "&": ("|", "first", "second", "zero"),
    "|": ("&", "first", "second", "ones"),
    "^": ("|", "first"),
    "~": ("first",),
    "=": ("<", "zero", "ones", "off by one"),
    "<": (">", "zero", "ones", "off by one"),
    ">": ("<", "zero", "ones", "off by one"),
    "+": ("-", "off by one"),
    "-": ("+", "off by one"),
    "x": ("swap", "second", "third"),
    "r": ("stuck bit",),
}
_PLACES = {"first": 0, "second": 1, "third": 2}


@dataclass(frozen=True)
class Judged:
    """What became of a mutant; `theorem` is the one that its run violates, `claim` the property."""

    seed: int
    change: str
    verdict: str
    theorem: str
    claim: str
    seconds: float


def draw(block: pyrtl.Block, seed: int) -> tuple[str, Patch]:
    """A bug in words, and the patch that makes it; every net that can be changed is as likely as any other."""
    generator = random.Random(f"mutant {seed}")
    candidates = sorted((net for net in block.logic if net.op in _CHANGES), key=_creation)
    chosen = generator.choice(candidates)
    changes = list(_CHANGES[chosen.op])
    if "off by one" in changes and not any(isinstance(a, pyrtl.Const) for a in chosen.args):
        changes.remove("off by one")
    change, stuck = generator.choice(changes), generator.randrange(len(chosen.dests[0]))
    text = str(chosen)

    def patch(copied: pyrtl.Block) -> None:
        net = next(net for net in copied.logic if net.op == chosen.op and str(net) == text)
        bits = len(net.dests[0])
        if change in ("zero", "ones"):
            replace_net(copied, net, "w", constant(copied, 0 if change == "zero" else (1 << bits) - 1, bits))
        elif change == "swap":
            replace_net(copied, net, "x", net.args[0], net.args[2], net.args[1])
        elif change == "off by one":
            shifted = [
                constant(copied, (a.val + 1) % (1 << len(a)), len(a)) if isinstance(a, pyrtl.Const) else a
                for a in net.args
            ]
            replace_net(copied, net, net.op, *shifted)
        elif change == "stuck bit":
            masked = pyrtl.WireVector(bits, block=copied)
            mask = constant(copied, ((1 << bits) - 1) ^ (1 << stuck), bits)
            copied.add_net(pyrtl.LogicNet("&", None, (net.args[0], mask), (masked,)))
            replace_net(copied, net, "r", masked)
        elif change in _PLACES:
            replace_net(copied, net, "w", net.args[_PLACES[change]])
        else:
            replace_net(copied, net, change, *net.args)

    return f"{text.strip()}: {change}{f' {stuck}' if change == 'stuck bit' else ''}", patch


def _creation(net: pyrtl.LogicNet) -> tuple[int, str]:
    """Wires with names of their own first, then temporary ones, which count up from an arbitrary number."""
    name = net.dests[0].name
    number = name.removeprefix("tmp")
    return (1 + int(number), "") if number.isdigit() and number != name else (0, name)


def judge(seed: int) -> Judged:
    """Draw a mutant and judge it.

    Raises:
        ReplayError: when `pyrtl.Simulation` does not show what the search found.
    """
    started = time.monotonic()
    original = shell_block(MUTANT_POOL)
    change, patch = draw(original, seed)
    verdict, name, claim = compare(original, mutated(original, patch))
    return Judged(seed, change, verdict, name, claim, round(time.monotonic() - started, 1))


def compare(original: pyrtl.Block, block: pyrtl.Block, runs: int = 2, cycles: int = 1500) -> tuple[str, str, str]:
    """Look for a run that kills `block`, theorem by theorem, else for a proof that it is `original`.

    Returns:
        The verdict; when killed, the theorem's name and the property that the run violates, else empty strings.
    """
    problems = {name: theorem(name).problem(MUTANT_POOL, block, over_approximate=False) for name in NAMES}
    for run in range(runs):
        for name, problem in problems.items():
            trace = explore(problem, 1, cycles, 1 + run, keep_samples=False).violation
            if trace is not None:
                replay(problem.system.block, problem, trace)
                return "KILLED", name, trace.claim
    with tempfile.TemporaryDirectory() as directory:
        same = never_differ(write_differences(original, block, Path(directory)))
    return ("EQUIVALENT" if same else "OPEN"), "", ""


def judged_so_far(path: Path) -> dict[int, Judged]:
    """Verdicts in a file, by seed; a last line that was cut off is left out."""
    found: dict[int, Judged] = {}
    for line in path.read_text().splitlines(keepends=True) if path.exists() else ():
        if line.endswith("\n"):
            verdict = Judged(**json.loads(line))
            found[verdict.seed] = verdict
    return found


def sample(count: int, seed: int, path: Path) -> Iterator[Judged]:
    """Judge mutants `seed` to `seed + count - 1`, those in the file already from there."""
    known = judged_so_far(path)
    if path.exists():
        path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in known.values()))
    for number in range(seed, seed + count):
        if number not in known:
            known[number] = judge(number)
            with path.open("a") as file:
                file.write(json.dumps(asdict(known[number])) + "\n")
        yield known[number]


def main() -> None:
    """Judge a sample and print how many got which verdict."""
    parser = argparse.ArgumentParser(description="Judge random bugs of the shell.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    chosen = parser.parse_args()
    verdicts = list(track(sample(chosen.count, chosen.seed, chosen.output), "mutants", total=chosen.count))
    for each in verdicts:
        if each.verdict == "OPEN":
            print(f"open: {each.seed}: {each.change}")
    counts = Counter(each.verdict for each in verdicts)
    judged = len(verdicts) - counts["EQUIVALENT"]
    print(", ".join(f"{name} {number}" for name, number in sorted(counts.items())))
    if judged:
        print(f"score {counts['KILLED'] / judged:.3f} of {judged}")


if __name__ == "__main__":
    main()
