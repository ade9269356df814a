"""Photos for statistics and calibration: crops of the sample images that scikit-image and scikit-learn carry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from compiler.errors import CompileError

CROPS_OF_A_PHOTO = 4
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
"""Of the three colours in ImageNet, as usual."""


TRAINED = (np.array([127, 127, 127], np.float32) / 255, np.array([128, 128, 128], np.float32) / 255)
"""Mean and deviation of the images of EfficientNet-Lite0."""


def photos(
    size: int, numbers: tuple[NDArray[np.float32], NDArray[np.float32]] = (MEAN, DEVIATION)
) -> NDArray[np.float32]:
    """Square crops as [image][colour][row][column], normalised; the first of each photo is the whole of it.

    `numbers`: mean and deviation.
    """
    try:
        import skimage.data
        import sklearn.datasets
    except ImportError as error:
        raise CompileError(
            f"photos for calibration need {error.name}: install the extra dependencies with pip install -e '.[bench]'"
        ) from None
    sources: list[Callable[[], NDArray[np.uint8]]] = [
        lambda: sklearn.datasets.load_sample_image("china.jpg"),
        lambda: sklearn.datasets.load_sample_image("flower.jpg"),
        skimage.data.astronaut,
        skimage.data.chelsea,
        skimage.data.coffee,
        skimage.data.rocket,
    ]
    random = np.random.default_rng(7)
    crops = []
    for number in range(CROPS_OF_A_PHOTO):
        for source in sources:
            photo = source()
            rows, columns = photo.shape[:2]
            side = min(rows, columns) if number == 0 else int(min(rows, columns) * random.uniform(0.4, 0.9))
            top, left = (int(random.integers(0, extent - side + 1)) for extent in (rows, columns))
            crops.append(_scaled(photo[top : top + side, left : left + side], size))
    return ((np.stack(crops) - numbers[0]) / numbers[1]).transpose(0, 3, 1, 2).astype(np.float32).copy()


def _scaled(photo: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """A square photo at another size, bilinear; values 0..1."""
    side = photo.shape[0]
    place = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    low = np.minimum(place.astype(int), side - 2)
    part = (place - low).astype(np.float32)
    values = photo.astype(np.float32) / np.float32(255)
    rows = values[low] * (1 - part)[:, None, None] + values[low + 1] * part[:, None, None]
    return rows[:, low] * (1 - part)[:, None] + rows[:, low + 1] * part[:, None]
