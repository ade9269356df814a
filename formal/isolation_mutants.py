"""Seeded bugs of the shell that isolation has to notice, each with the theorem that a reader would expect to refute it.

Each is what somebody might build who improves the shell: an arbiter instead of slots, a drain that ends when nothing
seems to be outstanding, a command that waits for a tenant. A patch changes what a register loads; the rest stays.
"""

from __future__ import annotations

from collections.abc import Callable

import pyrtl
from pyrtl import Const, WireVector, concat, select

from formal.mutants import Mutant
from formal.mutation import Patch, PatchError, nets_between, replace_net, shift_constant, wire
from isa.registers import Command, CoreState, TenantState
from rtl.decoder import TRAITS
from rtl.tenants import BARRIER_BITS
from rtl.windows import Attachment

Lookup = Callable[[str], WireVector]


def reload(register: str, build: Callable[[WireVector, Lookup], WireVector]) -> Patch:
    """The register loads what `build` makes of its next value and of other wires; `lookup("x'")` is the next x."""

    def patch(block: pyrtl.Block) -> None:
        nets = {net.dests[0].name: net for net in block.logic if net.op == "r"}
        if register not in nets:
            raise PatchError(f"the netlist has no register called {register}")

        def lookup(name: str) -> WireVector:
            return nets[name[:-1]].args[0] if name.endswith("'") else wire(block, name)

        with pyrtl.set_working_block(block, no_sanity_check=True):
            value = build(nets[register].args[0], lookup)
        replace_net(block, nets[register], "r", value)

    return patch


def driven(name: str, build: Callable[[WireVector, Lookup], WireVector]) -> Patch:
    """Whoever reads wire `name` (an input) reads what `build` makes of it instead."""

    def patch(block: pyrtl.Block) -> None:
        readers = [net for net in block.logic if any(argument.name == name for argument in net.args)]
        original = wire(block, name)
        with pyrtl.set_working_block(block, no_sanity_check=True):
            value = build(original, lambda other: wire(block, other))
        for net in readers:
            block.logic.remove(net)
            arguments = tuple(value if argument is original else argument for argument in net.args)
            block.add_net(pyrtl.LogicNet(net.op, net.op_param, arguments, net.dests))

    return patch


def _limit_check(patched: Callable[[WireVector, WireVector], WireVector]) -> Patch:
    """Another comparison of offset and limit in the stage of channel 0."""

    def patch(block: pyrtl.Block) -> None:
        offset, limit = wire(block, "channel0_stage_offset"), wire(block, "channel0_stage_limit")
        width = max(len(offset), len(limit))
        nets = [net for net in block.logic if net.op == "<" and net.args[0] is offset]
        if len(nets) != 1:
            raise PatchError(f"expected one comparison of the offset with the limit, found {len(nets)}")
        with pyrtl.set_working_block(block, no_sanity_check=True):
            value = patched(offset.zero_extended(width), limit.zero_extended(width))
        replace_net(block, nets[0], "w", value)

    return patch


def _sweep_spares_the_prefetch(block: pyrtl.Block) -> None:
    """The write enable of the prefetch bank is that of fetches alone."""
    writes = [net for net in block.logic if net.op == "@" and net.op_param[1].name == "channel0_prefetch"]
    drivers = {net.dests[0]: net for net in block.logic if net.dests}
    for net in writes:
        enable = net.args[2]
        while drivers[enable].op == "w":
            enable = drivers[enable].args[0]
        if drivers[enable].op != "|":
            raise PatchError("the write enable of the prefetch is not a disjunction")
        block.logic.remove(net)
        block.add_net(pyrtl.LogicNet("@", net.op_param, (*net.args[:2], drivers[enable].args[0]), ()))


def _host_slot_ignores_taken(block: pyrtl.Block) -> None:
    """Whoever asks whether the host has not heard yet is told so."""
    taken = wire(block, "host_taken")
    nets = [net for net in block.logic if net.op == "~" and net.args[0] is taken]
    if not nets:
        raise PatchError("nothing asks whether the host has not heard yet")
    for net in nets:
        replace_net(block, net, "w", Const(1, 1, block=block))


