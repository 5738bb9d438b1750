"""Where Triton's kernels run in tests: on a GPU if there is one, otherwise in Triton's interpreter."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported
collect_ignore_glob = [] if find_spec("triton") else ["st_rankloss/kernels/triton_*.py"]
