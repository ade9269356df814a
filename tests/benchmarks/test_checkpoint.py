"""Checkpoints are read without PyTorch, and nothing in them is executed."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from benchmarks.networks.checkpoint import CheckpointError, read_checkpoint
from benchmarks.networks.efficientnet import efficientnet_lite0


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return eval, ("1 / 0",)


def test_trained_weights_are_those_of_a_trained_network() -> None:
    first = next(layer for layer in efficientnet_lite0().layers if layer.trained)
    assert first.trained is not None and first.trained.weights.shape == (32, 3, 3, 3)
    assert 0.05 < first.trained.weights.std() < 5 and np.isfinite(first.trained.bias).all()


@pytest.mark.parametrize("content", [pickle.dumps(Malicious()), pickle.dumps(1)])
def test_other_pickles_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
