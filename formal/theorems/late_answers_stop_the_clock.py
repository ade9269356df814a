"""An AXI memory that answers late stops the pool's clock, and the pool cannot tell: what answers waits for its slot.

About the adapter of a channel (`axi_channel`), for every behaviour of the memory:

- *queues*: what waits to be sent, the answers and the acknowledgements leave in the order in which they came,
  unchanged, and the oldest of what waits is at the head a cycle after the head is free. The queues have room for L
  entries: there is one for each slot of the last L pool cycles at most.
- *hazards*: a read and a write of the same beat are never sent and unanswered together. So a read may see its beat at
  any time until it is answered: it finds what the writes of earlier slots left, and nothing of later ones.
- *stalls*: while the clock stands, an answer that is due and has come stays as it is, nothing is taken and nothing new
  is asked for; and the adapter is ready only if all that is due has come.
- *errors*: an answer with a response but OKAY, with a foreign ID, or not the last of its burst is entered with data 0
  and marked; what the pool gets, and what is told as an error, is the head of the queue in the slot that it is due in.

AXI answers one ID in order. So the n-th read that is due gets the n-th answer, which is what memory would have
answered if it had served the slots one after another, in time; when it came cannot be seen in pool time. The
pool is clocked by nothing else (`axi_pool.v`): its theorems hold behind AXI, in pool time.

Scope: the netlist of the pool's adapter at its full size; every state that fulfils the invariant of its part (at most
as many entries as a queue has words; no conflict in flight); one step, so unbounded. Not proved here, but argued: that
no more than L entries are ever in a queue, and the step from these four to the last paragraph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyrtl
import z3

from formal.algebra import Term, Z3Algebra
from formal.pipeline import holds, satisfiable
from formal.transition import Evaluation, NextState, TransitionSystem
from isa.configuration import PoolConfig
from rtl.axi_export import axi_modules
from rtl.export import block_of

ASSUMPTIONS: tuple[str, ...] = (
    "The memory behind a channel keeps the rules of AXI: it answers each access once, those of one ID in their order; "
    "a write takes effect until it is answered, and a read sees its beat until it is answered.",
)
QUEUES = ("requests", "answers", "acknowledgements")


def parts(config: PoolConfig) -> Sequence[str]:
    """What is proved of the adapter."""
    return ("queues", "hazards", "stalls", "errors")


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts a part on this pool."""
    return contradictions(adapter(config), part)


def adapter(config: PoolConfig) -> pyrtl.Block:
    """The netlist of the adapter of one of the pool's channels, as it is exported."""
    return block_of(axi_modules(config)["axi_channel"])


def contradictions(block: pyrtl.Block, part: str) -> list[str]:
    """What contradicts a part for an adapter, or a mutant of one."""
    system, algebra = TransitionSystem(block), Z3Algebra(list_words=0)  # arrays: queues are only compared
    state, inputs = system.state_variables(algebra, "now/"), system.input_variables(algebra, "")
    now = Evaluation(system, algebra, state, inputs)
    if part == "queues":
        return [line for name in QUEUES for line in _is_a_queue(system, algebra, now, name)]
    if part == "hazards":
        return _never_together(system, now)
    if part == "errors":
        return _errors_are_marked(system, now)
    after = Evaluation(system, algebra, NextState(now), system.input_variables(algebra, "later/"))
    return _waits(now, after)


def _is_a_queue(system: TransitionSystem, algebra: Z3Algebra, now: Evaluation, name: str) -> list[str]:
    """The list of entries after a step is that before, without the first if it was popped, with what was pushed."""
    (write,) = system.writes(f"{name}_memory")
    _, data, push = (now[argument] for argument in write.arguments)
    pop, bits = now[f"{name}_pops"], system.widths[f"{name}_end"]
    depth = 1 << (bits - 1)
    place = z3.BitVec("place", bits)

    def wide(bit: Term) -> Term:
        return z3.ZeroExt(bits - 1, bit)

    def stored(read: Any) -> Term:
        return read(f"{name}_end") - read(f"{name}_first")

    def entry(read: Any, index: Term) -> Term:
        valid = read(f"{name}_valid")
        word = read(f"{name}_first") + index - wide(valid)
        in_memory = algebra.read(read(f"{name}_memory"), z3.Extract(bits - 2, 0, word))
        return z3.If(z3.And(valid == 1, index == 0), read(f"{name}_head"), in_memory)

    def before(register: str) -> Any:
        return now.state[register]

    room = z3.And(
        z3.ULE(stored(before), depth), z3.Implies(push == 1, z3.ULT(stored(before), depth)),
        z3.Implies(pop == 1, before(f"{name}_valid") == 1),
    )  # fmt: skip
    size = wide(before(f"{name}_valid")) + stored(before)
    new_size = wide(now.next(f"{name}_valid")) + stored(now.next)
    shifted = place + wide(pop)
    claims = {
        f"the number of entries of {name}": new_size == size + wide(push) - wide(pop),
        f"the order of {name}": z3.Implies(
            z3.ULT(place, new_size),
            entry(now.next, place) == z3.If(z3.ULT(shifted, size), entry(before, shifted), data),
        ),
        f"the head of {name}": z3.Implies(
            z3.And(stored(before) != 0, z3.Or(pop == 1, before(f"{name}_valid") == 0)),
            now.next(f"{name}_valid") == 1,
        ),
    }
    found = satisfiable(f"room in {name} for a push with a pop", room, push == 1, pop == 1)
    return [*found, *(line for what, claim in claims.items() for line in holds(what, claim, room))]


