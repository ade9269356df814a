"""Pools: what is refused, by name; pools from TOML files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from isa.configuration import NAMED_POOLS, ConfigurationError, PoolConfig, load_pool
from isa.instructions import Conv

SMALL = NAMED_POOLS["small"]
PARAMETERS = [field.name for field in dataclasses.fields(PoolConfig) if field.name != "name"]


@pytest.mark.parametrize("pool", NAMED_POOLS.values(), ids=NAMED_POOLS)
def test_named_pools(pool: PoolConfig) -> None:
    assert NAMED_POOLS[pool.name] is pool is load_pool(pool.name)
    assert pool.vectors_per_beat * pool.array == pool.beat_bytes == pool.words_per_beat * 16
    assert pool.memory_bytes == pool.memory_beats * pool.beat_bytes
    assert pool.slot_spacing * pool.channels == pool.cores
    assert pool.scrub_cycles >= max(pool.features_vectors, 256)
    assert pool.drain_cycles > pool.channel_latency
    assert pool.macs_per_cycle == pool.array**2
    assert pool.period_cycles == pool.cores * pool.host_revolutions


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("value", [0, -1, True, 1.5, "8", None])
def test_a_size_is_a_positive_whole_number(parameter: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=rf"pool 'small': {parameter} is .*positive whole number"):
        dataclasses.replace(SMALL, **{parameter: value})


@pytest.mark.parametrize("parameter", [name for name in PARAMETERS if name not in ("tenants", "channel_latency")])
def test_a_size_is_a_power_of_two(parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"pool 'small': {parameter} is 3; it must be a power of two"):
        dataclasses.replace(SMALL, **{parameter: 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cores": 128}, "cores is 128; an instruction can name 64"),
        ({"channels": 8}, "channels is 8; it must divide the 4 cores"),
        ({"beat_bytes": 4}, "beat_bytes is 4; a beat holds whole vectors of 8"),
        ({"beat_bytes": 8}, "beat_bytes is 8; a beat holds whole 16-byte instructions"),
        ({"lanes": 16}, "lanes is 16; the array delivers 8 channels"),
        ({"port_vectors": 8}, "port_vectors is 8; a beat holds 4 vectors, a weight tile 8"),
        ({"port_vectors": 4, "residual_vectors": 4}, "residual_vectors is 4; take at least 8, twice port_vectors"),
        ({"channel_latency": 63}, "channel_latency is 63; real memory takes at least 64"),
        ({"weights_vectors": 4}, "weights_vectors must hold one weight tile"),
        ({"line_vectors": 4}, "line_vectors must hold a row of any window, at least 8"),
        ({"parameters_vectors": 4}, "parameters_vectors must hold one parameter block"),
        ({"parameters_vectors": 8192}, "parameters_vectors is 8192; instructions can index 4096"),
        ({"features_vectors": 1 << 17}, "features_vectors is 131072; instructions can index 65536"),
        ({"weights_vectors": 1 << 17}, "weights_vectors is 131072; instructions can index 65536"),
        ({"output_vectors": 1 << 17}, "output_vectors is 131072; instructions can index 65536"),
        ({"channels": 2, "memory_beats": 1}, "memory_beats must be a multiple of the 2 channels"),
    ],
)
def test_sizes_fit_together(changes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"pool 'small': {message}"):
        dataclasses.replace(SMALL, **changes)


@pytest.mark.parametrize(
    ("changes", "beat_spacing", "slide_cycles"),
    [({}, 4, 8), ({"port_vectors": 4}, 4, 2), ({"cores": 1}, 4, 8), ({"cores": 1, "port_vectors": 4}, 1, 2)],
)
def test_slots_and_port_decide_how_beats_follow_one_another(
    changes: dict[str, int], beat_spacing: int, slide_cycles: int
) -> None:
    pool = dataclasses.replace(SMALL, **changes)
    assert (pool.beat_spacing, pool.slide_cycles) == (beat_spacing, slide_cycles)
    assert pool.shows_next_request == (beat_spacing == 1)


def write(directory: Path, text: str, name: str = "mine.toml") -> str:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_changes_its_base(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path, 'base = "small"\ncores = 8\n'))
    assert pool == dataclasses.replace(SMALL, name="mine", cores=8)
    assert load_pool(write(tmp_path, 'base = "small"\nname = "yours"\n')).name == "yours"


def test_a_file_without_base_names_every_size(tmp_path: Path) -> None:
    entries = dataclasses.asdict(SMALL)
    text = "".join(f"{name} = {entries[name]}\n" for name in PARAMETERS)
    assert load_pool(write(tmp_path, text)) == dataclasses.replace(SMALL, name="mine")
    with pytest.raises(ConfigurationError, match=r"missing accumulator_pixels, array, .*\(or give a base\)"):
        load_pool(write(tmp_path, "cores = 8\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "small"\ncors = 8\n', "unknown key 'cors'; known: .*cores"),
        ('base = "huge"\n', "base 'huge' is none of tiny, small"),
        ("base = [1]\n", r"base \[1\] is none of"),
        ("cores = ", "mine.toml: "),
        ('base = "small"\ncores = 3\n', "pool 'mine': cores is 3; it must be a power of two"),
        ('base = "small"\nname = 5\n', "pool 5: name is not a text"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_pool(write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"absent\.toml"):
        load_pool(str(tmp_path / "absent.toml"))
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(ConfigurationError, match=r"latin\.toml"):
        load_pool(str(tmp_path / "latin.toml"))
    with pytest.raises(ConfigurationError, match=r"unknown pool 'big': name one of tiny, .*or a \.toml file"):
        load_pool("big")


def test_a_field_says_what_it_holds() -> None:
    layout = Conv.field_layout("first_row")
    assert (layout.lowest, layout.highest) == (-512, 511)
    assert layout.load(layout.store(-3)) == -3
