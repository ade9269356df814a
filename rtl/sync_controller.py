"""The multi-core sync controller: `sync_local` of all cores that a tenant holds -> `sync_global` to the same cores.

sync_local on a port  t      arrived  t + 1      release, barrier count  t + 2      sync_global on ports  t + 3
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyrtl import Register, WireVector

from isa.configuration import PoolConfig
from rtl.hierarchy import hardware
from rtl.ownership import CoreEntry
from rtl.sizes import all_of, any_of, chosen, register
from rtl.tenants import Tenant


@hardware()
def sync_controller(
    config: PoolConfig,
    entries: Sequence[CoreEntry],
    tenants: Sequence[Tenant],
    outputs: Sequence[Mapping[str, WireVector]],
    inputs: Sequence[Mapping[str, Register]],
) -> list[WireVector]:
    """Drive the `arrived` bits and the `sync_global` ports; for each tenant, a pulse when its barrier is complete.

    A barrier completes when the tenant is RUNNING, holds a core, and each core that it holds has arrived. It takes
    the arrivals back; one that comes in that very cycle counts for the next barrier. `outputs` and `inputs` are the
    ports of the cores as a core names them.
    """
    arrived = [register(f"core{core}_arrived", 1) for core in range(config.cores)]
    barriers = []
    for index, tenant in enumerate(tenants):
        members = [entry.is_held & entry.owned_by[index] for entry in entries]
        all_arrived = all_of([~member | here for member, here in zip(members, arrived, strict=True)])
        barriers.append(tenant.is_running & any_of(members) & all_arrived)
    releases = [tenant.release for tenant in tenants]
    for core, entry in enumerate(entries):
        remains = arrived[core] & ~chosen(entry.owner, barriers)
        arrived[core].next <<= entry.is_held & (outputs[core]["sync_local"] | remains)
        inputs[core]["sync_global"].next <<= entry.is_held & chosen(entry.owner, releases)
    return barriers
