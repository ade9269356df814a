"""The MAC array: A x A int8 products, weight-stationary, and its double-buffered weight tile.

    cycle   w           w+2               c+1      c+2                c+3                c+4        c+4+T
            W weight    they slide into   swaps    pixel and window   factors, and the   products   sums of A products
            vectors     the next tile     is 1     are in the array   tile they meet                (T stages of
            are read                                                                                adders)

Which byte is the factor of a multiplier is chosen in a cycle of its own, so that nothing but registers is before a
multiplier; tiles slide and are swapped a cycle later for that.

Vector k of a tile holds the weights of input channel k, byte o those of output channel o: its product has its place in
row k and column o of the array, and sees channel k of the pixel. In a depthwise CONV vector k belongs to place k of the
window (see rtl/line_buffers.py), and its product of column o sees channel o of the vector there: the sums run over
places instead of channels, and rows without a place count nothing.

A multiplier of 27 x 18 bits makes two products that share a factor (Xilinx WP486, 2017): (high * 2**16 + low) * x is
high * x in its upper half and low * x in its lower one, which has borrowed from the upper half if it is negative. So
the sign of the lower half is the carry into the adder that takes the upper half.

A channel of a pixel is the factor of a whole row. In a depthwise CONV every product has a factor of its own; but of two
places side by side the second one sees a position later what the first one sees now. So two rows k and l of the array
make a pair, with two multipliers for each two columns o and o + 1:

                  sees         low         high         depthwise: sees            low         high, a position later
    multiplier k  channel k    k, o        k, o + 1     channel o of place k       k, o        l, o
    multiplier l  channel l    l, o + 1    l, o         channel o + 1 of place k   k, o + 1    l, o + 1

In each column a lower half meets one upper half: that of the other multiplier, or in a depthwise CONV that of the same
multiplier, of the position before. A place without a neighbour makes a pair with a row without a place, and its upper
halves count nothing in a depthwise CONV. Rows that are left over, 2 of 16, make their products of logic.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyrtl import Const, Register, WireVector, concat, concat_list, select

from isa.pipeline import ADDER_LEVELS_PER_STAGE
from isa.walks import window_shape
from rtl.hierarchy import hardware
from rtl.line_buffers import Window
from rtl.products import product_in_logic
from rtl.rounding import sum_with_carry
from rtl.scrubbed import Scrub, log2, signed_fit

_BYTE = 8
PRODUCT_BITS = 16
"""An int8 times an int8: at most 128 * 128, which 16 bits hold."""
PACKED_BITS = PRODUCT_BITS + _BYTE + 1
"""Two weights: the upper one may have lent the lower one 1."""


@dataclass(frozen=True)
class RowPair:
    """Two rows of the array that share multipliers, and how many of them, 2, 1 or 0, have a place in the window.

    If both have, the second one's is behind the first one's.
    """

    first: int
    second: int
    places: int


def row_pairs(array: int) -> tuple[list[RowPair], list[int]]:
    """The pairs, and the rows that are left over, which all have places: an even number, for an even array."""
    rows, columns = window_shape(array)
    starts = range(0, rows * columns, columns)
    pairs = [RowPair(start + place, start + place + 1, 2) for start in starts for place in range(0, columns - 1, 2)]
    lonely = [start + columns - 1 for start in starts] if columns % 2 else []
    placeless = list(range(rows * columns, array))
    matched = min(len(lonely), len(placeless))
    pairs += [RowPair(first, second, 1) for first, second in zip(lonely, placeless, strict=False)]
    others = placeless[matched:]
    pairs += [RowPair(first, second, 0) for first, second in zip(others[::2], others[1::2], strict=True)]
    return pairs, lonely[matched:]


@dataclass(frozen=True)
class WeightTile:
    """The current tile, as the multipliers take it: for each row of the array what its multipliers hold.

    A row of a pair has a multiplier of PACKED_BITS for each two columns, a row that is left over one of 8 bits for each
    column.
    """

    rows: list[Register]
    is_depthwise: Register
    sees_places: Register
    """`is_depthwise` a cycle ahead: for what is at the array's inputs."""