def _without_credit(old: WireVector, look: Lookup) -> WireVector:
    comes = look("core0_instruction_valid'") & look("core0_credit_i")[0] & (look("core0_state") == int(CoreState.HELD))
    return select(comes, (old - 1)[: len(old)], old)


def _held(look: Lookup, core: int) -> WireVector:
    return look(f"core{core}_state") == int(CoreState.HELD)


def _running(look: Lookup, tenant: int) -> WireVector:
    return look(f"tenant{tenant}_progress") == int(TenantState.RUNNING)


def _dirty(look: Lookup) -> WireVector:
    return (look("tenant0_attachment") == int(Attachment.DIRTY)) | (look("tenant1_attachment") == int(Attachment.DIRTY))


def _any_core(look: Lookup, state: CoreState) -> WireVector:
    return (look("core0_state") == int(state)) | (look("core1_state") == int(state))


def _no_fault(old: WireVector, look: Lookup) -> WireVector:
    return old & ~look("core0_fault_valid_i") & ~look("core1_fault_valid_i")


def _drains_when_quiet(old: WireVector, look: Lookup) -> WireVector:
    quiet = (look("channel0_request_valid") == 0) & (look("core0_timer") > 8)
    draining = look("core0_state") == int(CoreState.DRAINING)
    return select(draining & quiet, Const(int(CoreState.SCRUBBING), len(old)), old)


def _faults_of_tenant_0(look: Lookup, core: int) -> WireVector:
    return _held(look, core) & (look(f"core{core}_owner") == 0) & look(f"core{core}_fault_valid_i")


def _becomes(old: WireVector, look: Lookup, now: TenantState, expected: TenantState, other: TenantState) -> WireVector:
    """Tenant 0, in state `now`, becomes `other` where it ought to become `expected`."""
    here = (look("tenant0_progress") == int(now)) & (old == int(expected))
    return select(here, Const(int(other), len(old)), old)


def _ends_at_once(block: pyrtl.Block) -> None:
    """What compares barriers with those that END names says that they are enough."""
    nets = [
        net
        for net in nets_between(block, "tenant0_barriers", "tenant0_progress", "<")
        if any(len(argument) == BARRIER_BITS for argument in net.args)
    ]
    if len(nets) != 1:
        raise PatchError(f"expected one comparison of barriers with those that END names, found {len(nets)}")
    replace_net(block, nets[0], "w", Const(0, 1, block=block))


def _asks_for_no_credit(block: pyrtl.Block) -> None:
    """What compares the credit for loads of core 0 with 0 says that there is some."""
    nets = [
        net
        for net in nets_between(block, "core0_credits_load", "core0_instruction_valid", "=")
        if net.args[0].name == "core0_credits_load"
    ]
    if len(nets) != 1:
        raise PatchError(f"expected one comparison of the credit with 0, found {len(nets)}")
    replace_net(block, nets[0], "w", Const(0, 1, block=block))


_OF_OPCODES = sum(1 << index for index, trait in enumerate(TRAITS) if not trait.stretch)
"""The traits of a word that its opcode alone decides."""


def _kept_on_stop(old: WireVector, look: Lookup, name: str) -> WireVector:
    stops = look("command_is_decided") & (look("command") == int(Command.STOP))
    return select(stops, look(name), old)


_ARRIVES = "every_instruction_arrives_once"
_ANSWERED, _OBSERVED, _WINDOW = (
    "every_request_is_answered_once",
    "neighbours_cannot_be_observed",
    "no_access_leaves_its_window",
)
_OTHERS = "commands_for_others_cannot_be_observed"
_STATE = "a_tenants_state_is_that_of_its_automaton"
_BARRIER, _INHERITED, _CONSTANT = (
    "barriers_wait_for_their_own_cores", "nothing_is_inherited", "switching_takes_constant_time",
)  # fmt: skip

