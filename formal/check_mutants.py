"""Seeded bugs of what the checks speak of: of a core's netlist, of arithmetic, of decoders, of compiled packages.

Each says what is wrong, and makes it and asks the check: `found` gives what contradicts the theorem then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pyrtl

from formal import composition
from formal import package_mutants as packages
from formal.mutation import Patch, driver, drop_operand, mutated, redirect, replace_net, tie
from formal.shell import shell_block
from formal.structure import (
    collisions,
    combinational_paths,
    control_plane_leaks,
    core_block,
    leaves_reset,
    left_by_scrub,
)
from formal.theorems import a_mac_step_is_that_of_the_isa as mac
from formal.theorems import every_word_is_one_instruction_or_a_fault as words
from formal.theorems import late_answers_stop_the_clock as late
from formal.theorems import results_are_those_of_float32 as float32
from isa import encoding
from isa.configuration import NAMED_POOLS
from isa.instructions import Conv, Load, Save
from isa.registers import Fault
from rtl.decoder import Decoded, decoder, traits_of

_PRODUCT_0, _PRODUCT_2 = "compute/array/product_0_0", "compute/array/product_2_0"
_ROWS = "compute/ConfigTile_output_rows"
_MAXIMUM = "compute/accumulators/maximum_5", "compute/accumulators/total_0"
MUTANT_POOL = NAMED_POOLS["tiny"]


@dataclass(frozen=True)
class CheckMutant:
    """A bug: what is `wrong` when it is in, and what the check `refutes` it with."""

    name: str
    refuted_by: str
    wrong: str
    found: Callable[[], Sequence[str]]


def _core(patch: Patch) -> pyrtl.Block:
    return mutated(core_block(MUTANT_POOL), patch)


def _shell(patch: Patch) -> pyrtl.Block:
    return mutated(shell_block(MUTANT_POOL), patch)


def _adapter(part: str, patch: Patch) -> list[str]:
    return late.contradictions(mutated(late.adapter(MUTANT_POOL), patch), part)


def _requantiser(part: str, patch: Patch) -> list[str]:
    return float32.lemma(part, mutated(float32.requantiser(), patch), float32.adder())


def _adder(part: str, patch: Patch) -> list[str]:
    return float32.lemma(part, float32.requantiser(), mutated(float32.adder(), patch))


def _overlooks_a_bit(word: pyrtl.WireVector) -> Decoded:
    seen = pyrtl.concat("1'b0", word[:-1])
    return decoder(seen, traits_of(seen))


def _takes(register: str, other: str) -> Patch:
    """A register takes the next value of another one."""

    def patch(block: pyrtl.Block) -> None:
        mine, theirs = (driver(block, name, through_copies=False) for name in (register, other))
        replace_net(block, mine, "r", *theirs.args)

    return patch


def without(premise: composition.Premise) -> tuple[composition.Premise, ...]:
    """All premises but one."""
    return tuple(each for each in composition.PREMISES if each is not premise)


CHECK_MUTANTS: tuple[CheckMutant, ...] = (
    CheckMutant(
        "output past its register", "L0", "an output of the core is computed in the cycle in which it is shown",
        lambda: combinational_paths(MUTANT_POOL, _core(tie("sync_local_o", 0))),
    ),
    CheckMutant(
        "a check that waits for a tenant", "L1", "a command is decided when another tenant's barrier releases",
        lambda: control_plane_leaks(_shell(redirect("command_is_decided", "tenant1_release"))),
    ),
    CheckMutant(
        "read during write", "L3", "a vector of the output buffer that is being written is read and used",
        lambda: collisions(_core(tie("save/output_collides", 0))),
    ),
    CheckMutant(
        "a token outlives the scrub", "L4", "a token counter keeps its count while the core is scrubbed",
        lambda: left_by_scrub(MUTANT_POOL, _core(drop_operand("clears_core", "save_to_compute/tokens", "x", 2))),
    ),
    CheckMutant(
        "an idle core counts", "L4", "the index generators of a core that has no instruction run on after the scrub",
        lambda: leaves_reset(_core(tie("compute/clears_engine", 0))),
    ),
    CheckMutant(
        "reserved bits read as zero", "instruction-set", "decode clears the reserved bits instead of refusing them",
        lambda: words.code(words.Code(decode=lambda word: encoding.decode(word & (1 << 120) - 1))),
    ),
    CheckMutant(
        "a reserved bit is set", "instruction-set", "encode leaves a bit behind that no field has",
        lambda: words.code(words.Code(encode=lambda instruction: encoding.encode(instruction) | 1 << 127)),
    ),
    CheckMutant(
        "the decoder overlooks a bit", "instruction-set", "level 1's decoder takes bit 127 of a word for 0",
        lambda: words.decoder_netlist(words.decoder_block(_overlooks_a_bit)),
    ),
    CheckMutant(
        "an illegal word is passed over", "instruction-set", "the fault of an illegal word is another one",
        lambda: words.level_1(MUTANT_POOL, _shell(tie("tenant1_fault", int(Fault.NESTED_CALL)))),
    ),
    CheckMutant(
        "a queue takes what is not its own", "instruction-set", "the save queue takes every instruction that comes",
        lambda: words.queues(MUTANT_POOL, _core(drop_operand("instruction", "save_queue/head_valid", "&", 1, -1))),
    ),
    CheckMutant(
        "a field from the wrong place", "instruction-set", "CONFIG_TILE takes input rows for output rows",
        lambda: words.fields(MUTANT_POOL, _core(_takes(_ROWS, "compute/ConfigTile_input_rows"))),
    ),
    CheckMutant(
        "a lane is awake in the scrub", "instruction-set", "the clear of an adder lane overlooks the scrub",
        lambda: words.twins(MUTANT_POOL, _core(drop_operand("scrub", "compute/results/asleep_adder_0", "|", 0))),
    ),
    CheckMutant(
        "ties of the product round up", "arithmetic", "the requantiser's product rounds ties upwards, not to even",
        lambda: _requantiser("requantiser: quotient", tie("lane/product_up", 1)),
    ),
    CheckMutant(
        "the conversion drops a carry", "arithmetic", "an accumulator that rounds up to a power of two loses the carry",
        lambda: _requantiser("requantiser: conversion", tie("lane/carry", 0)),
    ),
    CheckMutant(
        "a lost sticky bit", "arithmetic", "the adder takes every remainder with a guard bit for a tie",
        lambda: _adder("adder: result", tie("lane/sticky_2", 0)),
    ),
    CheckMutant(
        "one rounding instead of two", "arithmetic", "the adder does not round b * factor_b + offset",
        lambda: _adder("adder: first rounding", tie("lane/with_offset_rounded_dropped", 0)),
    ),
    CheckMutant(
        "half of a product", "arithmetic", "the upper bits of a mantissa of the adder do not count",
        lambda: _adder("adder: sums", tie("lane/b_high_product", 0)),
    ),
    CheckMutant(
        "another lane", "arithmetic", "one lane of the core rounds in another way than the one that is proved",
        lambda: float32.lanes_differ(MUTANT_POOL, _core(tie("compute/results/requantiser_1/quotient_up", 0))),
    ),
    CheckMutant(
        "a weight lends nothing", "multiply-accumulate", "an upper weight lends nothing to a negative one below it",
        lambda: mac.mac_step(MUTANT_POOL, _core(tie("compute/array/lends_0_0", 0)), "tile"),
    ),
    CheckMutant(
        "a product twice", "multiply-accumulate", "an output adds up one of its products twice, another one not at all",
        lambda: mac.mac_step(MUTANT_POOL, _core(_takes(_PRODUCT_2, _PRODUCT_0)), "products"),
    ),
    CheckMutant(
        "the loan is kept", "multiply-accumulate", "an upper product is not given back what the lower one borrowed",
        lambda: mac.mac_step(MUTANT_POOL, _core(tie("compute/array/borrowed_0_1", 0)), "sums"),
    ),
    CheckMutant(
        "the product before", "multiply-accumulate", "a depthwise CONV begins with a product of what came before it",
        lambda: mac.mac_step(MUTANT_POOL, _core(tie("compute/array/swapped_2", 0)), "earlier"),
    ),
    CheckMutant(
        "pools accumulate", "multiply-accumulate", "a maximum POOL adds",
        lambda: mac.mac_step(MUTANT_POOL, _core(drop_operand(*_MAXIMUM, "x", 2, 1)), "sums"),
    ),
    CheckMutant(
        "a sum is lost", "multiply-accumulate", "a word that is read while it is being written is the one before",
        lambda: mac.mac_step(MUTANT_POOL, _core(tie("compute/accumulators/is_new", 0)), "sums"),
    ),
    CheckMutant(
        "a tile elsewhere", "compilation", "the first tile of a layer is saved one vector further up",
        lambda: packages.broken(packages.moved_save(1)),
    ),
    CheckMutant(
        "computing before loading", "compilation", "a CONV does not wait for its first features",
        lambda: packages.broken(packages.without_token(Load, "post_compute", Conv, "wait_load")),
    ),
    CheckMutant(
        "loading before computing", "compilation", "a LOAD does not wait until the features that it replaces are read",
        lambda: packages.broken(packages.without_token(Conv, "post_load", Load, "wait_compute")),
    ),
    CheckMutant(
        "saving before computing", "compilation", "a SAVE does not wait for the CONV whose outputs it writes",
        lambda: packages.broken(packages.without_token(Conv, "post_save", Save, "wait_compute")),
    ),
    CheckMutant(
        "a token that nobody gives", "compilation", "a LOAD does not give the token that a CONV waits for",
        lambda: packages.broken(packages.first(Load, post_compute=0)),
    ),
    CheckMutant(
        "a LOAD that waits for its own use", "compilation", "a LOAD waits for the CONV that needs what it loads",
        lambda: packages.broken(packages.waits_for_its_own_use),
    ),
    CheckMutant(
        "sums of another tile", "compilation", "the first CONV of a tile adds to what is in the accumulators",
        lambda: packages.broken(packages.first(Conv, accumulate=1)),
    ),
    CheckMutant(
        "a tensor on top of a live one", "compilation", "a layer's output lies on a tensor that a later layer reads",
        packages.on_top_of_a_live_tensor,
    ),
    CheckMutant(
        "a queue without an end", "late-memory", "what is pushed overwrites what waits",
        lambda: _adapter("queues", tie("requests_end", 0)),
    ),
    CheckMutant(
        "reading what is being written", "late-memory", "a read is sent while a write of its beat is unanswered",
        lambda: _adapter("hazards", tie("write_matches", 0)),
    ),
    CheckMutant(
        "writing what is being read", "late-memory", "a write is sent while a read of its beat is unanswered",
        lambda: _adapter("hazards", tie("read_matches", 0)),
    ),
    CheckMutant(
        "an answer that does not wait", "late-memory", "an answer is taken while the pool's clock stands",
        lambda: _adapter("stalls", redirect("answers_pops", "read_is_due")),
    ),
    CheckMutant(
        "silent data", "late-memory", "an answer with SLVERR counts as data",
        lambda: _adapter("errors", tie("read_fails", 0)),
    ),
    *(
        CheckMutant(
            f"{premise.lemma}: {premise.says}", "L7", "the joint induction has to do without this premise",
            lambda premise=premise: composition.does_not_follow(2, without(premise)),  # type: ignore[misc]
        )
        for premise in composition.PREMISES
    ),
)  # fmt: skip
