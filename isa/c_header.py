"""The C header of the control registers, from the same description as everything else; `tenure export` writes it."""

from __future__ import annotations

from enum import IntEnum

from isa import registers
from isa.configuration import PoolConfig

C_HEADER = "tenure.h"
REGISTER_BYTES = registers.CONTROL_DATA_BITS // 8

_FUNCTIONS = """\
/* `control` is where s_axi_ctrl is mapped. */
static inline uint32_t tenure_read(volatile uint32_t *control, uint32_t offset) { return control[offset / 4]; }

static inline void tenure_write(volatile uint32_t *control, uint32_t offset, uint32_t value) {
    control[offset / 4] = value;
}

/* Order a command whose arguments have been written; a TENURE_RESULT_*. The write is answered when it is decided. */
static inline uint32_t tenure_command(volatile uint32_t *control, uint32_t command) {
    tenure_write(control, TENURE_COMMAND, command);
    return tenure_read(control, TENURE_COMMAND_RESULT);
}
"""


def c_header(config: PoolConfig) -> str:
    """The header for one pool: sizes, byte offsets of registers, commands, results, states and faults."""
    sizes = {
        "CORES": config.cores, "TENANTS": config.tenants, "CHANNELS": config.channels, "BEAT_BYTES": config.beat_bytes,
        "WINDOW_BEATS": config.fetch_beats, "MEMORY_BYTES": config.memory_bytes,
        "EXPECTED_IDENTIFICATION": registers.IDENTIFICATION,
    }  # fmt: skip
    offsets = {
        entry.register.name: (REGISTER_BYTES * entry.register, entry.meaning)
        for entry in (*registers.REGISTERS, *registers.AXI_REGISTERS)
    }
    lines = [
        f"/* Tenure, pool \"{_printable(config.name)}\": written by `tenure export`. Do not edit. */",
        "#ifndef TENURE_H", "#define TENURE_H", "", "#include <stdint.h>", "",
        "/* Sizes; a window is a multiple of WINDOW_BEATS beats. */",
        *(f"#define TENURE_POOL_{name} {value:#x}u" for name, value in sizes.items()), "",
        "/* Byte offsets of the registers. */",
        *(f"#define TENURE_{name} {offset:#x}u /* {meaning} */" for name, (offset, meaning) in offsets.items()),
    ]  # fmt: skip
    chapters: dict[str, type[IntEnum]] = {
        "COMMAND": registers.Command, "RESULT": registers.Result, "TENANT": registers.TenantState,
        "CORE": registers.CoreState, "FAULT": registers.Fault, "STATUS": registers.AxiStatus,
        "INTERRUPT": registers.AxiInterrupt,
    }  # fmt: skip
    for prefix, enumeration in chapters.items():
        meanings = registers.MEANINGS[enumeration]
        lines += ["", f"/* {(enumeration.__doc__ or prefix).splitlines()[0]} */"]
        lines += [
            f"#define TENURE_{prefix}_{member.name} {int(member)}u /* {meanings[member]} */" for member in enumeration
        ]
        if enumeration is registers.Result:
            lines += [f"#define TENURE_RESULT_CORE_IN_QUARANTINE {registers.AXI_CORE_IN_QUARANTINE}u"]
    return "\n".join([*lines, "", _FUNCTIONS, "#endif", ""])


def _printable(name: str) -> str:
    """A name that ends no comment."""
    return "".join(letter if letter.isalnum() or letter in "-_. " else "?" for letter in name)
