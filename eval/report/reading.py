"""Runs, and the files that they are read from."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

Key = TypeVar("Key")

KNOWN = {
    "stage": ("dev", "test", "ablation"),
    "status": ("ok", "failed"),
    "role": ("recipe", "usual", "family", "before"),
}


@dataclass(frozen=True)
class Run:
    """One line of the results, as ``eval/README.md`` describes it."""

    key: str
    stage: str
    status: str
    task: str
    kind: str
    metric: str
    encoder: str
    loss: str
    role: str
    seed: int
    source: Path
    trained_on: str | None = None
    error: str | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float = math.nan
    steps: int | None = None
    batch_size: int | None = None
    ablation: str | None = None
    value: Any = None
    scores: Mapping[str, float | None] = field(default_factory=dict)
    items: str | None = None
    by_grade: Mapping[str, float] | None = None
    histogram: Mapping[str, Sequence[float]] | None = None
    curve: Sequence[tuple[float, float]] | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str = "unknown"
    hardware: str = "unknown"
    started: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run went through."""
        return self.status == "ok"

    @property
    def score(self) -> float:
        """The main metric, NaN where it is undefined."""
        value = self.scores[self.metric]
        return math.nan if value is None else float(value)

    @property
    def budget(self) -> tuple[int | None, int | None]:
        """How long it was trained."""
        return self.steps, self.batch_size

    @property
    def configuration(self) -> tuple[str, float, int | None, int | None]:
        """What was tuned, and the budget."""
        return json.dumps(self.setting, sort_keys=True), self.learning_rate, *self.budget


@dataclass(frozen=True)
class Runs:
    """The runs of a report, and what its reader must know of them first."""

    runs: Sequence[Run]
    notes: Sequence[str]


def read_runs(paths: Sequence[Path], mixed: bool = False) -> Runs:
    """Read the lines of one or several files.

    A last line that is cut short, as a killed run leaves it, is left out with a warning. Of lines with the same key
    the last one that is ok counts.

    Args:
        paths: The files.
        mixed: Accept runs of different versions.

    Returns:
        The runs in the files' order, and notes on what was cut short or mixed.

    Raises:
        ValueError: If there is no run, a line is malformed, versions differ or a task has several main metrics.
    """
    notes: list[str] = []
    kept: dict[str, Run] = {}
    for path in paths:
        for run in _read_file(path, notes):
            if run.ok or run.key not in kept or not kept[run.key].ok:
                kept.pop(run.key, None)  # a repeated run stands where it was repeated
                kept[run.key] = run
    runs = list(kept.values())
    if not runs:
        raise ValueError(f"there is no run in {', '.join(map(str, paths)) or 'no file'}.")
    _check_metrics(runs)
    differing = _version_differences(runs)
    if differing and not mixed:
        raise ValueError(f"versions differ: {differing}. Rerun one side, or accept it by mixed=True (--mixed).")
    if differing:
        notes.insert(0, f"Runs of different versions are mixed: {differing}.")
    return Runs(runs, notes)


def _read_file(path: Path, notes: list[str]) -> Iterable[Run]:
    lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise ValueError(f"{path}, line {number} is not JSON: {error}") from error
            warnings.warn(f"{path}, line {number} is cut short and left out.", stacklevel=3)
            notes.append(f"The last line of {path.name}, line {number}, is cut short and left out.")
        else:
            yield _parse_run(content, path, number)


def _parse_run(content: Any, path: Path, number: int) -> Run:
    given = {name: value for name, value in content.items() if value is not None} if isinstance(content, dict) else {}
    required = {f.name for f in fields(Run) if f.default is MISSING and f.default_factory is MISSING} - {"source"}
    missing = required - given.keys()
    if missing:
        raise ValueError(f"{path}, line {number} lacks {', '.join(sorted(missing))}.")
    for name, allowed in KNOWN.items():
        if given[name] not in allowed:
            raise ValueError(f"{path}, line {number}: {name} must be one of {', '.join(allowed)}, got {given[name]!r}.")
    known = {f.name for f in fields(Run)} - {"source"}
    run = Run(**{name: value for name, value in given.items() if name in known}, source=path)
    if run.ok and run.metric not in run.scores:
        raise ValueError(f"{path}, line {number}: the scores lack the main metric {run.metric!r}.")
    return run


def _check_metrics(runs: Iterable[Run]) -> None:
    for task, group in group_by(runs, lambda run: run.task).items():
        metrics = sorted({run.metric for run in group})
        if len(metrics) > 1:
            raise ValueError(f"runs of the task {task!r} have several main metrics: {', '.join(metrics)}.")


def _version_differences(runs: Sequence[Run]) -> str:
    """Describe which packages differ in version, and in which files; empty if none does."""
    found = []
    for package in sorted({package for run in runs for package in run.versions}):
        files = group_by(runs, partial(_version, package))
        if len(files) > 1:
            sides = (f"{v} ({', '.join(sorted({run.source.name for run in group}))})" for v, group in files.items())
            found.append(f"{package} {' and '.join(sides)}")
    return "; ".join(found)


def _version(package: str, run: Run) -> str:
    return run.versions.get(package, "absent")


def group_by(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """Group runs by a key, in order of first appearance."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
