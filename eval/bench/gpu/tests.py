"""The tests marked ``gpu``: which passed, failed, or were skipped, and why.

A file of tests whose packages are not installed is skipped by name.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from eval.bench.gpu.part import part_parser, write

ROOT = Path(__file__).parents[3]
QUICK = "tests/kernels"
"""The folder whose tests ``--quick`` runs."""


class Reporter:
    """A plugin of pytest that writes the outcome of each test as it ends.

    Args:
        path: File of results, JSON lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Write the outcome of a test, or of its setup if that ends it."""
        if report.when == "call" or report.outcome != "passed":
            self._write(report)

    def pytest_collectreport(self, report: Any) -> None:
        """Write that a file could not be imported."""
        if report.outcome != "passed":
            self._write(report)

    def _write(self, report: Any) -> None:
        outcome, reason = report.outcome, str(report.longrepr or "")
        if missing := re.search(r"ModuleNotFoundError: (.*)", reason):
            outcome, reason = "skipped", missing[1]
        write(self.path, {"test": report.nodeid, "outcome": outcome} | ({"reason": reason[-2000:]} if reason else {}))


def files(folder: str) -> list[str]:
    """Return the files with tests marked ``gpu``."""
    found = sorted((ROOT / folder).rglob("test_*.py"))
    return [str(path) for path in found if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]


def main() -> None:
    """Run the tests."""
    options = part_parser(__doc__).parse_args()
    if not find_spec("pytest"):
        write(options.output, {"test": "all", "outcome": "skipped", "reason": "pytest is not installed"})
        return
    import pytest

    arguments = ["-q", "-m", "gpu", "--continue-on-collection-errors", "-p", "no:cacheprovider"]
    pytest.main([*arguments, *files(QUICK if options.quick else "tests")], plugins=[Reporter(options.output)])


if __name__ == "__main__":
    main()
