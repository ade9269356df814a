"""Settings for every test."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two workers of pytest share two cores
