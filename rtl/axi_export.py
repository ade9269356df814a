"""Verilog of the AXI top: `axi_pool`, around the module `pool`, whose netlist it leaves as it is.

The pool's clock passes a clock gate, so that every register and memory of the pool stands still together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping

from pyrtl import Input, WireVector

from isa.c_header import C_HEADER, c_header
from isa.configuration import PoolConfig
from isa.registers import AXI_ADDRESS_BITS, CONTROL_ADDRESS_BITS, CONTROL_DATA_BITS
from rtl.axi_channel import ID_BITS as CHANNEL_ID_BITS
from rtl.axi_channel import RESPONSE_BITS, AxiChannelSizes, axi_channel
from rtl.axi_control import STROBES, axi_control, axi_control_inputs
from rtl.axi_host import ID_BITS as HOST_ID_BITS
from rtl.axi_host import LENGTH_BITS, axi_host, axi_host_inputs, host_address_bits
from rtl.core_ports import ENGINE_COUNT
from rtl.export import HEADER, recorded
from rtl.sizes import Sizes, output
from rtl.tenants import PROGRESS_BITS
from rtl.verilog import bit_range, design_texts, instance

AXI_FILES = ("axi_pool.v", "axi_control.v", "axi_channel.v", "axi_host.v", "clock_gate.v")
"""What the AXI top consists of, beside the files of the pool."""
WIDEST_BEAT = 128
"""Bytes of the widest data bus that AXI knows."""
MASTER_ADDRESS_BITS = 64

Ports = Mapping[str, int]
Signal = tuple[str, int, bool]
"""A signal of a bus: its name there, its bits, and whether the master drives it."""

CLOCK_GATE = """\
// Passes the clock in cycles in which `enable` is 1. `enable` comes from registers of `clk`.
// Define TENURE_XILINX to get a BUFGCE of 7-series and UltraScale devices, TENURE_ECP5 a DCCA; the rest is for
// simulation.
module clock_gate(
  input clk,
  input enable,
  output gated
);
`ifdef TENURE_XILINX
  BUFGCE buffer (.I(clk), .CE(enable), .O(gated));
`elsif TENURE_ECP5
  DCCA buffer (.CLKI(clk), .CE(enable), .CLKO(gated));
