"""Every instruction that a tenant dispatches arrives exactly once, in order, unchanged, at the core that it names.

*Dispatched* means that stage 1 moves the tenant's program counter past the word; *named* is the core that is HELD by
the tenant and has the virtual index in the word's `core` field.

- Exactly once: the program counter of a tenant moves only when, in the same clock edge, one core's port takes the word
  at it, or for CALL and RETURN, or when the host starts or stops the tenant. No port ever takes a word otherwise, and
  no two ports take one in the same cycle. The program counter then moves by one word, so order follows.
- At its core: the port is that of the core named. Virtual indices are unique, so there is only one.
- Unchanged: word and address on the port are those in stage 1, and those in stage 1 are what the memory answered: for
  an arbitrary tenant A and beat p of its program, since its last jump the channel's outputs have shown a read of beat
  base + p, inside A's window, and the word in stage 1 at an address in beat p is that part of the data that was on
  that channel's input L cycles after. What the prefetch memory held before does not matter.
- From where it says: CALL outside a frame goes to its address and keeps the next word's, RETURN inside one goes there;
  START goes to its argument, STOP to 0, and both leave the frame. Nothing else changes frame or return address.
- With credit: a port takes legal instructions of an engine only, and only while the core has credit of that engine.
  Credit is full unless the core is HELD; then it loses one with each instruction of that engine that the port takes,
  gains one when the core gives one back, and changes in no other way.
- Within a bound: while A is RUNNING, has room for another beat of its window, and holds some core, it asks for the next
  one in that core's next slot on the beat's channel; L + 2 cycles later that beat has arrived, unless A jumped since;
  and nothing else arrives, and nothing else moves what A asks for next but a jump, to its target;
- while A is RUNNING, holds some core and its next word has arrived, or lies outside its window, stage 1 acts for A at
  least once in any M + 1 consecutive cycles; and when stage 1 acts on an instruction for a named core whose queue has
  credit, the instruction is on that core's port in the next cycle.

Scope: every program, every answer of the memory, every order of host commands, every behaviour of the cores, and any
contents of the prefetch memory after reset. Unbounded in time. M cores, L = channel latency.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyrtl
from pyrtl import Const, Register, WireVector, select

from formal.algebra import Term
from formal.ghosts import arbitrary, of_core
from formal.lemmas import (
    command_lemmas,
    command_registers,
    core_lemmas,
    fetch_stage_lemmas,
    flight_lemmas,
    make,
    unique_virtual_index,
    window_lemmas,
    word_lemmas,
)
from formal.monitor import Lookup, monitored
from formal.prefetch import (
    arrives_in_time,
    beat_of,
    fetches_in_its_slots,
    reads_at_outputs,
    starts,
    stops,
    watch_prefetch,
    word_of,
)
from formal.prefetch_lemmas import prefetch_lemmas
from formal.problem import Candidate, Claim, Problem
from formal.shell import Sight, age_of_answer, seen
from formal.stimulus import host_and_programs
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.instructions import INSTRUCTIONS, OPCODE_BITS, WORD_BITS, Call, CoreInstruction, Engine, Instruction, Return
from isa.registers import CoreState, TenantState
from rtl.dispatcher import ENGINES
from rtl.sizes import Sizes, named

ASSUMPTIONS: tuple[str, ...] = ()
_PORTS = (
    "instruction_valid", "instruction", "instruction_address", "response_valid", "request_taken", "write_acknowledged",
    "sync_global",
)  # fmt: skip
_CREDITS = dict(zip((Engine.LOAD, Engine.COMPUTE, Engine.SAVE), ENGINES, strict=True))
_IRRELEVANT_OF_CORE = ("arrived",)
_IRRELEVANT_OF_TENANT = ("barriers", "pause_pending", "release")


def problem(config: PoolConfig, block: pyrtl.Block, over_approximate: bool = True) -> Problem:
    """The theorem about `block`, which is the shell of `config` or a mutant of it.

    `over_approximate` makes registers free that the proof need not know; a run of such a system is none of `block`.
    """
    cuts = [f"core{core}_{part}" for core in range(config.cores) for part in _IRRELEVANT_OF_CORE]
    cuts += [f"tenant{tenant}_{part}" for tenant in range(config.tenants) for part in _IRRELEVANT_OF_TENANT]
    ports = [*_PORTS, *(f"credits_{engine}" for engine in ENGINES)]
    roots = [f"core{core}_{port}" for core in range(config.cores) for port in ports]
    roots += [
        "waiting",
        "expected_data",
        "ring_is_expected",
        "expected_beat",
        "watched_base",
        "watched_limit",
        "watched_was_stopped",
        "watched_last_epoch",
        "first_beat",
    ]
    roots += [f"asked_at_{entry}" for entry in range(config.fetch_beats)]
    roots += command_registers(config)
    roots.append(f"asked_{age_of_answer(config) + 1}")
    for channel in range(config.channels):
        roots += [f"channel{channel}_request_{port}" for port in ("valid", "write", "address")]
    system = TransitionSystem(
        monitored(block, lambda lookup: _monitor(config, lookup)), roots, cuts if over_approximate else ()
    )
    return Problem(
        name="every_instruction_arrives_once",
        system=system,
        properties=list(_properties(config)),
        candidates=list(_candidates(config)),
        covers=[Claim("an instruction of the watched tenant arrives", seen(config, _arrives))],
        stimulus=host_and_programs(config, system),
        free_memories={
            "watched_tenant_word",
            "watched_entry_word",
            "watched_core_word",
            *(f"channel{channel}_prefetch" for channel in range(config.channels)),
        },
    )


# ---- ghosts


def _monitor(config: PoolConfig, lookup: Lookup) -> None:
    watch_prefetch(config, lookup)
    sizes = Sizes(config)
    core = arbitrary("watched_core", max(1, sizes.core), config.cores)
    tenant = WireVector(sizes.tenant, "waiting_tenant")
    tenant <<= _wire("watched_tenant")
    state, owner = of_core(lookup, config, core, "state"), of_core(lookup, config, core, "owner")
    program_beat = _wire("watched_program_counter")[sizes.word :]
    may_act = (
        (_wire("watched_progress") == int(TenantState.RUNNING))
        & (state == int(CoreState.HELD))
        & (owner == tenant)
        & ((program_beat != _wire("watched_next_arrival")) | (program_beat >= _wire("watched_limit")))
    )
    acts = named("acts", lookup("dispatch_valid") & (lookup("dispatch_tenant") == tenant))
    waiting = Register(config.cores.bit_length() + 1, "waiting")
    waiting.next <<= select(may_act & ~acts, (waiting + 1)[: len(waiting)], Const(0, len(waiting)))


def _wire(name: str) -> WireVector:
    found: WireVector = pyrtl.working_block().wirevector_by_name[name]
    return found


# ---- the word in stage 1, as the instruction set reads it


def _is(s: Sight, word: Term, kind: type[Instruction]) -> Term:
    """The word is a legal instruction of this kind."""
    opcode = s.low(word, OPCODE_BITS) == kind.opcode
    used = kind.used_bits()
    return s.all(opcode, s.logic.field(word, WORD_BITS - 1, used) == 0) if used < WORD_BITS else opcode


def _names(s: Sight, core: int, word: Term) -> Term:
    """The word's core field is the virtual index of this core, which the tenant in stage 1 holds."""
    field = CoreInstruction.field_layout("core")
    virtual = s.logic.field(word, field.offset + field.width - 1, field.offset)
    return s.all(
        s.is_held(core), s.owned_by(core, s["dispatch_tenant"]), s.logic.equal(s.core(core, "virtual"), virtual)
    )


