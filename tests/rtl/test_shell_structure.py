"""Read off the netlist: registers at the boundary, a control plane out of reach of tenants, a decoder like the ISA."""

from __future__ import annotations

import re
from random import Random

import pyrtl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isa.configuration import NAMED_POOLS, ConfigurationError, PoolConfig
from isa.encoding import IllegalInstruction, decode, encode
from isa.instructions import INSTRUCTIONS, WORD_BITS
from rtl.core_ports import core_ports
from rtl.decoder import decoder, traits_of, virtual_core_of
from rtl.pool import core_stub, pool
from rtl.sizes import output
from tests.rtl.shell_bench import MINI, WIDE

CONTROL_PLANE = re.compile(
    r"core\d+_(state|owner|virtual|timer|scrub|scrub_address)|tenant\d+_(attachment|base|limit)"
    r"|wheel_position|turn\d+_(owner|is_held|is_host)"
    r"|sweep_.*|channel\d+_sweep_count|host_taken|argument_.*|command(_is_.*|_verdict)?|check_.*"
)


def built(config: PoolConfig) -> pyrtl.Block:
    pyrtl.reset_working_block()
    pool(config, core_stub(config))
    return pyrtl.working_block()


def sources(block: pyrtl.Block, start: pyrtl.WireVector) -> set[pyrtl.WireVector]:
    """Registers and inputs (and memories' names) from which the next value of `start` is computed."""
    drivers, _ = block.net_connections()
    found: set[pyrtl.WireVector] = set()
    todo, seen = list(drivers[start].args), set()
    while todo:
        wire = todo.pop()
        if wire in seen:
            continue
        seen.add(wire)
        if isinstance(wire, pyrtl.Register | pyrtl.Input):
            found.add(wire)
        elif wire in drivers:
            assert drivers[wire].op != "m" or isinstance(start, pyrtl.Register)
            todo += drivers[wire].args
    return found


@pytest.mark.parametrize("config", [MINI, WIDE])
def test_every_output_is_driven_by_one_register_directly(config: PoolConfig) -> None:
    block = built(config)
    drivers, _ = block.net_connections()
    for port in block.wirevector_subset(pyrtl.Output):
        wire = port
        while not isinstance(wire, pyrtl.Register | pyrtl.Input):
            assert drivers[wire].op == "w", port
            wire = drivers[wire].args[0]
        if isinstance(wire, pyrtl.Input):
            assert re.fullmatch(r"core\d+_activity", port.name) and wire.name == f"{port.name}_i"


@pytest.mark.parametrize("config", [MINI, WIDE])
def test_the_control_plane_depends_on_itself_and_the_host_alone(config: PoolConfig) -> None:
    block = built(config)
    members = {wire for wire in block.wirevector_subset(pyrtl.Register) if CONTROL_PLANE.fullmatch(wire.name)}
    assert len(members) > 20 + 6 * config.cores + 3 * config.tenants
    for member in members:
        for source in sources(block, member):
            host = isinstance(source, pyrtl.Input) and source.name.startswith(("control_", "host_request_"))
            assert host or source in members, f"{member.name} depends on {source.name}"


@pytest.mark.parametrize("config", [MINI, WIDE, *NAMED_POOLS.values()])
def test_every_register_has_a_verilog_safe_name_and_a_reset_value(config: PoolConfig) -> None:
    block = built(config)
    block.sanity_check()
    registers = block.wirevector_subset(pyrtl.Register)
    assert all(register.reset_value is not None for register in registers)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", register.name) for register in registers)


def test_ports_of_a_stub_carry_the_names_of_the_contract() -> None:
    block = built(MINI)
    ports = core_ports(MINI)
    for core in range(MINI.cores):
        for port, bits in ports.inputs.items():
            assert len(block.wirevector_by_name[f"core{core}_{port}_o"]) == bits
        for port, bits in ports.outputs.items():
            assert len(block.wirevector_by_name[f"core{core}_{port}_i"]) == bits


@pytest.mark.parametrize(
    "change", [{"host_revolutions": 1}, {"fetch_beats": 2, "channels": 4, "cores": 16}, {"memory_beats": 8}]
)
def test_sizes_that_the_shell_cannot_serve_are_refused(change: dict[str, int]) -> None:
    values = {field: getattr(MINI, field) for field in PoolConfig.__dataclass_fields__} | change
    pyrtl.reset_working_block()
    with pytest.raises(ConfigurationError):
        config = PoolConfig(**values)
        pool(config, core_stub(config))


@pytest.fixture(scope="module")
def decode_in_hardware() -> object:
    """The decoder alone in a simulator: word -> (legal, is END, is CALL, is RETURN, engine bits)."""
    pyrtl.reset_working_block()
    word = pyrtl.Input(WORD_BITS, "word")
    decoded = decoder(word, traits_of(word))
    output("virtual_core", virtual_core_of(word))
    for name in ("is_legal", "barriers", "target"):
        output(name, getattr(decoded, name))
    for name in ("is_end", "is_call", "is_return"):
        output(name, decoded.is_legal & getattr(decoded.opcode, name))
    output("engine", pyrtl.concat_list([decoded.is_legal & each for each in decoded.opcode.engine]))
    simulation = pyrtl.FastSimulation(tracer=None)

    def run(word: int) -> dict[str, int]:
        simulation.step({"word": word})
        names = ("is_legal", "is_end", "is_call", "is_return", "virtual_core", "barriers", "target", "engine")
        return {name: simulation.inspect(name) for name in names}

    return run


def agrees(seen: dict[str, int], word: int) -> None:
    try:
        instruction = decode(word)
    except IllegalInstruction:
        assert not any(seen[name] for name in ("is_legal", "is_end", "is_call", "is_return", "engine"))
        return
    kind = type(instruction).__name__
    assert seen["is_legal"]
    assert (seen["is_end"], seen["is_call"], seen["is_return"]) == (kind == "End", kind == "Call", kind == "Return")
    assert seen["engine"] == (1 << instruction.engine()) >> 1
    for name, field in (("virtual_core", "core"), ("barriers", "barriers")):
        if hasattr(instruction, field):
            assert seen[name] == getattr(instruction, field)
    if kind == "Call":
        assert seen["target"] == instruction.address  # type: ignore[attr-defined]


def test_the_decoder_accepts_each_instruction_and_none_with_one_reserved_bit(decode_in_hardware: object) -> None:
    random = Random(0)
    for kind in INSTRUCTIONS:
        for _ in range(3):
            values = {field.name: random.randint(field.lowest, field.highest) for field in kind.layout()}
            word = encode(kind(**values))
            agrees(decode_in_hardware(word), word)  # type: ignore[operator]
            for bit in range(kind.used_bits(), WORD_BITS):
                agrees(decode_in_hardware(word | 1 << bit), word | 1 << bit)  # type: ignore[operator]


@given(st.integers(0, (1 << WORD_BITS) - 1), st.integers(0, WORD_BITS))
@settings(max_examples=300, deadline=None)
def test_the_decoder_agrees_on_any_word(decode_in_hardware: object, word: int, kept: int) -> None:
    word &= (1 << kept) - 1
    agrees(decode_in_hardware(word), word)  # type: ignore[operator]
