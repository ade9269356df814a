"""isa <- rtl, compiler <- hypervisor, formal <- scripts: who may import whom, read from the import statements."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("isa", "rtl", "compiler", "hypervisor", "formal", "scripts")
MAY_IMPORT = {
    "isa": set(),
    "rtl": {"isa"},
    "compiler": {"isa"},
    "hypervisor": {"isa", "rtl", "compiler"},
    "formal": {"isa", "rtl", "compiler"},
    "scripts": set(OURS),
}
FORBIDDEN_OUTSIDE = {"isa": {"pyrtl", "z3", "onnx", "onnxruntime"}, "compiler": {"pyrtl", "z3"}, "rtl": {"z3", "onnx"}}


def imported_packages(source: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_lies_below_it(package: str) -> None:
    for source in (ROOT / package).rglob("*.py"):
        imported = imported_packages(source)
        ours = (imported & set(OURS)) - {package}
        assert ours <= MAY_IMPORT[package], f"{source.relative_to(ROOT)} imports {ours - MAY_IMPORT[package]}"
        forbidden = imported & FORBIDDEN_OUTSIDE.get(package, set())
        assert not forbidden, f"{source.relative_to(ROOT)} imports {forbidden}"


def test_the_model_backend_needs_neither_onnxruntime_nor_the_compiler() -> None:
    program = (
        "import sys, hypervisor.backends.model_backend\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "sys.exit(bool(loaded & {'onnxruntime', 'compiler', 'onnx'}))"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_a_file_stays_short_enough_to_read() -> None:
    for package in (*OURS, "tests"):
        for source in (ROOT / package).rglob("*.py"):
            lines = len(source.read_text(encoding="utf-8").splitlines())
            assert lines <= 450, f"{source.relative_to(ROOT)} has {lines} lines: is there a seam?"
