"""Programs of a few instructions for pool `tiny`: every engine, several cores, padding, pooling, addition, barriers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isa.configuration import NAMED_POOLS
from isa.encoding import encode_program
from isa.instructions import (
    Add,
    Buffer,
    ConfigAddFactors,
    ConfigAddOffset,
    ConfigLoad,
    ConfigOutput,
    ConfigSave,
    ConfigTile,
    ConfigWindow,
    Conv,
    End,
    Instruction,
    Load,
    Pool,
    Save,
    SyncRaise,
    SyncWait,
)

CONFIG = NAMED_POOLS["tiny"]
WINDOW_BYTES = 1 << 14
ROWS, COLUMNS = 6, 5
INPUT, WEIGHTS, PARAMETERS, OUTPUT = 1024, 1536, 1792, 2048
"""Vector addresses in the window; the program lies below."""
OUTPUT_PITCH = 64


def window(cores: int, seed: int = 0, virtual: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Program and seeded data: every core convolves 3 x 3, pools and adds, with a barrier in between.

    The cores have these virtual indices, or 0 and on.
    """
    held = range(cores) if virtual is None else virtual
    generator = np.random.default_rng(seed)
    content = generator.integers(0, 256, WINDOW_BYTES, np.uint8)
    parameters = content[PARAMETERS * CONFIG.array :][: 8 * CONFIG.array].reshape(8, CONFIG.array)
    parameters[2:4] = 0
    parameters[6] |= 0x80
    parameters[7] = 23 + 9
    parts = [each.changed(core=index) for core, index in enumerate(held) for each in core_program(core)]
    program = encode_program([*parts, End(barriers=2)])
    content[: len(program)] = np.frombuffer(program, np.uint8)
    return content


def core_program(core: int) -> list[Instruction]:
    pixels = ROWS * COLUMNS
    output = OUTPUT + core * 8 * OUTPUT_PITCH
    return [
        ConfigLoad(core=core, row_pitch=COLUMNS, plane_pitch=pixels),
        Load(core=core, buffer=Buffer.PARAMETERS, address=PARAMETERS, columns=8),
        Load(core=core, buffer=Buffer.WEIGHTS, address=WEIGHTS + core, columns=9 * CONFIG.array),
        Load(core=core, buffer=Buffer.FEATURES, address=INPUT + core, columns=COLUMNS, rows=ROWS, post_compute=1),
        ConfigWindow(core=core, kernel_rows=3, kernel_columns=3, pad_value=-3),
        ConfigTile(
            core=core, input_rows=ROWS, input_columns=COLUMNS, plane_pitch=pixels, output_rows=ROWS,
            output_columns=COLUMNS,
        ),
        ConfigOutput(core=core, zero_point=5, low=-128, high=127),
        Conv(core=core, wait_load=1, post_save=1, drain=1, first_row=-1, first_column=-1),
        Save(core=core, wait_compute=1, address=output, columns=pixels),
        SyncRaise(core=core),
        SyncWait(core=core),
        Load(core=core, buffer=Buffer.FEATURES, address=OUTPUT, columns=pixels, post_compute=1),
        ConfigOutput(core=core, low=-128, high=127),
        ConfigAddFactors(core=core, mantissa_a=1 << 23, mantissa_b=1 << 23),
        ConfigAddOffset(core=core, fraction=24),
        Add(core=core, wait_load=1, post_save=1, features_b=3, output=pixels, vectors=pixels - 3),
        Pool(core=core, post_save=1, drain=1, bank=1, first_row=-1, first_column=-1, output=2 * pixels, reduction=1),
        ConfigSave(core=core, row_pitch=OUTPUT_PITCH),
        Save(core=core, wait_compute=1, source=pixels, address=output + OUTPUT_PITCH + 1, columns=pixels - 3),
        Save(
            core=core, wait_compute=1, source=2 * pixels, address=output + 2 * OUTPUT_PITCH + 1, columns=COLUMNS,
            rows=ROWS,
        ),
        SyncRaise(core=core),
    ]  # fmt: skip
