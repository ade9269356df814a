"""Random bugs of the shell: one net of the netlist, drawn uniformly, computes something else; and their verdicts.

- KILLED: a run from reset keeps the assumptions, violates a theorem and replays on PyRTL's simulator;
- EQUIVALENT: outputs, and the next value of every register and memory word, are the same functions of state and
  inputs, in every state in which the invariants of the theorems hold;
- BLIND: all theorems about the shell are still proved;
- OPEN: none of these was shown.

A mutant is *felt* by tenants when the changed net can, sooner or later, influence an output that a tenant sees; of the
others, isolation has nothing to say. `tenure prove --mutants N` runs all of this.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import pyrtl

from formal.campaign import processors
from formal.influence import felt_by_tenants, is_equivalent
from formal.judgement import Judgement, judged
from formal.mutation import Patch, constant, mutated, replace_net
from formal.recording import Recording
from formal.shell import shell_block
from isa.configuration import PoolConfig

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
_EQUAL_SECONDS = 10.0
_PLACES = {"first": 0, "second": 1, "third": 2}


@dataclass(frozen=True)
class Judged:
    """What became of a mutant.

    Attributes:
        change: the net, and what it computes instead.
        felt: whether isolation has anything to say of it.
        verdict, theorem, claim: see above; of one that is KILLED the theorem and the property that a run violates, of
            one that is OPEN the theorems whose proofs fail.
        shown: what a recorded run of the whole pool shows first of one that is BLIND or OPEN; empty: nothing.
        seconds: how long that took.
    """

    seed: int
    change: str
    felt: bool
    verdict: str
    theorem: str
    claim: str
    shown: str
    seconds: float

    @property
    def survives(self) -> bool:
        """Tenants may feel it, and nobody notices: all is still proved, and the recorded run does not show it."""
        return self.verdict == "BLIND" and self.felt and not self.shown


@dataclass(frozen=True)
class Drawn:
    """A bug in words, the wire (or register) that is computed differently, and the patch that makes it."""

    change: str
    wire: str
    patch: Patch


def draw(block: pyrtl.Block, seed: int, among: Collection[str] | None = None) -> Drawn:
    """A bug; every net that can be changed, or those of them that are named as text, is as likely as any other."""
    generator = random.Random(f"mutant {seed}")
    chosen = generator.choice(_candidates(block, among))
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

    words = f"{text.strip()}: {change}{f' {stuck}' if change == 'stuck bit' else ''}"
    return Drawn(words, chosen.dests[0].name, patch)


def _candidates(block: pyrtl.Block, among: Collection[str] | None) -> list[pyrtl.LogicNet]:
    nets = [net for net in block.logic if net.op in _CHANGES and (among is None or str(net) in among)]
    return sorted(nets, key=_creation)


def _creation(net: pyrtl.LogicNet) -> tuple[int, str]:
    """Wires with names of their own first, then temporary ones, which count up from an arbitrary number."""
    name = net.dests[0].name
    temporary = re.fullmatch(r"(?:.*/)?tmp(\d+)", name)
    return (1 + int(temporary[1]), "") if temporary else (0, name)


def judge(config: PoolConfig, seed: int, recording: Recording) -> Judged:
    """Draw a mutant of the shell of a pool and judge it; `recording` is of a run of that pool.

    Raises:
        ReplayError: when `pyrtl.Simulation` does not show what the search found.
    """
    started = time.monotonic()
    original = shell_block(config)
    drawn = draw(original, seed)
    block = mutated(original, drawn.patch)
    felt = drawn.wire in felt_by_tenants(original)
    if is_equivalent(config, original, block, drawn.wire, _EQUAL_SECONDS):
        found = Judgement("EQUIVALENT")
    else:
        found = judged(config, original, block, drawn.wire, recording)
    seconds = round(time.monotonic() - started, 1)
    return Judged(seed, drawn.change, felt, found.verdict, found.theorem, found.claim, found.shown, seconds)


class OtherSampleError(ValueError):
    """Verdicts in a file are of other mutants than those that are to be judged."""


def fingerprint(block: pyrtl.Block, among: Collection[str] | None = None) -> str:
    """The same for netlists of which each seed draws the same bug, in whatever process they were made."""
    text = "\n".join(_counted_names.sub("tmp", str(net)) for net in _candidates(block, among))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


_counted_names = re.compile(r"(?:tmp|const_)\d+")


def judged_so_far(path: Path, sampled: Mapping[str, str]) -> dict[int, Judged]:
    """Verdicts in a file, by seed; a last line that was cut off is left out.

    Raises:
        OtherSampleError: when the first line does not say that they are of what is `sampled`.
    """
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    whole = [json.loads(line) for line in lines if line.endswith("\n")]
    found: dict[int, Judged] = {}
    if whole and whole[0] != sampled:
        raise OtherSampleError(_mismatch(whole[0], sampled))
    for line in whole[1:]:
        verdict = Judged(**line)
        found[verdict.seed] = verdict
    return found


def _mismatch(found: Mapping[str, object], sampled: Mapping[str, str]) -> str:
    for name, value in sampled.items():
        if name not in found:
            return "its first line does not say what its mutants are of"
        if found[name] != value:
            of = "" if name == "of" else f"{name} "
            return f"its mutants are of {of}{found[name]}, not of {of}{value}"
    return "its first line says more than is known here"


Judge = Callable[[PoolConfig, int, Recording], Judged]


def sample(
    config: PoolConfig,
    seeds: Sequence[int],
    recording: Recording,
    path: Path | None = None,
    by: Judge = judge,
    sampled: Mapping[str, str] | None = None,
) -> Iterator[Judged]:
    """Judge mutants on all processors, as they come; `by` draws one from its seed and judges it.

    With `path`, those in that file already are taken from there, and what is judged is appended, one object a line;
    the first line is `sampled`, what they are mutants of.

    Raises:
        OtherSampleError: when the file is of other mutants.
    """
    header = dict(sampled or {})
    known = judged_so_far(path, header) if path is not None else {}
    if path is not None:
        path.write_text("".join(json.dumps(each) + "\n" for each in (header, *map(asdict, known.values()))))
    yield from (known[seed] for seed in seeds if seed in known)
    missing = [seed for seed in seeds if seed not in known]
    if not missing:
        return
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processors(), len(missing)), spawning, _prepare, (config, recording, by)) as executor:
        futures = [executor.submit(_judge, seed) for seed in missing]
        try:
            for future in as_completed(futures):
                if path is not None:
                    with path.open("a") as file:
                        file.write(json.dumps(asdict(future.result())) + "\n")
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


_prepared: list[tuple[PoolConfig, Recording, Judge]] = []
"""In a worker: what all mutants have in common."""


def _prepare(config: PoolConfig, recording: Recording, by: Judge) -> None:
    _prepared[:] = [(config, recording, by)]


def _judge(seed: int) -> Judged:
    ((config, recording, by),) = _prepared
    return by(config, seed, recording)
