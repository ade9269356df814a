"""The instruction set: one class per instruction, one field per line. Everything else reads `layout()`.

Every instruction is one word of 128 bits: the opcode in bits 5..0, then the fields in the order of their
declaration, then zeros. A word whose opcode is unknown or whose remaining bits are not zero is illegal.

Units. A *vector* is as many bytes as the pool's array is wide (8 in `small`): one pixel of one block of
channels. An *address* counts vectors from the start of the tenant's window. Buffers of a core are indexed in
vectors. Field widths never depend on a pool; `PoolConfig` says what fits.

Engines. Bits 5..4 of the opcode name the engine: level 1 (the dispatcher itself), or load, compute or save of
the core. The engines of one core overlap; `wait_X` takes one token that engine X has posted and `post_X` gives
one. Tokens are taken when the instruction issues and given when its effect is complete.

Drain. An accumulator becomes the byte clip(RNE(float32(accumulator + bias) * scale) + zero_point, low, high):
accumulator + bias wraps modulo 2**32, scale is mantissa * 2**-shift, product and conversion round as float32 does
(24 significant bits, ties to even), RNE rounds to an integer, ties to even; where low exceeds high, high wins. Bias,
mantissa and shift of each output channel lie in a parameter block of 8 vectors, byte o of each for channel o:
vectors 0-3 the bias (least significant byte first), 4-6 the mantissa (its bit 23 is taken as set), 7 the shift.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import ClassVar, Self

from isa.fields import FieldLayout, count, flag, layout_of, signed, unsigned

WORD_BITS = 128
WORD_BYTES = WORD_BITS // 8
OPCODE_BITS = 6
VIRTUAL_CORE_BITS = 6
INSTRUCTION_ADDRESS_BITS = 28
"""An instruction address counts 16-byte words from the start of the tenant's window."""
VECTOR_ADDRESS_BITS = 32
"""Width of an address field in vectors."""
COMPUTED_ADDRESS_BITS = 36
"""Width of address arithmetic in a core: start + rows * pitch + planes * pitch can never wrap."""
BUFFER_INDEX_BITS = 16
TOKEN_BITS = 6
"""Tokens on one edge are counted up to 2**6 - 1; one more is a TOKEN_OVERFLOW fault."""
PARAMETER_VECTORS = 8
"""Vectors in one parameter block: byte planes of bias (4), mantissa (3) and shift (1) of one channel block."""
TABLE_VECTORS = 256
"""Vectors in a lookup table; entry i is byte 0 of vector i, for the input byte i (two's complement)."""


class Engine(IntEnum):
    """Who executes an instruction; equal to bits 5..4 of its opcode."""

    LEVEL_1 = 0
    LOAD = 1
    COMPUTE = 2
    SAVE = 3


class Buffer(IntEnum):
    """The buffers of a core that LOAD can fill."""

    FEATURES = 0
    WEIGHTS = 1
    PARAMETERS = 2
    TABLE = 3
    RESIDUAL = 4


class Reduction(IntEnum):
    """What POOL does with the pixels of a window."""

    MAXIMUM = 0
    SUM = 1


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """Base of all instructions; `opcode` is unique."""

    opcode: ClassVar[int] = -1

    @classmethod
    def engine(cls) -> Engine:
        """The engine that executes this instruction."""
        return Engine(cls.opcode >> (OPCODE_BITS - 2))

    def changed(self, **values: int) -> Self:
        """The instruction with other values of some fields: dataclasses.replace, several times as fast."""
        result = object.__new__(type(self))
        result.__dict__.update(self.__dict__, **values)
        return result

    @classmethod
    @cache
    def mnemonic(cls) -> str:
        """The name in assembly text: CONFIG_LOAD for ConfigLoad."""
        return "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in cls.__name__)[1:]

    @classmethod
    @cache
    def layout(cls) -> tuple[FieldLayout, ...]:
        """Fields of this instruction with their places in the 128-bit word, opcode excluded."""
        return layout_of(cls, OPCODE_BITS, WORD_BITS)

    @classmethod
    def field_layout(cls, name: str) -> FieldLayout:
        """The field called `name`. Raises KeyError when this instruction has none."""
        return {field.name: field for field in cls.layout()}[name]

    @classmethod
    @cache
    def used_bits(cls) -> int:
        """Number of low bits of the word in use; all bits from here up are reserved and zero."""
        fields = cls.layout()
        return fields[-1].offset + fields[-1].width if fields else OPCODE_BITS


