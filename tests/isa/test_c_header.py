"""The C header compiles and says what the description of the registers says."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from isa.c_header import C_HEADER, REGISTER_BYTES, c_header
from isa.configuration import NAMED_POOLS
from isa.registers import AXI_REGISTERS, REGISTERS, Command, Result

MANUAL = Path(__file__).parents[2] / "docs" / "fpga.md"

PROGRAM = """
#include <stdio.h>
#include "tenure.h"
int main(void) {
    volatile uint32_t registers[64] = {0};
    registers[TENURE_COMMAND_RESULT / 4] = TENURE_RESULT_ACCEPTED;
    uint32_t result = tenure_command(registers, TENURE_COMMAND_START);
    printf("%u %u %u", result, registers[TENURE_COMMAND / 4], TENURE_POOL_BEAT_BYTES);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, a second")
def test_a_program_in_c_orders_a_command(tmp_path: Path) -> None:
    (tmp_path / C_HEADER).write_text(c_header(NAMED_POOLS["small"]))
    (tmp_path / "main.c").write_text(PROGRAM)
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "main"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    assert said == f"{Result.ACCEPTED.value} {Command.START.value} {NAMED_POOLS['small'].beat_bytes}"


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc, a second")
def test_the_program_of_the_manual_compiles(tmp_path: Path) -> None:
    (program,) = re.findall(r"```c\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / C_HEADER).write_text(c_header(NAMED_POOLS["small"]))
    (tmp_path / "manual.c").write_text(program)
    subprocess.run(["gcc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-c", "manual.c"], cwd=tmp_path, check=True)


def test_every_register_has_its_byte_offset() -> None:
    text = c_header(NAMED_POOLS["tiny"])
    for entry in (*REGISTERS, *AXI_REGISTERS):
        assert f"#define TENURE_{entry.register.name} {REGISTER_BYTES * entry.register:#x}u " in text


def test_no_name_ends_the_comment() -> None:
    from dataclasses import replace

    assert c_header(replace(NAMED_POOLS["tiny"], name="*/ int x;")).count("*/ int") == 0