@hardware()
def weight_tile(
    scrub: Scrub,
    array: int,
    vectors: list[WireVector],
    slides: WireVector,
    swaps: WireVector,
    is_depthwise: WireVector,
) -> WeightTile:
    """The current tile, and behind it the next one, both a cycle behind these arguments.

    `slides`: the W vectors enter the next tile, in which all others move up by W; after A / W times it is complete.
    `swaps`: it becomes the current one, of a depthwise CONV or not. Vectors may slide in while the tiles are swapped.
    """
    sees_places = scrub.kept(is_depthwise, swaps, "sees_places")
    entering = [scrub.stage(vector, f"tile_vector_{number}") for number, vector in enumerate(vectors)]
    slides, swaps = scrub.stage(slides, "tile_slides"), scrub.stage(swaps, "tile_swaps")
    following: list[list[WireVector]] = []
    for row in reversed(range(array)):
        next_row = scrub.kept(entering.pop(), slides, f"next_weights_{row}")
        following.insert(0, slices(next_row, _BYTE))
        entering.insert(0, next_row)
    pairs, left_over = row_pairs(array)
    arranged = {row: following[row] for row in left_over}
    for pair in pairs:
        arranged |= _packed(pair, following[pair.first], following[pair.second], sees_places)
    rows = [scrub.kept(concat_list(arranged[row]), swaps, f"weights_{row}") for row in range(array)]
    return WeightTile(rows, is_depthwise=scrub.kept(sees_places, swaps, "is_depthwise"), sees_places=sees_places)


def _packed(
    pair: RowPair, first: list[WireVector], second: list[WireVector], is_depthwise: WireVector
) -> dict[int, list[WireVector]]:
    """What the multipliers of a pair hold, see the table at the top."""
    nothing: list[WireVector] = [Const(0, _BYTE)] * len(first)
    here = first if pair.places else nothing
    behind = second if pair.places == 2 else nothing
    packs: dict[int, list[WireVector]] = {pair.first: [], pair.second: []}
    for even in range(0, len(first), 2):
        odd = even + 1
        low = select(is_depthwise, here[even], first[even]) if here is not first else first[even]
        packs[pair.first].append(_pack(low, select(is_depthwise, behind[even], first[odd]), f"{pair.first}_{even}"))
        low = select(is_depthwise, here[odd], second[odd])
        packs[pair.second].append(_pack(low, select(is_depthwise, behind[odd], second[even]), f"{pair.second}_{odd}"))
    return packs


def _pack(low: WireVector, high: WireVector, place: str) -> WireVector:
    """high * 2**16 + low, for two int8."""
    bits = PACKED_BITS - PRODUCT_BITS
    lends = WireVector(1, f"lends_{place}")
    lends <<= low[-1]
    upper = lends.sign_extended(bits) + signed_fit(high, bits)
    return concat(upper[:bits], signed_fit(low, PRODUCT_BITS))


def slices(vector: WireVector, bits: int) -> list[WireVector]:
    """A vector's parts of so many bits, the least significant first."""
    return [vector[start : start + bits] for start in range(0, len(vector), bits)]


