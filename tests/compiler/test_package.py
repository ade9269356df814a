"""Package files: what is written is what is read, and nothing else is."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler import container
from compiler.compile import compile_model
from compiler.errors import PackageError
from compiler.layout import tensor_to_vectors, vectors_to_tensor
from compiler.package import Package
from isa.configuration import NAMED_POOLS
from isa.encoding import decode_program
from isa.instructions import Call, End

NETWORK = Path(__file__).parent.parent / "networks" / "lenet.int8.onnx"


@pytest.fixture(scope="module")
def package() -> Package:
    return compile_model(NETWORK, NAMED_POOLS["small"])


@pytest.fixture(scope="module")
def file(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("packages") / "lenet.ifp"
    package.save(path)
    return path


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(PackageError) as caught:
        Package.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_package_survives_its_file(package: Package, file: Path) -> None:
    assert Package.load(file) == package
    assert [entry.name for entry in file.parent.iterdir()] == ["lenet.ifp"]
    assert package.network_digest == hashlib.sha256(NETWORK.read_bytes()).hexdigest()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_altered_byte_is_noticed(file: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    content = bytearray(file.read_bytes())
    place = data.draw(st.one_of(st.integers(0, 60), st.integers(0, len(content) - 1)))
    content[place] ^= data.draw(st.integers(1, 255))
    refused(tmp_path_factory.mktemp("altered") / "x.ifp", bytes(content))


@pytest.mark.parametrize("length", [0, 7, 30, 60, 500, -1])
def test_a_truncated_file_is_refused(file: Path, tmp_path: Path, length: int) -> None:
    refused(tmp_path / "x.ifp", file.read_bytes()[:length])


def test_more_bytes_behind_the_end_are_refused(file: Path, tmp_path: Path) -> None:
    assert "too long" in refused(tmp_path / "x.ifp", file.read_bytes() + b"\0")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"none\.ifp"):
        Package.load(tmp_path / "none.ifp")


def rewritten(file: Path, change: dict[str, object]) -> bytes:
    """The file with another header, and a checksum that fits it."""
    content = file.read_bytes()
    _, version, length, blob_length, _ = container._PREFIX.unpack_from(content)
    body = content[container._PREFIX.size :]
    header = json.dumps(json.loads(body[:length]) | change).encode()
    digest = hashlib.sha256(header + body[length:]).digest()
    prefix = container._PREFIX.pack(container.MAGIC, version, len(header), blob_length, digest)
    return prefix + header + body[length:]


@pytest.mark.parametrize(
    "change",
    [
        {"window_bytes": 64},
        {"window_bytes": -4096},
        {"static": [0, 1 << 40]},
        {"prologues": []},
        {"prologues": [[1, 1 << 30]]},
        {"stages": []},
        {"stages": [{"first_layer": 1, "end_layer": 7}]},
        {"layers": []},
        {"tensors": [{"name": "x"}]},
        {"pool": {"name": "x"}},
        {"segments": []},
        {"name": 5},
    ],
)
def test_a_header_that_contradicts_itself_is_refused(file: Path, tmp_path: Path, change: dict[str, object]) -> None:
    refused(tmp_path / "x.ifp", rewritten(file, change))


def test_a_header_rewritten_as_it_was_is_accepted(package: Package, file: Path, tmp_path: Path) -> None:
    (tmp_path / "x.ifp").write_bytes(rewritten(file, {}))
    assert Package.load(tmp_path / "x.ifp") == package


def test_a_program_is_calls_and_an_end(package: Package) -> None:
    for cores in package.core_counts:
        for first in range(len(package.layers)):
            program = package.program(cores, first)
            words = decode_program(program.words)
            frames = [layer.frames[cores].word for layer in package.layers[first:]]
            addresses = [package.prologues[cores], *frames, package.epilogues[cores]]
            assert words == [*(Call(address=word) for word in addresses), End(barriers=program.barriers)]
            assert len(program.words) <= package.program_words * 16


def test_linking_takes_well_under_a_tenth_of_a_millisecond(package: Package) -> None:
    package.program(1)
    durations = []
    for _ in range(50):
        begin = time.perf_counter()
        package.program(3, 2)
        durations.append(time.perf_counter() - begin)
    assert sorted(durations)[25] < 1e-4


def test_unknown_cores_and_layers_are_refused(package: Package) -> None:
    for cores, layer in ((5, 0), (0, 0), (1, 99), (1, -1)):
        with pytest.raises(ValueError, match="has"):
            package.program(cores, layer)


def test_a_package_names_the_sizes_of_a_pool_that_are_not_its_own(package: Package) -> None:
    small = NAMED_POOLS["small"]
    assert package.differences(replace(small, name="other")) == []
    assert package.differences(replace(small, weights_vectors=2 * small.weights_vectors, cores=8)) == [
        "cores",
        "weights_vectors",
    ]


def test_inputs_that_do_not_fit_are_refused(package: Package) -> None:
    for inputs in (np.zeros((1, 28, 28), np.float32), np.zeros((1, 1, 28, 28)), {"other": np.zeros(1, np.float32)}):
        with pytest.raises(ValueError, match="input"):
            package.quantise_input(inputs)
    with pytest.raises(ValueError, match="'image' of the network is missing"):
        package.quantise_input({})


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 5), st.sampled_from([4, 8, 16]))
def test_tensors_survive_their_layout(channels: int, rows: int, columns: int, array: int) -> None:
    tensor = np.arange(channels * rows * columns, dtype=np.int64).astype(np.int8).reshape(channels, rows, columns)
    vectors = tensor_to_vectors(tensor, array)
    assert vectors.shape == (-(-channels // array), rows, columns, array)
    assert (vectors_to_tensor(vectors, tensor.shape, array) == tensor).all()
    assert vectors[(channels - 1) // array, rows - 1, columns - 1, (channels - 1) % array] == tensor[-1, -1, -1]