`else
  reg passes;
  always @(negedge clk) passes <= enable;
  assign gated = clk & passes;
`endif
endmodule
"""


def axi_verilog(config: PoolConfig) -> dict[str, str]:
    """The files of AXI_FILES and the C header as text; none for a pool whose beats do not fit an AXI bus."""
    if config.beat_bytes > WIDEST_BEAT:
        return {}
    header = HEADER.format(name=json.dumps(config.name))
    texts = {
        f"{part}.v": text
        for name, build in axi_modules(config).items()
        for part, text in design_texts(recorded(name, build)).items()
    }
    texts |= {"axi_pool.v": axi_top(config), "clock_gate.v": CLOCK_GATE}
    return {name: header + texts[name] for name in AXI_FILES} | {C_HEADER: c_header(config)}


def axi_modules(config: PoolConfig) -> dict[str, Callable[[], None]]:
    """The modules written in PyRTL, by name: each builds itself with its ports in the working block."""
    channel = AxiChannelSizes.of(config)
    return {
        "axi_control": _built(axi_control_inputs(config), lambda ports: axi_control(config, ports)),
        "axi_channel": _built(channel.inputs, lambda ports: axi_channel(channel, ports)),
        "axi_host": _built(axi_host_inputs(config), lambda ports: axi_host(config, ports)),
    }


def _built(inputs: Ports, build: Callable[[Mapping[str, WireVector]], Mapping[str, WireVector]]) -> Callable[[], None]:
    def module() -> None:
        for name, wire in build({name: Input(bits, name) for name, bits in inputs.items()}).items():
            output(name, wire)

    return module


def bus_signals(config: PoolConfig) -> dict[str, tuple[list[Signal], bool]]:
    """The buses of `axi_pool` by their names: their signals, and whether the pool is their master."""
    data = Sizes(config).data
    buses = {
        "s_axi_ctrl": (_lite(), False),
        "s_axi_host": (_full(data, host_address_bits(config), HOST_ID_BITS), False),
    }
    memory = _full(data, MASTER_ADDRESS_BITS, CHANNEL_ID_BITS)
    return buses | {f"m_axi_ch{channel}": (memory, True) for channel in range(config.channels)}


def axi_top(config: PoolConfig) -> str:
    """Verilog of the module `axi_pool`."""
    sizes = Sizes(config)
    channels = range(config.channels)
    buses = bus_signals(config)
    ports = [
        '(* X_INTERFACE_INFO = "xilinx.com:signal:clock:1.0 aclk CLK" *)',
        '(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aclk, '
        f'ASSOCIATED_BUSIF {":".join(buses)}, ASSOCIATED_RESET aresetn" *)',
        "input aclk",
        '(* X_INTERFACE_INFO = "xilinx.com:signal:reset:1.0 aresetn RST" *)',
        '(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW" *)',
        "input aresetn",
        '(* X_INTERFACE_INFO = "xilinx.com:signal:interrupt:1.0 irq INTERRUPT" *)',
        '(* X_INTERFACE_PARAMETER = "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH" *)',
        "output irq",
        *[port for bus, (signals, is_master) in buses.items() for port in _ports(config, bus, signals, is_master)],
    ]
    parameters = ",\n".join(f"  parameter [{MASTER_ADDRESS_BITS - 1}:0] CH{c}_BASE = 64'd0" for c in channels)
    lines = [
        "// Clock `aclk`, synchronous reset `aresetn`, active low. CH{g}_BASE is where the memory of channel g begins",
        "// in the address space of m_axi_ch{g}; its size is that of the pool's memory divided by the channels.",
        "module axi_pool #(",
        parameters,
        ") (",
        _joined(ports),
        ");",
        "  wire enable, halted, restart;",
        "  wire reset = ~aresetn;",
        "  wire pool_reset = reset | restart;",
        "  wire pool_clock;",
        "  clock_gate clock_gate (.clk(aclk), .enable(enable | reset), .gated(pool_clock));",
    ]
    wires = {
        "control_write": 1, "control_address": CONTROL_ADDRESS_BITS, "control_write_data": CONTROL_DATA_BITS,
        "control_read_data": CONTROL_DATA_BITS, "host_request_valid": 1, "host_request_write": 1,
        "host_request_address": sizes.beat, "host_request_data": sizes.data,
        "host_request_strobe": config.vectors_per_beat, "host_request_taken": 1, "host_response_valid": 1,
        "host_response_data": sizes.data,
        **{f"tenant{tenant}_state": PROGRESS_BITS for tenant in range(config.tenants)},
    }  # fmt: skip
    pool_ports = list(wires)
    for channel in channels:
        requests = {
            "valid": 1, "write": 1, "address": sizes.channel_address, "data": sizes.data,
            "strobe": config.vectors_per_beat, "response": sizes.data,
        }  # fmt: skip
        pool_ports += [f"channel{channel}_{name}" for name in requests]
        own = ("is_ready", "is_error", "is_idle", "answers_host", "host_failed")
        requests |= dict.fromkeys(own, 1) | {
            "araddr": sizes.channel_address, "awaddr": sizes.channel_address, "wstrb": config.vectors_per_beat,
        }  # fmt: skip
        wires |= {f"channel{channel}_{name}": bits for name, bits in requests.items()}
    activity = {f"core{core}_activity": ENGINE_COUNT for core in range(config.cores)}
    lines += [f"  wire {bit_range(bits)}{name};" for name, bits in (wires | activity).items()]
    shared = {name: name for name in ("enable", "halted", "restart")}
    lines += instance("pool", "pool", {name: name for name in [*pool_ports, *activity]}, "pool_clock", "pool_reset")
    lines += instance("axi_control", "control", _control_pins(config) | shared, "aclk", "reset")
    host_pins = {name: f"s_axi_host_{name}" for name in _HOST_PINS}
    host_pins |= {name: name for name in wires if name.startswith("host_request") or name.startswith("host_response")}
    host_pins |= {
        f"channel{channel}_{name}": f"channel{channel}_{name}"
        for channel in channels
        for name in ("answers_host", "host_failed")
    }
    lines += instance("axi_host", "host", host_pins | shared, "aclk", "reset")
    for channel in channels:
        lines += _channel(config, channel)
    return "\n".join([*lines, "endmodule", ""])


_HOST_PINS = (
    "awvalid", "awready", "awid", "awaddr", "awlen", "awsize", "awburst", "wvalid", "wready", "wdata", "wstrb",
    "bvalid", "bready", "bid", "bresp", "arvalid", "arready", "arid", "araddr", "arlen", "arsize", "arburst",
    "rvalid", "rready", "rid", "rdata", "rresp", "rlast",
)  # fmt: skip
_CHANNEL_PINS = (
    "arvalid", "arready", "rvalid", "rid", "rdata", "rresp", "rlast", "awvalid", "awready", "wvalid", "wready",
    "wdata", "bvalid", "bid", "bresp",
)  # fmt: skip


def _control_pins(config: PoolConfig) -> dict[str, str]:
    pins = {name: f"s_axi_ctrl_{name}" for name, _, _ in _lite() if not name.endswith("prot")}
    own = [name for name in axi_control_inputs(config) if name.startswith(("channel", "tenant", "control"))]
    own += [f"channel{channel}_host_failed" for channel in range(config.channels)]
    own += ["control_write", "control_address", "control_write_data"]
    return pins | {name: name for name in own} | {"interrupt": "irq"}


def _channel(config: PoolConfig, channel: int) -> list[str]:
    """The adapter of one channel, and what its single beats always are."""
    sizes = Sizes(config)
    bus, here = f"m_axi_ch{channel}", f"channel{channel}_"
    byte_bits = (config.beat_bytes - 1).bit_length()
    zeros = MASTER_ADDRESS_BITS - sizes.channel_address - byte_bits
    pins = {name: f"{bus}_{name}" for name in _CHANNEL_PINS}
    pins |= {name: f"{here}{name}" for name in ("araddr", "awaddr", "wstrb", "response")}
    pins |= {f"request_{name}": f"{here}{name}" for name in ("valid", "write", "address", "data", "strobe")}
    pins |= {name: f"{here}{name}" for name in ("is_ready", "is_error", "is_idle")}
    pins = {"enable": "enable", "hold": "halted", **pins}
    lines = instance("axi_channel", f"channel{channel}", pins, "aclk", "pool_reset")
    vectors = [f"[{vector}]" for vector in reversed(range(config.vectors_per_beat))]
    strobes = [f"{here}wstrb{vector if len(vectors) > 1 else ''}" for vector in vectors]
    bytes_written = ", ".join(f"{{{config.array}{{{strobe}}}}}" for strobe in strobes)
    constants = {"rready": "1'b1", "bready": "1'b1", "wlast": "1'b1", "wstrb": f"{{{bytes_written}}}"}
    for way in ("ar", "aw"):
        constants |= {
            f"{way}id": f"{CHANNEL_ID_BITS}'d0", f"{way}len": f"{LENGTH_BITS}'d0", f"{way}size": f"3'd{byte_bits}",
            f"{way}burst": "2'b01", f"{way}lock": "1'b0", f"{way}cache": "4'b0011", f"{way}prot": "3'b000",
            f"{way}qos": "4'd0",
            f"{way}addr": f"CH{channel}_BASE + {{{zeros}'d0, {here}{way}addr, {byte_bits}'d0}}",
        }  # fmt: skip
    return lines + [f"  assign {bus}_{name} = {value};" for name, value in constants.items()]


def _lite() -> list[Signal]:
    """Signals of AXI4-Lite."""
    return [
        ("awvalid", 1, True), ("awready", 1, False), ("awaddr", AXI_ADDRESS_BITS, True), ("awprot", 3, True),
        ("wvalid", 1, True), ("wready", 1, False), ("wdata", CONTROL_DATA_BITS, True), ("wstrb", STROBES, True),
        ("bvalid", 1, False), ("bready", 1, True), ("bresp", RESPONSE_BITS, False),
        ("arvalid", 1, True), ("arready", 1, False), ("araddr", AXI_ADDRESS_BITS, True), ("arprot", 3, True),
        ("rvalid", 1, False), ("rready", 1, True), ("rdata", CONTROL_DATA_BITS, False), ("rresp", RESPONSE_BITS, False),
    ]  # fmt: skip


def _full(data: int, address: int, identity: int) -> list[Signal]:
    """Signals of an AXI4 bus."""
    result = []
    for way in ("aw", "ar"):
        result += [
            (f"{way}id", identity, True), (f"{way}addr", address, True), (f"{way}len", LENGTH_BITS, True),
            (f"{way}size", 3, True), (f"{way}burst", 2, True), (f"{way}lock", 1, True), (f"{way}cache", 4, True),
            (f"{way}prot", 3, True), (f"{way}qos", 4, True), (f"{way}valid", 1, True), (f"{way}ready", 1, False),
        ]  # fmt: skip
    return [
        *result,
        ("wdata", data, True), ("wstrb", data // 8, True), ("wlast", 1, True), ("wvalid", 1, True),
        ("wready", 1, False),
        ("bid", identity, False), ("bresp", RESPONSE_BITS, False), ("bvalid", 1, False), ("bready", 1, True),
        ("rid", identity, False), ("rdata", data, False), ("rresp", RESPONSE_BITS, False), ("rlast", 1, False),
        ("rvalid", 1, False), ("rready", 1, True),
    ]  # fmt: skip


def _ports(config: PoolConfig, bus: str, signals: list[Signal], is_master: bool) -> list[str]:
    """Declarations of a bus, each with what tells Vivado's block designs about it; the first one has its properties."""
    properties: dict[str, object] = {"PROTOCOL": "AXI4LITE"}
    if bus != "s_axi_ctrl":
        properties = {"PROTOCOL": "AXI4", "SUPPORTS_NARROW_BURST": 0}
    if is_master:
        in_flight = config.channel_latency
        properties |= {"MAX_BURST_LENGTH": 1, "NUM_READ_OUTSTANDING": in_flight, "NUM_WRITE_OUTSTANDING": in_flight}
    shown = ", ".join([f"XIL_INTERFACENAME {bus}", *(f"{name} {value}" for name, value in properties.items())])
    ports = [f'(* X_INTERFACE_PARAMETER = "{shown}" *)']
    for name, bits, by_master in signals:
        ports.append(f'(* X_INTERFACE_INFO = "xilinx.com:interface:aximm:1.0 {bus} {name.upper()}" *)')
        ports.append(f"{'output' if by_master == is_master else 'input'} {bit_range(bits)}{bus}_{name}")
    return ports


def _joined(ports: list[str]) -> str:
    """Ports separated by commas, attributes by nothing."""
    lines = [f"  {port}" + ("" if port.startswith("(*") else ",") for port in ports]
    return "\n".join(lines).removesuffix(",")
