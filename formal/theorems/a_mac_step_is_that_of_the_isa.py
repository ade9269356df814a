"""One step of the array: each accumulator gains the sum that the instruction set says, modulo 2**32.

For every output channel o of the array, all pixels, weights and accumulators: with s the sum over all input channels k
of pixel[k] * tile[k][o], int8 by int8, as int32, the word that is written back for o is

- s, in the first pass of a CONV or POOL that does not accumulate;
- the larger one of the accumulator and s (signed), in a maximum POOL;
- the accumulator plus s, wrapping modulo 2**32, otherwise.

(POOL walks with a tile that passes each channel on, so that s is its own pixel.) In a depthwise CONV the factor of
tile[k][o] is byte o of place k of the window of line buffers, in place of pixel[k].

Each multiplier is proved by itself: the low 16 bits of its product are the exact int8 product, where the 16-bit weight
register holds a sign-extended int8, which is an invariant of the registers behind which it comes. The adder trees are
followed net by net: each adder is wider than its operands, and so adds integers exactly, and what it adds up is each
product once, 2**15 too large; the last step, which takes A * 2**15 off again, is proved for every sum.

Scope: the netlist of the pool's core, every column; any values, any state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyrtl
import z3

from formal.algebra import Term, Z3Algebra
from formal.pipeline import Pipeline, extended, holds, parts_of, signed
from formal.structure import core_block
from formal.transition import TransitionSystem
from isa.configuration import PoolConfig
from isa.pipeline import adder_stages
from isa.walks import window_shape

ASSUMPTIONS: tuple[str, ...] = ()
_ARRAY, _BANKS = "compute/array", "compute/accumulators"
_SLEEPS = "sleeps"
_SIGN = 1 << 15
"""Sign bit of a product; with it inverted a product is 2**15 larger and unsigned, which is what the trees add."""
_PRODUCTS, _WEIGHTS, _SUMS = "products", "weights", "sums"


def parts(config: PoolConfig) -> Sequence[str]:
    """Products, weight registers, sums."""
    return (_PRODUCTS, _WEIGHTS, _SUMS)


def check(config: PoolConfig, part: str) -> list[str]:
    """What contradicts a part."""
    return mac_step(config, core_block(config), part)


def mac_step(config: PoolConfig, block: pyrtl.Block, part: str) -> list[str]:
    """What contradicts a part on this netlist of a core."""
    return {_PRODUCTS: _products, _WEIGHTS: _weights, _SUMS: _sums}[part](config, block)


def _product(channel: int, output: int) -> str:
    return f"{_ARRAY}/product_{channel}_{output}"


def _products(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    weights = [f"{_ARRAY}/weights_{channel}" for channel in range(config.array)]
    depthwise = _last(block, f"{_ARRAY}/is_depthwise_")
    pixel = f"{_ARRAY}/pixel_vector"
    window = _window(config)
    pipeline = Pipeline(block, cuts={*weights, pixel, *window, depthwise, _SLEEPS}, zeros=[_SLEEPS])
    bits = 8 * config.array
    channels = parts_of(z3.BitVec(pixel, bits), 8)
    is_depthwise = z3.BitVec(depthwise, 1) == 1
    found = []
    for channel, register in enumerate(weights):
        for output, weight in enumerate(parts_of(z3.BitVec(register, 16 * config.array), 16)):
            operand = channels[channel]
            if channel < len(window):
                place = parts_of(z3.BitVec(window[channel], bits), 8)[output]
                operand = z3.If(is_depthwise, place, operand)
            name = _product(channel, output)
            found += holds(name, pipeline.at(1, name) == signed(operand, 16) * weight, _is_int8(weight))
    return found + _int8_products_fit()


def _window(config: PoolConfig) -> list[str]:
    """The vectors of a depthwise CONV's window, row by row, the newest one of each row first."""
    rows, columns = window_shape(config.array)
    newest = [f"{_ARRAY}/pixel_vector", *(f"{_ARRAY}/line_{row}_data" for row in range(1, rows))]
    return [
        f"{_ARRAY}/window_{row}_{column}" if column else newest[row] for row in range(rows) for column in range(columns)
    ]


def _int8_products_fit() -> list[str]:
    """16 bits hold the product of two int8."""
    left, right = z3.BitVecs("left right", 8)
    exact = signed(left, 32) * signed(right, 32)
    return holds("16 bits for a product", signed(signed(left, 16) * signed(right, 16), 32) == exact)


def _is_int8(weight: Term) -> Term:
    return weight == signed(z3.Extract(7, 0, weight), 16)


