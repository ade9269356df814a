"""Train, export and quantise the three MNIST networks of ``tests/networks``.

The results are committed, so nobody needs this script to build, test or use Tenure. It
alone needs PyTorch (``pip install -e ".[train]"``); run it from the root of the checkout
as ``python -m scripts.train_networks``. It writes, for each network, a float and an int8
ONNX file, the test images with their labels, and the page that describes them all.
A network's float input is ``pixel / 255`` as float32 [1, 1, 28, 28].
"""

import argparse
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import torch

from scripts.networks import quantisation, topologies, training
from scripts.networks.data import Dataset, load_split, save_test_set
from scripts.networks.report import Result, write_readme

LIBRARIES = ("torch", "onnx", "onnxruntime", "mlxtend")
THREADS = 2
NETWORKS = {  # name: (builder, epochs)
    "lenet": (topologies.lenet, 40),
    "resnet8": (topologies.resnet8, 20),
    "mobilenet": (topologies.mobilenet, 25),
}
DEFAULT_DIRECTORY = Path(__file__).resolve().parent.parent / "tests" / "networks"


def make_network(name: str, directory: Path, training_set: Dataset, test_set: Dataset) -> Result:
    """Train one network, write its two files, check them and measure both."""
    build, epochs = NETWORKS[name]
    float_path = directory / f"{name}.float.onnx"
    int8_path = directory / f"{name}.int8.onnx"
    print(f"{name}: training", file=sys.stderr)
    training.export(training.train(build, training_set, epochs), float_path)
    quantisation.quantise(float_path, int8_path, training_set)
    model = onnx.load(int8_path)
    print(f"{name}: int8 graph")
    for line in quantisation.describe_nodes(model):
        print(f"  {line}")
    quantisation.check_integer_only(model)
    float_classes = quantisation.classify(float_path, test_set)
    int8_classes = quantisation.classify(int8_path, test_set)
    result = Result(
        name=name,
        multiplications=quantisation.count_multiplications(model),
        float_accuracy=float(np.mean(float_classes == test_set.labels)),
        int8_accuracy=float(np.mean(int8_classes == test_set.labels)),
        agreement=float(np.mean(float_classes == int8_classes)),
        float_bytes=float_path.stat().st_size,
        int8_bytes=int8_path.stat().st_size,
        operators=quantisation.count_operators(model),
    )
    print(f"  {result.row()}")
    return result


def main() -> None:
    """Make all networks, the test set and their page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=DEFAULT_DIRECTORY,
        help="directory to write to (default: %(default)s)",
    )
    directory = parser.parse_args().output
    directory.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.WARNING)  # the quantiser prefers QDQ, which is no bit-exact oracle
    torch.set_num_threads(THREADS)
    start = time.monotonic()
    training_set, test_set = load_split()
    save_test_set(test_set, directory / "mnist_test.npz")
    results = []
    for name in NETWORKS:
        begin = time.monotonic()
        results.append(make_network(name, directory, training_set, test_set))
        print(f"{name}: {time.monotonic() - begin:.0f} s", file=sys.stderr)
    write_readme(
        directory / "README.md",
        results,
        images=len(test_set.images),
        opset=training.OPSET,
        releases=", ".join(f"{name} {version(name)}" for name in LIBRARIES),
        minutes=max(1, round((time.monotonic() - start) / 60)),
    )


if __name__ == "__main__":
    main()
