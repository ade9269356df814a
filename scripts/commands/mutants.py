"""`tenure prove --mutants` and `--bug all`: bugs of the shell or of a core's control, and who notices them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.commands.reporting import InputError, fraction_progress, messages, print_json, print_table

if TYPE_CHECKING:
    from formal.random_mutants import Judged

BUG_SECONDS = 60
"""Processor time in which each seeded bug has to be refuted."""


PARTS = ("shell", "core")
"""Parts of a pool that can be broken at random: the shell, and the control of a core."""


def judge_mutants(count: int, seed: int, part: str, output: Path | None, as_json: bool) -> int:
    """Judge mutants `seed` to `seed + count - 1` of a part of pool `tiny`; exit code 1 when one survives all."""
    from formal.core_mutants import control_nets, judge_core
    from formal.random_mutants import OtherSampleError, fingerprint, judge, judged_so_far, sample
    from formal.shell import shell_block
    from scripts.core_suite import record_core
    from scripts.functional_suite import POOL, record

    if count < 1:
        raise InputError("--mutants: give a number of mutants, 1 or more")
    if output is not None and not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no directory {output.parent}")
    of_core = part == "core"
    drawn_from = control_nets(POOL) if of_core else (shell_block(POOL), None)
    sampled = {"pool": POOL.name, "of": part, "netlist": fingerprint(*drawn_from)}
    if output is not None:
        try:
            judged_so_far(output, sampled)
        except OtherSampleError as other:
            raise InputError(f"--output {output}: {other}; give another file") from other
    with fraction_progress(f"running the functional test of the {part} without a bug"):
        recording = record_core() if of_core else record()[0]
    judged: list[Judged] = []
    seeds, by = range(seed, seed + count), judge_core if of_core else judge
    with fraction_progress(f"{count} mutants of pool {POOL.name}") as progress:
        for each in sample(POOL, seeds, recording, output, by, sampled):
            judged.append(each)
            progress(len(judged) / count, f"{each.seed} {each.verdict}")
    judged.sort(key=lambda each: each.seed)
    summary = summarised(judged)
    if as_json:
        print_json({"pool": POOL.name, "of": part, **summary, "mutants": [asdict(each) for each in judged]})
    else:
        rest = [each for each in judged if each.verdict in ("BLIND", "OPEN")]
        columns = ("seed", "verdict", "felt", "theorems", "shown by the functional test", "change")
        rows = [[str(each.seed), each.verdict, each.felt, each.theorem, each.shown, each.change] for each in rest]
        print_table(f"pool {POOL.name}: mutants of the {part} that no theorem killed", columns, rows)
        for name, value in summary.items():
            messages.print(f"{name.replace('_', ' ')}: {value}", markup=False)
    for each in judged:
        if each.survives:
            messages.print(f"mutant {each.seed} survives: {each.change}", style="red", markup=False)
    return int(any(each.survives for each in judged))


def refute_bugs(as_json: bool) -> int:
    """Every seeded bug; exit code 1 unless each is refuted by its theorem within `BUG_SECONDS` of processor time."""
    from formal.bugs import BUGS, refutations
    from formal.mutants import MUTANT_POOL

    found = {}
    with fraction_progress(f"{len(BUGS)} seeded bugs") as progress:
        for name, result in refutations():
            found[name] = result
            progress(len(found) / len(BUGS), name)
    columns = ("bug", "theorem", "verdict", "seconds")
    rows = [[name, found[name].name, found[name].verdict, round(found[name].seconds, 1)] for name in BUGS]
    if as_json:
        print_json({"pool": MUTANT_POOL.name, "bugs": [dict(zip(columns, row, strict=True)) for row in rows]})
    else:
        print_table("seeded bugs", columns, rows)
    late = [name for name in BUGS if found[name].verdict != "refuted" or found[name].seconds > BUG_SECONDS]
    for name in late:
        messages.print(f"{name} is not refuted in {BUG_SECONDS} s: {found[name].reason}", style="red", markup=False)
    return int(bool(late))


def summarised(judged: Sequence[Judged]) -> dict[str, Any]:
    """How many got which verdict, and scores: KILLED of those that are not EQUIVALENT, in all and of those felt.

    `noticed` are those that are KILLED or that the functional test shows.
    """
    verdicts = Counter(each.verdict for each in judged)
    different = [each for each in judged if each.verdict != "EQUIVALENT"]
    felt = [each for each in different if each.felt]
    return {
        "verdicts": dict(sorted(verdicts.items())),
        "by_theorem": dict(sorted(Counter(each.theorem for each in judged if each.verdict == "KILLED").items())),
        "score": _killed_of(different),
        "score_of_felt": _killed_of(felt),
        "noticed": _share([each.verdict == "KILLED" or bool(each.shown) for each in different]),
        "survivors": [each.seed for each in judged if each.survives],
        "open_and_unseen": [each.seed for each in judged if each.verdict == "OPEN" and each.felt and not each.shown],
        "unseen_by_host": [
            each.seed for each in judged if each.verdict == "BLIND" and not each.felt and not each.shown
        ],
    }


def _killed_of(judged: Sequence[Judged]) -> float | None:
    return _share([each.verdict == "KILLED" for each in judged])


def _share(marked: Sequence[bool]) -> float | None:
    return round(sum(marked) / len(marked), 3) if marked else None
