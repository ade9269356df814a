"""What the timing model says besides cycles, which `tests/backends` compare with the RTL."""

from collections.abc import Sequence

import numpy as np

from isa.configuration import NAMED_POOLS
from isa.encoding import encode_program
from isa.instructions import ConfigSave, ConfigTile, ConfigWindow, Conv, End, Instruction, Load, Save
from isa.pipeline import ARRIVAL_TO_ISSUE, fill_cycles, pass_cycles
from isa.timing import Timing, Unit, simulate

TINY = NAMED_POOLS["tiny"]
PASS = fill_cycles(TINY.slide_cycles) + pass_cycles(TINY.slide_cycles, 1)
"""From the issue of a CONV of one pixel to the end of its walk."""


def timing_of(instructions: Sequence[Instruction]) -> Timing:
    window = np.zeros(64 * TINY.fetch_beats * TINY.beat_bytes, np.uint8)
    words = encode_program([*instructions, End(barriers=0)])
    window[: len(words)] = np.frombuffer(words, np.uint8)
    return simulate(TINY, window, 0, [0])


def arrivals(timing: Timing, kind: type[Instruction]) -> list[int]:
    return [cycle for cycle, _, instruction in timing.dispatched if isinstance(instruction, kind)]


def test_a_core_waits_for_dispatch_from_the_end_of_its_work_to_the_arrival_of_more() -> None:
    timing = timing_of([ConfigWindow(), ConfigTile(), Conv(), *[ConfigSave()] * 30, Conv(), Conv()])
    first, second, third = (cycle + ARRIVAL_TO_ISSUE for cycle in arrivals(timing, Conv))
    assert second > first + PASS + 1, "the second one comes when the array has long been idle"
    assert third < second + PASS, "the third one comes in time"
    assert timing.dispatch_wait == (first - 1 + second - (first + PASS + 1),)


def test_waiting_for_data_is_no_waiting_for_dispatch() -> None:
    without = timing_of([Conv(), Load(columns=40, post_compute=1), Conv()])
    waiting = timing_of([Conv(), Load(columns=40, post_compute=1), Conv(wait_load=1)])
    (start,) = {cycle for timing in (without, waiting) for cycle in arrivals(timing, Conv)[:1]}
    assert waiting.cycles >= without.cycles
    assert waiting.dispatch_wait == (start,)


def test_units_execute_one_instruction_after_the_other_and_know_where_each_came_from() -> None:
    program = [
        Load(columns=40, post_compute=1),
        Conv(wait_load=1),
        Load(),
        Conv(drain=1, post_save=1),
        Save(wait_compute=1),
    ]
    timing = timing_of([ConfigWindow(), ConfigTile(), *program, *[ConfigSave()] * 40])
    found = [(each.unit, each.word, type(each.instruction)) for each in timing.executed]
    assert found == [
        (Unit.LOAD, 2, Load),
        (Unit.LOAD, 4, Load),
        (Unit.ARRAY, 3, Conv),
        (Unit.ARRAY, 5, Conv),
        (Unit.RESULTS, 5, Conv),
        (Unit.SAVE, 6, Save),
    ]
    loads, convs = timing.executed[:2], timing.executed[2:4]
    assert loads[0].first < loads[0].end <= loads[1].first
    assert convs[0].first >= loads[0].end, "waits for the token of the LOAD"
    assert convs[0].end <= convs[1].first
    assert timing.executed[4].first >= convs[1].end - 1, "the drain follows the walk"
    assert timing.executed[5].first > timing.executed[4].end - 1, "the SAVE waits for the drain"


def test_walks_are_shown_for_as_long_as_pixels_enter_the_array() -> None:
    timing = timing_of(
        [ConfigWindow(), ConfigTile(output_rows=4, output_columns=9), *[Conv()] * 3, *[ConfigWindow()] * 40]
    )
    walks = [each for each in timing.executed if each.unit is Unit.ARRAY]
    assert [each.end - each.first for each in walks] == [pass_cycles(TINY.slide_cycles, 36)] * 3
    assert sum(each.end - each.first for each in walks) == timing.array_cycles[0]
