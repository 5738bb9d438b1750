"""Look at data before training: facts, findings and a proposal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict
from rich.console import Console, RenderableType

from st_rankloss.data.guessing import as_part
from st_rankloss.data.part import Part
from st_rankloss.encoding import encode_labels
from st_rankloss.functional.checks import check_at_least
from st_rankloss.inspection import images as _images
from st_rankloss.inspection import labels as _labels
from st_rankloss.inspection import lists as _lists
from st_rankloss.inspection import texts as _texts
from st_rankloss.inspection.columns import Look, look_at
from st_rankloss.inspection.facts import Facts, facts_of
from st_rankloss.inspection.findings import SEVERITIES, Finding, findings_of
from st_rankloss.inspection.leaks import leaks
from st_rankloss.inspection.lengths import cut_texts
from st_rankloss.inspection.page import write_page
from st_rankloss.inspection.proposal import Proposal, propose
from st_rankloss.inspection.tables import tables_of

Data: TypeAlias = Part | Dataset | IterableDataset | Mapping[str, Part | Dataset | IterableDataset]

_LOOKED_AT = 1_000

__checks__ = (_texts, _lists, _labels, _images)  # importing them registers their checks


@dataclass(frozen=True)
class Inspection:
    """What `inspect` found; print it, or write it as a page.

    Attributes:
        facts: Facts of each part.
        findings: Errors, warnings and notes, in this order.
        proposal: Settings for a first training; None if no recipe fits the data.
    """

    facts: tuple[Facts, ...]
    findings: tuple[Finding, ...]
    proposal: Proposal | None = None

    @property
    def ok(self) -> bool:
        """Whether there are neither errors nor warnings."""
        return all(finding.severity == "note" for finding in self.findings)

    def __rich__(self) -> RenderableType:
        return tables_of(self)

    def __str__(self) -> str:
        console = Console(width=100, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "facts": [facts.to_dict() for facts in self.facts],
            "findings": [finding.to_dict() for finding in self.findings],
            "proposal": None if self.proposal is None else self.proposal.to_dict(),
        }

    def to_html(self, path: str | Path) -> Path:
        """Write one self-contained page with plots.

        Args:
            path: The file to write.

        Returns:
            The file.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        return write_page(self, Path(path))


def inspect(data: Data, *, model: Any = None, task: str | None = None, most_rows: int = 1_000_000) -> Inspection:
    """Look for mistakes in data before training on it, and propose settings.

    Nothing is changed or downloaded. Data in memory or on disk is read in full; of a stream, the first ``most_rows``
    rows are, in one pass with bounded memory, after a peek at the first thousand.

    Args:
        data: A part, its parts by name, such as "train" and "test", or datasets in the columns of a task. What occurs
            in two parts is reported as a leak. The first part is the one that the proposal is for.
        model: The model to train, for the lengths of texts and the learning rate; None if not known yet.
        task: The task, see `st_rankloss.data.Part`; None guesses it from columns and labels.
        most_rows: Rows of a stream to look at, at least 1.

    Returns:
        Facts, findings and the proposal.

    Raises:
        TypeError: If ``data`` is anything else.
        ValueError: If there are no parts, ``most_rows`` is too small, or the columns fit no task.

    Example:
        >>> found = inspect(Dataset.from_dict({"text": ["a cat", "a dog", " "], "label": ["pet", "pet", "pet"]}))
        >>> [finding.name for finding in found.findings if finding.severity == "error"]
        ['empty texts', 'constant labels']
    """
    check_at_least(most_rows, 1, "most_rows")
    looks = {name: look_at(part, name, most_rows) for name, part in _parts(data, task).items()}
    first = next(iter(looks.values()))
    findings = [*leaks(looks)]
    for look in looks.values():
        findings += [*findings_of(look), *_size(look), *_unreadable(look)]
        findings += [] if model is None else [*cut_texts(look, model)]
    proposal = None
    try:
        proposal = propose(first, model)
    except ValueError as error:
        findings.append(Finding("no recipe fits", "error", str(error), first.name))
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Inspection(tuple(facts_of(look) for look in looks.values()), tuple(findings), proposal)


def _parts(data: Data, task: str | None) -> dict[str, Part]:
    if isinstance(data, Mapping | DatasetDict | IterableDatasetDict):
        if not data:
            raise ValueError("data must have at least one part, got an empty dict.")
        return {str(name): as_part(part, task) for name, part in data.items()}
    return {"data": as_part(data, task)}


def _size(look: Look) -> Iterator[Finding]:
    if look.stopped:
        message = f"Only the first {look.rows:,} rows of the stream were looked at. Raise most_rows to look at more."
        yield Finding("more rows in the stream", "note", message, look.name, count=look.rows)
    if look.rows < 32:
        severity = "note" if look.rows else "error"
        message = f"There are {look.rows} rows: too few to train on. Add rows."
        yield Finding("few rows" if look.rows else "no rows", severity, message, look.name, count=look.rows)


_KINDS = {
    "classification": "class",
    "hierarchy": "path",
    "multi_label": "multi_label",
    "regression": "numbers",
    "sts": "grades",
}


def _unreadable(look: Look) -> Iterator[Finding]:
    """Find labels that the collator would refuse, among the first rows."""
    flat = look.labels
    if flat is None or look.task not in _KINDS:
        return
    rows = min(_LOOKED_AT, look.rows)
    starts = flat.starts
    values = flat.values.slice(0, starts[rows]).to_pylist()
    labels = values if flat.sizes is None else [values[starts[row] : starts[row + 1]] for row in range(rows)]
    try:
        if any(label not in (None, []) for label in labels):
            encode_labels(labels, flat.column, _KINDS[look.task], class_ids=look.class_ids)
    except ValueError as error:
        yield Finding("unreadable labels", "error", f"The labels cannot be read: {error}", look.name, flat.column, 1)
