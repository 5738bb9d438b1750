"""The runs of a report: read from one or several files, and comparable with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from eval.results import Run, read_results

Key = TypeVar("Key")


@dataclass(frozen=True)
class Runs:
    """The runs of a report, and notes for its reader."""

    runs: Sequence[Run]
    notes: Sequence[str]


def read_runs(paths: Sequence[Path], mixed: bool = False) -> Runs:
    """Read files of results, with notes on unfinished lines and, if accepted as ``mixed``, on different versions.

    Raises:
        ValueError: If there is no run, a line is malformed, versions differ, or a task has several main metrics.
    """
    runs, notes = read_results(paths)
    if not runs:
        files = ", ".join(map(str, paths)) or "no file"
        raise ValueError(f"there is no run in {files}: run `python -m eval tune` and `compare` first.")
    for task, group in group_by(runs, lambda run: run.task).items():
        if len(metrics := sorted({run.metric for run in group})) > 1:
            raise ValueError(f"runs of the task {task!r} have several main metrics: {', '.join(metrics)}.")
    differing = _version_differences(runs)
    if differing and not mixed:
        raise ValueError(f"versions differ: {differing}. Rerun one side, or accept it by mixed=True (--mixed).")
    if differing:
        notes.insert(0, f"Runs of different versions are mixed: {differing}.")
    return Runs(runs, notes)


def _version_differences(runs: Sequence[Run]) -> str:
    """Name packages whose versions differ, with the files; empty if there are none."""
    found = []
    for package in sorted({package for run in runs for package in run.versions}):
        files: dict[str, set[str]] = {}
        for run in runs:
            files.setdefault(run.versions.get(package, "absent"), set()).add(run.source)
        if len(files) > 1:
            sides = (f"{version} ({', '.join(sorted(names))})" for version, names in files.items())
            found.append(f"{package} {' and '.join(sides)}")
    return "; ".join(found)


def group_by(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Group runs by a key, in order of first appearance."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