def _weights(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    """Every weight register holds sign-extended bytes: after reset, and after each step from such a state."""
    registers = [f"{_ARRAY}/{kind}_{row}" for kind in ("weights", "next_weights") for row in range(config.array)]
    pipeline = Pipeline(block)
    assumed = [_is_int8(w) for name in registers for w in parts_of(pipeline.at(0, name), 16)]
    return [
        line
        for name in registers
        for line in holds(name, z3.And([_is_int8(w) for w in parts_of(pipeline.at(1, name), 16)]), *assumed)
    ]


def _sums(config: PoolConfig, block: pyrtl.Block) -> list[str]:
    stages = adder_stages(config.array)
    names = [[_product(channel, output) for channel in range(config.array)] for output in range(config.array)]
    step = {name: _last(block, f"{_BANKS}/{name}_") for name in ("overwrites", "maximum", "pixel_bank")}
    words = [f"{_BANKS}/bank_{bank}_data" for bank in (0, 1)]
    cuts = [*(name for column in names for name in column), *step.values(), *words, _SLEEPS]
    trees = _Trees()
    pipeline = Pipeline(block, cuts=cuts, zeros=[_SLEEPS], algebra=trees)

    def now(name: str, bits: int) -> Term:
        return z3.BitVec(f"{stages}@{name}", bits)

    bank = [parts_of(now(word, 32 * config.array), 32) for word in words]
    overwrites, maximum, place = (now(name, 1) for name in step.values())
    found = _biased_products_fit()
    for output, column in enumerate(names):
        written = pipeline.at(stages + 1, f"{_BANKS}/total_{output}")
        total = z3.simplify(z3.substitute(written, (overwrites, z3.BitVecVal(1, 1))))
        added = trees.sums_in(total)
        if [addends for _, addends in added] != [Counter(column)]:
            found.append(f"output {output} adds up {added} instead of each product of its column once")
            continue
        exact = extended(added[0][0], 32) - config.array * _SIGN
        found += holds(f"the sum of output {output}", total == exact)
        before = z3.If(place == 1, bank[1][output], bank[0][output])
        reduced = z3.If(maximum == 1, z3.If(before > total, before, total), before + total)
        found += holds(f"accumulator {output}", written == z3.If(overwrites == 1, total, reduced))
    return found


def _biased_products_fit() -> list[str]:
    """A signed product is the unsigned number with the other sign bit, less 2**15."""
    product = z3.BitVec("product", 16)
    return holds("the bias", signed(product, 32) == extended(product ^ _SIGN, 32) - _SIGN)


class _Trees(Z3Algebra):
    """Follows adder trees: a sum of products with their sign bits inverted is a variable, and known by its addends.

    The addends are those that entered in cycle 0. A sum is one only where its adder is wider than its operands.
    """

    def __init__(self) -> None:
        super().__init__()
        self._addends: dict[str, Counter[str]] = {}

    def operate(
        self, operation: str, parameter: Any, arguments: Sequence[Term], widths: Sequence[int], bits: int
    ) -> Term:
        """See `Algebra.operate`."""
        if operation == "x" and z3.is_bv_value(arguments[0]):
            return arguments[2 if arguments[0].as_long() else 1]
        if operation == "^" and widths[0] == 16 and _is_value(arguments[1], _SIGN) and z3.is_const(arguments[0]):
            return self._sum(Counter([str(arguments[0])]), bits)
        addends = [self._addends.get(str(each)) if z3.is_const(each) else None for each in arguments]
        if operation == "+" and bits > max(widths) and addends[0] and addends[1]:
            return self._sum(addends[0] + addends[1], bits)
        return super().operate(operation, parameter, arguments, widths, bits)

    def _sum(self, addends: Counter[str], bits: int) -> Term:
        name = f"{bits} bits: {' + '.join(sorted(addends.elements()))}"
        self._addends[name] = addends
        return z3.BitVec(name, bits)

    def sums_in(self, term: Term) -> list[tuple[Term, Counter[str]]]:
        """The sums that a term is made of."""
        found: dict[str, Term] = {}
        pending = [term]
        while pending:
            each = pending.pop()
            if z3.is_const(each) and str(each) in self._addends:
                found[str(each)] = each
            pending += each.children()
        return [(each, self._addends[name]) for name, each in found.items()]


def _is_value(term: Term, value: int) -> bool:
    return bool(z3.is_bv_value(term) and term.as_long() == value)


def _last(block: pyrtl.Block, prefix: str) -> str:
    """Of the registers `prefix`1, `prefix`2, ... the last one; the empty string when there is none."""
    numbered = [name for name in TransitionSystem(block).registers if name.startswith(prefix)]
    return max(numbered, key=lambda name: int(name.removeprefix(prefix)), default="")
