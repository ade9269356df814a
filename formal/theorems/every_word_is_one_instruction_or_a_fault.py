"""Decode inverts encode, over all 2**128 words: in the compiler's and the simulator's code, and in the netlist.

*Code* (`isa.encoding`, run on symbolic integers, every path): a word with a known opcode whose reserved bits are 0
decodes to one instruction, and encodes back to itself; every other word is refused. Every instruction whose values fit
encodes to a word that decodes to it; a value that does not fit is refused.

*Decoder* (the netlist of `rtl/decoder.py`): a word is legal exactly if the layouts of `isa` say so; a legal word is in
one class exactly, END, CALL, RETURN or one of the three engines, which is the one that `isa` says; an illegal word is
in none. Virtual core, barriers and target are the fields of that name.

*Level 1* (the shell's netlist, one step from any state in which the traits beside the word that was read are its own,
as they are at reset and behind each step): what goes to a core is a legal word of an engine, unchanged, and an illegal
word that a RUNNING tenant comes to is its precise fault: ILLEGAL_INSTRUCTION with that word's address,
the tenant FAULTED, nothing sent. (Unless a command about the tenant takes effect in that cycle, which ends the run.)

*Core* (the core's netlist, one step from any state): a legal word enters the queue of its own engine only, whole,
with its address; what is on the port while no word is sent reaches nothing. When an instruction leaves its queue, each
of its fields is in a register of its engine one cycle later; the fields that decide in that very cycle are those in
`USED_AT_ISSUE`. (Any state in which registers that are made twice, `TWINS`, are equal, and those that say that the
core is asleep: they are at reset, and every step from such a state keeps them so.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyrtl
import z3

from formal.algebra import Term, Z3Algebra
from formal.lemmas import command_registers, knows_traits
from formal.logic import INTEGER_LOGIC, SYMBOLIC_LOGIC
from formal.pipeline import counterexample, extended, holds, netlist
from formal.problem import Frame, View
from formal.shell import seen, shell_block
from formal.structure import clearing_registers, core_block
from formal.symbolic_execution import SymbolicInteger, explore_paths, number
from formal.transition import Evaluation, NextState, TransitionSystem
from isa import encoding
from isa.configuration import PoolConfig
from isa.fields import FieldLayout
from isa.instructions import (
    INSTRUCTIONS,
    OPCODE_BITS,
    WORD_BITS,
    Call,
    CoreInstruction,
    End,
    Engine,
    Instruction,
    Return,
)
from isa.registers import Fault, TenantState
from rtl.decoder import Decoded, decoder, traits_of, virtual_core_of
from rtl.instruction_fields import word_bits

ASSUMPTIONS: tuple[str, ...] = ()
ENGINES = (Engine.LOAD, Engine.COMPUTE, Engine.SAVE)
_CODE, _DECODER, _LEVEL_1, _QUEUES, _FIELDS, _TWINS = "code", "decoder", "level 1", "queues", "fields", "twins"

Kind = type[Instruction]


def parts(config: PoolConfig) -> Sequence[str]:
    """Code, decoder, level 1, queues of a core, fields in its engines."""
    return (_CODE, _FIELDS, _LEVEL_1, _DECODER, _QUEUES, _TWINS)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts a part."""
    if part == _CODE:
        return code()
    if part == _DECODER:
        return decoder_netlist(decoder_block(lambda word: decoder(word, traits_of(word))))
    if part == _LEVEL_1:
        return level_1(config, shell_block(config))
    return {_QUEUES: queues, _FIELDS: fields, _TWINS: twins}[part](config, core_block(config))


# ---- what the layouts say


def opcode_of(word: Term) -> Term:
    """The opcode's bits of a word."""
    return z3.Extract(OPCODE_BITS - 1, 0, word)


def is_legal(word: Term, kind: Kind) -> Term:
    """The word is an instruction of that kind."""
    named = opcode_of(word) == kind.opcode
    used = kind.used_bits()
    return z3.And(named, z3.Extract(WORD_BITS - 1, used, word) == 0) if used < WORD_BITS else named