ISOLATION_MUTANTS = (
    Mutant(
        "return_repeats", "RETURN goes back to the CALL, not behind it", _ARRIVES,
        (reload("tenant0_return_address", lambda old, look: select(old == 0, old, look("tenant0_program_counter"))),),
    ),
    Mutant(
        "epoch_lost", "what is in flight forgets its epoch: after a jump nothing that was asked for is taken", _ARRIVES,
        (reload("channel0_flight0_epoch", lambda old, look: Const(0, 1)),),
    ),
    Mutant(
        "buffer_never_full", "a tenant stops fetching one beat before its prefetch buffer is full", _ARRIVES,
        (shift_constant("tenant0_next_request", "tenant0_next_request", "=", -1),),
    ),
    Mutant(
        "waits_outside", "a tenant's program waits for its next word even where its window has ended", _ARRIVES,
        (reload("dispatch_valid", lambda old, look: old & ~look("dispatch_is_outside'")),),
    ),
    Mutant(
        "credit_not_asked_for", "core 0 is sent loads whether its queue has room or not", _ARRIVES,
        (_asks_for_no_credit,),
    ),
    Mutant(
        "credit_lost", "a credit that comes while an instruction is sent is lost", _ARRIVES,
        (reload("core0_credits_load", _without_credit),),
    ),
    Mutant(
        "request_waits", "a core's request waits in a cycle in which the core gives credit back", _ANSWERED,
        (driven("core0_request_valid_i", lambda old, look: old & (look("core0_credit_i") == 0)),),
    ),
    Mutant(
        "acknowledgement_lost", "a write is not acknowledged while the core has another request waiting", _ANSWERED,
        (reload("core0_write_acknowledged", lambda old, look: old & ~look("core0_request_valid_i")),),
    ),
    Mutant(
        "whole_beats", "a write replaces the whole beat, whatever its strobes say", _ANSWERED,
        (reload("channel0_request_strobe", lambda old, look: select(old == 0, old, ~Const(0, len(old)))),),
    ),
    Mutant(
        "host_asks_twice", "the host's request is looked at again while the host hears of it", _ANSWERED,
        (_host_slot_ignores_taken,),
    ),
    Mutant(
        "arbiter", "a core's request waits while another core asks, as behind an arbiter", _OBSERVED,
        (driven("core1_request_valid_i", lambda old, look: old & ~look("core0_request_valid_i")),),
    ),
    Mutant(
        "command_waits", "GRANT is refused while tenant 1 is RUNNING", _OBSERVED,
        (reload("check_wrong_core_state", lambda old, look: old | _running(look, 1)),),
    ),
    Mutant(
        "fault_stalls", "level 1 loses a slot when a core of anybody's reports a fault", _OBSERVED,
        (reload("dispatch_valid", _no_fault),),
    ),
    Mutant(
        "answer_to_both", "the data of core 0's answers show on the port of core 1, too", _OBSERVED,
        (reload("core1_response_data", lambda old, look: old | look("core0_response_data'")),),
    ),
    Mutant(
        "taken_is_lost", "a core does not hear that its request is taken while its neighbour gets data", _OBSERVED,
        (reload("core0_request_taken", lambda old, look: old & ~look("core1_response_valid")),),
    ),
    Mutant(
        "grant_waits_for_drain", "GRANT is refused while any core drains", _OTHERS,
        (reload("check_wrong_core_state", lambda old, look: old | _any_core(look, CoreState.DRAINING)),),
    ),
    Mutant(
        "scrub_stalls", "level 1 serves nobody while a core is scrubbed", _OTHERS,
        (reload("dispatch_valid", lambda old, look: old & ~_any_core(look, CoreState.SCRUBBING)),),
    ),
    Mutant(
        "host_goes_first", "a core's request waits while the host asks for memory", _OTHERS,
        (driven("core0_request_valid_i", lambda old, look: old & ~look("host_request_valid")),),
    ),
    Mutant(
        "barrier_waits_for_all", "a barrier waits for all cores that are HELD, whoever holds them", _BARRIER,
        tuple(
            reload(f"tenant{n}_release", lambda old, look: old & look("core0_arrived") & look("core1_arrived"))
            for n in range(2)
        ),
    ),
    Mutant(
        "barrier_on_first", "a barrier completes when the first core arrives", _BARRIER,
        (reload("tenant0_release", lambda old, look: old | (_running(look, 0) & look("core1_arrived"))),),
    ),
    Mutant(
        "release_to_all", "the release of one tenant's barrier reaches all cores", _BARRIER,
        (reload("core1_sync_global", lambda old, look: old | look("tenant0_release")),),
    ),
    Mutant(
        "last_fault_stays", "a core's fault replaces the one that stopped its tenant before", _STATE,
        (
            reload(
                "tenant0_fault",
                lambda old, look: select(_faults_of_tenant_0(look, 0), look("core0_fault_cause_i"), old),
            ),
        ),
    ),
    Mutant(
        "last_core_blamed", "of two cores that fault at once the last one's address is recorded", _STATE,
        (
            reload(
                "tenant0_fault_address",
                lambda old, look: select(
                    _faults_of_tenant_0(look, 1) & (old == look("core0_fault_address_i")),
                    look("core1_fault_address_i"),
                    old,
                ),
            ),
        ),
    ),
    Mutant(
        "fault_unheard_in_pause", "what goes wrong while a tenant is PAUSED does not stop it", _STATE,
        (
            reload(
                "tenant0_progress",
                lambda old, look: _becomes(old, look, TenantState.PAUSED, TenantState.FAULTED, TenantState.PAUSED),
            ),
        ),
    ),
    Mutant(
        "pause_at_once", "PAUSE stops a tenant at once, wherever its cores are", _STATE,
        (
            reload(
                "tenant0_progress",
                lambda old, look: select(
                    look("tenant0_pause_pending"),
                    _becomes(old, look, TenantState.RUNNING, TenantState.RUNNING, TenantState.PAUSED),
                    old,
                ),
            ),
        ),
    ),
    Mutant("end_does_not_wait", "END does not wait for the barriers that it names", _STATE, (_ends_at_once,)),
    Mutant(
        "reserved_bits", "a word is an instruction if its opcode is one", _STATE,
        (reload("dispatch_traits", lambda old, look: old & _OF_OPCODES),),
    ),
    Mutant(
        "limit_off_by_one", "the first beat behind the window passes the limit check", _WINDOW,
        (_limit_check(lambda offset, limit: offset <= limit),),
    ),
    Mutant(
        "limit_ignores_high_bits", "the limit check looks at the low bits of an offset only", _WINDOW,
        (_limit_check(lambda offset, limit: offset[:3].zero_extended(len(limit)) < limit),),
    ),
    Mutant(
        "window_over_dirty", "ATTACH is accepted over a window that has not been swept", _WINDOW,
        (reload("check_window_overlaps", lambda old, look: old & ~_dirty(look)),),
    ),
    Mutant(
        "scrub_skips", "the sweep of core 0 visits even addresses only", _INHERITED,
        (reload("core0_scrub_address", lambda old, look: concat(old[1:], Const(0, 1))),),
    ),
    Mutant(
        "scrub_begins_late", "the sweep of core 0 leaves out its first address", _INHERITED,
        (reload("core0_scrub", lambda old, look: old & (look("core0_timer") != 0)),),
    ),
    Mutant(
        "prefetch_not_cleaned", "the sweep of a window does not clean the tenant's prefetch", _INHERITED,
        (_sweep_spares_the_prefetch,),
    ),
    Mutant(
        "context_survives_stop", "the program counter of tenant 0 survives STOP", _INHERITED,
        (
            reload(
                "tenant0_program_counter",
                lambda old, look: _kept_on_stop(old, look, "tenant0_program_counter"),
            ),
        ),
    ),
    Mutant(
        "arrival_survives", "an arrival of core 0 at a barrier is not forgotten when it is taken back", _INHERITED,
        (reload("core0_arrived", lambda old, look: old | (look("core0_arrived") & ~_held(look, 0))),),
    ),
    Mutant(
        "drain_ends_when_quiet", "a drain ends when the channel is idle, with answers still to come", _CONSTANT,
        (reload("core0_state", _drains_when_quiet),),
    ),
    Mutant(
        "start_anywhere", "START takes effect at position 0 of any revolution", _CONSTANT,
        (
            reload(
                "tenant0_progress",
                lambda old, look: select(
                    (look("tenant0_progress") == int(TenantState.STARTING)) & (look("wheel_position")[:1] == 1)
                    & (old == int(TenantState.STARTING)),
                    Const(int(TenantState.RUNNING), len(old)),
                    old,
                ),
            ),
        ),
    ),
)  # fmt: skip
"""Bugs in the order of the theorems that find them."""
