"""Run a module as if packages were not installed: python -m tests.without datasets,pyarrow MODULE ARGUMENTS."""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from typing import Any

hidden = sys.argv[1].split(",")
sys.modules |= dict.fromkeys(hidden)  # an import of None fails, and the import system finds no such package
metadata = importlib.metadata.metadata


def of_installed(name: str) -> Any:
    """Find the metadata of a package that is not hidden."""
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return metadata(name)


importlib.metadata.metadata = of_installed
module, sys.argv = sys.argv[2], sys.argv[2:]
runpy.run_module(module, run_name="__main__", alter_sys=True)