def is_any(word: Term, kinds: Iterable[Kind]) -> Term:
    """The word is an instruction of one of these kinds."""
    return z3.Or([is_legal(word, kind) for kind in kinds])


def of_engine(engine: Engine) -> list[Kind]:
    """The instructions of an engine."""
    return [kind for kind in INSTRUCTIONS if kind.engine() == engine]


def stored(word: Term, layout: FieldLayout) -> Term:
    """The bits of a field."""
    return z3.Extract(layout.offset + layout.width - 1, layout.offset, word)


def _field(kind: Kind, name: str) -> FieldLayout:
    return next(layout for layout in kind.layout() if layout.name == name)


# ---- code


@dataclass(frozen=True)
class Code:
    """The functions that are proved."""

    encode: Callable[[Instruction], int] = encoding.encode
    decode: Callable[[int], Instruction] = encoding.decode


THE_CODE = Code()


def code(proved: Code = THE_CODE) -> list[str]:
    """What contradicts the theorem about these functions."""
    found = [line for opcode in range(1 << OPCODE_BITS) for line in _decoded(proved, opcode)]
    return found + [line for kind in INSTRUCTIONS for line in (*_encoded(proved, kind), *_refused(proved, kind))]


def _decoded(proved: Code, opcode: int) -> Iterator[str]:
    """All words with this opcode."""
    upper = z3.BitVec("upper", WORD_BITS - OPCODE_BITS)
    word = z3.Concat(upper, z3.BitVecVal(opcode, OPCODE_BITS))

    def there_and_back(symbolic: Callable[[Term], SymbolicInteger]) -> tuple[Kind, object]:
        instruction = proved.decode(symbolic(word))  # type: ignore[arg-type]
        return type(instruction), proved.encode(instruction)

    for outcome in explore_paths(there_and_back):
        if outcome.raised is not None:
            refused = z3.Not(is_any(word, INSTRUCTIONS))
            expected = isinstance(outcome.raised, encoding.IllegalInstruction)
            claim = refused if expected else z3.BoolVal(False)
            yield from holds(f"refusing words with opcode {opcode:#x}", claim, *outcome.condition)
        else:
            kind, encoded = outcome.result
            claim = z3.And(is_legal(word, kind), number(encoded) == extended(word, number(encoded).size()))
            yield from holds(f"decoding words with opcode {opcode:#x}", claim, *outcome.condition)


def _encoded(proved: Code, kind: Kind) -> Iterator[str]:
    """All instructions of this kind whose values fit."""
    terms = {layout.name: z3.BitVec(layout.name, layout.width + 2) for layout in kind.layout()}
    fits = [z3.And(terms[f.name] >= f.lowest, terms[f.name] <= f.highest) for f in kind.layout()]
    wide = {name: z3.SignExt(160 - term.size(), term) for name, term in terms.items()}

    def back_and_there(symbolic: Callable[[Term], SymbolicInteger]) -> Instruction:
        instruction = kind(**{name: symbolic(term) for name, term in wide.items()})
        return proved.decode(proved.encode(instruction))

    for outcome in explore_paths(back_and_there, *fits):
        decoded = outcome.result
        if type(decoded) is not kind:
            yield f"{kind.__name__} decodes to {decoded or outcome.raised}"
            continue
        same = [number(getattr(decoded, name)) == term for name, term in wide.items()]
        yield from holds(f"{kind.__name__}, encoded and decoded", z3.And([*same, True]), *outcome.condition)


def _refused(proved: Code, kind: Kind) -> Iterator[str]:
    """Values just outside what a field holds, one field at a time."""
    for layout in kind.layout():
        for value in (layout.lowest - 1, layout.highest + 1):
            try:
                proved.encode(kind(**{layout.name: value}))
            except ValueError:
                continue
            yield f"{kind.__name__} takes {layout.name} = {value}"


# ---- decoder


