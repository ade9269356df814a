"""The automaton of a tenant looks at what happens to the tenant, and never at what the shell has recorded of it."""

from __future__ import annotations

import re

from formal.monitor import monitored
from formal.mutants import MUTANT_POOL
from formal.shell import shell_block
from formal.tenant_automaton import PREFIX, RECORDED, TRANSITIONS, watch_tenant
from formal.transition import TransitionSystem
from isa.registers import TenantState


def test_it_reads_nothing_of_what_is_claimed_to_be_equal() -> None:
    block = monitored(shell_block(MUTANT_POOL), lambda lookup: watch_tenant(MUTANT_POOL, lookup))
    system = TransitionSystem(block)
    ghosts = [name for name in system.registers if name.startswith(PREFIX) or name.endswith("_waits_for_a")]
    assert len(ghosts) == 1 + len(RECORDED) + MUTANT_POOL.cores
    read = {leaf for name in ghosts for leaf in system.support_names(system.next_support(name))}
    claimed = (
        rf"tenant\d+_({'|'.join(('progress', 'attachment', 'release', *RECORDED))})|core\d+_arrived|dispatch_is_.*"
    )
    assert not [name for name in read if re.fullmatch(claimed, name)]
    assert not [name for name in read if re.match(r"channel\d+_stage_", name)], "what a slot took is read off the ports"


def test_its_table_names_every_state() -> None:
    assert {target for _, _, target in TRANSITIONS} == set(TenantState)
    assert {source for _, sources, _ in TRANSITIONS for source in sources} == set(TenantState)
