"""Run a module as if packages were not installed: python -m tests.without datasets,pyarrow MODULE ARGUMENTS."""

from __future__ import annotations

import importlib.metadata
import runpy
import sys
from typing import Any


def run(hidden: list[str], module: str) -> None:
    """Run a module as a script, without some packages."""
    sys.modules |= dict.fromkeys(hidden)  # an import of None fails, and the import system finds no such package
    metadata = importlib.metadata.metadata

    def of_installed(name: str) -> Any:
        """Find the metadata of a package that is not hidden."""
        if name in hidden:
            raise importlib.metadata.PackageNotFoundError(name)
        return metadata(name)

    importlib.metadata.metadata = of_installed
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    packages, sys.argv = sys.argv[1].split(","), sys.argv[2:]
    run(packages, sys.argv[0])