def decoder_block(build: Callable[[pyrtl.WireVector], Decoded]) -> pyrtl.Block:
    """The decoder alone; `result` is all that it says, `is_legal` in bit 0."""
    return netlist({"word": WORD_BITS}, lambda inputs: pyrtl.concat_list(_said(inputs["word"], build(inputs["word"]))))


def _said(word: pyrtl.WireVector, decoded: Decoded) -> list[pyrtl.WireVector]:
    opcode = decoded.opcode
    classes = [decoded.is_legal & each for each in (opcode.is_end, opcode.is_call, opcode.is_return, *opcode.engine)]
    return [decoded.is_legal, *classes, virtual_core_of(word), decoded.barriers, decoded.target]


def decoder_netlist(block: pyrtl.Block) -> list[str]:
    """What contradicts the theorem about a decoder's netlist."""
    word = z3.BitVec("word", WORD_BITS)
    result = Evaluation(TransitionSystem(block), Z3Algebra(), {}, {"word": word})["result"]
    classes: list[tuple[str, list[Kind]]] = [("END", [End]), ("CALL", [Call]), ("RETURN", [Return])]
    classes += [(engine.name, of_engine(engine)) for engine in ENGINES]
    found = holds("is_legal", (z3.Extract(0, 0, result) == 1) == is_any(word, INSTRUCTIONS))
    for place, (name, kinds) in enumerate(classes, 1):
        found += holds(name, (z3.Extract(place, place, result) == 1) == is_any(word, kinds))
    members = [z3.ZeroExt(3, z3.Extract(place, place, result)) for place in range(len(classes) + 1)]
    found += holds("one class of each legal word", sum(members[2:], members[1]) == members[0])
    low = len(classes) + 1
    for name, layout in (
        ("virtual core", _field(CoreInstruction, "core")),
        ("barriers", _field(End, "barriers")),
        ("target", _field(Call, "address")),
    ):
        found += holds(name, z3.Extract(low + layout.width - 1, low, result) == stored(word, layout))
        low += layout.width
    for kind in INSTRUCTIONS:
        if kind.engine() != Engine.LEVEL_1 and _field(kind, "core") != _field(CoreInstruction, "core"):
            found.append(f"{kind.__name__} places its virtual core elsewhere")
    return found


# ---- level 1


