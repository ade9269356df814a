"""The console command `tenure`: its commands, and how each kind of failure ends.

Exit codes: 0 done; 1 done, and the answer is no (a mismatch, a fault, a theorem not proved); 2 bad input or a missing
tool, with one paragraph on standard error; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from compiler.errors import CompileError, PackageError
from hypervisor.hypervisor import HypervisorError
from hypervisor.pool_port import PortError
from isa.configuration import ConfigurationError
from scripts.commands.bench import bench
from scripts.commands.compile import compile_command
from scripts.commands.export import export
from scripts.commands.prove import prove
from scripts.commands.reporting import InputError
from scripts.commands.run import run
from scripts.commands.trace import trace

EXPLAINED_ERRORS = (CompileError, PackageError, ConfigurationError, HypervisorError, PortError, InputError)
"""Errors whose message is one paragraph for the user."""
BAD_INPUT = 2
INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tenure")
def tenure() -> None:
    """Multi-tenant DNN accelerators: compile networks, run them on a pool, prove and export the hardware."""


for command in (compile_command, run, trace, prove, export, bench):
    tenure.add_command(command)


def call(arguments: Sequence[str]) -> int:
    """Run the command line `arguments`; its exit code. Failures are explained on standard error."""
    try:
        code = tenure.main(list(arguments), prog_name="tenure", standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        return BAD_INPUT
    except EXPLAINED_ERRORS as problem:
        click.echo(f"tenure: {' '.join(str(problem).split())}", err=True)
        return BAD_INPUT
    except (KeyboardInterrupt, click.Abort):
        click.echo("tenure: interrupted; no file was left half-written", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the console command."""
    sys.exit(call(sys.argv[1:]))


if __name__ == "__main__":
    main()
