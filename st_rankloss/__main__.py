"""``python -m st_rankloss``, the command st-rankloss."""

from __future__ import annotations

import sys

from st_rankloss.cli import main

if __name__ == "__main__":
    sys.exit(main())
