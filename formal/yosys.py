"""Runs yosys, the one that pip installs, in a process of its own: an error of yosys ends the process that it is in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable

_RUN = """
import signal
import sys
import pyosys.libyosys as yosys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # an interrupt ends a pass, which may take minutes, at once
design = yosys.Design()
for command in sys.stdin.read().splitlines():
    yosys.run_pass("tee -q " + command, design)
"""


class YosysError(Exception):
    """Yosys refused a command; the message is the end of what it said."""


def run_yosys(commands: Iterable[str]) -> None:
    """Run commands, one a line, in an empty design. What they find out they write to files: `write_json`, `tee -o`.

    Raises:
        YosysError: the first command that yosys refuses ends the run.
    """
    ran = subprocess.run(
        [sys.executable, "-c", _RUN], input="\n".join(commands), capture_output=True, text=True, check=False
    )
    if ran.returncode:
        raise YosysError((ran.stdout + ran.stderr).strip()[-500:])
