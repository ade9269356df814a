"""Trained weights on labelled images: the cores' logits are ONNX Runtime's."""

import numpy as np
import pytest

from benchmarks.networks import BUILDERS, build
from benchmarks.networks.build import session
from benchmarks.networks.labelled import labelled_images
from compiler.compile import compile_model
from isa.configuration import NAMED_POOLS
from scripts.benches import accuracy

CONFIG = NAMED_POOLS["paper"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_logits_of_a_labelled_image_equal_onnx_runtimes_and_name_its_class() -> None:
    network = build(accuracy.NETWORK)
    image = labelled_images(BUILDERS[accuracy.NETWORK]().size)[0]
    package = compile_model(network.path, CONFIG, [CONFIG.cores])
    found = accuracy.logits_on_cores(package, CONFIG, image.crops[0])
    reference = session(network.model(), output=package.layers[-1].output)
    expected = reference.run([package.layers[-1].output], {"image": image.crops[:1]})[0]
    assert (found == expected.reshape(-1)).all()
    assert int(np.argmax(found)) == image.label
