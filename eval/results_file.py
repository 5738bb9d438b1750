"""The file of results: one line a run, added when it ends; what is killed loses at most the runs in flight."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class ResultsFile:
    """Lines of a results file by key.

    Args:
        path: Of the file; it need not exist.
        versions: Of the packages that this process runs.
        mixed: Whether lines of other versions are accepted.

    Raises:
        ValueError: If the file has lines of other versions, with the packages that differ.
    """

    def __init__(self, path: Path, versions: Mapping[str, str], *, mixed: bool = False) -> None:
        self.path, self.lines = path, read_lines(path)
        for line in self.lines.values():
            known = line["versions"]
            differ = [
                f"{name} {known.get(name)} there, {now} here"
                for name, now in versions.items()
                if known.get(name) != now
            ]
            if differ and not mixed:
                raise ValueError(
                    f"{path} holds runs of other versions ({'; '.join(differ)}): "
                    "choose another --output, or mix them knowingly with --mixed."
                )

    def has(self, key: str) -> bool:
        """Whether a run is there, and went well."""
        return key in self.lines and self.lines[key]["status"] == "ok"

    def add(self, line: Line) -> None:
        """Add a run, on the disk when this returns; a line that a killed process left unfinished goes first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists() and not (found := self.path.read_bytes()).endswith(b"\n"):
            self.path.write_bytes(found[: found.rfind(b"\n") + 1])
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.lines[line["key"]] = line


def read_lines(path: Path) -> dict[str, Line]:
    """Read a results file by key, the last run of each, without a line that a killed process left unfinished.

    Raises:
        ValueError: If any line but the last is not JSON.
    """
    if not path.exists():
        return {}
    *whole, _ = path.read_bytes().split(b"\n")
    found: dict[str, Line] = {}
    for number, row in enumerate(whole, 1):
        try:
            line = json.loads(row)
        except ValueError as error:
            raise ValueError(f"{path}, line {number}, is not JSON: {error}") from error
        found[line["key"]] = line
    return found