def _in_stage(s: Sight, tenant: int) -> Term:
    """Stage 1 acts for this tenant."""
    return s.all(s["dispatch_valid"] == 1, s["dispatch_tenant"] == tenant, s.is_running(tenant))


def _sends(s: Sight, core: int) -> Term:
    """The core's port takes an instruction with this clock edge."""
    return s.next(f"core{core}_instruction_valid") == 1


# ---- claims


def _properties(config: PoolConfig) -> Iterator[Claim]:
    def claim(name: str, group: str, formula: Callable[[Sight], Term]) -> Claim:
        return Claim(name, seen(config, formula), group)

    for core in range(config.cores):
        here = f"core{core}"
        yield claim(f"{here} takes the word at the program counter, which names it", here, _takes_its_word(core))
        yield claim(f"{here} takes what the memory answered", here, _takes_the_answer(core))
        yield claim(f"{here} takes instructions that it has credit for", here, _takes_with_credit(core))
        yield claim(f"{here} with credit takes an instruction that names it", here, _takes_when_credit(core))
        for place, (engine, name) in enumerate(_CREDITS.items()):
            yield claim(f"{here} counts credits of {name}", f"{here} credits", _counts_credit(core, place, engine))
        for second in range(core):
            yield claim(f"{here} and core{second} take no instruction at once", here, _not_both(core, second))
            name = f"{here} and core{second} have different virtual indices"
            yield claim(name, here, unique_virtual_index(core, second))
    for tenant in range(config.tenants):
        name = f"tenant{tenant} moves on only when its word was taken"
        yield claim(name, f"tenant{tenant}", _moves_when_taken(tenant))
        yield claim(f"tenant{tenant} goes where its program says", f"tenant{tenant}", _goes_where_told(tenant))
        name = f"tenant{tenant} asks for its next beat in its slots"
        yield claim(name, f"fetch {tenant}", fetches_in_its_slots(tenant))
    for channel in range(config.channels):
        name = f"channel{channel} is asked for the watched tenant's beats"
        yield claim(name, f"channel{channel}", reads_at_outputs(channel))
    yield claim("stage 1 reads what the memory answered", "dispatch", _reads_the_answer)
    yield claim("what the watched tenant asked for arrives in time", "arrival", arrives_in_time)
    yield claim("stage 1 acts within M cycles", "waiting", lambda s: s.logic.at_most(s["waiting"], s.config.cores))


