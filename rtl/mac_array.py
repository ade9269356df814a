"""The MAC array: A x A int8 multipliers, weight-stationary, and its double-buffered weight tile.

    cycle   w               w+1               c+1        c+2                 c+3        c+3+T
            W weight        they slide into   tiles      pixel and current   products   sums of A products
            vectors are     the next tile     are        tile are in the                (T stages of adders)
            read                              swapped    array

Vector k of a tile holds the weights of input channel k, byte o those of output channel o. All A x A multipliers see
the same pixel in the same cycle: channel k goes to the multipliers of row k. In a depthwise CONV vector k of the tile
belongs to place k of the window (see rtl/line_buffers.py), and channel o of the vector there goes to multiplier o of
row k: the sums run over places instead of channels.
"""

from __future__ import annotations

from pyrtl import Const, WireVector, concat_list, select

from isa.pipeline import ADDER_LEVELS_PER_STAGE
from rtl.scrubbed import Scrub, log2, signed_fit

_BYTE = 8
_PRODUCT_BITS = 16
"""An int8 times an int8: at most 128 * 128, which 16 bits hold."""


def weight_tile(
    scrub: Scrub, array: int, vectors: list[WireVector], slides: WireVector, swaps: WireVector
) -> list[WireVector]:
    """The current tile: for each input channel, A weights of 16 bits (sign-extended, so that a multiplier is one `*`).

    `slides`: the W vectors enter the next tile, in which all others move up by W; after A / W times it is complete.
    `swaps`: it becomes the current one. Vectors may slide in while the tiles are swapped.
    """
    entering = [_sign_extended_bytes(vector) for vector in vectors]
    rows: list[WireVector] = []
    for row in reversed(range(array)):
        next_row = scrub.kept(entering.pop(), slides, f"next_weights_{row}")
        rows.insert(0, scrub.kept(next_row, swaps, f"weights_{row}"))
        entering.insert(0, next_row)
    return rows


def _sign_extended_bytes(vector: WireVector) -> WireVector:
    return concat_list([signed_fit(byte, _PRODUCT_BITS) for byte in slices(vector, _BYTE)])


def slices(vector: WireVector, bits: int) -> list[WireVector]:
    """A vector's parts of so many bits, the least significant first."""
    return [vector[start : start + bits] for start in range(0, len(vector), bits)]


def mac_array(
    scrub: Scrub, pixel: WireVector, window: list[WireVector], is_depthwise: WireVector, tile: list[WireVector]
) -> list[WireVector]:
    """For each output channel o: sum over k of pixel[k] * tile[k][o] (depthwise: window[k][o] * tile[k][o]), as 32-bit
    registers would add it. Rows of the array without a place in the window always see the pixel.

    The low 16 bits of the product of two sign-extended operands are the signed product. The adder tree adds them as
    unsigned numbers with their sign bit inverted, that is, each 2**15 too large; the sum is then half of its range
    too large, which inverting its own top bit takes back: no sign extension inside the tree.
    """
    array = len(tile)
    channels = slices(pixel, _BYTE)
    places = [slices(vector, _BYTE) for vector in window]
    weights = [slices(row, _PRODUCT_BITS) for row in tile]
    sums = []
    for output in range(array):
        level: list[WireVector] = []
        for channel in range(array):
            operand = channels[channel]
            if channel < len(places):
                operand = select(is_depthwise, places[channel][output], operand)
            exact = signed_fit(operand, _PRODUCT_BITS) * weights[channel][output]
            product = scrub.stage(exact[:_PRODUCT_BITS], f"product_{channel}_{output}")
            level.append(product ^ Const(1 << (_PRODUCT_BITS - 1), _PRODUCT_BITS))
        total = _adder_tree(scrub, level, f"sum_{output}")
        inverted = total ^ Const(1 << (len(total) - 1), len(total))
        sums.append(signed_fit(inverted, 32))
    return sums


def _adder_tree(scrub: Scrub, terms: list[WireVector], name: str) -> WireVector:
    """Sum of 2**n unsigned terms, n bits wider; a register behind every two levels and behind the last one."""
    levels = log2(len(terms))
    for level in range(levels):
        terms = [left + right for left, right in zip(terms[::2], terms[1::2], strict=True)]
        if (level + 1) % ADDER_LEVELS_PER_STAGE == 0 or level + 1 == levels:
            terms = [scrub.stage(term, f"{name}_{level}_{place}") for place, term in enumerate(terms)]
    return terms[0]


def identity_vector(array: int, row: WireVector) -> WireVector:
    """Vector `row` of the tile that passes each channel on: weight 1 from channel k to output k, else 0."""
    return concat_list([select(row == place, Const(1, _BYTE), Const(0, _BYTE)) for place in range(array)])
