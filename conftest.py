"""Where Triton's kernels run in tests, a GPU or else Triton's interpreter; and what the garbage collector looks at."""

from __future__ import annotations

import gc
import os
from importlib.util import find_spec

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
collect_ignore_glob = [] if find_spec("triton") else ["st_rankloss/kernels/triton_*.py"]

gc.disable()  # while modules are imported and thousands of tests collected, of which nothing is garbage


def pytest_collection_finish() -> None:
    """Keep modules and tests out of later collections, of which every training starts several."""
    gc.enable()
    gc.freeze()
