"""One step of the array: each accumulator gains the sum that the instruction set says, modulo 2**32.

For every output channel o of the array, all pixels, weights and accumulators: with s the sum over all input channels k
of pixel[k] * tile[k][o], int8 by int8, as int32, the word that is written back for o is

- s, in the first pass of a CONV or POOL that does not accumulate;
- the larger one of the accumulator and s (signed), in a maximum POOL;
- the accumulator plus s, wrapping modulo 2**32, otherwise.

(POOL walks with a tile that passes each channel on, so that s is its own pixel.) In a depthwise CONV s is the sum over
all places k of the window of line buffers, of byte o of place k, in place of pixel[k], times tile[k][o].

tile[k][o] is the byte that the next tile's register of row k held in its place o when the tiles were swapped last. That
the multipliers hold it, two weights as high * 2**16 + low, is an invariant of their registers. What each sees, a
channel or a place, is in a register, which is chosen by the mode of the tile that it meets. Products are proved
multiplier by multiplier: the register is the low 32 bits of the exact product, and its lower half is then low * x,
its upper half and the sign of the lower one together high * x, for all int8. An upper half that a depthwise CONV keeps
for a position is the product of the place behind, by induction: the tile stays and the window moves, or both start
anew. Products that are made of logic are proved for each weight.
The first adders are proved for every product; the trees behind them are followed net by net: each adder is wider than
its operands, and so adds integers exactly, and what it adds up is each pair of its column once, 2**16 too large; the
last step, which takes A * 2**15 off again, is proved for every sum. Last, that the pairs have each product of a column
once, those of rows without a place in a depthwise CONV aside.

Scope: the netlist of the pool's core, every column; any values, any state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyrtl
import z3

from formal.adder_trees import AdderTrees
from formal.algebra import Term
from formal.pipeline import Pipeline, extended, holds, parts_of, signed
from formal.structure import core_block
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.pipeline import adder_stages
from isa.walks import window_shape
from rtl.mac_array import PACKED_BITS, PRODUCT_BITS, RowPair, row_pairs

ASSUMPTIONS: tuple[str, ...] = ()
_ARRAY, _BANKS = "compute/array", "compute/accumulators"
_CLEARS = ("compute/clears_engine", "clears_behind_array", f"{_BANKS}/clears_behind_banks")
_DEPTHWISE, _SEES_PLACES, _SWAPS = (f"{_ARRAY}/{name}" for name in ("is_depthwise", "sees_places", "tile_swaps"))
_SIGN = 1 << 15
"""Sign bit of a product; with it inverted a product is 2**15 larger and unsigned, which is what the trees add."""
_TILE, _PRODUCTS, _EARLIER, _SUMS = "tile", "products", "earlier", "sums"


def parts(config: PoolConfig) -> Sequence[str]:
    """What the multipliers hold, products, those of the position before, sums."""
    return (_TILE, _PRODUCTS, _EARLIER, _SUMS)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts a part."""
    return mac_step(config, core_block(config), part)


def mac_step(config: PoolConfig, block: pyrtl.Block, part: str) -> list[str]:
    """What contradicts a part on this netlist of a core."""
    return {_TILE: _tile, _PRODUCTS: _products, _EARLIER: _earlier, _SUMS: _sums}[part](config, block)


Place = tuple[int, int]
"""Row and column of the array: of a byte in the tile, of a product."""


@dataclass(frozen=True)
class _Multiplier:
    """One that makes two products: its row, its column, and whose products they are, in a depthwise CONV or else.

    None stands for no product: a weight that is 0.
    """

    pair: RowPair
    row: int
    column: int
    low: Place | None
    high: Place | None
    depthwise_low: Place | None
    depthwise_high: Place | None

    @property
    def product(self) -> str:
        """Its register."""
        return f"{_ARRAY}/product_{self.row}_{self.column}"

    @property
    def factor(self) -> str:
        """The register of what it sees."""
        return f"{_ARRAY}/factor_{self.row}" + (f"_{self.column}" if self.pair.places else "")

    @property
    def earlier(self) -> str:
        """The register of its upper half of the position before."""
        return f"{_ARRAY}/earlier_{self.pair.second}_{self.column}"

    @property
    def weights(self) -> tuple[str, int]:
        """The register that holds its weights, and where."""
        return f"{_ARRAY}/weights_{self.row}", self.column // 2