@hardware()
def mac_array(scrub: Scrub, pixel: WireVector, window: Window, swaps: WireVector, tile: WeightTile) -> list[WireVector]:
    """For each output channel o: sum over k of pixel[k] * tile[k][o] (depthwise: window[k][o] * tile[k][o]), as 32-bit
    registers would add it. `pixel` and `window` belong to the tile that follows `swaps` by a cycle, for the array's
    factors by two.

    The adder tree adds products as unsigned numbers with their sign bit inverted, that is, each 2**15 too large; the
    sum is then half of its range too large, which inverting its own top bit takes back: no sign extension inside the
    tree.
    """
    array = len(tile.rows)
    channels = slices(pixel, _BYTE)
    places = [slices(vector, _BYTE) for vector in window.vectors]
    pairs, left_over = row_pairs(array)
    adds_earlier = scrub.stage(tile.is_depthwise, "adds_earlier")
    moved, swapped = scrub.delay(window.moves, 2, "moved"), scrub.delay(swaps, 2, "swapped")

    def factor(row: int, column: int, place: int) -> WireVector:
        byte = select(tile.sees_places, places[place][column], channels[row])
        return scrub.stage(byte, f"factor_{row}_{column}")

    terms: list[list[WireVector]] = [[] for _ in range(array)]
    for pair in pairs:
        packs = {row: slices(tile.rows[row], PACKED_BITS) for row in (pair.first, pair.second)}
        seen = {} if pair.places else {row: scrub.stage(channels[row], f"factor_{row}") for row in packs}
        for even in range(0, array, 2):
            products = {}
            for row, column in ((pair.first, even), (pair.second, even + 1)):
                its_factor = factor(row, column, pair.first) if pair.places else seen[row]
                exact = _packed_product(its_factor, packs[row][even // 2])
                products[column] = scrub.stage(exact, f"product_{row}_{column}")
            for column, other in ((even, even + 1), (even + 1, even)):
                low, upper = products[column][:PRODUCT_BITS], products[other][PRODUCT_BITS - 1 :]
                earlier: WireVector = Const(0, len(upper))
                if pair.places == 2:
                    own_upper = products[column][PRODUCT_BITS - 1 :]
                    earlier = scrub.kept(own_upper, moved, f"earlier_{pair.second}_{column}", clear=swapped)
                upper = select(adds_earlier, earlier, upper)
                borrowed = WireVector(1, f"borrowed_{pair.first}_{column}")
                borrowed <<= upper[0]
                terms[column].append(_pair(low, upper[1:], borrowed, f"pair_{pair.first}_{column}"))
    for first, second in zip(left_over[::2], left_over[1::2], strict=True):
        weights = {row: slices(tile.rows[row], _BYTE) for row in (first, second)}
        for column in range(array):
            left, right = (
                scrub.stage(
                    _signed_product_in_logic(factor(row, column, row), weights[row][column]), f"product_{row}_{column}"
                )
                for row in (first, second)
            )
            terms[column].append(_pair(left, right, Const(0, 1), f"pair_{first}_{column}"))
    return [_sum(scrub, column_terms, f"sum_{column}") for column, column_terms in enumerate(terms)]


def _packed_product(factor: WireVector, pack: WireVector) -> WireVector:
    """Two products, 32 bits: the low bits of the product of two sign-extended numbers are their signed product."""
    bits = 2 * PRODUCT_BITS
    return (signed_fit(factor, bits) * signed_fit(pack, bits))[:bits]


def _signed_product_in_logic(factor: WireVector, weight: WireVector) -> WireVector:
    """The product of two int8 without a multiplier, 16 bits."""
    unsigned = product_in_logic(factor, weight)
    too_much = factor & weight[-1].sign_extended(_BYTE)  # 2**8 times, for the sign bit counts -2**7 instead of 2**7
    return concat((unsigned[_BYTE:] - too_much)[:_BYTE], unsigned[:_BYTE])


def _pair(left: WireVector, right: WireVector, carry: WireVector, name: str) -> WireVector:
    """The first level of a tree: two products and a carry, 2**16 too large."""
    bias = Const(1 << (PRODUCT_BITS - 1), PRODUCT_BITS)
    pair = WireVector(PRODUCT_BITS + 1, name)
    pair <<= sum_with_carry(left ^ bias, right ^ bias, carry)
    return pair


def _sum(scrub: Scrub, terms: list[WireVector], name: str) -> WireVector:
    """The sum of the pairs of a column, signed, in 32 bits; a register behind every two levels and the last one."""
    levels = log2(len(terms))
    for level in range(levels + 1):
        if level:
            terms = [left + right for left, right in zip(terms[::2], terms[1::2], strict=True)]
        if level == levels:
            (total,) = terms
            terms = [total ^ Const(1 << (len(total) - 1), len(total))]
        if (level + 1) % ADDER_LEVELS_PER_STAGE == 0 or level == levels:
            terms = [scrub.stage(term, f"{name}_{level}_{place}") for place, term in enumerate(terms)]
    return signed_fit(terms[0], 32)


def identity_vector(array: int, row: WireVector) -> WireVector:
    """Vector `row` of the tile that passes each channel on: weight 1 from channel k to output k, else 0."""
    return concat_list([select(row == place, Const(1, _BYTE), Const(0, _BYTE)) for place in range(array)])
