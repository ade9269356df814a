"""The networks of the paper's scale, built here and quantised: see `benchmarks.networks.build`.

`python -m benchmarks.networks NAME -o FILE` writes one.
"""

from benchmarks.networks.build import BUILDERS, BuiltNetwork, build

__all__ = ["BUILDERS", "BuiltNetwork", "build"]
