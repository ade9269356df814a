"""The steps of one core to three instruction sequences with places in buffers, tokens, and an order of dispatch.

The order of dispatch is one sequence in which every instruction stands behind everything that it waits for. The
dispatcher works in order and so does each engine, so the first instruction that is not complete always has what it
needs: no token and no queue, however short, can deadlock.

A token edge is a first-in, first-out count, so the n-th instruction that waits takes what the n-th one that posts
has given: dependencies are made monotonic (an instruction that waits for X has waited for all before X), and those
that an earlier wait covers are dropped. All counts are zero at the end of a frame.

What may be loaded before SYNC_WAIT, while the cores still compute the layer before: when a core's load engine
enters layer L, all of layer L-2 is over. So weights go to an end of the buffer which layer L-1 leaves alone, and
parameters to the half which it does not use, by the parity of L.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any

from compiler.buffers import NOBODY, Entry, Ring
from compiler.errors import CompileError
from compiler.geometry import weights_zone
from compiler.steps import Operand, Region, Step
from isa.configuration import PoolConfig
from isa.instructions import (
    TABLE_VECTORS,
    Buffer,
    ConfigLoad,
    ConfigSave,
    Conv,
    CoreInstruction,
    Load,
    Pool,
    Save,
    SyncRaise,
    SyncWait,
)

_LOAD, _SAVE = Load(core=0), Save(core=0)
"""Many instructions are made from these: their constructors are slow."""
LOOKAHEAD_STEPS = 3
"""Steps by which loads precede the instruction that needs them in the order of dispatch, where buffers allow."""


@dataclass
class _LoadItem:
    """A load, the step before which it is dispatched, and the step whose end it waits for."""

    buffer: Buffer
    place: int
    region: Region
    position: int
    waits_for: int
    takes_token: bool = False
    posts: bool = False


@dataclass
class _ComputeItem:
    """A step with its places; the load and the save that must be over first."""

    step: Step
    places: dict[str, int]
    bank: int
    needs_load: int
    waits_for_save: int = NOBODY
    waits_for_load: bool = False
    takes_save_token: bool = False
    posts_load: bool = False


@dataclass
class _SaveItem:
    """A save of what step `compute` writes."""

    compute: int
    place: int
    region: Region
    posts: bool = False


@dataclass(frozen=True)
class CoreSequence:
    """Instructions of one core in the order of dispatch, each with the cycle at which its step should begin."""

    instructions: tuple[tuple[int, CoreInstruction], ...]
    cycles: int


def schedule_core(steps: Iterable[Step], core: int, parity: int, config: PoolConfig) -> CoreSequence:
    """Lay out the steps of one core in one layer; `parity` is that of the layer's number."""
    return _Scheduler(list(steps), core, parity, config).sequence()


