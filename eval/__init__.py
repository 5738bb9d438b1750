"""The comparison of ranking losses on real tasks: ``python -m eval --help``; the protocol is in ``eval/README.md``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "examples"))  # the documentation corpus and the small CLIP are there
