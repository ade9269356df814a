"""A cloud whose policy moves cores between tenants as load changes.

A tenant is admitted without cores. Whenever time passes, a policy (`hypervisor.policies`) is asked how many cores each
tenant with something to do should have, and the tenants are resized: at once where nothing runs, else at the end of a
layer. Those that shrink go first; who grows waits until the cores that it is to get are free. With `at_layers=False`
only tenants that run nothing are resized: cores change hands between tasks.

Nothing of this is remembered: after a crash the policy is asked again, and what was decided before is in the journal.
"""

from __future__ import annotations

from pathlib import Path

from compiler.package import Package
from hypervisor.cloud import Cloud
from hypervisor.journal import Journal
from hypervisor.lifecycle import Stage
from hypervisor.picture import TenantPicture
from hypervisor.policies import Latencies, Load, Policy, Task, place
from hypervisor.pool_port import PoolPort
from hypervisor.switch import GRANT_CYCLES, park_cycles

RESIZABLE = (Stage.LOADED, Stage.STOPPED)


class PrivateCloud(Cloud):
    """A Cloud with a policy.

    Args:
        policy: decides how many cores tenants have.
        at_layers: resize running tenants, at the end of a layer; otherwise between tasks only.
    """

    def __init__(
        self,
        port: PoolPort,
        directory: Path,
        open_journal: type[Journal] = Journal,
        *,
        policy: Policy,
        at_layers: bool = True,
    ) -> None:
        self.policy = policy
        self.at_layers = at_layers
        self._latencies: dict[str, Latencies] = {}
        super().__init__(port, directory, open_journal)

    def admit(self, name: str, package: Package, cores: int = 0, priority: float = 1.0) -> tuple[int, ...]:
        """As in any cloud; cores come by policy as soon as there is a task."""
        return super().admit(name, package, cores, priority)

    def poll(self, cycles: int = 0) -> None:
        """Let time pass, read out what has ended, and move cores to where the policy wants them."""
        with self._lock:
            super().poll(cycles)
            self.rebalance()

    def rebalance(self) -> None:
        """Ask the policy how many cores every tenant is to have, and begin what can begin."""
        with self._lock:
            tenants = self.tenants()
            wanted = self.policy(self.load())
            counts = {name: wanted.get(tenant.context, 0) for name, tenant in tenants.items()}
            for name, tenant in tenants.items():
                if counts[name] < len(tenant.cores) and self._may_resize(tenant):
                    self.resize(name, tenant.cores[: counts[name]])
            free = self.free_cores()
            held = {name: tenant.cores for name, tenant in self.tenants().items()}
            for name, tenant in tenants.items():
                missing = counts[name] - len(held[name])
                if 0 < missing <= len(free) and self._may_resize(tenant):
                    cores = place({0: counts[name]}, {0: held[name]}, free)[0]
                    self.resize(name, cores)
                    free = [core for core in free if core not in cores]

    def load(self) -> Load:
        """What the policy is asked about: tenants with a task, in the places that their registers show."""
        with self._lock:
            tasks = []
            for tenant in self.tenants().values():
                if tenant.tasks and not tenant.is_paused and tenant.stage not in (Stage.DRAINING, Stage.DIRTY):
                    tasks.append(self._task(tenant))
            cores = self.config.cores
            switch_cycles = park_cycles(self.config, cores) + cores * GRANT_CYCLES + self.config.period_cycles
            return Load(self.port.cycle, cores, self.config.tenants, tuple(tasks), switch_cycles)

    def _task(self, tenant: TenantPicture) -> Task:
        """The tenant's first task. Other cores could execute the layer behind the one that runs now."""
        package = self._driver.package(tenant)
        if tenant.package not in self._latencies:
            self._latencies[tenant.package] = Latencies.of(package)
        latencies = self._latencies[tenant.package]
        known = self.task(tenant.name, tenant.tasks[0])
        layer = 0 if tenant.stage in (Stage.ATTACHED, Stage.LOADED) else tenant.position.layer
        rest = 0
        if tenant.stage in (Stage.RUNNING, Stage.PAUSING):
            held = self._driver.hypervisor.tenants[tenant.context]
            layer += self._driver.hypervisor.status(held).barriers
            end = package.stages[tenant.position.stage].end_layer
            layer = min(layer, end)
            count = len(tenant.cores)
            rest = latencies.remaining(count, layer - 1) - latencies.remaining(count, layer) if layer else 0
        return Task(
            tenant.context,
            latencies,
            next_layer=layer,
            cycles_to_boundary=rest,
            cores=len(tenant.cores),
            attached=True,
            priority=tenant.priority,
            arrival=known.arrival,
            deadline=known.deadline,
        )

    def _may_resize(self, tenant: TenantPicture) -> bool:
        """Not while a resize is under way, nor before the first barrier of a run: every run executes a layer at least.

        Otherwise a policy that changes its mind all the time would stop a task in front of the same layer for ever.
        """
        if tenant.stage is Stage.RUNNING and self.at_layers:
            held = self._driver.hypervisor.tenants[tenant.context]
            return self._driver.hypervisor.status(held).barriers > 0
        return tenant.stage in RESIZABLE
