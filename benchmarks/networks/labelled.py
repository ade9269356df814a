"""The 20 labelled ImageNet images that the PyPI package foolbox carries (MIT), as EfficientNet-Lite0 sees them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks.photos import TRAINED
from compiler.errors import CompileError

_PART_KEPT = 0.875
"""Side of the square in the middle, relative to the shorter side, as the network's authors evaluate it."""
CROPS_OF_AN_IMAGE = 5
"""The middle and the four corners: more inputs on which int8 and float can agree."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """crops float32 [5][3][size][size], the first one of the middle; label 0..999."""

    name: str
    label: int
    crops: NDArray[np.float32]


def labelled_images(size: int) -> list[LabelledImage]:
    """All images in the order of their names. Raises CompileError where the package is missing."""
    specification = find_spec("foolbox")
    if specification is None or not specification.submodule_search_locations:
        raise CompileError("the labelled images are those of foolbox: pip install -e '.[bench]'")
    folder = Path(specification.submodule_search_locations[0]) / "data"
    return [_read(path, size) for path in sorted(folder.glob("imagenet_*.jpg"))]


def _read(path: Path, size: int) -> LabelledImage:
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    width, height = image.size
    side = round(min(width, height) * _PART_KEPT)
    right, bottom = width - side, height - side
    corners = [(right // 2, bottom // 2), (0, 0), (right, 0), (0, bottom), (right, bottom)]
    crops = []
    for left, top in corners:
        crop = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.BICUBIC)
        crops.append(np.asarray(crop, np.float32) / 255)
    normalised = (np.stack(crops) - TRAINED[0]) / TRAINED[1]
    label = int(path.stem.rsplit("_", 1)[1])
    return LabelledImage(path.stem, label, normalised.transpose(0, 3, 1, 2).astype(np.float32).copy())