def _never_together(system: TransitionSystem, now: Evaluation) -> list[str]:
    """No pair of a read and a write in flight has equal addresses: true after reset, when none is, and kept.

    It is kept because an entry stays as it is or is that of a request that is being sent, at most one in a cycle, whose
    address equals none of the other kind.
    """
    asked = now["compared_address"]
    found = holds("that one request is sent at a time", z3.Not(z3.And(now["sends_read"] == 1, now["sends_write"] == 1)))
    for kind, other in (("read", "write"), ("write", "read")):
        names = [name.removesuffix("_used") for name in system.registers if name.endswith("_used")]
        here = [name for name in names if name.startswith(kind)]
        there = [name for name in names if name.startswith(other)]
        found += [f"{name} is in flight after reset" for name in here if system.registers[f"{name}_used"][1]]
        entries = []
        for name in here:
            stays = z3.And(now.state[f"{name}_used"] == 1, now.next(f"{name}_address") == now.state[f"{name}_address"])
            sent = z3.And(now[f"sends_{kind}"] == 1, now.next(f"{name}_address") == asked)
            entries.append(z3.Implies(now.next(f"{name}_used") == 1, z3.Or(stays, sent)))
        found += holds(f"an entry of a {kind}", z3.And(entries))
        conflicts = [z3.And(now.state[f"{n}_used"] == 1, now.state[f"{n}_address"] == asked) for n in there]
        found += holds(f"that a {kind} meets no {other}", z3.Not(z3.Or(conflicts)), now[f"sends_{kind}"] == 1)
    return found


def _waits(now: Evaluation, after: Evaluation) -> list[str]:
    stands = now["enable"] == 0
    ready = now["is_ready"] == 1
    (write,) = now.system.writes("requests_memory")
    same = [after[name] == now[name] for name in ("is_ready", "response", "is_error", "read_is_due", "write_is_due")]
    lines = [now.next(name) == now[name] for name in ("reads_due", "writes_due")]
    complete = z3.And(
        z3.Implies(now["read_is_due"] == 1, now["answers_valid"] == 1),
        z3.Implies(now["write_is_due"] == 1, now["acknowledgements_valid"] == 1),
    )
    return [
        *satisfiable("a due answer that waits", stands, ready, now["read_is_due"] == 1),
        *holds("what is due and has come", z3.And(same), stands, ready),
        *holds("the slots that are due", z3.And(lines), stands),
        *holds("what is asked for", now[write.arguments[2]] == 0, stands),
        *holds("readiness", complete, ready),
    ]


def _errors_are_marked(system: TransitionSystem, now: Evaluation) -> list[str]:
    (read,), (write,) = system.writes("answers_memory"), system.writes("acknowledgements_memory")
    bits = system.widths["rdata"]
    entered, acknowledged = now[read.arguments[1]], now[write.arguments[1]]
    fails = z3.Or(now["rresp"] != 0, now["rlast"] == 0, now["rid"] != 0)
    refused = z3.Or(now["bresp"] != 0, now["bid"] != 0)
    head, mark = now["answers_head"], z3.Extract(bits, bits, now["answers_head"])
    due, done = now["read_is_due"] == 1, now["write_is_due"] == 1
    told = z3.Or(z3.And(due, mark == 1), z3.And(done, now["acknowledgements_head"] == 1))
    return [
        *holds("the mark of an answer", (z3.Extract(bits, bits, entered) == 1) == fails),
        *holds("the data of an answer", z3.Extract(bits - 1, 0, entered) == z3.If(fails, 0, now["rdata"])),
        *holds("the mark of an acknowledgement", (acknowledged == 1) == refused),
        *holds("the response", now["response"] == z3.If(due, z3.Extract(bits - 1, 0, head), 0)),
        *holds("what is told as an error", (now["is_error"] == 1) == told),
    ]