def _multipliers(config: PoolConfig) -> Iterator[_Multiplier]:
    for pair in row_pairs(config.array)[0]:
        for column in range(config.array):
            row = pair.second if column % 2 else pair.first
            yield _Multiplier(
                pair, row, column, low=(row, column), high=(row, column ^ 1),
                depthwise_low=(pair.first, column) if pair.places else None,
                depthwise_high=(pair.second, column) if pair.places == 2 else None,
            )  # fmt: skip


def _left_over(config: PoolConfig) -> Iterator[Place]:
    """Places of products that have a multiplier of their own."""
    return ((row, column) for row in row_pairs(config.array)[1] for column in range(config.array))


def _tile(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """The registers of the multipliers after every step: swapped, what the next tile was; else what they were."""
    pipeline = Pipeline(block, zeros=_CLEARS, cuts=_CLEARS)
    swaps = pipeline.at(0, _SWAPS) == 1
    mode = pipeline.at(1, _DEPTHWISE) == 1
    following = [parts_of(pipeline.at(0, f"{_ARRAY}/next_weights_{row}"), 8) for row in range(config.array)]

    def weight(place: Place | None) -> Term:
        return z3.BitVecVal(0, 8) if place is None else following[place[0]][place[1]]

    def keeps(name: str, claim: Term) -> list[str]:
        return holds(name, z3.If(swaps, claim, pipeline.at(1, name) == pipeline.at(0, name)))

    found = keeps(_DEPTHWISE, z3.BoolVal(True)) + _modes(pipeline)
    for row in range(config.array):
        name = f"{_ARRAY}/weights_{row}"
        held = pipeline.at(1, name)
        mine = [each for each in _multipliers(config) if each.row == row]
        if mine:
            packs = parts_of(held, PACKED_BITS)
            claims = [
                packs[each.weights[1]]
                == z3.If(
                    mode,
                    _packed(weight(each.depthwise_low), weight(each.depthwise_high)),
                    _packed(weight(each.low), weight(each.high)),
                )
                for each in mine
            ]
        else:
            claims = [byte == weight((row, column)) for column, byte in enumerate(parts_of(held, 8))]
        found += keeps(name, z3.And(claims))
    return found


def _modes(pipeline: Pipeline) -> list[str]:
    """A factor is chosen by the mode of the tile that it meets a cycle later: by induction, both are 0 at first."""
    before, now = (pipeline.at(cycle + 1, _DEPTHWISE) == pipeline.at(cycle, _SEES_PLACES) for cycle in (0, 1))
    return holds(_SEES_PLACES, now, before)


def _packed(low: Term, high: Term) -> Term:
    return signed(high, PACKED_BITS) * (1 << PRODUCT_BITS) + signed(low, PACKED_BITS)


def _products(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What each multiplier makes of what it holds and sees, and what that is."""
    weights = [f"{_ARRAY}/weights_{row}" for row in range(config.array)]
    pixel = f"{_ARRAY}/pixel_vector"
    window = _window(config)
    inputs = Pipeline(block, cuts={pixel, *window, _SEES_PLACES, *_CLEARS}, zeros=_CLEARS)
    bits = 8 * config.array
    channels = parts_of(z3.BitVec(pixel, bits), 8)
    places = [parts_of(z3.BitVec(name, bits), 8) for name in window]
    sees_places = z3.BitVec(_SEES_PLACES, 1) == 1

    def sees(factor: str, row: int, place: Place | None) -> list[str]:
        channel = channels[row]
        byte = channel if place is None else z3.If(sees_places, places[place[0]][place[1]], channel)
        return holds(factor, inputs.at(1, factor) == byte)

    multipliers, alone = list(_multipliers(config)), list(_left_over(config))
    factors = {place: f"{_ARRAY}/factor_{place[0]}_{place[1]}" for place in alone}
    cuts = {*weights, *factors.values(), *(each.factor for each in multipliers), *_CLEARS}
    pipeline = Pipeline(block, cuts=cuts, zeros=_CLEARS)
    found = _halves_are_products()
    for each in multipliers:
        register, number = each.weights
        pack = parts_of(pipeline.at(0, register), PACKED_BITS)[number]
        exact = signed(pack, 32) * signed(pipeline.at(0, each.factor), 32)
        found += holds(each.product, pipeline.at(1, each.product) == exact)
        found += sees(each.factor, each.row, each.depthwise_low)
    factor, weight = z3.BitVecs("factor weight", 8)
    claims = []
    for row, column in alone:
        name, seen = f"{_ARRAY}/product_{row}_{column}", pipeline.at(0, factors[row, column])
        held = parts_of(pipeline.at(0, f"{_ARRAY}/weights_{row}"), 8)[column]
        claim = pipeline.at(1, name) == signed(held, PRODUCT_BITS) * signed(seen, PRODUCT_BITS)
        claims.append((name, z3.substitute(claim, (seen, factor), (held, weight))))
        found += sees(factors[row, column], row, (row, column))
    return found + _int8_products_fit() + _hold_for_each(claims, weight)


def _hold_for_each(claims: Sequence[tuple[str, Term]], variable: Term) -> list[str]:
    """What contradicts claims with names, value by value of a variable, which is easier; the same claim only once."""
    different = {claim.get_id(): (name, claim) for name, claim in reversed(claims)}
    return [
        line
        for name, claim in different.values()
        for value in range(1 << variable.size())
        for line in holds(name, z3.simplify(z3.substitute(claim, (variable, z3.BitVecVal(value, variable.size())))))
    ]


def _window(config: PoolConfig) -> list[str]:
    """The vectors of a depthwise CONV's window, row by row, the newest one of each row first."""
    rows, columns = window_shape(config.array)
    newest = [f"{_ARRAY}/pixel_vector", *(f"{_ARRAY}/line_{row}_data" for row in range(1, rows))]
    return [
        f"{_ARRAY}/window_{row}_{column}" if column else newest[row] for row in range(rows) for column in range(columns)
    ]


def _lower(product: Term) -> Term:
    return z3.Extract(PRODUCT_BITS - 1, 0, product)


def _upper(product: Term) -> Term:
    """The upper half of a product, with what the lower half has borrowed given back."""
    return z3.Extract(2 * PRODUCT_BITS - 1, PRODUCT_BITS, product) + _bit(product, PRODUCT_BITS - 1)


def _upper_kept(kept: Term) -> Term:
    """The same, of a register that keeps an upper half and the sign of the lower one below it."""
    return z3.Extract(PRODUCT_BITS, 1, kept) + _bit(kept, 0)


def _bit(term: Term, place: int) -> Term:
    return extended(z3.Extract(place, place, term), PRODUCT_BITS)


def _halves_are_products() -> list[str]:
    """The product of two packed weights and a factor has the product of each weight in one of its halves.

    In three steps: the pack is high * 2**16 + low, multiplication distributes, and the halves of a sum of two products
    come apart. (Products of int8 fit 16 bits, so that it does not matter in how many bits they are made.)
    """
    low, high = z3.BitVecs("low high", 8)
    left, right, factor = z3.BitVecs("left right factor", 32)
    products = z3.BitVecs("lower upper", PRODUCT_BITS)
    lower, upper = (signed(product, 32) for product in products)
    half = 1 << PRODUCT_BITS
    joined = upper * half + lower
    return [
        *holds("the pack", signed(_packed(low, high), 32) == signed(high, 32) * half + signed(low, 32)),
        *holds("distribution", (left * half + right) * factor == (left * factor) * half + right * factor),
        *holds("the halves", z3.And(_lower(joined) == products[0], _upper(joined) == products[1])),
    ]


def _int8_products_fit() -> list[str]:
    """16 bits hold the product of two int8."""
    left, right = z3.BitVecs("left right", 8)
    exact, product = signed(left, 32) * signed(right, 32), signed(left, 16) * signed(right, 16)
    return holds("16 bits for a product", z3.And(signed(product, 32) == exact, _is_int8_product(product)))


def _earlier(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What a multiplier keeps in a depthwise CONV is its upper weight times the place behind the one that it sees.

    It sees what was in the window a cycle ago. Before the first awake cycle all registers are 0 (L4), so it holds in
    the two cycles behind that; and it stays so. Of products only this is used: they are 0 when a factor is.
    """
    pipeline = Pipeline(block, zeros=_CLEARS, cuts=[*_CLEARS, *{each.product for each in _multipliers(config)}])
    window = _window(config)
    times = z3.Function("times", z3.BitVecSort(8), z3.BitVecSort(8), z3.BitVecSort(PRODUCT_BITS))
    found = []
    for each in _multipliers(config):
        if each.depthwise_high is None:
            continue
        register, number = each.weights
        before, now = (
            {
                "high": _high(parts_of(pipeline.at(cycle + 1, register), PACKED_BITS)[number]),
                "sees": parts_of(pipeline.at(cycle, window[each.pair.first]), 8)[each.column],
                "behind": parts_of(pipeline.at(cycle, window[each.pair.second]), 8)[each.column],
                "depthwise": pipeline.at(cycle + 1, _DEPTHWISE) == 1,
                "kept": pipeline.at(cycle + 2, each.earlier),
            }
            for cycle in (0, 1)
        )

        def is_right(at: dict[str, Term]) -> Term:
            return z3.Implies(at["depthwise"], _upper_kept(at["kept"]) == times(at["high"], at["behind"]))

        product = pipeline.at(2, each.product)
        made = z3.Implies(before["depthwise"], _upper(product) == times(before["high"], before["sees"]))
        zero = z3.Implies(now["behind"] == 0, times(now["high"], now["behind"]) == 0)
        found += holds(each.earlier, is_right(now), is_right(before), made, zero)
        reset = [*(pipeline.at(cycle, each.product) == 0 for cycle in (0, 1)), pipeline.at(0, each.earlier) == 0]
        found += holds(f"{each.earlier} behind the first cycles", before["kept"] == 0, *reset)
    return found


def _high(pack: Term) -> Term:
    """The upper weight of two that are packed."""
    return z3.Extract(PRODUCT_BITS + 7, PRODUCT_BITS, pack) + z3.ZeroExt(7, z3.Extract(15, 15, pack))


def _sums(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """Pairs of products, trees of pairs, and what they are added to."""
    return [*_pairs(config, block), *_all_products_count(config), *_trees(config, block)]


def _pair(row: int, column: int) -> str:
    return f"{_ARRAY}/pair_{row}_{column}"


def _pairs(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """The first adders: the sum of two int8 products and 2**16, in 17 bits, which hold it."""
    made = {(each.row, each.column): each for each in _multipliers(config)}
    keepers = [each for each in made.values() if each.depthwise_high]
    single = [f"{_ARRAY}/product_{row}_{column}" for row, column in _left_over(config)]
    cuts = {*(each.product for each in made.values()), *(each.earlier for each in keepers), *single}
    pipeline = Pipeline(block, cuts={*cuts, _DEPTHWISE, *_CLEARS}, zeros=_CLEARS)
    is_depthwise = pipeline.at(0, _DEPTHWISE) == 1
    bits = PRODUCT_BITS + 1
    found = _int8_products_fit()

    def adds(name: str, left: Term, right: Term, *products: Term) -> list[str]:
        exact = signed(left, bits) + signed(right, bits) + 2 * _SIGN
        return holds(name, pipeline.at(1, name) == exact, *map(_is_int8_product, products))

    for own in made.values():
        other = made[own.pair.first + own.pair.second - own.row, own.column ^ 1]
        lower, upper = _lower(pipeline.at(1, own.product)), _upper(pipeline.at(1, other.product))
        kept = _upper_kept(pipeline.at(1, own.earlier)) if own.depthwise_high else z3.BitVecVal(0, PRODUCT_BITS)
        found += adds(_pair(own.pair.first, own.column), lower, z3.If(is_depthwise, kept, upper), kept, upper)
    left_over = row_pairs(config.array)[1]
    for first, second in zip(left_over[::2], left_over[1::2], strict=True):
        for column in range(config.array):
            terms = [pipeline.at(1, f"{_ARRAY}/product_{row}_{column}") for row in (first, second)]
            found += adds(_pair(first, column), *terms)
    return found


def _is_int8_product(product: Term) -> Term:
    return z3.And(product >= -(1 << 14), product <= 1 << 14)


def _all_products_count(config: PoolConfig) -> list[str]:
    """Each column adds up its product of every row; in a depthwise CONV of every row with a place."""
    rows, columns = window_shape(config.array)
    every, placed = (Counter(range(count)) for count in (config.array, rows * columns))
    found = []
    for column in range(config.array):
        mine = [each for each in _multipliers(config) if each.column == column]
        others = [each for each in _multipliers(config) if each.column == column ^ 1]
        alone = [place for place in _left_over(config) if place[1] == column]
        sums = [each.low for each in mine] + [each.high for each in others] + alone
        depthwise = [half for each in mine for half in (each.depthwise_low, each.depthwise_high)] + alone
        for what, places, wanted in (("a CONV", sums, every), ("a depthwise CONV", depthwise, placed)):
            added = Counter(place[0] for place in places if place and place[1] == column)
            if added != wanted or any(place and place[1] != column for place in places):
                found.append(f"column {column} adds up rows {sorted(added.elements())} in {what}")
    return found


def _trees(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    stages = adder_stages(config.array)
    pairs, left_over = row_pairs(config.array)
    rows = [pair.first for pair in pairs] + left_over[::2]
    names = [[_pair(row, column) for row in rows] for column in range(config.array)]
    step = {name: _last(block, f"{_BANKS}/{name}_") for name in ("overwrites", "maximum")}
    before_word = f"{_BANKS}/before"
    cuts = [*(name for column in names for name in column), *step.values(), before_word, *_CLEARS]
    trees = AdderTrees(name for column in names for name in column)
    pipeline = Pipeline(block, cuts=cuts, zeros=_CLEARS, algebra=trees)

    def now(name: str, bits: int) -> Term:
        return z3.BitVec(f"{stages}@{name}", bits)

    accumulators = parts_of(now(before_word, 32 * config.array), 32)
    overwrites, maximum = (now(name, 1) for name in step.values())
    found = _read_words(config, block)
    for output, column in enumerate(names):
        written = pipeline.at(stages + 1, f"{_BANKS}/total_{output}")
        total = z3.simplify(z3.substitute(written, (overwrites, z3.BitVecVal(1, 1))))
        added = trees.sums_in(total)
        if [addends for _, addends in added] != [Counter(column)]:
            found.append(f"output {output} adds up {added} instead of each pair of its column once")
            continue
        exact = extended(added[0][0], 32) - config.array * _SIGN
        found += holds(f"the sum of output {output}", total == exact)
        before = accumulators[output]
        reduced = z3.If(maximum == 1, z3.If(before > total, before, total), before + total)
        found += holds(f"accumulator {output}", written == z3.If(overwrites == 1, total, reduced))
    return found


def _read_words(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """What is added to is the word of the pixel's bank, or, if that was being written when it was read, what was
    written: the totals of the cycle before."""
    bits = 32 * config.array
    banks, collisions = ([f"{_BANKS}/bank_{bank}_{what}" for bank in (0, 1)] for what in ("data", "collides"))
    read_bank = _last(block, f"{_BANKS}/read_bank_")
    totals = [f"{_BANKS}/total_{output}" for output in range(config.array)]
    pipeline = Pipeline(block, cuts=[*banks, *collisions, *totals, read_bank, *_CLEARS], zeros=_CLEARS)

    def at(cycle: int, name: str, width: int) -> Term:
        return z3.BitVec(f"{cycle}@{name}" if cycle else name, width)

    is_second = at(0, read_bank, 1) == 1
    is_written = z3.If(is_second, at(0, collisions[1], 1), at(0, collisions[0], 1)) == 1
    kept = z3.If(is_second, at(1, banks[1], bits), at(1, banks[0], bits))
    written = z3.Concat([at(0, total, 32) for total in reversed(totals)])
    return holds("the word to add to", pipeline.at(2, f"{_BANKS}/before") == z3.If(is_written, written, kept))


def _last(block: pyrtl.Block, prefix: str) -> str:
    """Of the registers `prefix`1, `prefix`2, ... the last one; the empty string when there is none."""
    numbered = [name for name in TransitionSystem(block).registers if name.startswith(prefix)]
    return max(numbered, key=lambda name: int(name.removeprefix(prefix)), default="")