# --- level 1: executed by the dispatcher ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class End(Instruction):
    """Finish the program once `barriers` barriers have completed since START; nothing behind it is executed."""

    opcode: ClassVar[int] = 0x01
    barriers: int = unsigned(16, "barriers (SYNC) of this run that must be complete before the run is done")


@dataclass(frozen=True, kw_only=True)
class Call(Instruction):
    """Continue at `address`; RETURN comes back to the word after this one. One level deep."""

    opcode: ClassVar[int] = 0x02
    address: int = unsigned(INSTRUCTION_ADDRESS_BITS, "first word of the frame, in words from the window's start")


@dataclass(frozen=True, kw_only=True)
class Return(Instruction):
    """Continue behind the CALL that came here."""

    opcode: ClassVar[int] = 0x03


# --- load engine ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CoreInstruction(Instruction):
    """An instruction that is sent to a core; its first field is the virtual core."""

    core: int = unsigned(VIRTUAL_CORE_BITS, "virtual core of the tenant that executes it")


@dataclass(frozen=True, kw_only=True)
class Load(CoreInstruction):
    """Copy planes x rows x columns vectors from memory to a buffer, where they lie without gaps.

    Vector (p, r, c) comes from address + p * plane_pitch + r * row_pitch + c and goes to
    destination + (p * rows + r) * columns + c; the pitches are those of the last CONFIG_LOAD.
    """

    opcode: ClassVar[int] = 0x10
    wait_compute: int = flag("take a token of the compute engine first (a buffer region is free)")
    post_compute: int = flag("give the compute engine a token when the last vector is in the buffer")
    destination: int = unsigned(BUFFER_INDEX_BITS, "first vector of the buffer to write")
    address: int = unsigned(VECTOR_ADDRESS_BITS, "first vector in memory")
    buffer: int = unsigned(3, "0 features, 1 weights, 2 parameters, 3 table, 4 residual; others have no vectors")
    columns: int = count(12, "vectors in a row")
    rows: int = count(10, "rows in a plane")
    planes: int = count(10, "planes")


@dataclass(frozen=True, kw_only=True)
class ConfigLoad(CoreInstruction):
    """Set the pitches in memory of the LOADs that follow."""

    opcode: ClassVar[int] = 0x11
    row_pitch: int = unsigned(16, "vectors from one row to the next")
    plane_pitch: int = unsigned(24, "vectors from one plane to the next")


@dataclass(frozen=True, kw_only=True)
class SyncWait(CoreInstruction):
    """Hold the load engine until sync_global: every core of the tenant has raised its sync_local.

    It stays at the head of its queue until then.
    """

    opcode: ClassVar[int] = 0x12


# --- compute engine ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ConfigWindow(CoreInstruction):
    """Set the sliding window of the CONVs and POOLs that follow."""

    opcode: ClassVar[int] = 0x20
    kernel_rows: int = count(8, "rows of the kernel")
    kernel_columns: int = count(8, "columns of the kernel")
    stride_rows: int = count(4, "input rows from one output row to the next")
    stride_columns: int = count(4, "input columns from one output column to the next")
    dilation_rows: int = count(4, "input rows from one kernel row to the next")
    dilation_columns: int = count(4, "input columns from one kernel column to the next")
    channel_blocks: int = count(12, "blocks of input channels that a CONV reduces over (POOL takes one)")
    pad_value: int = signed(8, "value of every pixel outside the input tile")


@dataclass(frozen=True, kw_only=True)
class ConfigTile(CoreInstruction):
    """Set the shape of the feature tile of the CONVs and POOLs that follow; it lies in rows without gaps."""

    opcode: ClassVar[int] = 0x21
    input_rows: int = count(10, "rows of the input tile in the features buffer")
    input_columns: int = count(12, "columns of the input tile; the row pitch in the buffer")
    plane_pitch: int = unsigned(BUFFER_INDEX_BITS, "vectors from one channel block of the input tile to the next")
    output_rows: int = count(10, "rows of the output tile")
    output_columns: int = count(12, "columns of the output tile")


@dataclass(frozen=True, kw_only=True)
class ConfigOutput(CoreInstruction):
    """Set what the drain adds and where it clips."""

    opcode: ClassVar[int] = 0x22
    zero_point: int = signed(8, "added behind the requantiser's rounding (ADD has it folded into its offset)")
    low: int = signed(8, "smallest output")
    high: int = signed(8, "largest output")


@dataclass(frozen=True, kw_only=True)
class ConfigAddFactors(CoreInstruction):
    """Set the factors of the ADDs that follow: mantissa << shift, in units of 2**-fraction (see isa.arithmetic)."""

    opcode: ClassVar[int] = 0x23
    mantissa_a: int = unsigned(24, "factor of operand a")
    shift_a: int = unsigned(6, "its left shift")
    mantissa_b: int = unsigned(24, "factor of operand b")
    shift_b: int = unsigned(6, "its left shift")


