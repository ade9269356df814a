"""`python -m benchmarks.networks NAME -o FILE`: write an int8 network as ONNX."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.networks.build import BUILDERS, build
from compiler.errors import CompileError


def main() -> int:
    """Build the network that the arguments name; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    parser.add_argument("name", choices=list(BUILDERS))
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the .onnx file to write")
    arguments = parser.parse_args()
    if not arguments.output.parent.is_dir():
        parser.error(f"there is no directory {arguments.output.parent}")
    try:
        network = build(arguments.name, lambda fraction, what: print(f"{fraction:4.0%}  {what}", file=sys.stderr))
    except CompileError as error:
        print(error, file=sys.stderr)
        return 2
    shutil.copyfile(network.path, arguments.output)
    print(f"{arguments.output}: SQNR {network.sqnr_db:.1f} dB, same class as float: {network.agreement:.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