class _Scheduler:
    def __init__(self, steps: list[Step], core: int, parity: int, config: PoolConfig) -> None:
        self._core = core
        self._config = config
        self._steps = steps
        self._loads: list[_LoadItem] = []
        self._computes: list[_ComputeItem] = []
        self._saves: list[_SaveItem] = []
        self._load_numbers: dict[tuple[Buffer, Hashable], int] = {}
        zone, half = weights_zone(config), config.parameters_vectors // 2
        end = config.weights_vectors
        weights = Ring(0, end - zone) if parity == 0 else Ring(zone, end, head=end - zone)
        self._rings = {
            Buffer.FEATURES: Ring(0, config.features_vectors),
            Buffer.WEIGHTS: weights,
            Buffer.PARAMETERS: Ring(parity * half, parity * half + half),
            Buffer.TABLE: Ring(0, TABLE_VECTORS),
            Buffer.RESIDUAL: Ring(0, config.residual_vectors),
        }
        self._outputs = Ring(0, config.output_vectors)
        self._prefetch({Buffer.WEIGHTS: zone, Buffer.PARAMETERS: half})
        self._prefetched = len(self._loads)
        for number in range(len(steps)):
            self._place(number)
        self._match_tokens()

    # --- places ----------------------------------------------------------------------------------------------

    def _prefetch(self, room: dict[Buffer, int]) -> None:
        """Load the first weights and parameters before SYNC_WAIT, as far as the layer before leaves room."""
        for step in self._steps:
            for operand in step.operands:
                left = room.get(operand.buffer, 0) - operand.region.vectors
                if operand.buffer not in room or self._rings[operand.buffer].find(operand.key):
                    continue
                if left < 0:
                    del room[operand.buffer]
                else:
                    room[operand.buffer] = left
                    self._load(operand, NOBODY, 0)
            if not room:
                return

    def _place(self, number: int) -> None:
        """Places for what step `number` reads and writes, and what it waits for."""
        step = self._steps[number]
        found = [self._rings[operand.buffer].find(operand.key) for operand in step.operands]
        for entry in found:
            if entry:
                entry.last_user = number  # before anything is replaced for this very step
        places: dict[str, int] = {}
        needs_load = NOBODY
        for operand, present in zip(step.operands, found, strict=True):
            entry = present or self._load(operand, number, _first_position(number))
            entry.last_user = number
            places[operand.field] = entry.place + operand.offset
            needs_load = max(needs_load, self._load_numbers[operand.buffer, operand.key])
        bank = 0
        if self._computes:  # a reduction stays in its bank; the next one takes the other, for this one is drained
            bank = self._computes[-1].bank ^ int(step.changes_bank or self._computes[-1].step.drains)
        item = _ComputeItem(step, places, bank, needs_load)
        if step.output:
            save = len(self._saves)
            room = self._outputs.allocate(save, step.output.vectors, lambda _: True)
            assert room is not None, "a tile of output fits half the buffer"
            entry, replaced = room
            item.waits_for_save = max((old.last_user for old in replaced), default=NOBODY)
            places["output"] = entry.place
            entry.last_user = save
            self._saves.append(_SaveItem(number, entry.place, step.output))
        self._computes.append(item)

    def _load(self, operand: Operand, user: int, position: int) -> Entry:
        """Lay out the load of an operand for step `user`."""

        def may_replace(entry: Entry) -> bool:
            return self._free_after(operand.buffer, entry) < max(user, 0)

        room = self._rings[operand.buffer].allocate(operand.key, operand.region.vectors, may_replace)
        if room is None:
            raise CompileError(
                f"pool {self._config.name!r}: the {operand.buffer.name.lower()} buffer is too small to be refilled "
                "while a core computes; make it larger (parameters: at least 8 blocks of 8 vectors)"
            )
        entry, replaced = room
        waits_for = max((self._free_after(operand.buffer, old) for old in replaced), default=NOBODY)
        position = max(position, waits_for + 1, self._loads[-1].position if self._loads else 0)
        self._load_numbers[operand.buffer, operand.key] = len(self._loads)
        self._loads.append(_LoadItem(operand.buffer, entry.place, operand.region, position, waits_for))
        return entry

    def _free_after(self, buffer: Buffer, entry: Entry) -> int:
        """The step whose post_load says that the entry is not read any more (NOBODY: it never was)."""
        if entry.last_user == NOBODY or buffer in (Buffer.FEATURES, Buffer.WEIGHTS):
            return entry.last_user
        # Parameters, tables and residuals are read by the drain, in the background. It is over when the next drain
        # begins, and that has begun when the step behind it has been executed.
        next_drain = entry.last_user + 1
        while next_drain < len(self._computes) and not self._computes[next_drain].step.drains:
            next_drain += 1
        return next_drain + 1

    # --- tokens ----------------------------------------------------------------------------------------------

    def _match_tokens(self) -> None:
        """Turn dependencies into flags; see the module's docstring."""
        covered_load = covered_save = covered_compute = NOBODY
        for item in self._computes:
            if item.needs_load > covered_load:
                covered_load = item.needs_load
                item.waits_for_load = self._loads[covered_load].posts = True
            if item.waits_for_save > covered_save:
                covered_save = item.waits_for_save
                item.takes_save_token = self._saves[covered_save].posts = True
        for load in self._loads:
            if load.waits_for > covered_compute:
                covered_compute = load.waits_for
                load.takes_token = self._computes[covered_compute].posts_load = True

    # --- instructions ----------------------------------------------------------------------------------------

    def sequence(self) -> CoreSequence:
        """The instructions in the order of dispatch."""
        emitter = _Emitter(self._core)
        loads, saves = iter(self._loads[self._prefetched :]), iter(self._saves)
        for load in self._loads[: self._prefetched]:
            emitter.load(load)
        emitter.add(SyncWait(core=self._core))
        load_waiting = next(loads, None)
        cycle, loaded = 0, 0
        for number, item in enumerate(self._computes):
            emitter.cycle = max(cycle, loaded)
            while load_waiting and load_waiting.position <= number:
                emitter.load(load_waiting)
                loaded += -(-load_waiting.region.vectors // self._config.port_vectors)
                load_waiting = next(loads, None)
            emitter.compute(item)
            cycle = emitter.cycle + item.step.cycles
            if item.step.output:
                emitter.save(next(saves))
        emitter.cycle = max(cycle, loaded)
        emitter.add(SyncRaise(core=self._core))
        return CoreSequence(tuple(emitter.instructions), emitter.cycle)


def _first_position(number: int) -> int:
    """The step before which the loads of step `number` are dispatched: some steps ahead, but behind the first one.

    Queues are short: what the first step needs must not wait behind what later ones need.
    """
    return max(number - LOOKAHEAD_STEPS, min(number, 1))


class _Emitter:
    """Collects instructions, and configures an engine only where its configuration changes."""

    def __init__(self, core: int) -> None:
        self.cycle = 0
        self.instructions: list[tuple[int, CoreInstruction]] = []
        self._core = core
        self._load_pitches = [-1, -1]
        self._save_pitch: int | None = None
        self._configuration: dict[type[CoreInstruction], CoreInstruction] = {}

    def add(self, instruction: CoreInstruction) -> None:
        self.instructions.append((self.cycle, instruction))

    def load(self, item: _LoadItem) -> None:
        region = item.region
        pitches = list(self._load_pitches)
        if region.rows > 1:
            pitches[0] = region.row_pitch
        if region.planes > 1:
            pitches[1] = region.plane_pitch
        if pitches != self._load_pitches:
            self._load_pitches = pitches
            self.add(ConfigLoad(core=self._core, row_pitch=max(0, pitches[0]), plane_pitch=max(0, pitches[1])))
        self.add(
            _LOAD.changed(
                core=self._core,
                wait_compute=int(item.takes_token),
                post_compute=int(item.posts),
                buffer=int(item.buffer),
                destination=item.place,
                address=region.address,
                columns=region.columns,
                rows=region.rows,
                planes=region.planes,
            )
        )

    def compute(self, item: _ComputeItem) -> None:
        for instruction in item.step.configuration:
            if self._configuration.get(type(instruction)) != instruction:
                self._configuration[type(instruction)] = instruction
                self.add(instruction.changed(core=self._core))
        fields: dict[str, Any] = {name: place for name, place in item.places.items() if name != "table"}
        if isinstance(item.step.instruction, Conv | Pool):
            fields["bank"] = item.bank
        self.add(
            item.step.instruction.changed(
                core=self._core,
                wait_load=int(item.waits_for_load),
                wait_save=int(item.takes_save_token),
                post_load=int(item.posts_load),
                post_save=int(item.step.drains),
                **fields,
            )
        )

    def save(self, item: _SaveItem) -> None:
        region = item.region
        if region.rows > 1 and region.row_pitch != self._save_pitch:
            self._save_pitch = region.row_pitch
            self.add(ConfigSave(core=self._core, row_pitch=region.row_pitch))
        self.add(
            _SAVE.changed(
                core=self._core,
                wait_compute=1,
                post_compute=int(item.posts),
                source=item.place,
                address=region.address,
                columns=region.columns,
                rows=region.rows,
            )
        )