@dataclass(frozen=True, kw_only=True)
class ConfigAddOffset(CoreInstruction):
    """Set the constant of the ADDs that follow and the common fraction."""

    opcode: ClassVar[int] = 0x24
    mantissa_f: int = unsigned(24, "magnitude of the constant")
    negative_f: int = flag("the constant is negative")
    shift_f: int = unsigned(6, "left shift of the constant")
    fraction: int = unsigned(6, "bits behind the binary point of the sum")


@dataclass(frozen=True, kw_only=True)
class Conv(CoreInstruction):
    """One block of output channels of one output tile, reduced over kernel and input channel blocks.

    For b in channel_blocks, i in kernel_rows, j in kernel_columns (in this order, one weight tile each, from
    consecutive places) and each output pixel (y, x): the accumulator of pixel y * output_columns + x gains
    sum over input channel k of tile[k][o] * input(b, y * stride_rows + i * dilation_rows + first_row,
    x * stride_columns + j * dilation_columns + first_column)[k]; outside the input tile the input is pad_value.
    A weight tile is as many vectors as the array is wide: vector k holds the weights of input channel k.
    Sums wrap modulo 2**32. Without drain, post_save gives no token, and output, parameters and lookup do nothing.
    post_load says that features and weights are free; parameter block and table are in use up to post_save.

    With depthwise, each channel is convolved by itself, and there is one weight tile: channel_blocks and both
    dilations are taken as 1, and the accumulator of pixel (y, x) gains, for each channel o, the sum over kernel rows i
    and columns j of tile[v][o] * input(0, y * stride_rows + i + first_row, x * stride_columns + j + first_column)[o],
    where v = (kernel_rows - 1 - i) * C + kernel_columns - 1 - j, and R x C is the window of the array
    (isa.walks.window_shape: 3 x 5 for an array of 16). The other vectors of the tile do nothing. All input from the
    first pixel's first tap to the last pixel's last one is read, at least two columns of it. It is a BUFFER_OVERRUN
    if the kernel exceeds the window, or the columns that are read the line buffers.

    With add, the drain adds a vector of the residual buffer to each pixel: the requantised byte, clipped to int8, and
    the residual byte are the operands of an addition (CONFIG_ADD_FACTORS, CONFIG_ADD_OFFSET), which clips to
    low..high; the table comes behind it. The residual vectors are in use up to post_save.
    """

    opcode: ClassVar[int] = 0x28
    wait_load: int = flag("take a token of the load engine first (inputs are there)")
    wait_save: int = flag("take a token of the save engine first (the output region is free)")
    post_load: int = flag("give the load engine a token when features and weights have been read")
    post_save: int = flag("give the save engine a token when the outputs are written (with drain only)")
    accumulate: int = flag("0: the first weight tile overwrites the accumulators; 1: it adds to them")
    bank: int = flag("accumulator bank")
    drain: int = flag("then requantise the bank into the output buffer, in the background")
    lookup: int = flag("pass every drained byte through the table")
    features: int = unsigned(BUFFER_INDEX_BITS, "input tile: first vector in the features buffer")
    first_row: int = signed(10, "input row of output row 0 at kernel row 0; negative: padding")
    first_column: int = signed(10, "input column of output column 0 at kernel column 0")
    output: int = unsigned(BUFFER_INDEX_BITS, "first vector in the output buffer, pixels without gaps")
    parameters: int = unsigned(12, "parameter block: first vector in the parameters buffer")
    weights: int = unsigned(BUFFER_INDEX_BITS, "first weight tile: first vector in the weights buffer")
    depthwise: int = flag("convolve each channel by itself")
    add: int = flag("the drain adds a residual to each pixel")
    residual_is_a: int = flag(
        "the residual is operand a of the addition and the pixel operand b; 0: the other way round"
    )
    residual: int = unsigned(BUFFER_INDEX_BITS, "first vector in the residual buffer, pixels without gaps")