def _takes_its_word(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        word = s["dispatch_word"]
        counters = []
        for tenant in range(s.config.tenants):
            counter = f"tenant{tenant}_program_counter"
            moves = s.next(counter) == s.logic.plus(s[counter], 1, Sizes(s.config).pointer + Sizes(s.config).word)
            acts = s.all(s.is_running(tenant), s["dispatch_address"] == s[counter], moves)
            counters.append(s.implies(s["dispatch_tenant"] == tenant, acts))
        same = [
            s.next(f"core{core}_instruction") == word,
            s.next(f"core{core}_instruction_address") == s["dispatch_address"],
        ]
        for_core = s.no(s.logic.field(word, OPCODE_BITS - 1, OPCODE_BITS - 2) == int(Engine.LEVEL_1))
        named_here = s.all(s["dispatch_valid"] == 1, for_core, _names(s, core, word))
        return s.implies(_sends(s, core), s.all(named_here, *same, *counters))

    return claim


def _takes_the_answer(core: int) -> Callable[[Sight], Term]:
    """What the port takes at an address in entry E is what the memory last answered for that beat."""

    def claim(s: Sight) -> Term:
        beat = beat_of(s, s["dispatch_address"])
        watched = s.all(
            s.logic.equal(s["dispatch_tenant"], s["watched_tenant"]),
            s.logic.equal(s.low(beat, (s.config.fetch_beats - 1).bit_length()), s["watched_entry"]),
        )
        same = s.all(s["expected_beat"] == beat, s.next(f"core{core}_instruction") == word_of(s, s["expected_data"]))
        return s.implies(s.all(_sends(s, core), watched), same)

    return claim


def _has_credit(s: Sight, core: int) -> Term:
    """The word in stage 1 is a legal instruction of an engine of which the core has credit."""
    word = s["dispatch_word"]
    return s.any(
        *(
            s.all(_is(s, word, kind), s.no(s.core(core, f"credits_{_CREDITS[kind.engine()]}") == 0))
            for kind in INSTRUCTIONS
            if kind.engine() in _CREDITS
        )
    )


def _takes_with_credit(core: int) -> Callable[[Sight], Term]:
    return lambda s: s.implies(_sends(s, core), _has_credit(s, core))


def _reads_the_answer(s: Sight) -> Term:
    """Whatever becomes of the word in stage 1, be it an instruction for a core or not."""
    beat = beat_of(s, s["dispatch_address"])
    watched = s.all(
        s["dispatch_valid"] == 1,
        s["dispatch_is_outside"] == 0,
        s.logic.equal(s["dispatch_tenant"], s["watched_tenant"]),
        s.logic.equal(s.low(beat, (s.config.fetch_beats - 1).bit_length()), s["watched_entry"]),
    )
    word = s["dispatch_word"]
    return s.implies(watched, s.all(s["expected_beat"] == beat, word == word_of(s, s["expected_data"])))


def _takes_when_credit(core: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        acts = s.any(*(_in_stage(s, tenant) for tenant in range(s.config.tenants)))
        named_here = _names(s, core, s["dispatch_word"])
        return s.implies(s.all(acts, s["dispatch_is_outside"] == 0, _has_credit(s, core), named_here), _sends(s, core))

    return claim


def _not_both(first: int, second: int) -> Callable[[Sight], Term]:
    return lambda s: s.no(s.all(_sends(s, first), _sends(s, second)))


def _moves_when_taken(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        counter = f"tenant{tenant}_program_counter"
        word = s["dispatch_word"]
        acts = _in_stage(s, tenant)
        taken = s.any(*(_sends(s, core) for core in range(s.config.cores)))
        jumps = s.any(_is(s, word, Call), _is(s, word, Return))
        ordered = s.any(starts(s, tenant), stops(s, tenant))
        return s.any(s.next(counter) == s[counter], ordered, s.all(acts, s.any(taken, jumps)))

    return claim


def _counts_credit(core: int, place: int, engine: Engine) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        name = f"core{core}_credits_{_CREDITS[engine]}"
        bits = s.config.queue_instructions.bit_length()
        of_engine = s.logic.field(s.next(f"core{core}_instruction"), OPCODE_BITS - 1, OPCODE_BITS - 2) == int(engine)
        given = s.logic.plus(s[name], s.logic.field(s[f"core{core}_credit_i"], place, place), bits)
        left = s.logic.choose(s.all(_sends(s, core), of_engine), s.logic.minus(given, 1, bits), given)
        expected = s.logic.choose(s.is_held(core), left, s.config.queue_instructions)
        return s.logic.equal(s.next(name), expected)

    return claim


def _goes_where_told(tenant: int) -> Callable[[Sight], Term]:
    def claim(s: Sight) -> Term:
        counter, frame, back = (f"tenant{tenant}_{part}" for part in ("program_counter", "in_frame", "return_address"))
        word = s["dispatch_word"]
        acts = s.all(_in_stage(s, tenant), s["dispatch_is_outside"] == 0)
        calls = s.all(acts, _is(s, word, Call), s[frame] == 0)
        returns = s.all(acts, _is(s, word, Return), s[frame] == 1)
        field, bits = Call.field_layout("address"), Sizes(s.config).pointer + Sizes(s.config).word
        target = s.logic.field(word, field.offset + field.width - 1, field.offset)

        def goes(to: Term, in_frame: Term, back_to: Term) -> Term:
            places = ((counter, to), (frame, in_frame), (back, back_to))
            return s.all(*(s.logic.equal(s.next(name), value) for name, value in places))

        stays = s.all(s.logic.equal(s.next(frame), s[frame]), s.logic.equal(s.next(back), s[back]))
        program = s.all(
            s.implies(calls, goes(target, 1, s.logic.plus(s[counter], 1, bits))),
            s.implies(returns, goes(s[back], 0, 0)),
            s.implies(s.no(s.any(calls, returns)), stays),
        )
        orders = ((starts(s, tenant), s["argument_start"]), (stops(s, tenant), 0))
        obeys = [s.implies(order, goes(to, 0, 0)) for order, to in orders]
        return s.all(*obeys, s.implies(s.no(s.any(*(order for order, _ in orders))), program))

    return claim


def _arrives(s: Sight) -> Term:
    mine = s.logic.equal(s["dispatch_tenant"], s["watched_tenant"])
    return s.all(mine, s.any(*(_sends(s, core) for core in range(s.config.cores))))


# ---- invariants


def _candidates(config: PoolConfig) -> Iterator[Candidate]:
    yield from command_lemmas(config)
    yield from window_lemmas(config)
    yield from word_lemmas(config)
    yield from core_lemmas(config)
    yield from flight_lemmas(config)
    yield from fetch_stage_lemmas(config)
    yield from prefetch_lemmas(config)
    for core in range(config.cores):
        yield make(config, "no core of A waits longer than until its slot", "waiting", _waits(core))


def _waits(core: int) -> Callable[[Sight], Term]:
    """Since the last slot of the watched core c: d cycles, 1 <= d <= M. Stage 1 acts in the cycle after the slot."""

    def claim(s: Sight) -> Term:
        claims = []
        for cycles in range(1, s.config.cores + 1):
            limit = s.logic.at_most(s["waiting"], cycles - 1)
            if cycles == 1:
                limit = s.any(s["waiting"] == 0, s.all(s["acts"] == 1, s.logic.at_most(s["waiting"], s.config.cores)))
            claims.append(s.implies(s.slot_names(core, 0, cycles), limit))
        return s.implies(s["watched_core"] == core, s.all(*claims))

    return claim
