"""What a theorem is good for: break the ownership compare in a copy of the netlist and see who gets in."""

from __future__ import annotations

from rich.console import Console

from formal.mutants import MUTANT_POOL, MUTANTS, hunt
from formal.trace import simulate, table
from formal.verdict import Refuted
from isa.registers import CoreState

BUG = "owner_at_most"
_SHOWN = r"^(core\d+_(state|owner|instruction_valid|instruction_address)|dispatch_(valid|tenant|address))$"


def break_ownership_and_show(console: Console) -> None:
    """Refute ownership for a broken copy of the netlist, replay it on PyRTL, print who reached whose core and when.

    Raises RuntimeError if the bug is not found, which would mean that the theorem proves nothing.
    """
    mutant = next(each for each in MUTANTS if each.name == BUG)
    console.print(f"Now break the compare in a copy of the netlist: {mutant.wrong}.", highlight=False)
    problem, verdict = hunt(mutant)
    if not isinstance(verdict, Refuted):
        raise RuntimeError(f"{mutant.name} was not refuted: {verdict}")
    trace = verdict.trace
    names = ["dispatch_tenant", "dispatch_address"]
    names += [f"core{core}_{part}" for core in range(MUTANT_POOL.cores) for part in ("owner", "state")]
    names += [f"core{core}_instruction_valid" for core in range(MUTANT_POOL.cores)]
    last = simulate(problem.system.block, trace, names=names)[-1]
    tenant, address = last["dispatch_tenant"], last["dispatch_address"]
    for core in range(MUTANT_POOL.cores):
        owner = last[f"core{core}_owner"]
        if last.next(f"core{core}_instruction_valid") and owner != tenant:
            state = CoreState(last[f"core{core}_state"]).name
            console.print(
                f"REFUTED: in cycle {trace.cycles} after reset, tenant {tenant}'s word {address} is on the "
                f"port of core {core}, which is {state} by tenant {owner}.",
                style="red",
                highlight=False,
            )
    console.print(table(problem.system.block, problem, trace, signals=_SHOWN, last=6))
    console.print(
        "The trace replays on PyRTL's simulator. Without the bug, `tenure prove ownership` proves that no such trace "
        "exists, of any length.",
        highlight=False,
    )
