"""`tenure compile`: an ONNX network to a package."""

from __future__ import annotations

from pathlib import Path

import click

from isa.configuration import PoolConfig
from scripts.commands.reporting import (
    InputError,
    existing_file,
    fraction_progress,
    json_option,
    messages,
    pool_option,
    print_json,
    print_table,
    replacing,
)


@click.command("compile")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The package to write (.ifp).")
@click.option("--calibrate", metavar="IMAGES.npz", help="Quantise a float network first, with these images of yours.")
@click.option("--shape", "shapes", multiple=True, metavar="NAME=1,3,224,224", help="Fix the shape of an input.")
@click.option("--cores", metavar="1,2,4", help="Numbers of cores to compile for.  [default: 1 to all of the pool]")
@click.option("--no-fuse", is_flag=True, help="Write every intermediate tensor to memory, so that it can be checked.")
@click.option("--latencies", is_flag=True, help="Time every layer exactly for every number of cores (minutes).")
@pool_option()
@json_option
def compile_command(
    model: str,
    output: Path,
    calibrate: str | None,
    shapes: tuple[str, ...],
    cores: str | None,
    no_fuse: bool,
    latencies: bool,
    pool: PoolConfig,
    as_json: bool,
) -> None:
    """Compile MODEL, an int8 ONNX network (QOperator), to a package that runs on any number of cores.

    A float network needs --calibrate; its int8 version is written beside the package, for `tenure run --check`.
    """
    source = existing_file(model, "MODEL")
    images = None if calibrate is None else existing_file(calibrate, "--calibrate")
    if not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no directory {output.parent}")
    core_counts = None if cores is None else _numbers(cores, f"--cores {cores}")
    if core_counts and max(core_counts) > pool.cores:
        raise InputError(f"--cores {cores}: pool {pool.name!r} has {pool.cores} cores")
    fixed_shapes = dict(_shape(text) for text in shapes)
    if images is not None:
        source = _quantised(source, images, fixed_shapes, output.with_suffix(".int8.onnx"))
    from compiler.compile import compile_model

    with fraction_progress(f"compiling {source.name}") as progress:
        package = compile_model(
            source,
            pool,
            core_counts=core_counts,
            fuse=not no_fuse,
            progress=progress,
            shapes=fixed_shapes,
        )
    if latencies:
        from compiler.latencies import with_exact_latencies

        with fraction_progress(f"timing {source.name}") as progress:
            package = with_exact_latencies(package, pool, progress)
    package.save(output)
    result = {
        "network": package.name,
        "package": str(output),
        "int8": str(source),
        "pool": pool.name,
        "layers": len(package.layers),
        "macs": package.macs,
        "cores": list(package.core_counts),
        "window_bytes": package.window_bytes,
        "host": package.explain(),
    }
    if as_json:
        print_json(result)
        return
    rows = [(key, value if isinstance(value, int) else str(value)) for key, value in result.items() if key != "host"]
    print_table(f"{source} -> {output}", ("package", ""), rows)
    for line in package.explain():
        messages.print(f"host: {line}", highlight=False)


def _quantised(source: Path, images: Path, shapes: dict[str, list[int]], target: Path) -> Path:
    from compiler.quantise import quantise

    with messages.status(f"quantising {source.name}"):
        network = quantise(source, images, shapes)
    with replacing(target) as file:
        file.write(network.SerializeToString())
    return target


def _shape(text: str) -> tuple[str, list[int]]:
    name, separator, numbers = text.rpartition("=")
    if not separator or not name:
        raise InputError(f"--shape {text}: write NAME=1,3,224,224")
    return name, _numbers(numbers, f"--shape {text}")


def _numbers(text: str, argument: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"{argument}: give positive whole numbers with commas between them")
    return [int(part) for part in parts]
