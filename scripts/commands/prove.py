"""`tenure prove`: the theorems and lemmas about a pool."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console

from isa.configuration import PoolConfig
from scripts.commands.mutants import PARTS, judge_mutants, refute_bugs
from scripts.commands.reporting import (
    InputError,
    fraction_progress,
    json_option,
    messages,
    pool_option,
    print_json,
    print_table,
    replacing,
)

if TYPE_CHECKING:
    from formal.theorems import TheoremResult


@click.command()
@click.argument("theorems", nargs=-1, metavar="[THEOREM]...")
@click.option("--theorem", "named", multiple=True, metavar="THEOREM", help="The same as an argument (may be repeated).")
@click.option("--explain", is_flag=True, help="First say in words what is proved: statement, scope and assumptions.")
@click.option(
    "--vcd",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the runs that refute a theorem to DIR, as waveforms: two where two runs are compared.",
)
@click.option(
    "--bug",
    metavar="NAME",
    help="Break a copy of a minimal pool of its own by this seeded bug (docs/theorems.md), and show what refutes it; "
    "all: by every one, for a table.",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With the theorem `compilation` alone: prove it of this package (may be repeated).",
)
@click.option(
    "--certify",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the invariants of theorems about the shell to DIR, and let a second engine check them instead of Z3.",
)
@click.option(
    "--mutants",
    metavar="N",
    type=int,
    help="Break a copy of pool `tiny` in N random places, one at a time: do theorems or the functional test notice?",
)
@click.option(
    "--of",
    "part",
    type=click.Choice(PARTS),
    default=PARTS[0],
    show_default=True,
    help="With --mutants: what is broken, the shell or the control of a core.",
)
@click.option("--seed", metavar="S", type=int, default=1, help="With --mutants: the first one.  [default: 1]")
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --mutants: keep verdicts in FILE, one JSON object a line; what is there already is not judged again.",
)
@pool_option()
@json_option
def prove(
    theorems: tuple[str, ...],
    named: tuple[str, ...],
    explain: bool,
    vcd: Path | None,
    bug: str | None,
    packages: tuple[Path, ...],
    certify: Path | None,
    mutants: int | None,
    part: str,
    seed: int,
    output: Path | None,
    pool: PoolConfig,
    as_json: bool,
) -> int:
    """Prove theorems about the pool, and what they rest on; all of them unless some are named.

    Exit code 1 unless all are proved; with --mutants, when one survives theorems and functional test.
    """
    from formal.theorems import CHECKS, NAMES, UnknownTheorem, with_premises
    from formal.theorems import prove as prove_theorems

    theorems = tuple(dict.fromkeys((*theorems, *named)))
    if vcd is not None and not vcd.is_dir():
        raise InputError(f"--vcd {vcd}: there is no such directory")
    pool_given = click.get_current_context().get_parameter_source("pool") is not ParameterSource.DEFAULT
    if pool_given and (bug is not None or packages or mutants is not None):
        owner = "a bug has" if bug is not None else "packages have" if packages else "mutants have"
        raise InputError(f"--pool: {owner} a pool of its own")
    if mutants is not None:
        if theorems or packages or explain or vcd or bug is not None or certify is not None:
            raise InputError("--mutants goes with --of, --seed, --output and --json alone")
        return judge_mutants(mutants, seed, part, output, as_json)
    if output is not None or part != PARTS[0]:
        raise InputError(f"{'--output' if output is not None else '--of'} goes with --mutants")
    if certify is not None and (packages or explain or vcd is not None):
        raise InputError("--certify goes with theorems alone: it explains nothing, and what it finds is no run")
    if bug is not None:
        if theorems or packages or certify is not None:
            raise InputError("--bug goes alone: it names the theorem that refutes it")
        if bug == "all":
            return refute_bugs(as_json)
        return _of_bug(bug, explain, vcd, as_json)
    if packages and theorems != ("compilation",):
        raise InputError("--package goes with the theorem `compilation` alone: tenure prove compilation --package FILE")
    if packages:
        if explain:
            _explain(["compilation"], as_json)
        checked = [_of_package(path) for path in packages]
        pools = dict.fromkeys(name for name, _ in checked)
        return _show([result for _, result in checked], ", ".join(pools), vcd, as_json)
    if certify is not None:
        return _certify(theorems, certify, pool, as_json)
    try:
        if explain:
            _explain(with_premises(theorems or [*NAMES, *CHECKS]), as_json)
        with fraction_progress(f"proving on pool {pool.name}") as progress:
            results = prove_theorems(theorems or None, pool, progress)
    except UnknownTheorem as problem:
        raise InputError(str(problem)) from None
    return _show(results, pool.name, vcd, as_json)


def _explain(names: Sequence[str], as_json: bool) -> None:
    """What is going to be proved, in words; on standard error where standard output is for scripts."""
    from formal.theorems import CHECKS, NAMES, stated

    for name in names:
        each = stated(name)
        lines = ["", f"{each.name}: {({**NAMES, **CHECKS})[each.name].replace('_', ' ')}", "", each.statement, ""]
        lines += [f"assumes: {assumption}" for assumption in each.assumptions] or ["assumes: nothing"]
        if each.premises:
            lines.append(f"rests on: {', '.join(each.premises)}")
        click.echo("\n".join(lines), err=as_json)
    click.echo("", err=as_json)


def _of_bug(name: str, explain: bool, vcd: Path | None, as_json: bool) -> int:
    """A seeded bug and what refutes it."""
    from formal.bugs import BUGS, UnknownBug, refutation
    from formal.mutants import MUTANT_POOL

    try:
        with fraction_progress("looking for a run that shows the bug"):
            result = refutation(name)
    except UnknownBug as problem:
        raise InputError(f"--bug: {problem}") from None
    if explain:
        _explain([result.name], as_json)
    messages.print(f"{name}: {BUGS[name].wrong}", markup=False)
    return _show([result], f"{MUTANT_POOL.name}, with the bug {name}", vcd, as_json)


def _certify(names: Sequence[str], directory: Path, pool: PoolConfig, as_json: bool) -> int:
    """Second opinions on the invariants of the theorems, of all about the shell unless some are named."""
    from formal.and_inverter_graph import GraphError
    from formal.certificate import write_certificate
    from formal.second_engine import check_certificate
    from formal.shell import shell_block
    from formal.theorems import NAMES, UnknownTheorem, theorem

    try:
        stated = [theorem(name) for name in names or NAMES]
    except UnknownTheorem as problem:
        raise InputError(f"{problem}; only theorems about the shell have certificates") from None
    entries: list[dict[str, Any]] = []
    with fraction_progress(f"certifying on pool {pool.name}") as progress:
        for place, each in enumerate(stated):
            progress(place / len(stated), each.name)
            statement = each.problem(pool, shell_block(pool), over_approximate=False)

            def advance(fraction: float, place: int = place, name: str = each.name) -> None:
                progress((place + fraction) / len(stated), name)

            try:
                opinion = check_certificate(write_certificate(statement, directory), advance)
            except GraphError as failed:
                raise InputError(f"{each.name}: {failed}") from None
            entries.append(
                {
                    "name": each.name,
                    "agrees": opinion.agrees,
                    "conjuncts": opinion.conjuncts,
                    "gates": opinion.gates,
                    "seconds": round(opinion.seconds, 1),
                    "fails": opinion.fails,
                }
            )
        progress(1.0, "")
    if as_json:
        print_json({"pool": pool.name, "certificates": entries})
    else:
        columns = ("name", "agrees", "conjuncts", "gates", "seconds")
        print_table(f"pool {pool.name}", columns, [[entry[column] for column in columns] for entry in entries])
    for entry in entries:
        for failure in entry["fails"]:
            messages.print(f"{entry['name']}: {failure}", style="red", markup=False)
    return int(not all(entry["agrees"] for entry in entries))


def _of_package(path: Path) -> tuple[str, TheoremResult]:
    """The pool of one package, and the theorem `compilation` of it."""
    from compiler.errors import PackageError
    from compiler.package import Package
    from formal.package_check import contradictions
    from formal.theorems import TheoremResult, check

    try:
        package = Package.load(path)
    except (OSError, PackageError) as problem:
        raise InputError(f"{path}: {problem}") from None
    started, stated = time.monotonic(), check("compilation")
    found = contradictions(package)
    result = TheoremResult(
        name=f"compilation of {package.name}",
        verdict="refuted" if found else "proved",
        seconds=time.monotonic() - started,
        assumptions=list(stated.assumptions),
        statement=stated.statement,
        reason="; ".join(found),
    )
    return package.pool["name"], result


def _show(results: Sequence[TheoremResult], pool: str, vcd: Path | None, as_json: bool) -> int:
    if as_json:
        print_json({"pool": pool, "theorems": [_entry(result) for result in results]})
    else:
        rows = [[result.name, result.verdict, round(result.seconds, 1)] for result in results]
        print_table(f"pool {pool}", ("theorem", "verdict", "seconds"), rows)
    for result in results:
        if result.reason:
            messages.print(f"{result.name} is {result.verdict}: {result.reason}", style="red", markup=False)
        if result.counterexample is not None:
            (Console() if not as_json else messages).print(result.counterexample.table())
            if vcd is not None:
                for run, waveform in result.counterexample.waveforms().items():
                    path = vcd / f"{result.name}.{run}.vcd"
                    with replacing(path) as file:
                        file.write(waveform.encode())
                    messages.print(f"wrote {path}", markup=False)
    return int(any(result.verdict != "proved" for result in results))


def _entry(result: TheoremResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "name": result.name,
        "verdict": result.verdict,
        "seconds": round(result.seconds, 1),
        "assumptions": list(result.assumptions),
    }
    if result.counterexample is not None:
        entry["counterexample"] = result.counterexample.as_json()
    return entry