@dataclass(frozen=True, kw_only=True)
class Pool(CoreInstruction):
    """One channel block of one output tile: maximum or sum over the window, with CONV's walk and drain.

    An average is a sum whose parameter block holds the bias -count * zero_point and the scale of the quotient;
    a maximum is drained with scale 1. No weights are read; channel_blocks is taken as 1. Sums wrap modulo 2**32;
    what needs drain does nothing without it, as in CONV.
    """

    opcode: ClassVar[int] = 0x29
    wait_load: int = flag("take a token of the load engine first")
    wait_save: int = flag("take a token of the save engine first")
    post_load: int = flag("give the load engine a token when the features have been read")
    post_save: int = flag("give the save engine a token when the outputs are written (with drain only)")
    accumulate: int = flag("0: the first kernel tap overwrites the accumulators; 1: it reduces into them")
    bank: int = flag("accumulator bank")
    drain: int = flag("then requantise the bank into the output buffer, in the background")
    lookup: int = flag("pass every drained byte through the table")
    features: int = unsigned(BUFFER_INDEX_BITS, "input tile: first vector in the features buffer")
    first_row: int = signed(10, "input row of output row 0 at kernel row 0; negative: padding")
    first_column: int = signed(10, "input column of output column 0 at kernel column 0")
    output: int = unsigned(BUFFER_INDEX_BITS, "first vector in the output buffer, pixels without gaps")
    parameters: int = unsigned(12, "parameter block: first vector in the parameters buffer")
    reduction: int = flag("0 maximum, 1 sum")


@dataclass(frozen=True, kw_only=True)
class Add(CoreInstruction):
    """output[i] = add(a[i], b[i]) for `vectors` vectors, with ONNX Runtime's two roundings; then clip."""

    opcode: ClassVar[int] = 0x2A
    wait_load: int = flag("take a token of the load engine first")
    wait_save: int = flag("take a token of the save engine first")
    post_load: int = flag("give the load engine a token when the operands have been read")
    post_save: int = flag("give the save engine a token when the outputs are written")
    lookup: int = flag("pass every byte through the table")
    features: int = unsigned(BUFFER_INDEX_BITS, "operand a: first vector in the features buffer")
    features_b: int = unsigned(BUFFER_INDEX_BITS, "operand b: first vector in the features buffer")
    output: int = unsigned(BUFFER_INDEX_BITS, "first vector in the output buffer")
    vectors: int = count(12, "vectors")


@dataclass(frozen=True, kw_only=True)
class Lookup(CoreInstruction):
    """output[i] = table[features[i]] for `vectors` vectors, byte by byte."""

    opcode: ClassVar[int] = 0x2B
    wait_load: int = flag("take a token of the load engine first")
    wait_save: int = flag("take a token of the save engine first")
    post_load: int = flag("give the load engine a token when the operands have been read")
    post_save: int = flag("give the save engine a token when the outputs are written")
    features: int = unsigned(BUFFER_INDEX_BITS, "first vector in the features buffer")
    output: int = unsigned(BUFFER_INDEX_BITS, "first vector in the output buffer")
    vectors: int = count(12, "vectors")


# --- save engine ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Save(CoreInstruction):
    """Copy rows x columns vectors of the output buffer, without gaps there, to memory.

    Vector (r, c) goes to address + r * row_pitch + c, row_pitch being that of the last CONFIG_SAVE.
    """

    opcode: ClassVar[int] = 0x30
    wait_compute: int = flag("take a token of the compute engine first (outputs are there)")
    post_compute: int = flag("give the compute engine a token when the last vector has left the buffer")
    source: int = unsigned(BUFFER_INDEX_BITS, "first vector of the output buffer to read")
    address: int = unsigned(VECTOR_ADDRESS_BITS, "first vector in memory")
    columns: int = count(12, "vectors in a row")
    rows: int = count(10, "rows")


@dataclass(frozen=True, kw_only=True)
class ConfigSave(CoreInstruction):
    """Set the pitch in memory of the SAVEs that follow."""

    opcode: ClassVar[int] = 0x31
    row_pitch: int = unsigned(16, "vectors from one row to the next")


@dataclass(frozen=True, kw_only=True)
class SyncRaise(CoreInstruction):
    """Raise sync_local once every write of this core has been acknowledged.

    On each core, SYNC_RAISE and SYNC_WAIT alternate: a SYNC_RAISE stays at the head of its queue until the SYNC_WAIT
    that belongs to the one before has taken its sync_global. So a core without work can never run a barrier ahead.
    """

    opcode: ClassVar[int] = 0x32


INSTRUCTIONS: tuple[type[Instruction], ...] = (
    End,
    Call,
    Return,
    Load,
    ConfigLoad,
    SyncWait,
    ConfigWindow,
    ConfigTile,
    ConfigOutput,
    ConfigAddFactors,
    ConfigAddOffset,
    Conv,
    Pool,
    Add,
    Lookup,
    Save,
    ConfigSave,
    SyncRaise,
)
"""Every instruction, in the order of its opcode."""