def level_1(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What contradicts the theorem about a shell's netlist."""
    system, algebra = TransitionSystem(block), Z3Algebra()
    state, inputs = system.state_variables(algebra, ""), system.input_variables(algebra, "")
    cycle = Evaluation(system, algebra, state, inputs)
    word = cycle["dispatch_word"]
    for_cores = [kind for engine in ENGINES for kind in of_engine(engine)]
    illegal = z3.And(
        cycle["dispatch_valid"] == 1,
        cycle["dispatch_is_outside"] == 0,
        *(cycle[name] == 0 for name in command_registers(config) if name != "command_verdict"),
        z3.Not(is_any(word, INSTRUCTIONS)),
    )
    found, known = _traits_are_known(config, cycle)
    sent = {core: cycle.next(f"core{core}_instruction_valid") == 1 for core in range(config.cores)}
    for core, is_sent in sent.items():
        name = f"core{core}_instruction"
        claim = z3.And(is_any(word, for_cores), cycle.next(name) == word)
        found += holds(f"what {name} carries", z3.Implies(is_sent, claim), known)
    for tenant in range(config.tenants):
        here = f"tenant{tenant}_"
        runs = z3.And(illegal, cycle["dispatch_tenant"] == tenant, cycle[f"{here}progress"] == int(TenantState.RUNNING))
        faulted = z3.And(
            cycle.next(f"{here}progress") == int(TenantState.FAULTED),
            cycle.next(f"{here}fault") == int(Fault.ILLEGAL_INSTRUCTION),
            cycle.next(f"{here}fault_address") == cycle["dispatch_address"],
            *(z3.Not(is_sent) for is_sent in sent.values()),
        )
        found += holds(f"an illegal word of tenant{tenant}", z3.Implies(runs, faulted), known)
    return found


def _traits_are_known(config: PoolConfig, cycle: Evaluation) -> tuple[list[str], Term]:
    """What contradicts that stage 1 always has the traits of its word, and what says so of this cycle."""
    claim = seen(config, knows_traits)
    reset = {name: value for name, (_, value) in cycle.system.registers.items()}
    found = [] if claim(INTEGER_LOGIC, View([reset], {})) else ["the traits at reset are wrong"]
    after = Evaluation(cycle.system, Z3Algebra(), NextState(cycle), {})
    found += holds("the traits of the word read", claim(SYMBOLIC_LOGIC, View([Frame(after)], {})))
    return found, claim(SYMBOLIC_LOGIC, View([Frame(cycle)], {}))


# ---- core

TWINS = (
    ("load/generating", "load/holds_back"),
    ("load/goes_on", "load/goes_on_here"),
    ("compute/drain/busy", "compute/drain/occupied"),
    ("compute/walker/pending", "compute/walker/keeps_pending"),
)
"""Registers of a core that are made twice, for those that wait for them are many."""


def _core_step(block: pyrtl.Block, **inputs: Term) -> Evaluation:
    """One step of a core that is awake, from any state, with these inputs."""
    system, algebra = TransitionSystem(block), Z3Algebra()
    state = system.state_variables(algebra, "")
    state |= {name: z3.BitVecVal(0, 1) for name in _asleep(block)} | {"awake": z3.BitVecVal(1, 1)} | _as_twins(state)
    given = {**system.input_variables(algebra, ""), "scrub": z3.BitVecVal(0, 1), **inputs}
    return Evaluation(system, algebra, state, given)


def _as_twins(state: Mapping[str, Term]) -> dict[str, Term]:
    return {second: state[first] for first, second in TWINS}


def _asleep(block: pyrtl.Block, behind: bool = False) -> list[str]:
    """The registers that say that a core is asleep, or was a cycle ago: one for each region."""
    return [name for name, value in clearing_registers(block).items() if value and ("_behind_" in name) == behind]


def twins(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What contradicts that registers of a core that are made twice are equal: they are at reset, and stay so. Those
    that say that it is asleep are the inverse of `awake`."""
    system, algebra = TransitionSystem(block), Z3Algebra()
    state = system.state_variables(algebra, "")
    asleep, (first_behind, *behind) = _asleep(block), _asleep(block, behind=True)
    state |= _as_twins(state) | {name: ~state["awake"] for name in asleep}
    state |= {name: state[first_behind] for name in behind}
    cycle = Evaluation(system, algebra, state, system.input_variables(algebra, ""))
    found = []
    for first, second in (*TWINS, *((first_behind, name) for name in behind)):
        if system.registers[first] != system.registers[second]:
            found.append(f"{first} and {second} differ at reset")
        found += holds(f"that {first} and {second} are one", cycle.next(first) == cycle.next(second))
    for name in asleep:
        if system.registers[name] == system.registers["awake"]:
            found.append(f"{name} and awake are the same at reset")
        found += holds(f"that one of {name} and awake is 1", cycle.next(name) != cycle.next("awake"))
    return found


def queues(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What contradicts the theorem about the queues of a core's netlist."""
    word, address = z3.BitVec("instruction", WORD_BITS), z3.BitVec("instruction_address", 28)
    arrives = _core_step(block, instruction_valid=z3.BitVecVal(1, 1))
    silent = _core_step(block, instruction_valid=z3.BitVecVal(0, 1))
    found = []
    for engine in ENGINES:
        queue = f"{engine.name.lower()}_queue"
        mine = is_any(word, of_engine(engine))
        other = is_any(word, [kind for each in ENGINES if each != engine for kind in of_engine(each)])
        registers = [name for name in arrives.system.registers if name.startswith(f"{queue}/")]
        (write,) = arrives.system.writes(f"{queue}/waiting")
        same = [arrives.next(name) == silent.next(name) for name in registers]
        same += [arrives[write.arguments[2]] == silent[write.arguments[2]]]
        found += holds(f"{queue}, when a word is not its own,", z3.And(same), other)
        incoming = z3.Concat(address, z3.Extract(word_bits(engine) - 1, 0, word))
        place, data, enable = (arrives[argument] for argument in write.arguments)
        pointer = f"{queue}/write_pointer"
        written = z3.And(enable == 1, data == incoming, place == arrives[pointer])
        waits = z3.And(written, arrives.next(pointer) == arrives[pointer] + 1)
        heads = z3.And(arrives.next(f"{queue}/head_valid") == 1, arrives.next(f"{queue}/head") == incoming)
        found += holds(f"{queue}, when its word comes,", z3.Or(waits, heads), mine)
        whole = z3.Extract(WORD_BITS - 1, word_bits(engine), word) == 0
        found += holds(f"what {queue} leaves away", whole, mine)
    return found + _unsent(block, silent)


def _unsent(block: pyrtl.Block, silent: Evaluation) -> list[str]:
    """Registers and memories of a core that take a word which is on its port while none is sent."""
    another = {"instruction": z3.BitVec("another", WORD_BITS), "instruction_address": z3.BitVec("another_address", 28)}
    other, system = _core_step(block, instruction_valid=z3.BitVecVal(0, 1), **another), silent.system
    port = system.support("instruction") | system.support("instruction_address")
    found = []
    for name in system.registers:
        if system.next_support(name) & port:
            found += holds(f"{name}, when no word comes,", silent.next(name) == other.next(name))
    for name in system.memories:
        for write in system.writes(name):
            (place, data, enable), others = (
                [step[argument] for argument in write.arguments] for step in (silent, other)
            )
            same = z3.And(enable == others[2], z3.Or(enable == 0, z3.And(place == others[0], data == others[1])))
            found += holds(f"{name}, when no word comes,", same)
    return found


USED_AT_ISSUE = {
    Engine.LOAD: {"wait_compute"},
    Engine.COMPUTE: {"wait_load", "wait_save"},
    Engine.SAVE: {"wait_compute"},
}
"""Fields that an engine needs only in the cycle in which the instruction issues."""


def fields(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What contradicts the theorem about the fields in a core's engines."""
    cycle = _core_step(block, instruction_valid=z3.BitVecVal(0, 1))
    found = []
    for place, engine in enumerate(ENGINES):
        head = f"{engine.name.lower()}_queue/head"
        word = z3.Extract(word_bits(engine) - 1, 0, cycle[head])
        leaves = z3.Extract(place, place, cycle.next("credit")) == 1
        for kind in of_engine(engine):
            assumed = (leaves, opcode_of(word) == kind.opcode)
            for layout in kind.layout():
                if layout.name == "core" or layout.name in USED_AT_ISSUE[engine]:
                    continue
                value = stored(word, layout)
                if not any(_holds_it(cycle, name, layout, value, assumed) for name in _registers(cycle, head, layout)):
                    found.append(f"{kind.__name__}: no register of the core has {layout.name} behind its issue")
    return found


def _registers(cycle: Evaluation, head: str, layout: FieldLayout) -> list[str]:
    """Registers that could hold a field: those named like it first."""
    system = cycle.system
    bit = system.support(head)
    names = [
        name
        for name, (bits, _) in system.registers.items()
        if bits >= layout.width and name != head and system.next_support(name) & bit
    ]
    return sorted(names, key=lambda name: (not name.endswith(layout.name), system.registers[name][0], name))


def _holds_it(cycle: Evaluation, name: str, layout: FieldLayout, value: Term, assumed: tuple[Term, ...]) -> bool:
    """The register holds the field for all words and states, zero- or sign-extended; of a flag, or its opposite."""
    bits = cycle.system.registers[name][0]
    if layout.width == bits == 1 and not counterexample(cycle.next(name) == ~value, *assumed):
        return True
    wide = z3.SignExt(bits - layout.width, value) if layout.signed else z3.ZeroExt(bits - layout.width, value)
    return not counterexample(cycle.next(name) == wide, *assumed)
